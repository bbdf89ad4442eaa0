"""Small Markov decision processes, drawn whole: rewards and transitions are both unknown."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Discrete

from envs import drawing
from envs.families import training
from envs.family import TaskFamily
from envs.options import whole_number
from envs.task_spaces import Such, finite

MEAN_REWARD = 1.0  # mean rewards are normal around this with standard deviation 1
REWARD_STD = 1.0  # of a reward around its mean
TOLERANCE = 1e-3  # how far from 1 the sum of a row of given probabilities may be


class MDP(NamedTuple):
    """The task.

    Attributes:
        transition: [S, A, S] float32, the probabilities of the next state.
        reward: [S, A] float32, mean rewards.
    """

    transition: jax.Array
    reward: jax.Array


def sums_to_one(x: np.ndarray) -> np.ndarray:
    """Whether each row [...] of probabilities [..., S] is a distribution."""
    return np.abs(x.sum(axis=-1) - 1.0) < TOLERANCE


class TabularMDP(TaskFamily):
    """The random MDPs of Duan et al. 2016 (RL2), Section 3.2, and of tristandeleu/pytorch-maml-rl.

    - Task: next-state probabilities of each state and action from a flat Dirichlet distribution, and mean rewards from N(1, 1).
      10 states (``states``), 5 actions (``actions``). Held-out tasks: the same distribution, their own key stream.
    - Observation: the state, one-hot [S] (pytorch-maml-rl gives its number). Start: state 0. Action: which one.
    - Reward: N(mean reward of the state left and the action, 1).
    - End: never. Horizon: 10 steps.

    Acting at random returns 10.0 per episode.
    """

    horizon = 10
    training_settings = training.TABULAR

    def __init__(self, horizon: int | None = None, states: int = 10, actions: int = 5):
        super().__init__(horizon)
        for name, value in (("states", states), ("actions", actions)):
            whole_number(type(self).__name__, name, value, 2)
        self.states, self.actions = states, actions
        self.observation_space = Box(0.0, 1.0, (states,), np.float32)
        self.action_space = Discrete(actions)
        probabilities: Any = Such(
            Box(0.0, 1.0, (states, actions, states), np.float32),
            sums_to_one,
            "each row (last axis) with sum 1",
        )
        self.task_space = MDP(probabilities, finite(states, actions))

    def sample_task(self, key):
        key_transition, key_reward = jax.random.split(key)
        # Exponentials divided by their sum are flat Dirichlet.
        weights = jax.random.exponential(key_transition, (self.states, self.actions, self.states), jnp.float32)
        reward = MEAN_REWARD + jax.random.normal(key_reward, (self.states, self.actions), jnp.float32)
        return MDP(weights / jnp.sum(weights, axis=-1, keepdims=True), reward)

    def initial(self, rng, params):
        return jnp.zeros((), jnp.int32)

    def transition(self, state, action, rng, params):
        return jax.random.categorical(rng, jnp.log(params.transition[state, action])).astype(jnp.int32)

    def observation(self, state, rng, params):
        return jax.nn.one_hot(state, self.states, dtype=jnp.float32)

    def reward(self, state, action, next_state, rng, params):
        return params.reward[state, action] + REWARD_STD * jax.random.normal(rng, (), jnp.float32)

    def terminal(self, state, rng, params):
        return jnp.asarray(False)

    def render_init(self, params, **kwargs):
        return []  # the states visited so far

    def render_image(self, state, render_state, params):
        """States on a circle, the first at the top, larger where the best mean reward is; blue: now; red: the last move."""
        visited, image = [*render_state, int(state)], drawing.blank(192)
        angle = np.pi / 2 - 2 * np.pi * np.arange(self.states) / self.states
        place = 0.75 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        best = np.asarray(params.reward).max(axis=1)
        share = (best - best.min()) / max(float(best.max() - best.min()), 1e-6)
        radius = (0.4 + 0.6 * share) * min(0.18, 2.0 / self.states)
        drawing.draw_path(image, place[visited], 0.008, drawing.GREY, 1.0)
        drawing.draw_path(image, place[visited[-2:]], 0.016, drawing.RED, 1.0)
        for index in range(self.states):
            drawing.draw_disc(image, place[index], radius[index], drawing.DARK_GREY, 1.0)
        drawing.draw_disc(image, place[int(state)], radius[int(state)], drawing.BLUE, 1.0)
        return visited, image
