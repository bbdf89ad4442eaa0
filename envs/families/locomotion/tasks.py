"""What the robots are asked for in more than one family: a speed or a direction along x."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from envs.options import is_range
from envs.task_spaces import Such, finite


class Speed(NamedTuple):
    """The task: the velocity along x to run at, m/s, scalar float32."""

    velocity: jax.Array


class Direction(NamedTuple):
    """The task: where to run along x, scalar float32, +1 or -1."""

    sign: jax.Array


def is_sign(x: np.ndarray) -> Any:
    """Whether it is -1 or 1."""
    return np.abs(x) == 1.0


SIGN: Any = Such(Box(-1.0, 1.0, (), np.float32), is_sign, "either -1 or 1")
SPEEDS, DIRECTIONS = Speed(finite()), Direction(SIGN)  # any velocity may be tried
_SIGNS: Any = np.array([1.0, -1.0], np.float32)
BOTH = Direction(_SIGNS)  # there are no other directions to hold out


def draw_speed(key: jax.Array, speeds: tuple[float, float]) -> Speed:
    """Uniform between two velocities."""
    return Speed(jax.random.uniform(key, (), jnp.float32, *speeds))


def draw_direction(key: jax.Array) -> Direction:
    """Both equally likely."""
    return Direction(jax.random.rademacher(key, (), jnp.float32))


def speed_range(name: str, speeds: tuple[float, float]) -> tuple[float, float]:
    """``speeds`` as two numbers, the smaller first, or a ValueError that names the family ``name``."""
    if not is_range(speeds):
        raise ValueError(f"{name}: speeds is {speeds!r}, but must be a lowest and a highest velocity, such as [0, 2].")
    return float(speeds[0]), float(speeds[1])
