"""A task family small enough to learn in a second: guess a number that is not observed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Discrete

import envs


class Target(NamedTuple):
    value: jax.Array


class Guess(envs.TaskFamily):
    """One step; the action should equal the task's hidden value, +1 or -1. Reward: minus the squared error."""

    observation_space = Box(0.0, 1.0, (1,), np.float32)
    action_space = Box(-3.0, 3.0, (1,), np.float32)
    horizon = 2

    def sample_task(self, key):
        return Target(jnp.where(jax.random.bernoulli(key), 1.0, -1.0))

    def initial(self, rng, params):
        return jnp.float32(0.0)

    def transition(self, state, action, rng, params):
        return state + 1.0

    def observation(self, state, rng, params):
        return jnp.ones(1, jnp.float32)

    def reward(self, state, action, next_state, rng, params):
        return -jnp.sum((action - params.value) ** 2)

    def terminal(self, state, rng, params):
        return state > 100


class GuessDiscrete(Guess):
    """The same with two actions, 0 for -1 and 1 for +1."""

    action_space = Discrete(2)

    def reward(self, state, action, next_state, rng, params):
        return -((2.0 * action - 1.0 - params.value) ** 2)


envs.register("probe/Guess-v0", Guess)
envs.register("probe/GuessDiscrete-v0", GuessDiscrete)
