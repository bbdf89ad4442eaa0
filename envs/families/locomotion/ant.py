"""The ant that runs at a velocity, in a direction or to a place that it does not see."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.families.locomotion import drawing, tasks
from envs.families.locomotion.base import Locomotion, effort, normal_noise
from envs.mujoco.physics import Robot
from envs.options import one_of
from envs.task_spaces import finite

ANT = Robot("ant.xml", 5, normal_noise(0.1), place="torso", unobserved=2, view="top")
ALIVE = 0.05  # paid for every step, in the code of Finn et al. 2017
EFFORT_COST = 0.005  # of the squared action, there
SOURCES = ("maml", "promp")  # Finn et al.'s code, Rothfuss et al.'s


class Place(NamedTuple):
    """The task: where to go, [2] float32, metres."""

    position: jax.Array


class AntVel(Locomotion):
    """Run at a given speed (Finn et al. 2017, Section 5.3, as in the code released with the paper).

    - Task: velocity along x uniform in ``speeds``, [0, 3] m/s. Held-out velocities: the same range, their own key stream.
    - Observation: [27], as Ant-v5 without contact forces: 13 positions without x and y, 14 velocities. Start: as Ant-v5.
    - Action: [8], torques in [-1, 1], clipped. A step lasts 0.05 s (5 physics steps).
    - Reward: 1 - |v - task| + 0.05 - 0.005 |action|^2, v the torso's mean velocity along x over the step, measured as Gymnasium
      does. The source's small cost of contact forces is left out.
    - End: torso lower than 0.2 m or higher than 1 m, or anything not finite. Horizon: 200 steps.
    """

    robot = ANT
    task_space = tasks.SPEEDS

    def __init__(self, horizon=None, speeds: tuple[float, float] = (0.0, 3.0), backend="auto", iterations=4, threads=None):
        super().__init__(horizon, backend, iterations, threads)
        self.speeds = tasks.speed_range(type(self).__name__, speeds)

    def sample_task(self, key):
        return tasks.draw_speed(key, self.speeds)

    def healthy(self, body):
        return stands(body)

    def reward(self, state, action, next_state, rng, params):
        kept = 1.0 - jnp.abs(next_state.velocity[0] - params.velocity)
        return kept + ALIVE - EFFORT_COST * effort(action)


class AntDir(Locomotion):
    """Run forwards or backwards (Finn et al. 2017, Section 5.3).

    - Task: +1 or -1, equally likely; held-out tasks are of necessity the same two.
    - Observation, action, start, end, horizon: as `AntVel`.
    - Reward: task * v + 0.05 - 0.005 |action|^2 (``source="maml"``, Finn et al.'s code), or task * v + 1 - 0.5 |action|^2
      (``source="promp"``, Rothfuss et al. 2019's code, where it ends below 0 m instead of 0.2 m).
    """

    robot = ANT
    task_space, held_out_list = tasks.DIRECTIONS, tasks.BOTH

    def __init__(self, horizon=None, source: str = "maml", backend="auto", iterations=4, threads=None):
        super().__init__(horizon, backend, iterations, threads)
        self.source = one_of(type(self).__name__, "source", source, SOURCES)

    def sample_task(self, key):
        return tasks.draw_direction(key)

    def healthy(self, body):
        return stands(body, 0.2 if self.source == "maml" else 0.0)

    def reward(self, state, action, next_state, rng, params):
        alive, cost = (ALIVE, EFFORT_COST) if self.source == "maml" else (1.0, 0.5)
        return params.sign * next_state.velocity[0] + alive - cost * effort(action)


class AntGoal(Locomotion):
    """Run to a place (Finn et al. 2017's code; Rothfuss et al. 2019).

    - Task: a place uniform in [-3, 3]^2 (``source="maml"``), or in the disc of radius 3 around the start (``source="promp"``).
      Held-out places: the same, their own key stream.
    - Observation: [29]: as `AntVel`, with x and y in front. Action and start: as there.
    - Reward: 4 - d + 0.05 - 0.005 |action|^2 ("maml") or -d - 0.1 |action|^2 ("promp"), d the L1 distance after the step.
    - End: as `AntVel` ("maml"), or none ("promp"). Horizon: 200 steps.
    """

    robot = ANT._replace(unobserved=0)
    task_space = Place(finite(2))

    def __init__(self, horizon=None, source: str = "maml", backend="auto", iterations=4, threads=None):
        super().__init__(horizon, backend, iterations, threads)
        self.source = one_of(type(self).__name__, "source", source, SOURCES)

    def sample_task(self, key):
        if self.source == "maml":
            return Place(jax.random.uniform(key, (2,), jnp.float32, -3.0, 3.0))
        radius, angle = jax.random.uniform(key, (2,), jnp.float32)
        angle = 2 * jnp.pi * angle
        return Place(3.0 * jnp.sqrt(radius) * jnp.stack([jnp.cos(angle), jnp.sin(angle)]))

    def healthy(self, body):
        return stands(body) if self.source == "maml" else jnp.asarray(True)

    def reward(self, state, action, next_state, rng, params):
        distance = jnp.sum(jnp.abs(next_state.qpos[:2] - params.position))
        if self.source == "maml":
            return 4.0 - distance + ALIVE - EFFORT_COST * effort(action)
        return -distance - 0.1 * effort(action)

    def plane(self, observation, task):
        return observation[..., :2], task.position

    def render_image(self, state, render_state, params):
        goal = np.asarray(params.position)
        return render_state, drawing.draw(self.physics.model, np.asarray(state.qpos), self.robot.view, goal)


def stands(body, lowest: float = 0.2):
    """Whether the torso's height is between ``lowest`` and 1 m and all numbers are finite."""
    finite = jnp.all(jnp.isfinite(body.qpos)) & jnp.all(jnp.isfinite(body.qvel))
    return finite & (body.qpos[2] >= lowest) & (body.qpos[2] <= 1.0)
