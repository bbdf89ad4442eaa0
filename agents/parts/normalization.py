"""Observations in units of what has been seen so far: running statistics that stand still while an agent adapts.

Where a world normalises, what a network reads is ``{"network": its parameters, "seen": statistics}``, and meta-parameters carry
the statistics in the same place. No inner step and no optimiser moves them; a meta-iteration ends by adding what it has drawn.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents.parts.networks import Network
from metarl.interfaces import InnerRule, MetaState, Metrics

LIMIT = 10.0  # standard deviations that an observation may be away; Gymnasium's and the baselines of rllab have the same


class Seen(NamedTuple):
    """How many observations there were, their mean [...] and their variance [...]."""

    number: jax.Array
    mean: jax.Array
    variance: jax.Array


def nothing_seen(shape: tuple[int, ...], spread: float = 1.0) -> Seen:
    """Before the first observation: they are divided by ``spread``, and not centred."""
    return Seen(jnp.zeros(()), jnp.zeros(shape), jnp.full(shape, spread**2))


def seen_in(observation: jax.Array, mask: jax.Array) -> Seen:
    """Statistics of observations [..., *shape] where ``mask`` [...] is 1."""
    weight = jnp.broadcast_to(mask.reshape(mask.shape + (1,) * (observation.ndim - mask.ndim)), observation.shape)
    lead = tuple(range(mask.ndim))
    count = jnp.sum(mask)
    mean = jnp.sum(weight * observation, axis=lead) / jnp.maximum(count, 1.0)
    variance = jnp.sum(weight * (observation - mean) ** 2, axis=lead) / jnp.maximum(count, 1.0)
    return Seen(count, mean, variance)


def merged(before: Seen, parts: Seen) -> Seen:
    """What was seen before and in the ``parts``, leaves [M, ...], together (Chan et al. 1979).

    >>> before = seen_in(jnp.array([1.0, 3.0]), jnp.ones(2))
    >>> parts = jax.vmap(seen_in)(jnp.array([[5.0, 7.0], [9.0, 0.0]]), jnp.array([[1.0, 1.0], [1.0, 0.0]]))
    >>> merged(before, parts)
    Seen(number=Array(5., dtype=float32), mean=Array(5., dtype=float32), variance=Array(8., dtype=float32))
    """
    all_parts = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), before, parts)
    count = jnp.sum(all_parts.number)
    share = all_parts.number / jnp.maximum(count, 1.0)
    share = share.reshape(share.shape + (1,) * before.mean.ndim)
    mean = jnp.sum(share * all_parts.mean, axis=0)
    variance = jnp.sum(share * (all_parts.variance + (all_parts.mean - mean) ** 2), axis=0)
    return Seen(count, mean, variance)


def normalized(observation: jax.Array, seen: Seen) -> jax.Array:
    """Observations [..., *shape] less the mean, in standard deviations, at most `LIMIT` of them."""
    # Removes the derivative with respect to the statistics: they are measured, not learned.
    _, mean, variance = jax.lax.stop_gradient(seen)
    return jnp.clip((observation - mean) * jax.lax.rsqrt(variance + 1e-8), -LIMIT, LIMIT)


def view(network: Network, start: Any) -> Network:
    """A network that reads its parameters and the statistics, or itself where ``start`` is None: nothing is normalised."""
    if start is None:
        return network

    def apply(params, observation, *extra):
        return network.apply(params["network"], normalized(observation, params["seen"]), *extra)

    return network._replace(init=lambda key: {"network": network.init(key), "seen": start}, apply=apply)


def carry(rule: InnerRule, start: Any) -> InnerRule:
    """The rule for parameters with statistics beside them, which it leaves alone; itself where ``start`` is None."""
    if start is None:
        return rule
    return rule._replace(
        init=lambda params: {"network": rule.init(params["network"]), "seen": params["seen"]},
        begin=lambda theta: rule.begin(theta["network"]),
        step=lambda theta, fast, grads, k: rule.step(theta["network"], fast, grads, k),
        read=lambda theta, fast: {"network": rule.read(theta["network"], fast), "seen": theta["seen"]},
    )


def remember(before: MetaState, after: MetaState, per_task: Metrics) -> tuple[MetaState, Metrics]:
    """The state after an outer update, with what the tasks [M, ...] have shown added to what was seen before.

    Returns:
        That state, and the metrics of the tasks without what was seen. Both as they are where nothing is normalised.
    """
    if "seen" not in per_task:
        return after, per_task
    parts: Any = per_task["seen"]
    seen = merged(before.theta["seen"], parts)
    rest = {name: value for name, value in per_task.items() if name != "seen"}
    return after._replace(theta=after.theta | {"seen": seen}), rest
