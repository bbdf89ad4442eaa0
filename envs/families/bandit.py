"""Bandits: every arm pays at random, and which one pays best is the task."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Discrete

from envs import drawing
from envs.families import training
from envs.family import TaskFamily
from envs.options import is_number, one_of, whole_number
from envs.task_spaces import finite

NO_ARM = -1  # the last arm pulled, before the first pull
MEANS = ("normal", "uniform")


class Arms(NamedTuple):
    """The task: the mean reward of each arm, [arms] float32."""

    mean: jax.Array


class Pulled(NamedTuple):
    """The state: which arm was pulled last, `NO_ARM` before the first pull, and how many pulls there were."""

    arm: jax.Array
    pulls: jax.Array


class BernoulliBandit(TaskFamily):
    """The bandits of Duan et al. 2016 (RL2), Section 3.1, and of tristandeleu/pytorch-maml-rl.

    - Task: the mean of each of ``arms`` arms, uniform in [0, 1] (5 arms; the paper has 5, 10 and 50). Held-out tasks: the same
      distribution, their own key stream.
    - Observation: the constant 1. Action: which arm.
    - Reward: 1 with the arm's mean as probability, else 0.
    - End: an episode is one pull, so that a trial of n episodes is n pulls (rl2: ``--trial-episodes n``), and so are the n
      episodes of an inner step. With ``horizon=n`` an episode is n pulls instead.

    The best arm pays arms / (arms + 1) on average, 0.833 for 5 arms; an arm chosen at random pays 0.5.
    """

    horizon = 1
    training_settings = training.BANDIT
    observation_space = Box(0.0, 1.0, (1,), np.float32)

    def __init__(self, horizon: int | None = None, arms: int = 5):
        super().__init__(horizon)
        self.arms = whole_number(type(self).__name__, "arms", arms, 2)
        self.action_space = Discrete(arms)
        self.task_space = Arms(Box(0.0, 1.0, (arms,), np.float32))  # type: ignore[arg-type]

    def sample_task(self, key):
        return Arms(jax.random.uniform(key, (self.arms,), jnp.float32))

    def initial(self, rng, params):
        return Pulled(jnp.asarray(NO_ARM, jnp.int32), jnp.zeros((), jnp.int32))

    def transition(self, state, action, rng, params):
        return Pulled(jnp.asarray(action, jnp.int32), state.pulls + 1)

    def observation(self, state, rng, params):
        return jnp.ones(1, jnp.float32)

    def reward(self, state, action, next_state, rng, params):
        return (jax.random.uniform(rng, (), jnp.float32) < params.mean[action]).astype(jnp.float32)

    def terminal(self, state, rng, params):
        return state.pulls >= self.horizon

    def render_init(self, params, **kwargs):
        return None

    def render_image(self, state, render_state, params):
        return render_state, _draw(np.asarray(params.mean), int(state.arm), 0.0, 1.0)


class GaussianBandit(TaskFamily):
    """The ten-armed testbed of Sutton and Barto 2018, Section 2.3.

    - Task: the mean of each of ``arms`` arms (10), standard normal; ``means="uniform"``: uniform in [0, 1], as in
      tristandeleu/pytorch-maml-rl. Held-out tasks: the same distribution, their own key stream.
    - Observation: the constant 1. Action: which arm.
    - Reward: normal around the arm's mean, of standard deviation ``std`` (1, in both sources).
    - End: an episode is one pull, as of `BernoulliBandit`.

    The best of 10 standard normal arms pays 1.54 on average; an arm chosen at random pays 0.
    """

    horizon = 1
    training_settings = training.BANDIT
    observation_space = Box(0.0, 1.0, (1,), np.float32)

    def __init__(self, horizon: int | None = None, arms: int = 10, std: float = 1.0, means: str = "normal"):
        super().__init__(horizon)
        self.arms = whole_number(type(self).__name__, "arms", arms, 2)
        self.action_space = Discrete(arms)
        if not is_number(std) or std < 0.0:
            raise ValueError(f"{type(self).__name__}: std is {std!r}, but must be a number of at least 0.")
        self.std, self.means = float(std), one_of(type(self).__name__, "means", means, MEANS)
        self.task_space = Arms(finite(arms))

    def sample_task(self, key):
        draw = jax.random.normal if self.means == "normal" else jax.random.uniform
        return Arms(draw(key, (self.arms,), jnp.float32))

    def initial(self, rng, params):
        return Pulled(jnp.asarray(NO_ARM, jnp.int32), jnp.zeros((), jnp.int32))

    def transition(self, state, action, rng, params):
        return Pulled(jnp.asarray(action, jnp.int32), state.pulls + 1)

    def observation(self, state, rng, params):
        return jnp.ones(1, jnp.float32)

    def reward(self, state, action, next_state, rng, params):
        return params.mean[action] + self.std * jax.random.normal(rng, (), jnp.float32)

    def terminal(self, state, rng, params):
        return state.pulls >= self.horizon

    def render_init(self, params, **kwargs):
        return None

    def render_image(self, state, render_state, params):
        return render_state, _draw(np.asarray(params.mean), int(state.arm), -3.0, 3.0)


def _draw(mean, pulled, low, high):
    """Bars of the arms' means between ``low`` and ``high``: red the best, a blue dot below the arm pulled last."""
    image, width = drawing.blank(192), 1.8 / len(mean)
    floor, unit = -0.75, 1.65 / (high - low)  # where the lowest mean is drawn, and the height of one unit of it
    zero = floor - unit * low
    for arm, value in enumerate(mean):
        left, right = -0.9 + (arm + 0.1) * width, -0.9 + (arm + 0.9) * width
        top = floor + unit * (np.clip(value, low, high) - low)
        colour = drawing.RED if arm == mean.argmax() else drawing.DARK_GREY
        drawing.draw_box(image, (left, min(zero, top)), (right, max(zero, top)), colour, 1.0)
        if arm == pulled:
            drawing.draw_disc(image, np.array([(left + right) / 2, -0.88]), 0.06, drawing.BLUE, 1.0)
    drawing.draw_box(image, (-0.9, zero - 0.01), (0.9, zero + 0.01), drawing.BLACK, 1.0)
    return image
