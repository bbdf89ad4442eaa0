"""Supervised task families: a task is a function to be learned from a few of its points."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from envs.family import HELD_OUT_STREAM


class RegressionFamily(NamedTuple):
    """A distribution over functions of F variables with O values, F and O being 1 in those below.

    Attributes:
        sample_task: key -> task.
        sample_held_out_task: key -> task, from its own key stream.
        sample: (task, key, num_points) -> (x [N, F], y [N, O]), float32.
        curve: (task, x [...]) -> y [...], without noise, for pictures of functions of one variable; None will do elsewhere.
        x_range: where inputs lie.
        held_out_list: all held-out tasks there are, leaves [L, ...], where they are a finite set.
    """

    sample_task: Callable[[jax.Array], Any]
    sample_held_out_task: Callable[[jax.Array], Any]
    sample: Callable[[Any, jax.Array, int], tuple[jax.Array, jax.Array]]
    curve: Callable[[Any, jax.Array], jax.Array]
    x_range: tuple[float, float]
    held_out_list: Any = None


class Sinusoid(NamedTuple):
    """The task: y = amplitude * sin(x - phase); both scalars float32."""

    amplitude: jax.Array
    phase: jax.Array


def sinusoid(
    amplitude_range: tuple[float, float] = (0.1, 5.0), phase_range: tuple[float, float] = (0.0, jnp.pi)
) -> RegressionFamily:
    """Sinusoids of Finn et al. 2017, Section 5.1: amplitude U[0.1, 5], phase U[0, pi], x U[-5, 5].

    Always predicting 0 costs a mean squared error of 4.25; the best function that ignores the task costs 3.01.
    """
    x_range = (-5.0, 5.0)

    def sample_task(key):
        key_amplitude, key_phase = jax.random.split(key)
        return Sinusoid(
            jax.random.uniform(key_amplitude, (), jnp.float32, *amplitude_range),
            jax.random.uniform(key_phase, (), jnp.float32, *phase_range),
        )

    def curve(task, x):
        return task.amplitude * jnp.sin(x - task.phase)

    def sample(task, key, num_points):
        x = jax.random.uniform(key, (num_points, 1), jnp.float32, *x_range)
        return x, curve(task, x)

    def sample_held_out_task(key):
        return sample_task(jax.random.fold_in(key, HELD_OUT_STREAM))

    return RegressionFamily(sample_task, sample_held_out_task, sample, curve, x_range)


class Steps(NamedTuple):
    """The task: heights [P] of pieces of equal width, float32."""

    heights: jax.Array


def step_function(
    num_pieces: int = 6, x_range: tuple[float, float] = (-3.0, 3.0), height: float = 3.0, noise: float = 0.1
) -> RegressionFamily:
    """Piecewise-constant functions with heights U[-height, height], seen at evenly spaced inputs with Gaussian noise."""
    low, high = x_range

    def sample_task(key):
        return Steps(jax.random.uniform(key, (num_pieces,), jnp.float32, -height, height))

    def curve(task, x):
        piece = jnp.floor((x - low) / (high - low) * num_pieces).astype(int)
        return task.heights[jnp.clip(piece, 0, num_pieces - 1)]

    def sample(task, key, num_points):
        x = jnp.linspace(low, high, num_points)[:, None]
        return x, curve(task, x) + noise * jax.random.normal(key, x.shape)

    def sample_held_out_task(key):
        return sample_task(jax.random.fold_in(key, HELD_OUT_STREAM))

    return RegressionFamily(sample_task, sample_held_out_task, sample, curve, x_range)
