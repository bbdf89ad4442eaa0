"""Whole episodes of a family, compared with the same ones stepped by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from metarl.sampler import rollout


def random_actor(space):
    def act(observation, key):
        if isinstance(space, Box):
            bounded = np.isfinite(space.low) & np.isfinite(space.high)
            low, high = np.where(bounded, space.low, -1.0), np.where(bounded, space.high, 1.0)
            action = jax.random.uniform(key, space.shape, jnp.float32, low, high)
        else:
            action = space.start + jax.random.randint(key, (), 0, space.n)
        return action, jnp.float32(0.0), {}

    return act


def sampled(family, task, keys):
    """Episodes as the sampler plays them: leaves [N, T, ...]."""
    play = lambda key: rollout(family, random_actor(family.action_space), task, key, horizon=family.horizon, unroll=1)
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(play))(keys))


def keys_of(key, horizon):
    """The keys of an episode's reset, and of its steps."""
    key_reset, _, key_steps = jax.random.split(key, 3)
    return key_reset, [jax.random.fold_in(jax.random.fold_in(key_steps, t), 1) for t in range(horizon)]


def assert_episodes_equal_by_hand(family, task, reset, step, num_episodes=2, tolerance=1e-5, seed=0):
    """Play a family in the sampler and ``reset``, ``step`` (as of `from_jax`) by hand, with the same keys and actions.

    Returns:
        Steps of each episode.
    """
    keys = jax.random.split(jax.random.key(seed), num_episodes)
    played, lengths = sampled(family, task, keys), []
    reset, step = jax.jit(reset), jax.jit(step)
    for n in range(num_episodes):
        key_reset, keys_step = keys_of(keys[n], family.horizon)
        state, observation = reset(key_reset, task)
        for t in range(family.horizon):
            assert played.mask[n, t] == 1.0
            np.testing.assert_allclose(played.observation[n, t], observation, rtol=tolerance, atol=tolerance)
            state, observation, reward, terminated = step(keys_step[t], state, played.action[n, t], task)
            np.testing.assert_allclose(played.reward[n, t], reward, rtol=tolerance, atol=tolerance)
            assert played.terminated[n, t] == bool(terminated)
            if terminated:
                break
        lengths.append(t + 1)
        np.testing.assert_allclose(played.last_observation[n], observation, rtol=tolerance, atol=tolerance)
        assert played.mask[n].sum() == t + 1
        assert not played.reward[n, t + 1 :].any()
    return lengths
