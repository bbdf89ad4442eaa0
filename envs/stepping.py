"""One episode of a task, step by step; its keys are those of `metarl.sampler`, so that the same key plays the same episode."""

import jax
import jax.numpy as jnp

from envs.family import TaskFamily


def first_step(family: TaskFamily, key, task):
    """Begin an episode: (state, observation)."""
    key_initial, key_first, _ = jax.random.split(key, 3)
    state = family.initial(key_initial, task)
    return state, family.observation(state, key_first, task)


def next_step(family: TaskFamily, key, t, state, action, task):
    """Step ``t`` of the episode begun with ``key``: (state, observation, reward, terminated, truncated)."""
    key_step = jax.random.fold_in(jax.random.split(key, 3)[2], t)
    key_transition, key_reward, key_terminal, key_observation = (jax.random.fold_in(key_step, use) for use in range(1, 5))
    next_state = family.transition(state, action, key_transition, task)
    reward = family.reward(state, action, next_state, key_reward, task)
    terminated = family.terminal(next_state, key_terminal, task)
    observation = family.observation(next_state, key_observation, task)
    # Cut off only where the world did not end by itself: Gymnasium's check_env refuses a first step that is cut off.
    truncated = (t + 1 >= family.horizon) & jnp.logical_not(terminated)
    return next_state, observation, reward, terminated, truncated
