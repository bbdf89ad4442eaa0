"""The humanoid that walks in a direction that it does not see."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from envs.families.locomotion.base import Locomotion, effort, uniform_noise
from envs.mujoco.physics import Robot
from envs.task_spaces import Such

HUMANOID = Robot("humanoid.xml", 5, uniform_noise(1e-2), place="mass centre", unobserved=2)
FORWARD, ALIVE, EFFORT_COST = 1.25, 5.0, 0.1  # Gymnasium's, and 0.25 times five physics steps in ProMP's code
CTRL_RANGE = 0.4  # of every actuator
TOLERANCE = 1e-3  # how far from 1 the length of a given direction may be


def is_unit(x: np.ndarray) -> Any:
    """Whether it is of length 1."""
    return np.abs(np.linalg.norm(x) - 1.0) < TOLERANCE


UNIT: Any = Such(Box(-1.0, 1.0, (2,), np.float32), is_unit, "of length 1")


class Heading(NamedTuple):
    """The task: a unit vector along x and y, [2] float32."""

    direction: jax.Array


class HumanoidDir(Locomotion):
    """Walk in a given direction of the plane (PEARL; Rothfuss et al. 2019).

    - Task: a direction, all equally likely. Held-out directions: the same, their own key stream.
    - Observation: [45], as Humanoid-v5 without inertia, force and contact terms: 22 positions without x and y, 23 velocities.
      Start: as Humanoid-v5.
    - Action: [17], in [-1, 1], clipped, times 0.4. A step lasts 0.015 s (5 physics steps).
    - Reward: 1.25 v + 5 - 0.1 |0.4 action|^2, v the mean velocity of the mass centre along the direction over the step,
      measured as Gymnasium does. The sources' small cost of contact forces is left out.
    - End: torso outside (1, 2) m. Horizon: 200 steps.
    """

    robot = HUMANOID
    task_space = Heading(UNIT)

    def sample_task(self, key):
        angle = jax.random.uniform(key, (), jnp.float32, 0.0, 2 * jnp.pi)
        return Heading(jnp.stack([jnp.cos(angle), jnp.sin(angle)]))

    def healthy(self, body):
        return (body.qpos[2] > 1.0) & (body.qpos[2] < 2.0)

    def reward(self, state, action, next_state, rng, params):
        along = jnp.sum(next_state.velocity * params.direction)
        return FORWARD * along + ALIVE - EFFORT_COST * CTRL_RANGE**2 * effort(action)
