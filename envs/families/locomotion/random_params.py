"""Walking robots whose masses, inertias, damping and friction vary from task to task."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from envs.families.locomotion.base import Locomotion, effort, uniform_noise
from envs.mujoco.physics import Change, Robot
from envs.task_spaces import positive

HOPPER = Robot("hopper.xml", 4, uniform_noise(5e-3), place="root", unobserved=1, max_velocity=10.0)
WALKER = Robot("walker2d_v5.xml", 4, uniform_noise(5e-3), place="root", unobserved=1, max_velocity=10.0)
LOG_SCALE = 3.0  # multipliers are base ** u with u uniform in [-LOG_SCALE, LOG_SCALE], one for each number
BASE = Change(mass=1.5, inertia=1.5, damping=1.3, friction=1.5)  # type: ignore[arg-type]
EFFORT_COST = 1e-3


class _RandomParams(Locomotion):
    @functools.cached_property
    def task_space(self) -> Any:
        spaces: Any = [positive(*shape) for shape in self._shapes()]
        return Change(*spaces)

    def _shapes(self) -> Any:
        model = self.physics.model
        return (model.nbody,), (model.nbody, 3), (model.nv,), (model.ngeom, 3)

    def sample_task(self, key):
        keys = Change(*jax.random.split(key, 4))
        draw = lambda base, key, shape: base ** jax.random.uniform(key, shape, jnp.float32, -LOG_SCALE, LOG_SCALE)
        return Change(*(draw(*each) for each in zip(BASE, keys, self._shapes(), strict=True)))

    def change(self, params):
        return params

    def reward(self, state, action, next_state, rng, params):
        return next_state.velocity[0] + 1.0 - EFFORT_COST * effort(action)


class HopperRandParams(_RandomParams):
    """Hop forwards whatever the body is like (rand_param_envs, used by PEARL and VariBAD).

    - Task: multipliers of every body's mass and inertia (1.5^u, each of the three moments its own), every joint's damping
      (1.3^u) and every shape's friction (1.5^u), u uniform in [-3, 3]. Held-out bodies: the same, their own key stream (PEARL
      has 40 training and 10 test bodies).
    - Observation: [11], as Hopper-v5: 5 positions without x, 6 velocities clipped to [-10, 10]. Start: as Hopper-v5.
    - Action: [3], torques in [-1, 1], clipped. A step lasts 0.008 s (4 physics steps).
    - Reward: v + 1 - 0.001 |action|^2, v the mean velocity along x over the step.
    - End: height 0.7 m or less, |angle| of the torso 0.2 or more, or any other number 100 or more. Horizon: 200 steps.
    """

    robot = HOPPER

    def healthy(self, body):
        small = jnp.all(jnp.abs(body.qpos[2:]) < 100.0) & jnp.all(jnp.abs(body.qvel) < 100.0)
        return small & (body.qpos[1] > 0.7) & (jnp.abs(body.qpos[2]) < 0.2)


class WalkerRandParams(_RandomParams):
    """Walk forwards whatever the body is like (rand_param_envs, used by PEARL and VariBAD).

    - Task, reward, horizon: as `HopperRandParams`.
    - Observation: [17], as Walker2d-v5: 8 positions without x, 9 velocities clipped to [-10, 10]. Start: as Walker2d-v5.
    - Action: [6], torques in [-1, 1], clipped. A step lasts 0.008 s (4 physics steps).
    - End: height outside (0.8, 2) m or the torso's angle outside (-1, 1).
    """

    robot = WALKER

    def healthy(self, body):
        height, angle = body.qpos[1], body.qpos[2]
        return (height > 0.8) & (height < 2.0) & (jnp.abs(angle) < 1.0)
