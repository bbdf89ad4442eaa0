"""The sampler against a loop by hand in NumPy, and what follows an episode's end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.families.navigation import Goal
from metarl.sampler import rollout


def towards(goal, noise=0.0):
    """Walks straight to the goal; log-prob and distribution are recognisable numbers."""

    def actor(observation, key):
        action = (goal - observation) / 0.1 + noise * jax.random.normal(key, (2,))
        return action, -1.0 + jnp.sum(action), {"mean": action}

    return actor


@pytest.mark.parametrize("unroll", [1, 3, 10])
def test_against_numpy(unroll):
    goal = jnp.array([0.43, -0.21])
    found = rollout(envs.make("metarl/Navigation2D-v0"), towards(goal), Goal(goal), jax.random.key(0), horizon=8, unroll=unroll)
    position, rows, alive = np.zeros(2, np.float32), [], True
    for _ in range(8):
        action = (np.asarray(goal) - position) / 0.1
        after = position + 0.1 * np.clip(action, -1, 1) if alive else position
        distance = np.asarray(goal) - after
        rows.append((position, action, -np.hypot(*distance) * alive, float(alive)))
        alive, position = alive and not np.all(np.abs(distance) < 0.01), after
    observation, action, reward, mask = (np.array(column) for column in zip(*rows, strict=True))
    np.testing.assert_allclose(found.observation, observation, atol=1e-6)
    np.testing.assert_allclose(found.action[:5], action[:5], atol=1e-5)
    np.testing.assert_allclose(found.reward, reward, atol=1e-6)
    np.testing.assert_array_equal(found.mask, mask)
    np.testing.assert_allclose(found.last_observation, position, atol=1e-6)


def test_nothing_counts_after_the_end():
    """The walker stops just beside a goal five moves away: step 4 ends the episode and steps 5.. are empty."""
    goal = jnp.array([0.43, -0.21])
    beside = goal + 0.005  # within the tolerance, yet a reward that is not zero by itself
    found = rollout(envs.make("metarl/Navigation2D-v0"), towards(beside), Goal(goal), jax.random.key(0), horizon=20)
    np.testing.assert_array_equal(found.terminated, np.arange(20) == 4)
    np.testing.assert_array_equal(found.mask, np.arange(20) <= 4)
    assert np.all(found.log_prob[:5] != 0) and np.all(found.reward[:5] < 0)
    assert not np.any(found.log_prob[5:])
    assert not np.any(found.reward[5:])
    np.testing.assert_array_equal(found.observation[5:], np.broadcast_to(found.last_observation, (15, 2)))


def test_the_horizon_is_not_an_end():
    goal = jnp.array([0.5, 0.5])
    found = rollout(envs.make("metarl/Navigation2D-v0"), towards(goal), Goal(goal), jax.random.key(0), horizon=3)
    assert not np.any(found.terminated)
    assert np.all(found.mask == 1)


def test_vmap_over_episodes_equals_a_loop():
    family, goal = envs.make("metarl/Navigation2D-v0"), jnp.array([0.1, 0.1])
    play = lambda key: rollout(family, towards(goal, noise=1.0), Goal(goal), key, horizon=30)
    keys = jax.random.split(jax.random.key(0), 4)
    together = jax.vmap(play)(keys)
    for i in range(4):
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(play(keys[i])), strict=True):
            np.testing.assert_allclose(a[i], b, atol=1e-5)
    assert len(set(np.asarray(together.mask).sum(axis=1))) > 1, "episodes should end at different times"
