"""What happens to an outer update that gives numbers that are not finite: it stops the run, or it is dropped."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metarl.interfaces import Metrics


class Guarded(NamedTuple):
    """One meta-iteration of S seeds, judged.

    Attributes:
        states: leaves [S, ...], to go on with.
        metrics: [S] each; those of a dropped update are zero, but for ``time/env_steps``.
        counted: [S], whether the metrics count.
        go_on: scalar, whether training may.
    """

    states: Any
    metrics: Metrics
    counted: jax.Array
    go_on: jax.Array


Guard = Callable[[Any, Any, Metrics], Guarded]  # states before and after, metrics


def stop_at_once(before: Any, after: Any, metrics: Metrics) -> Guarded:
    """Stop at the first metric that is not finite. Parameters that are not show in the next iteration's metrics."""
    del before
    fine = _finite(metrics)
    return Guarded(after, metrics, jnp.ones_like(fine), jnp.all(fine))


def skip_update(before: Any, after: Any, metrics: Metrics) -> Guarded:
    """Drop the update of each seed whose metrics or new state are not finite: all but the iteration stays as it was."""
    fine = _finite(metrics) & _finite(after)
    keep = lambda new, old: jnp.where(fine.reshape(-1, *[1] * (new.ndim - 1)), new, old)
    states = jax.tree.map(keep, after, before)
    states = states._replace(iteration=after.iteration)
    kept = {name: keep(metric, jnp.zeros_like(metric)) for name, metric in metrics.items() if name != "time/env_steps"}
    return Guarded(states, metrics | kept, fine, jnp.asarray(True))


def go_on(before: Any, after: Any, metrics: Metrics) -> Guarded:
    """Train on whatever happens, for those who look at the end."""
    del before
    return Guarded(after, metrics, jnp.ones(next(iter(metrics.values())).shape, bool), jnp.asarray(True))


GUARDS: dict[str, Guard] = {"stop": stop_at_once, "skip": skip_update}


def _finite(tree: Any) -> jax.Array:
    """[S], whether all of leaves [S, ...] is finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x.reshape(x.shape[0], -1)), axis=1) for x in jax.tree.leaves(tree)]), axis=0)
