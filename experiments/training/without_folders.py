"""Training without run folders: for Python programs, tables and pictures. The loop is that of the commands."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.training.loop import Schedule, calls
from experiments.training.memory import refuse_too_large_state
from experiments.training.nonfinite import Guard, go_on, stop_at_once
from experiments.training.program import compile_chunk
from experiments.training.seeds import batch_seeds, of_seed, stack
from metarl.interfaces import MetaLearner, MetaState
from metarl.tasks import ONE_BATCH, TaskMap


class Progress(NamedTuple):
    """How far a training has come.

    Attributes:
        iteration: meta-iterations done.
        state: what was learned so far, to adapt with or to go on from.
        metrics: of the newest meta-iteration, under the fixed names; ``time/env_steps`` counts from the beginning.
        rows: the same of every meta-iteration since the last report, with "iteration".
    """

    iteration: int
    state: MetaState
    metrics: dict[str, Any]
    rows: list[dict[str, Any]]


def meta_train(
    learner: MetaLearner,
    num_iterations: int,
    *,
    seed: int = 0,
    state: MetaState | None = None,
    env_steps: int = 0,
    guard: Guard = stop_at_once,
    task_map: TaskMap = ONE_BATCH,
) -> Iterator[Progress]:
    """Meta-train in compiled calls of about a second each, and report after each of them. No files.

    A seed gives what ``python -m experiments.train --seed`` gives. Breaking off and going on, with the state reported last,
    changes nothing.

    Args:
        learner: see `agents.make`.
        num_iterations: meta-iterations in all, those of ``state`` included.
        seed: everything random follows from it.
        state: to go on from; a new one if None.
        env_steps: that ``state`` had seen.
        guard: what happens when numbers become non-finite, see `experiments.training.nonfinite`.
        task_map: what the learner was made with.

    Yields:
        How far it is. After a metric that is not finite there is no further report.

    Raises:
        ValueError: at once, for a number of iterations below 0.
    """
    if num_iterations < 0:
        raise ValueError(f"num_iterations is {num_iterations}, but must be at least 0.")
    return _reports(learner, num_iterations, seed, state, env_steps, guard, task_map)


def _reports(
    learner: MetaLearner,
    num_iterations: int,
    seed: int,
    state: MetaState | None,
    env_steps: int,
    guard: Guard,
    task_map: TaskMap,
) -> Iterator[Progress]:
    refuse_too_large_state(learner, 1)
    alone = batch_seeds(learner, [seed])
    states = alone.init() if state is None else stack([state])
    first = int(states.iteration[0])
    if first >= num_iterations:
        yield Progress(first, of_seed(states, 0), {}, [])
        return
    program = compile_chunk(alone, states, 1, guard, task_map)
    for call in calls(program, states, first, Schedule(num_iterations, 1, num_iterations)):
        rows = call.rows(0, env_steps, 1, -call.began)
        env_steps = rows[-1]["time/env_steps"]
        yield Progress(call.reached, of_seed(call.states, 0), rows[-1], rows)
        if not np.all(np.isfinite(list(rows[-1].values()))):
            return


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
    refuse_too_large_state(learner, len(seeds))
    all_seeds = batch_seeds(learner, seeds)
    states = all_seeds.init()
    program = compile_chunk(all_seeds, states, 1, go_on, ONE_BATCH)
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
