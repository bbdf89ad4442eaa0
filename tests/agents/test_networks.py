"""Policies against scipy, and the spaces they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from scipy import stats

from agents.parts.networks import policy

OBSERVATIONS = Box(-1, 1, (3,), np.float32)
SETTINGS = {"hidden_sizes": (8, 8), "activation": "tanh", "initial_std": 0.5}


def test_gaussian_against_scipy():
    actor = policy(OBSERVATIONS, Box(-1, 1, (2,), np.float32), **SETTINGS)
    params = actor.network.init(jax.random.key(0))
    parameters = actor.network.apply(params, jnp.array([[0.1, 0.2, 0.3], [0.0, -0.5, 1.0]]))
    action = np.array([[0.3, -0.2], [1.5, 0.0]], np.float32)
    distribution = actor.distribution(parameters)
    expected = stats.norm(parameters["mean"], 0.5).logpdf(action).sum(axis=1)
    np.testing.assert_allclose(distribution.log_prob(action), expected, rtol=1e-5)
    np.testing.assert_allclose(distribution.entropy(), 2 * stats.norm(0, 0.5).entropy(), rtol=1e-5)


def test_categorical_against_scipy():
    actor = policy(OBSERVATIONS, Discrete(4), **SETTINGS)
    logits = actor.network.apply(actor.network.init(jax.random.key(0)), jnp.array([0.1, 0.2, 0.3]))
    probs = np.exp(logits) / np.exp(logits).sum()
    distribution = actor.distribution(logits)
    np.testing.assert_allclose(distribution.log_prob(2), np.log(probs[2]), rtol=1e-5)
    np.testing.assert_allclose(distribution.entropy(), stats.entropy(probs), rtol=1e-5)


def test_a_batch_of_observations_equals_one_at_a_time():
    actor = policy(Box(-1, 1, (2, 3), np.float32), Discrete(4), **SETTINGS)
    params = actor.network.init(jax.random.key(0))
    observations = jax.random.normal(jax.random.key(1), (5, 7, 2, 3))
    batched = actor.network.apply(params, observations)
    assert batched.shape == (5, 7, 4)
    np.testing.assert_allclose(batched[3, 2], actor.network.apply(params, observations[3, 2]), rtol=1e-5)


def test_a_vanishing_standard_deviation_stays_finite():
    actor = policy(OBSERVATIONS, Box(-1, 1, (2,), np.float32), **SETTINGS)
    params = actor.network.init(jax.random.key(0)) | {"log_std": jnp.full(2, -1e4)}
    action, log_prob = actor.distribution(actor.network.apply(params, jnp.zeros(3))).sample_and_log_prob(seed=jax.random.key(1))
    assert np.all(np.isfinite(action)) and np.isfinite(log_prob)


@pytest.mark.parametrize(
    ("observation_space", "action_space", "message"),
    [
        (OBSERVATIONS, Box(-1, 1, (2, 2), np.float32), "action_space"),
        (OBSERVATIONS, Dict(), "action_space"),
        (OBSERVATIONS, Discrete(3, start=1), "starts at 1"),
        (Discrete(3), Discrete(3), "observation_space"),
    ],
)
def test_other_spaces_are_refused(observation_space, action_space, message):
    with pytest.raises(ValueError, match=message):
        policy(observation_space, action_space, **SETTINGS)
