"""The half-cheetah that runs at a velocity, or in a direction, that it does not see."""

import jax.numpy as jnp

from envs.families.locomotion import tasks
from envs.families.locomotion.base import Locomotion, effort, normal_noise
from envs.mujoco.physics import Robot

HALF_CHEETAH = Robot("half_cheetah.xml", 5, normal_noise(0.1), place="root", unobserved=1)
EFFORT_COST = 0.05  # of the squared action, in the code of Finn et al. 2017 and in ProMP's


class HalfCheetahVel(Locomotion):
    """Run at a given speed (Finn et al. 2017, Section 5.3).

    - Task: velocity uniform in ``speeds``, [0, 2] m/s (Finn et al., CAVIA); ProMP and PEARL have (0, 3). Held-out velocities:
      the same range, their own key stream.
    - Observation: [17], as HalfCheetah-v5: 8 positions without x, 9 velocities. Start: as HalfCheetah-v5.
    - Action: [6], torques in [-1, 1], clipped. A step lasts 0.05 s (5 physics steps).
    - Reward: -|v - task| - 0.05 |action|^2, v the mean velocity along x over the step.
    - End: none. Horizon: 200 steps; 100 in pytorch-maml-rl.
    """

    robot = HALF_CHEETAH
    task_space = tasks.SPEEDS

    def __init__(self, horizon=None, speeds: tuple[float, float] = (0.0, 2.0), backend="auto", iterations=4, threads=None):
        super().__init__(horizon, backend, iterations, threads)
        self.speeds = tasks.speed_range(type(self).__name__, speeds)

    def sample_task(self, key):
        return tasks.draw_speed(key, self.speeds)

    def reward(self, state, action, next_state, rng, params):
        return -jnp.abs(next_state.velocity[0] - params.velocity) - EFFORT_COST * effort(action)


class HalfCheetahDir(Locomotion):
    """Run forwards or backwards (Finn et al. 2017, Section 5.3).

    - Task: +1 or -1, equally likely; held-out tasks are of necessity the same two.
    - Observation, action, start: as `HalfCheetahVel`.
    - Reward: task * v - 0.05 |action|^2, v the mean velocity along x over the step.
    - End: none. Horizon: 200 steps (Finn et al., CAVIA); 100 in ProMP and pytorch-maml-rl.
    """

    robot = HALF_CHEETAH
    task_space, held_out_list = tasks.DIRECTIONS, tasks.BOTH

    def sample_task(self, key):
        return tasks.draw_direction(key)

    def reward(self, state, action, next_state, rng, params):
        return params.sign * next_state.velocity[0] - EFFORT_COST * effort(action)
