"""Several seeds of one run in one compiled program, without run folders: for tables and pictures."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.training.loop import Schedule, calls
from experiments.training.nonfinite import go_on
from experiments.training.program import compile_chunk
from experiments.training.seeds import batch_seeds
from metarl.interfaces import MetaLearner
from metarl.tasks import AT_ONCE


def train(
    learner: MetaLearner,
    seeds: Sequence[int],
    num_iterations: int,
    *,
    select: Callable[[Any], jax.Array] | None = None,
    select_every: int = 1,
    on_progress: Callable[[int], None] = lambda done: None,
) -> tuple[Any, np.ndarray]:
    """Meta-train one state per seed; each sees the random numbers it would see in a run of its own.

    Args:
        learner: what is trained.
        seeds: S of them.
        num_iterations: meta-iterations.
        select: state -> error; if given, each seed's state with the least error is returned instead of its last.
        select_every: how often it is asked, in meta-iterations; it is also asked at both ends.
        on_progress: called with the iterations done, about once a second.

    Returns:
        States with leaves [S, ...], and the score after adaptation on each iteration's tasks [S, num_iterations].
    """
    all_seeds = batch_seeds(learner, seeds)
    states = all_seeds.init()
    program = compile_chunk(all_seeds, states, 1, go_on, AT_ONCE)
    scores = np.zeros((len(seeds), num_iterations))
    keep_better = None if select is None else jax.jit(lambda best, states: _better(select, best, states))
    best = (states, jnp.full(len(seeds), jnp.inf))
    if keep_better is not None:
        best = keep_better(best, states)
    schedule = Schedule(num_iterations, 1, select_every if select else max(num_iterations, 1))
    for call in calls(program, states, 0, schedule):
        states, done = call.states, call.reached
        scores[:, call.first : done] = call.sums["meta/post"][: done - call.first].T
        if keep_better is not None and (done % select_every == 0 or done == num_iterations):
            best = keep_better(best, states)
        on_progress(done)
    return best[0] if select else states, scores


def _better(select: Callable[[Any], jax.Array], best: tuple[Any, jax.Array], states: Any) -> tuple[Any, jax.Array]:
    """Of the best states so far and new ones, those with less error, seed by seed."""
    error = jax.vmap(select)(states)
    better = error < best[1]
    choose = lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
    return jax.tree.map(choose, states, best[0]), jnp.where(better, error, best[1])
