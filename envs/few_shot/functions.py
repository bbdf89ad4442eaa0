"""Tasks from a function of one's own that draws support and query sets."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.contract import NEEDS_VALUES, explain
from envs.family import HELD_OUT_STREAM
from envs.few_shot.family import FewShotFamily

# (key, shots, held_out) -> (support x, y), (query x, y)
Draw = Callable[[jax.Array, int, bool], Any]


class Drawn(NamedTuple):
    """A task: its data, float32, (x [N, F], y [N, O])."""

    support: tuple[jax.Array, jax.Array]
    query: tuple[jax.Array, jax.Array]


def from_function(draw: Draw, *, shots: int, ways: int | None = None, called: str = "the function") -> FewShotFamily:
    """Few-shot tasks that a function draws. It is called while JAX traces, so it must be written in JAX.

    Args:
        draw: (key, shots, held_out) -> ((x, y), (x, y)), support and query set of a new task: x [N, ...] and in regression y
            [N] or [N, O], in classification integers y [N] from 0 to ``ways`` - 1. The support set has ``shots`` examples, of
            each class in classification. ``held_out`` is a bool: whether the task is to be one that training never draws.
        shots: K.
        ways: classes per task; None in regression.
        called: its name in messages.

    Raises:
        ValueError: in one line, what the function does wrong.
    """
    found = {held_out: _shapes(draw, shots, held_out, called) for held_out in (False, True)}
    shapes = [[(x.shape, y.shape) for x, y in drawn] for drawn in found.values()]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{called} draws {shapes[0]}, but held-out tasks of {shapes[1]}; they must agree.")
    (x, _), (x_query, _) = found[False]
    if x.shape[1:] != x_query.shape[1:]:
        raise ValueError(f"{called} draws support inputs of shape {x.shape[1:]}, but query inputs of {x_query.shape[1:]}.")
    if len(x) != shots * (ways or 1):
        each = f" of each of {ways} classes" if ways else ""
        raise ValueError(f"{called} draws {len(x)} support examples, but {shots} shots{each} are {shots * (ways or 1)}.")
    for held_out in found:
        _refuse_values(jax.jit(lambda key, held_out=held_out: draw(key, shots, held_out))(jax.random.key(0)), ways, called)

    def rows(part):
        x, y = jnp.asarray(part[0]), jnp.asarray(part[1])
        if ways is not None:
            return x.reshape(len(x), -1).astype(float), jax.nn.one_hot(y, ways)
        return x.reshape(len(x), -1).astype(float), y.reshape(len(y), -1).astype(float)

    def drawn(key, held_out):
        support, query = draw(key, shots, held_out)
        return Drawn(rows(support), rows(query))

    def sample(task, key, num_shots):
        del key
        if num_shots != shots:
            raise ValueError(f"the family was made for {shots} shots, not {num_shots}.")
        return task.support

    return FewShotFamily(
        sample_task=lambda key: drawn(key, False),
        sample_held_out_task=lambda key: drawn(jax.random.fold_in(key, HELD_OUT_STREAM), True),
        sample=sample,
        sample_query=lambda task, key: task.query,
        input_shape=x.shape[1:] or (1,),
        ways=ways,
    )


def _shapes(draw: Draw, shots: int, held_out: bool, called: str) -> Any:
    """Of a support and a query set, as arrays without values."""
    try:
        found = jax.eval_shape(lambda key: draw(key, shots, held_out), jax.random.key(0))
    except Exception as error:  # whatever a user's function raises becomes one line
        advice = ""
        if isinstance(error, NEEDS_VALUES):
            advice = " Write it in jax.numpy; NumPy tables that it indexes are to be jax.numpy.asarray(...)."
        raise ValueError(f"{called}(key, {shots}, {held_out}) fails: {explain(error)}.{advice}") from error
    pairs = isinstance(found, tuple | list) and len(found) == 2
    if not pairs or not all(isinstance(part, tuple | list) and len(part) == 2 for part in found):
        raise ValueError(f"{called} must give two pairs, (x, y) of the support set and (x, y) of the query set.")
    for part in found:
        for name, values in zip("xy", part, strict=True):
            if not getattr(values, "shape", ()) or values.dtype.kind not in "fiu" or not values.size:
                raise ValueError(f"{called} gives {values} as {name}, but it must be an array [N, ...] of real numbers.")
        if len(part[0]) != len(part[1]):
            raise ValueError(f"{called} gives {len(part[0])} rows of x, but {len(part[1])} of y.")
    return found


def _refuse_values(drawn: Any, ways: int | None, called: str) -> None:
    """Refuse a drawn task whose numbers cannot be used."""
    for x, y in jax.device_get(drawn):
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError(f"{called} draws numbers that are not finite.")
        if ways is None:
            continue
        if y.dtype.kind not in "iu" or y.ndim != 1:
            raise ValueError(f"{called} draws y of {y.dtype}{list(y.shape)}, but classes are integers [N].")
        for label in (y.min(), y.max()):
            if not 0 <= label < ways:
                raise ValueError(f"{called} draws a class {label}, but the classes of {ways} ways are 0 to {ways - 1}.")
