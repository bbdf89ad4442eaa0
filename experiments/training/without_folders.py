"""Several seeds of one run in one compiled program, without run folders: for tables and pictures."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.training.seeds import together
from metarl.interfaces import MetaLearner

SECONDS_PER_CALL = 1.0  # how long a compiled call should take, so that progress shows and Ctrl-C is heard


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
    all_seeds = together(learner, seeds)

    @jax.jit
    def chunk(states, scores, start, stop):
        def body(iteration, carry):
            states, scores = carry
            states, metrics = all_seeds.step(states, iteration)
            return states, scores.at[:, iteration].set(metrics["meta/post"])

        return jax.lax.fori_loop(start, stop, body, (states, scores))

    states = all_seeds.init()
    scores = jnp.zeros((len(seeds), num_iterations))
    keep_better = None if select is None else jax.jit(lambda best, states: _better(select, best, states))
    best = (states, jnp.full(len(seeds), jnp.inf))
    done, size = 0, 1
    while True:
        if keep_better is not None and (done % select_every == 0 or done == num_iterations):
            best = keep_better(best, states)
        if done == num_iterations:
            return best[0] if select else states, np.asarray(scores)
        began = time.monotonic()
        stop = min(done + size, num_iterations, done - done % select_every + select_every if select else num_iterations)
        states, scores = jax.block_until_ready(chunk(states, scores, done, stop))
        per_second = (stop - done) / max(time.monotonic() - began, 1e-6)
        done = stop
        on_progress(done)
        size = max(1, min(4 * size, int(per_second * SECONDS_PER_CALL)))


def _better(select: Callable[[Any], jax.Array], best: tuple[Any, jax.Array], states: Any) -> tuple[Any, jax.Array]:
    """Of the best states so far and new ones, those with less error, seed by seed."""
    error = jax.vmap(select)(states)
    better = error < best[1]
    choose = lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
    return jax.tree.map(choose, states, best[0]), jnp.where(better, error, best[1])
