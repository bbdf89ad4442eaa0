"""A point that walks in the plane to a goal: what the navigation families have in common."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from envs import drawing
from envs.task_spaces import finite


class Goal(NamedTuple):
    """The task: where the goal is, [2] float32."""

    position: jax.Array


ACTIONS = Box(-1.0, 1.0, (2,), np.float32)
GOALS = Goal(finite(2))  # any goal may be given: there one may extrapolate


def positions(reach: float) -> Box:
    """The space of positions [2] no further than ``reach`` from the origin along each axis."""
    return Box(-reach, reach, (2,), np.float32)


def move(position: jax.Array, action: jax.Array, max_step: float) -> jax.Array:
    """The position [2] after an action [2], clipped to [-1, 1] and times ``max_step``."""
    return position + max_step * jnp.clip(action, -1.0, 1.0).astype(jnp.float32)


def distance(position: jax.Array, goal: jax.Array) -> jax.Array:
    """Euclidean, scalar."""
    return jnp.sqrt(jnp.sum((position - goal) ** 2))


# Methods of a family whose state is the position. Gymnasium's FuncEnv wants the default of ``params``.


def observation(family, state, rng, params=None):
    """`envs.TaskFamily.observation`: the position; the goal is not observed."""
    return state


def plane(family, observation, task):
    """`envs.TaskFamily.plane`."""
    return observation, task.position


def render_init(family, params=None, **kwargs):
    """The positions drawn so far: the trail."""
    return []


def draw(trail: list, position: jax.Array, goals: np.ndarray, scale: float, near: float = 0.0) -> tuple[list, np.ndarray]:
    """The trail with ``position`` [2] added, and its picture; ``goals``, ``scale`` and ``near`` are of `drawing.draw_walk`."""
    trail = [*trail, np.asarray(position)]
    return trail, drawing.draw_walk(np.stack(trail), goals, scale, near)
