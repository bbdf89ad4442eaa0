"""A task family of one's own, to be copied: a drone that holds its height in a wind that it cannot feel.

cp experiments/examples/own_family.py my_family.py
python -m envs.check my_family:mine/Hover-v0
python -m experiments.train --env my_family:mine/Hover-v0 --agent maml --run-dir runs/hover
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

import envs


class Wind(NamedTuple):
    """The task: a steady force."""

    force: jax.Array


class Hover(envs.TaskFamily):
    """Stay at height 0. The observation is the height, the action a force, the reward minus the distance from 0."""

    observation_space = Box(-10.0, 10.0, (1,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)
    horizon = 50
    task_space = Wind(Box(-0.8, 0.8, (), np.float32))  # type: ignore[arg-type]

    def sample_task(self, key):
        """A wind between -0.8 and 0.8."""
        return Wind(jax.random.uniform(key, minval=-0.8, maxval=0.8))

    def initial(self, rng, params):
        """At height 0."""
        return jnp.float32(0.0)

    def transition(self, state, action, rng, params):
        """Force and wind move the drone; the family clips the action itself."""
        return state + 0.1 * (jnp.clip(action[0], -1, 1) + params.force)

    def observation(self, state, rng, params):
        """The height."""
        return state[None]

    def reward(self, state, action, next_state, rng, params):
        """Minus the distance from height 0."""
        return -jnp.abs(next_state)

    def terminal(self, state, rng, params):
        """Never."""
        return False


envs.register("mine/Hover-v0", Hover)
