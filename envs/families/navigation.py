"""Two-dimensional navigation: a point walks to a goal it does not see."""

import jax
import jax.numpy as jnp
import numpy as np

from envs.families import point, training
from envs.families.point import Goal
from envs.family import TaskFamily

MAX_STEP = 0.1  # how far one action can move along each axis
GOAL_RANGE = 0.5  # goals are uniform in [-GOAL_RANGE, GOAL_RANGE]^2
TOLERANCE = 0.01  # the episode ends when both axes are closer to the goal than this


class Navigation2D(TaskFamily):
    """The point robot of Finn et al. 2017, Section 5.3, as in the code released with the paper.

    - Task: goal uniform in [-0.5, 0.5]^2. Held-out goals: the same square, their own key stream.
    - Observation: position [2]; the goal is not observed. Start: the origin.
    - Action: [2], clipped to [-1, 1], times 0.1 = the move along each axis.
    - Reward: minus the Euclidean distance to the goal after the move (the paper's text says squared; its code does not, and
      its printed numbers fit the code).
    - End: both coordinates within 0.01 of the goal's. Horizon: 100 steps.

    Standing still returns -38.3 on average; walking straight to a known goal returns -0.5.
    """

    horizon = 100
    training_settings = training.NAVIGATION
    action_space, task_space = point.ACTIONS, point.GOALS
    observation, plane, render_init = point.observation, point.plane, point.render_init

    def __init__(self, horizon: int | None = None):
        super().__init__(horizon)
        self.observation_space = point.positions(1.01 * MAX_STEP * self.horizon)

    def sample_task(self, key):
        return Goal(jax.random.uniform(key, (2,), jnp.float32, -GOAL_RANGE, GOAL_RANGE))

    def initial(self, rng, params):
        return jnp.zeros(2, jnp.float32)

    def transition(self, state, action, rng, params):
        return point.move(state, action, MAX_STEP)

    def reward(self, state, action, next_state, rng, params):
        return -point.distance(next_state, params.position)

    def terminal(self, state, rng, params):
        return jnp.all(jnp.abs(state - params.position) < TOLERANCE)

    def render_image(self, state, render_state, params):
        return point.draw(render_state, state, np.asarray(params.position)[None], 2 * GOAL_RANGE)
