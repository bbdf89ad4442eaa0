"""Gaussians with independent entries, as beliefs about a task: their product, and how far they are from a standard one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl.interfaces import Key


class Factors(NamedTuple):
    """A product of Gaussians in its natural parameters, in which products are sums. Of no factors, both are zero.

    Attributes:
        precision: [..., Z], the sum of 1 / variance.
        weighted: [..., Z], the sum of mean / variance.
    """

    precision: jax.Array
    weighted: jax.Array


def factor(mean: jax.Array, variance: jax.Array) -> Factors:
    """One Gaussian as a factor; mean and variance [..., Z]."""
    return Factors(1.0 / variance, mean / variance)


def moments(factors: Factors) -> tuple[jax.Array, jax.Array]:
    """Mean and variance [..., Z] of the product, normalised; 0 and 1 of no factors: the prior of Rakelly et al. 2019.

    >>> twice = jax.tree.map(jnp.add, factor(jnp.array([1.0]), jnp.array([2.0])), factor(jnp.array([3.0]), jnp.array([2.0])))
    >>> [float(x[0]) for x in moments(twice)]
    [2.0, 1.0]
    """
    there = factors.precision > 0
    variance = 1.0 / jnp.where(there, factors.precision, 1.0)
    return variance * factors.weighted, variance


def product_of(mean: jax.Array, variance: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance [..., Z] of the product of Gaussians with means and variances [..., C, Z], whatever their order.

    Rakelly et al. 2019, Section 4.1: the belief about a task is the product of one Gaussian for each transition seen there.
    """
    return moments(jax.tree.map(lambda x: jnp.sum(x, axis=-2), factor(mean, variance)))


def kl_from_standard(mean: jax.Array, variance: jax.Array) -> jax.Array:
    """KL(N(mean, variance) || N(0, 1)) in nats, summed over the last axis: [..., Z] -> [...]."""
    return 0.5 * jnp.sum(variance + mean**2 - 1.0 - jnp.log(variance), axis=-1)


def draw(key: Key, mean: jax.Array, variance: jax.Array) -> jax.Array:
    """A sample [..., Z], differentiable in mean and variance (Kingma and Welling 2014)."""
    return mean + jnp.sqrt(variance) * jax.random.normal(key, mean.shape, mean.dtype)
