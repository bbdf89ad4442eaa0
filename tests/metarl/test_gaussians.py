"""Products of Gaussians and their KL from a standard one, by quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.gaussians import Factors, draw, factor, kl_from_standard, moments, product_of

GRID = np.linspace(-30.0, 30.0, 200_001)
MEANS, VARIANCES = np.array([[0.3, -1.0], [1.5, 2.0], [-0.7, 0.1]]), np.array([[0.5, 2.0], [1.2, 0.3], [4.0, 0.9]])


def density(mean, variance):
    return np.exp(-0.5 * (GRID - mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance)


@pytest.mark.usefixtures("float64")
def test_a_product_has_the_moments_of_the_product_of_densities():
    mean, variance = product_of(jnp.asarray(MEANS), jnp.asarray(VARIANCES))
    for i in range(2):
        product = np.prod([density(m, v) for m, v in zip(MEANS[:, i], VARIANCES[:, i], strict=True)], axis=0)
        product /= np.trapezoid(product, GRID)
        expected = np.trapezoid(GRID * product, GRID)
        np.testing.assert_allclose(mean[i], expected, rtol=1e-10)
        np.testing.assert_allclose(variance[i], np.trapezoid((GRID - expected) ** 2 * product, GRID), rtol=1e-9)


@pytest.mark.usefixtures("float64")
def test_the_divergence_from_a_standard_gaussian_is_the_integral():
    standard = -0.5 * GRID**2 - 0.5 * np.log(2 * np.pi)
    total = 0.0
    for mean, variance in zip(MEANS[1], VARIANCES[1], strict=True):
        log = -0.5 * (GRID - mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
        total += np.trapezoid(np.exp(log) * (log - standard), GRID)
    np.testing.assert_allclose(kl_from_standard(jnp.asarray(MEANS[1]), jnp.asarray(VARIANCES[1])), total, rtol=1e-9)
    assert kl_from_standard(jnp.zeros(2), jnp.ones(2)) == 0


@pytest.mark.usefixtures("float64")
def test_the_order_of_a_context_does_not_matter_and_one_by_one_is_all_at_once():
    mean, variance = jnp.asarray(MEANS), jnp.asarray(VARIANCES)
    whole = product_of(mean, variance)
    order = jnp.array([2, 0, 1])
    np.testing.assert_allclose(product_of(mean[order], variance[order]), whole, rtol=1e-14)
    factors = Factors(jnp.zeros(2), jnp.zeros(2))
    for m, v in zip(mean, variance, strict=True):
        factors = jax.tree.map(jnp.add, factors, factor(m, v))
    np.testing.assert_allclose(moments(factors), whole, rtol=1e-14)
    assert not np.allclose(whole[0], mean.mean(axis=0)), "a mean of Gaussians is another"


def test_of_nothing_it_is_the_prior_and_gradients_go_through_samples():
    nothing = Factors(jnp.zeros(2), jnp.zeros(2))
    np.testing.assert_array_equal(moments(nothing), ([0, 0], [1, 1]))
    assert np.all(np.isfinite(jax.grad(lambda w: moments(nothing._replace(weighted=w))[0].sum())(jnp.zeros(2))))
    gradient = jax.grad(lambda mean: draw(jax.random.key(0), mean, jnp.ones(2)).sum())(jnp.zeros(2))
    np.testing.assert_array_equal(gradient, 1)
