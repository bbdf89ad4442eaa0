"""The worlds in which `agents.check` tries agents, and the counter of what they draw there."""

import threading
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

END = 0.1  # probability that a step of `Guess` ends its episode


class Counter:
    """Counts on the host what a compiled program draws. Once stopped, programs traced from then on do not count."""

    def __init__(self) -> None:
        """At zero."""
        self.total, self.counting = 0, True
        self._lock = threading.Lock()

    def seen(self, counts: jax.Array) -> jax.Array:
        """Add the number of entries of ``counts`` that are True. Gives as many False, which the program must not ignore."""
        if not self.counting:
            return jnp.zeros_like(counts)
        shape = jax.ShapeDtypeStruct(counts.shape, bool)
        return jax.pure_callback(self._add, shape, counts, vmap_method="broadcast_all")  # once for a whole batch

    def _add(self, counts: np.ndarray) -> np.ndarray:
        with self._lock:
            self.total += int(np.sum(counts))
        return np.zeros(np.shape(counts), bool)


class Target(NamedTuple):
    """The task of `Guess`."""

    value: jax.Array


class Guess:
    """The probe in reinforcement learning: at most two steps, each an action that should equal a hidden number, +1 or -1.

    The reward is minus the squared error. Any step may be the last. The state is whether the episode has ended.
    """

    observation_space = Box(0.0, 1.0, (1,), np.float32)
    action_space = Box(-3.0, 3.0, (1,), np.float32)
    horizon = 2

    def __init__(self, counter: Counter) -> None:
        """Steps are counted as long as the episode lasts."""
        self.counter = counter

    def sample_task(self, key: jax.Array) -> Target:
        """+1 or -1."""
        return Target(jnp.where(jax.random.bernoulli(key), 1.0, -1.0))

    def initial(self, rng: jax.Array, params: Target) -> jax.Array:
        """Not ended."""
        return jnp.asarray(False)

    def transition(self, state: jax.Array, action: jax.Array, rng: jax.Array, params: Target) -> jax.Array:
        """Ends by chance alone."""
        return state | jax.random.bernoulli(rng, END) | self.counter.seen(~state)

    def observation(self, state: jax.Array, rng: jax.Array, params: Target) -> jax.Array:
        """Always the same."""
        return jnp.ones(1, jnp.float32)

    def reward(self, state: jax.Array, action: jax.Array, next_state: jax.Array, rng: jax.Array, params: Target) -> jax.Array:
        """Minus the squared error."""
        return -jnp.sum((action - params.value) ** 2)

    def terminal(self, state: jax.Array, rng: jax.Array, params: Target) -> jax.Array:
        """As decided in the transition."""
        return state


class Slope(NamedTuple):
    """The task of `lines`."""

    value: jax.Array


class Lines(NamedTuple):
    """The probe in regression: lines through (0, 3), of a slope between 1 and 3 or its negative."""

    sample_task: Callable[[jax.Array], Slope]
    sample: Callable[[Slope, jax.Array, int], tuple[jax.Array, jax.Array]]


def lines(counter: Counter) -> Lines:
    """Lines that share a point, which any training finds, and differ in slope; x is in [-2, 2]. Points are counted."""

    def sample_task(key):
        key_size, key_sign = jax.random.split(key)
        size = jax.random.uniform(key_size, minval=1.0, maxval=3.0)
        return Slope(jnp.where(jax.random.bernoulli(key_sign), size, -size))

    def sample(task, key, num_points):
        x = jax.random.uniform(key, (num_points, 1), minval=-2.0, maxval=2.0)
        return x, task.value * x + 3.0 + counter.seen(x < jnp.inf)

    return Lines(sample_task, sample)


class Side(NamedTuple):
    """The task of `sides`."""

    value: jax.Array


class Sides(NamedTuple):
    """The probe in classification: which third of the plane a point lies in, two of the thirds having changing names."""

    sample_task: Callable[[jax.Array], Side]
    sample: Callable[[Side, jax.Array, int], tuple[jax.Array, jax.Array]]
    num_classes: int


def sides(counter: Counter) -> Sides:
    """Points of a square. Class 2 is the upper half in all tasks, classes 0 and 1 are left and right, or right and left."""

    def sample_task(key):
        return Side(jnp.where(jax.random.bernoulli(key), 1.0, -1.0))

    def sample(task, key, num_points):
        x = jax.random.uniform(key, (num_points, 2), minval=-1.0, maxval=1.0)
        label = jnp.where(x[:, 1] > 0, 2, x[:, 0] * task.value > 0)
        return x, jax.nn.one_hot(label, 3) + counter.seen(x[:, :1] < jnp.inf)

    return Sides(sample_task, sample, 3)
