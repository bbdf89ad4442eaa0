"""A point walks in the plane and is paid only near what it looks for: it must explore before it can adapt."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.families import point, training
from envs.families.point import Goal
from envs.family import TaskFamily, shuffled
from envs.options import one_of
from envs.task_lists import TaskList

# PEARL's sparse point robot (katerakelly/oyster, rlkit/envs/point_robot.py and configs/sparse-point-robot.json).
MAX_STEP = 0.1  # how far one action can move along each axis
NUM_GOALS = 100  # equally spaced on the half circle of radius 1, both ends included
HELD_OUT_EVERY = 5  # of them, every fifth is held out: 80 to train on, 20 to test on
RADIUS = 0.2  # how near the goal a reward is paid

# ProMP's MetaPointEnvCorner (jonasrothfuss/ProMP, meta_policy_search/envs/point_envs/point_env_2d_corner.py).
CORNER = 2.0  # goals are (+-CORNER, +-CORNER)
CORNER_MAX_STEP = 0.2
_CORNERS: Any = CORNER * np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], np.float32)
CORNERS = Goal(_CORNERS)
START_RANGE = 0.2  # the start is uniform in [-START_RANGE, START_RANGE]^2
NO_REWARD = 0.5  # closer to the origin than this, in |x| + |y|, nothing is paid


def on_half_circle(index) -> Goal:
    """The goals number ``index`` [...] of `NUM_GOALS`: position [..., 2]."""
    angle = jnp.pi * index.astype(jnp.float32) / (NUM_GOALS - 1)
    return Goal(jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1))


def trained_goal(index) -> Goal:
    """Number ``index`` of the goals that are trained on."""
    group, place = index // (HELD_OUT_EVERY - 1), index % (HELD_OUT_EVERY - 1)
    return on_half_circle(HELD_OUT_EVERY * group + place + (place >= HELD_OUT_EVERY // 2))


class Navigation2DSparse(TaskFamily):
    """The sparse point robot of Rakelly et al. 2019 (PEARL), as in the code released with the paper.

    - Task: one of 100 goals equally spaced on the unit half circle y >= 0. Held-out goals: 20 of them that are never trained
      on, every fifth from the third. (That code also trains on 80 and tests on the other 20, after a shuffle.)
    - Observation: position [2]; the goal is not observed. Start: the origin.
    - Action: [2], clipped to [-1, 1], times 0.1 = the move along each axis.
    - Reward: 1 - distance to the goal after the move where that distance is at most 0.2, else 0. ``reward="dense"``: minus the
      distance, everywhere, which that code trains its policy on while its context holds the sparse form; VariBAD's
      sparse point robot pays the sparse form throughout.
    - End: never. Horizon: 20 steps.
    - Measure: closeness, minus the distance to the goal at the episode's last step; of each step, what ``reward="dense"`` pays.

    A walk that knows the goal returns 13.36 on average over the half circle; standing still returns 0.
    """

    horizon = 20
    training_settings = training.SPARSE_NAVIGATION
    measures = {"closeness": "last"}  # noqa: RUF012 - never changed
    action_space, task_space = point.ACTIONS, point.GOALS
    observation, plane, render_init = point.observation, point.plane, point.render_init

    def __init__(self, horizon: int | None = None, reward: str = "sparse"):
        super().__init__(horizon)
        self.form = one_of(type(self).__name__, "reward", reward, ("sparse", "dense"))
        self.observation_space = point.positions(1.01 * (MAX_STEP * self.horizon))
        with jax.ensure_compile_time_eval():
            self.held_out_list = shuffled(on_half_circle(jnp.arange(HELD_OUT_EVERY // 2, NUM_GOALS, HELD_OUT_EVERY)))
            self.train_list = TaskList(jax.vmap(trained_goal)(jnp.arange(NUM_GOALS - NUM_GOALS // HELD_OUT_EVERY)))

    def sample_task(self, key):
        return trained_goal(jax.random.randint(key, (), 0, NUM_GOALS - NUM_GOALS // HELD_OUT_EVERY))

    def initial(self, rng, params):
        return jnp.zeros(2, jnp.float32)

    def transition(self, state, action, rng, params):
        return point.move(state, action, MAX_STEP)

    def reward(self, state, action, next_state, rng, params):
        distance = point.distance(next_state, params.position)
        return -distance if self.form == "dense" else jnp.where(distance <= RADIUS, 1.0 - distance, 0.0)

    def transition_info(self, state, action, next_state, params):
        return {"closeness": -point.distance(next_state, params.position)}

    def terminal(self, state, rng, params):
        return jnp.asarray(False)

    def render_image(self, state, render_state, params):
        return point.draw(render_state, state, np.asarray(params.position)[None], 1.5, RADIUS)


class NavigationCorner(TaskFamily):
    """The four corners of Rothfuss et al. 2019 (ProMP), as in the code released with the paper.

    - Task: the goal is one of (-2, -2), (2, -2), (-2, 2), (2, 2). Held-out tasks: the same four.
    - Observation: position [2]; the goal is not observed. Start: uniform in [-0.2, 0.2]^2.
    - Action: [2], clipped to [-1, 1], times 0.2 = the move along each axis (that code clips to [-0.2, 0.2] and normalises).
    - Reward: how much closer the move came to the goal, but 0 where |x| + |y| < 0.5 after it or another corner is nearer.
      ``reward="dense"``: minus the distance; ``reward="dense_squared"``: minus its square.
    - End: never. Horizon: 100 steps.

    A straight walk from the origin to the goal returns 2.55: of the distance 2.83 the first move is not paid.
    """

    horizon = 100
    training_settings = training.CORNER_NAVIGATION
    action_space, task_space, held_out_list = point.ACTIONS, point.GOALS, CORNERS
    observation, plane, render_init = point.observation, point.plane, point.render_init

    def __init__(self, horizon: int | None = None, reward: str = "sparse"):
        super().__init__(horizon)
        self.form = one_of(type(self).__name__, "reward", reward, ("sparse", "dense", "dense_squared"))
        self.observation_space = point.positions(1.01 * (START_RANGE + CORNER_MAX_STEP * self.horizon))

    def sample_task(self, key):
        return Goal(CORNER * jax.random.rademacher(key, (2,), jnp.float32))

    def initial(self, rng, params):
        return jax.random.uniform(rng, (2,), jnp.float32, -START_RANGE, START_RANGE)

    def transition(self, state, action, rng, params):
        return point.move(state, action, CORNER_MAX_STEP)

    def reward(self, state, action, next_state, rng, params):
        distance = point.distance(next_state, params.position)
        if self.form == "dense":
            return -distance
        if self.form == "dense_squared":
            return -(distance**2)
        # The nearest corner is the goal if both coordinates have its sign; on an axis two corners are equally near.
        nearest = jnp.all(next_state * params.position >= 0.0)
        outside = jnp.sum(jnp.abs(next_state)) >= NO_REWARD
        return jnp.where(outside & nearest, point.distance(state, params.position) - distance, 0.0)

    def terminal(self, state, rng, params):
        return jnp.asarray(False)

    def render_image(self, state, render_state, params):
        goal = np.asarray(params.position)
        return point.draw(render_state, state, np.stack([goal, goal * [1, -1], goal * [-1, 1], -goal]), 1.5 * CORNER)
