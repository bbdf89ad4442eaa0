"""Returns, advantages and baselines against rlax and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from metarl import advantages

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_discounted_sum_against_rlax(gamma):
    reward = jax.random.normal(jax.random.key(0), (12,))
    expected = rlax.discounted_returns(reward, jnp.full(12, gamma), jnp.zeros(12))
    np.testing.assert_allclose(advantages.discounted_sum(reward, gamma), expected, atol=1e-12)


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("length", [12, 5], ids=["full length", "ends early"])
def test_generalized_advantage_against_rlax(lam, length):
    """An episode that ends early is one with discount 0 at its last step, and nothing afterwards."""
    horizon, gamma = 12, 0.95
    mask = jnp.arange(horizon) < length
    reward = jax.random.normal(jax.random.key(0), (horizon,)) * mask
    value = jnp.append(jax.random.normal(jax.random.key(1), (horizon,)) * mask, 0.3 if length == horizon else 0.0)
    discount = jnp.full(length, gamma).at[-1].set(gamma if length == horizon else 0.0)
    expected = rlax.truncated_generalized_advantage_estimation(reward[:length], discount, lam, value[: length + 1])
    found = advantages.generalized_advantage(reward, value, gamma, lam)
    np.testing.assert_allclose(found[:length], expected, atol=1e-12)
    assert not np.any(found[length:])


def batch(num_episodes=4, horizon=6):
    observation = jax.random.normal(jax.random.key(0), (num_episodes, horizon, 2))
    feature = jax.vmap(advantages.linear_features)(observation)
    target = jax.random.normal(jax.random.key(1), (num_episodes, horizon))
    mask = jnp.ones((num_episodes, horizon)).at[0, 3:].set(0.0).at[2, 1:].set(0.0)
    return feature, target, mask


def test_linear_features():
    found = advantages.linear_features(jnp.array([[20.0], [-3.0]]))
    np.testing.assert_allclose(found, [[10, 100, 0, 0, 0, 1], [-3, 9, 0.01, 0.0001, 0.000001, 1]], atol=1e-12)


def test_linear_baseline_against_numpy():
    feature, target, mask = (np.asarray(x) for x in batch())
    kept = mask > 0
    rows, ridge = feature[kept], 1e-5
    stacked = np.concatenate([rows, np.sqrt(ridge) * np.eye(rows.shape[1])])
    weights = np.linalg.lstsq(stacked, np.concatenate([target[kept], np.zeros(rows.shape[1])]), rcond=None)[0]
    found = advantages.fit_linear_baseline(feature, target, mask, ridge)
    np.testing.assert_allclose(np.asarray(found)[kept], rows @ weights, atol=1e-6)
    assert not np.any(np.asarray(found)[~kept])


def test_linear_baseline_survives_a_singular_system():
    """Identical columns and a ridge below the precision of the sum: the first solve is not finite, a larger ridge is."""
    feature = jnp.full((2, 3, 4), 1e3)
    target, mask = jnp.ones((2, 3)), jnp.ones((2, 3))
    found = advantages.fit_linear_baseline(feature, target, mask, ridge=1e-12)
    np.testing.assert_allclose(found, 1.0, atol=1e-3)


def test_normalize_against_numpy():
    _, target, mask = batch()
    kept = np.asarray(mask) > 0
    found = np.asarray(advantages.normalize(target, mask))
    values = np.asarray(target)[kept]
    np.testing.assert_allclose(found[kept], (values - values.mean()) / values.std(), atol=1e-6)
    assert not np.any(found[~kept])
    assert np.all(np.isfinite(advantages.normalize(jnp.ones((2, 3)), jnp.zeros((2, 3)))))


def ragged():
    """Targets [5, 7] of episodes that end at different times."""
    target = np.asarray(jax.random.normal(jax.random.key(0), (5, 7)))
    mask = (np.arange(7) < np.array([7, 3, 5, 1, 7])[:, None]).astype(np.float64)
    return target, mask


def test_time_baseline_is_the_mean_of_the_others_still_alive():
    target, mask = ragged()
    found = advantages.time_baseline(None, jnp.asarray(target), jnp.asarray(mask))
    for n in range(5):
        for t in range(7):
            others = [target[m, t] for m in range(5) if m != n and mask[m, t]]
            expected = np.mean(others) if others and mask[n, t] else 0.0
            np.testing.assert_allclose(found[n, t], expected, atol=1e-6)
    np.testing.assert_array_equal(advantages.time_baseline(None, jnp.asarray(target[:1]), jnp.asarray(mask[:1])), 0)


def test_explained_variance_against_numpy():
    target, mask = ragged()
    value = 0.7 * target + 0.1
    kept = mask > 0
    expected = 1 - np.var((target - value)[kept]) / np.var(target[kept])
    found = advantages.explained_variance(jnp.asarray(value), jnp.asarray(target), jnp.asarray(mask))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(advantages.explained_variance(*map(jnp.asarray, (target, target, mask))), 1.0, rtol=1e-6)
    assert advantages.explained_variance(*map(jnp.asarray, (value, np.ones((5, 7)), mask))) == 0


def test_on_a_cpu_matrices_are_factorised_one_by_one():
    """Batches of them are factorised in threads that wait for one another, which hung programs on several devices."""
    fit = jax.vmap(jax.vmap(advantages.fit_linear_baseline))
    shapes = [jax.ShapeDtypeStruct((3, 5, 2, 4, 6)[:rank], jnp.float32) for rank in (5, 4, 4)]
    lines = [line for line in jax.jit(fit).lower(*shapes).as_text().splitlines() if "potrf" in line]
    assert lines and all('num_batch_dims = "0"' in line for line in lines)
