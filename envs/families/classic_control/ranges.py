"""Tasks that are constants of a physical system, each uniform in a range of its own: to train in, and to extrapolate to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.family import HELD_OUT_STREAM
from envs.options import is_range, one_of
from envs.task_spaces import TINY

HELD_OUT = ("same", "extreme")


class Range(NamedTuple):
    """Training draws from [low, high]; "extreme" from [lowest, low] or [high, highest], with the same density."""

    low: float
    high: float
    lowest: float
    highest: float


def inside(range_: Range, key: jax.Array) -> jax.Array:
    """A training value: scalar float32."""
    return jax.random.uniform(key, (), jnp.float32, range_.low, range_.high)


def outside(range_: Range, key: jax.Array) -> jax.Array:
    """An extreme value: scalar float32."""
    below = range_.low - range_.lowest
    along = jax.random.uniform(key, (), jnp.float32, 0.0, below + range_.highest - range_.high)
    return jnp.where(along < below, range_.lowest + along, range_.high + along - below)


def as_task(values: Any) -> Any:
    """A NamedTuple of floats as a task."""
    return jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), values)


class Constants:
    """A distribution over tasks of one kind: a NamedTuple of scalars, of which some vary independently."""

    def __init__(
        self,
        family: str,
        classic: Any,
        published: Mapping[str, Range],
        held_out: str = "same",
        ranges: Mapping[str, Sequence[float]] | None = None,
    ):
        """Describe a distribution.

        Args:
            family: its name, for errors.
            classic: the constants as floats; those that do not vary keep these values.
            published: of the constants that vary.
            held_out: "same" draws held-out tasks from the training ranges, "extreme" every constant from outside its own.
            ranges: [low, high] of constants that shall vary in another training range, or vary as well.

        Raises:
            ValueError: a name or range that makes no sense.
        """
        one_of(family, "held_out", held_out, HELD_OUT)
        if not isinstance(ranges, Mapping | None):
            raise ValueError(f'{family}: ranges is {ranges!r}, but looks like {{"{classic._fields[0]}": [low, high]}}.')
        if ranges and held_out == "extreme":
            raise ValueError(
                f"{family}: ranges is {ranges}, but held_out='extreme' is about the published ranges; leave one of them out."
            )
        self.classic, self.held_out = classic, held_out
        self.ranges = {**published, **{name: self._checked(family, name, given) for name, given in (ranges or {}).items()}}

    def _checked(self, family: str, name: str, given: Sequence[float]) -> Range:
        if name not in self.classic._fields:
            raise ValueError(f"{family}: ranges has {name!r}; known: {', '.join(self.classic._fields)}.")
        if not is_range(given) or given[0] < TINY:
            raise ValueError(f"{family}: ranges has {name}={given!r}, but must be [low, high] with 0 < low <= high.")
        return Range(*given, *given)

    def sample(self, key: jax.Array) -> Any:
        """A training task."""
        return self._draw(inside, key)

    def sample_held_out(self, key: jax.Array) -> Any:
        """A held-out task, from its own key stream."""
        return self._draw(inside if self.held_out == "same" else outside, jax.random.fold_in(key, HELD_OUT_STREAM))

    def _draw(self, draw: Callable[[Range, jax.Array], jax.Array], key: jax.Array) -> Any:
        keys = jax.random.split(key, len(self.ranges))
        drawn = {name: draw(self.ranges[name], k) for name, k in zip(self.ranges, keys, strict=True)}
        return as_task(self.classic)._replace(**drawn)
