"""Bandits: what arms pay, what is refused, and that a pull is an episode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.families.bandit import NO_ARM, Arms, BernoulliBandit, GaussianBandit

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def pulls():
    """20,000 pulls of each of three arms, Bernoulli and Gaussian: rewards [family, pulls, arms]."""
    families = (BernoulliBandit(arms=3), GaussianBandit(arms=3, std=0.5))
    task = Arms(jnp.array([0.2, 0.9, 0.5]))

    def pull(key, arm):
        return jnp.stack([family.reward(None, arm, None, key, task) for family in families])

    keys = jax.random.split(KEY, 60_000).reshape(20_000, 3)
    return np.moveaxis(np.asarray(jax.jit(jax.vmap(jax.vmap(pull), (0, None)))(keys, jnp.arange(3))), -1, 0)


def test_bernoulli_arms_pay_0_or_1_with_their_mean(pulls):
    assert set(np.unique(pulls[0])) == {0.0, 1.0}
    np.testing.assert_allclose(pulls[0].mean(axis=0), [0.2, 0.9, 0.5], atol=0.015)


def test_gaussian_arms_have_their_mean_and_the_given_spread(pulls):
    np.testing.assert_allclose(pulls[1].mean(axis=0), [0.2, 0.9, 0.5], atol=0.015)
    np.testing.assert_allclose(pulls[1].std(axis=0), 0.5, atol=0.01)
    skew = ((pulls[1] - pulls[1].mean(axis=0)) ** 3).mean(axis=0) / 0.5**3
    np.testing.assert_allclose(skew, 0.0, atol=0.1)


@pytest.mark.parametrize(
    ("id", "options", "mean", "spread", "best"),
    [
        ("metarl/BernoulliBandit-v0", {}, 0.5, 12**-0.5, 5 / 6),
        ("metarl/GaussianBandit-v0", {}, 0.0, 1.0, 1.5388),  # expected maximum of 10 standard normals
        ("metarl/GaussianBandit-v0", {"means": "uniform", "arms": 5}, 0.5, 12**-0.5, 5 / 6),
    ],
)
def test_means_of_arms(id, options, mean, spread, best):
    family = envs.make(id, **options)
    means = np.asarray(jax.vmap(family.sample_task)(jax.random.split(KEY, 8000)).mean)
    assert means.shape == (8000, family.action_space.n) and means.dtype == np.float32
    np.testing.assert_allclose(means.mean(), mean, atol=0.02)
    np.testing.assert_allclose(means.std(), spread, atol=0.02)
    np.testing.assert_allclose(means.max(axis=1).mean(), best, atol=0.03)
    assert np.abs(np.corrcoef(means.T) - np.eye(means.shape[1])).max() < 0.05, "arms are independent"


def test_a_pull_is_an_episode_unless_more_are_asked_for():
    for horizon, ends in ((None, [True]), (3, [False, False, True])):
        family, state = BernoulliBandit(horizon=horizon, arms=4), None
        state = family.initial(KEY, family.default_params)
        assert int(state.arm) == NO_ARM and not bool(family.terminal(state, KEY, None))
        np.testing.assert_array_equal(family.observation(state, KEY, None), [1.0])
        found = []
        for arm in range(family.horizon):
            state = family.transition(state, jnp.asarray(arm), KEY, None)
            assert int(state.arm) == arm
            found.append(bool(family.terminal(state, KEY, None)))
        assert found == ends


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        (BernoulliBandit, {"arms": 1}, "arms is 1, but must be"),
        (GaussianBandit, {"arms": 2.5}, "arms is 2.5, but must be"),
        (GaussianBandit, {"std": -1}, "std is -1, but must be"),
        (GaussianBandit, {"means": "cauchy"}, "means is 'cauchy'; known: normal, uniform"),
    ],
)
def test_bad_options_are_refused(family, options, message):
    with pytest.raises(ValueError, match=message):
        family(**options)
