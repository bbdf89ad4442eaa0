"""Random MDPs: the distribution of tasks, and that steps follow the task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.families.tabular import MDP, TabularMDP

KEY = jax.random.key(0)
FAMILY = envs.make("metarl/TabularMDP-v0")


@pytest.fixture(scope="module")
def tasks():
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(FAMILY.sample_task))(jax.random.split(KEY, 400)))


def test_transitions_are_flat_dirichlet(tasks):
    rows = tasks.transition
    assert rows.shape == (400, 10, 5, 10) and rows.min() >= 0
    np.testing.assert_allclose(rows.sum(axis=-1), 1.0, atol=1e-5)
    rows = rows.reshape(-1, 10)
    np.testing.assert_allclose(rows.mean(axis=0), 0.1, atol=0.005)
    # Moments of Dirichlet(1, ..., 1) in 10 dimensions: variance 9 / (100 * 11), covariance -1 / (100 * 11).
    covariance = np.cov(rows.T)
    np.testing.assert_allclose(np.diag(covariance), 9 / 1100, rtol=0.1)
    np.testing.assert_allclose(covariance[~np.eye(10, dtype=bool)], -1 / 1100, atol=4e-4)
    # A share is Beta(1, 9): its chance to exceed 0.3 is 0.7 ** 9.
    np.testing.assert_allclose((rows > 0.3).mean(), 0.7**9, rtol=0.05)


def test_mean_rewards_are_normal_around_1(tasks):
    assert tasks.reward.shape == (400, 10, 5)
    np.testing.assert_allclose([tasks.reward.mean(), tasks.reward.std()], [1.0, 1.0], atol=0.03)
    np.testing.assert_allclose((tasks.reward > 2.0).mean(), 0.1587, atol=0.01)


def test_steps_follow_the_task(tasks):
    """Frequencies of next states and moments of rewards, from one state and action."""
    task, (state, action) = MDP(*(jnp.asarray(leaf[0]) for leaf in tasks)), (3, 2)

    def step(key):
        key_transition, key_reward = jax.random.split(key)
        state_ = FAMILY.transition(jnp.asarray(state), jnp.asarray(action), key_transition, task)
        return state_, FAMILY.reward(jnp.asarray(state), jnp.asarray(action), state_, key_reward, task)

    following, reward = (np.asarray(x) for x in jax.jit(jax.vmap(step))(jax.random.split(KEY, 20_000)))
    np.testing.assert_allclose(np.bincount(following, minlength=10) / 20_000, task.transition[state, action], atol=0.015)
    np.testing.assert_allclose([reward.mean(), reward.std()], [float(task.reward[state, action]), 1.0], atol=0.03)


def test_start_observation_and_sizes():
    assert int(FAMILY.initial(KEY, None)) == 0 and FAMILY.horizon == 10
    np.testing.assert_array_equal(FAMILY.observation(jnp.asarray(3), KEY, None), np.eye(10)[3])
    small = envs.make("metarl/TabularMDP-v0", states=3, actions=2)
    assert small.observation_space.shape == (3,) and small.action_space.n == 2
    assert small.default_params.transition.shape == (3, 2, 3)


@pytest.mark.parametrize(("name", "value"), [("states", 1), ("actions", 0), ("states", "ten")])
def test_bad_sizes_are_refused(name, value):
    with pytest.raises(ValueError, match=f"TabularMDP: {name} is {value!r}, but must be"):
        TabularMDP(**{name: value})
