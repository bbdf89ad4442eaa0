"""Measures: what the steps' ``info`` says of an episode beside its return, such as success. One number per episode."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp


def any_step(value: jax.Array, mask: jax.Array) -> jax.Array:
    """1.0 if it was other than zero at some step, else 0.0; NaN if it was NaN there."""
    largest = jnp.max(mask * jnp.abs(value), axis=-1)
    return jnp.where(jnp.isnan(largest), largest, (largest > 0).astype(value.dtype))


def end_step(value: jax.Array, mask: jax.Array) -> jax.Array:
    """1.0 if it was other than zero at the episode's last step, else 0.0; NaN if it was NaN there."""
    last = last_step(value, mask)
    return jnp.where(jnp.isnan(last), last, (last != 0).astype(value.dtype))


def last_step(value: jax.Array, mask: jax.Array) -> jax.Array:
    """The value at the episode's last step."""
    place = jnp.sum(mask, axis=-1, keepdims=True).astype(int) - 1
    return jnp.take_along_axis(value, place, axis=-1)[..., 0]


def mean_step(value: jax.Array, mask: jax.Array) -> jax.Array:
    """The mean over the episode's steps."""
    return sum_steps(value, mask) / jnp.sum(mask, axis=-1)


def sum_steps(value: jax.Array, mask: jax.Array) -> jax.Array:
    """The sum over the episode's steps."""
    return jnp.sum(mask * value, axis=-1)


def largest_step(value: jax.Array, mask: jax.Array) -> jax.Array:
    """The largest value."""
    return jnp.max(jnp.where(mask > 0, value, -jnp.inf), axis=-1)


def smallest_step(value: jax.Array, mask: jax.Array) -> jax.Array:
    """The smallest value."""
    return jnp.min(jnp.where(mask > 0, value, jnp.inf), axis=-1)


# How an episode's number is made of its steps': (value [..., T], mask [..., T]) -> [...]. The first step always counts.
REDUCTIONS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "any": any_step,
    "end": end_step,
    "last": last_step,
    "mean": mean_step,
    "sum": sum_steps,
    "max": largest_step,
    "min": smallest_step,
}
SHARES = ("any", "end")  # the reductions that make a measure a share of episodes, between 0 and 1


def read_measures(owner: str, measures: Any) -> dict[str, str]:
    """Info key -> reduction, checked.

    Raises:
        ValueError: one line that begins with ``owner``.
    """
    if not isinstance(measures, Mapping):
        raise ValueError(
            f"{owner}: measures is {measures!r}, but must be a dict of info keys and how steps make an episode's number, such "
            'as {"success": "any"}.'
        )
    for name, reduction in measures.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"{owner}: measures has the key {name!r}, but must have names of info keys.")
        if not isinstance(reduction, str) or reduction not in REDUCTIONS:
            raise ValueError(f"{owner}: measures[{name!r}] is {reduction!r}; known: {', '.join(REDUCTIONS)}.")
    return dict(measures)


def reduced(measures: Mapping[str, str], info: Mapping[str, jax.Array], mask: jax.Array) -> dict[str, jax.Array]:
    """The measures of episodes: name -> [...].

    Args:
        measures: name -> reduction.
        info: name -> [..., T], what each step gave.
        mask: [..., T], 1.0 for steps of the episode.
    """
    return {name: REDUCTIONS[reduction](info[name], mask) for name, reduction in measures.items()}
