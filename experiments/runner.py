"""The outer loop: many meta-iterations per compiled call, metrics to the progress bar, the files and wandb while it runs."""

import math
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import checkpoint
from experiments.command import UserError
from experiments.progress import Progress
from experiments.tracking import JsonLines
from metarl.types import MetaLearner

SECONDS_PER_CALL = 1.0  # how long a compiled call should take: progress and logs lag by this much
MAX_BLOCKS = 1000  # rows a compiled call can return


class Schedule(NamedTuple):
    """How long a run goes on and how often it writes.

    Attributes:
        num_iterations: meta-iterations in all.
        log_every: meta-iterations per line of metrics (their mean): a block.
        checkpoint_every: meta-iterations between checkpoints; a multiple of ``log_every``.
        keep: how many of the newest checkpoints stay; all if None.
    """

    num_iterations: int
    log_every: int
    checkpoint_every: int
    keep: int | None = checkpoint.KEEP


def keys_of(seed: int) -> tuple[jax.Array, jax.Array]:
    """The key of a run's initial state, and the key that iteration i folds i into."""
    key_init, key_steps = jax.random.split(jax.random.key(seed))
    return key_init, key_steps


def make_chunk(learner: MetaLearner, key: jax.Array, log_every: int) -> Callable:
    """The compiled call: up to `MAX_BLOCKS` blocks of meta-iterations. How many is an argument, so it compiles once.

    Random keys are ``fold_in(key, iteration)``: results do not depend on how iterations are grouped into calls. It stops
    after the first iteration with a non-finite metric.

    Returns:
        ``(state, start, stop) -> (state, sums {name: [MAX_BLOCKS]}, iterations done)``, over iterations start..stop-1.
        Metrics are summed within each block.
    """
    step = jax.jit(learner.step)

    @jax.jit
    def chunk(state, start, stop):
        _, like = jax.eval_shape(step, state, key)
        sums = {name: jnp.zeros(MAX_BLOCKS, metric.dtype) for name, metric in like.items()}

        def unfinished(carry):
            _, _, iteration, finite = carry
            return (iteration < stop) & finite

        def body(carry):
            state, sums, iteration, _ = carry
            state, metrics = step(state, jax.random.fold_in(key, iteration))
            block = (iteration - start) // log_every
            sums = {name: sums[name].at[block].add(metrics[name]) for name in sums}
            finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in metrics.values()]))
            return state, sums, iteration + 1, finite

        state, sums, iteration, _ = jax.lax.while_loop(unfinished, body, (state, sums, start, jnp.asarray(True)))
        return state, sums, iteration

    return chunk


def run(
    learner: MetaLearner,
    run_dir: Path,
    schedule: Schedule,
    *,
    seed: int,
    resume: bool,
    wandb_run: Any,
    probe: Callable[[Any], dict[str, float]] | None = None,
) -> Any:
    """Train, and return the final state. Writes metrics.jsonl, checkpoints and the wandb run as it goes.

    ``probe`` measures the state at the first and the last line of metrics.jsonl and adds what it finds to them.

    Raises:
        UserError: a metric or parameter became non-finite.
    """
    key_init, key_steps = keys_of(seed)
    chunk = make_chunk(learner, key_steps, schedule.log_every)
    kept = checkpoint.manager(run_dir, writing=True, keep=schedule.keep)
    with kept as checkpoints, closing(JsonLines(run_dir / "metrics.jsonl")) as rows_file:
        if resume and checkpoints.latest_step() is not None:
            iteration, state, env_steps = checkpoint.restore(checkpoints, learner)
        else:
            iteration, state, env_steps = 0, jax.jit(learner.init)(key_init), 0
            checkpoint.save(checkpoints, 0, state, 0)
        began, blocks = time.monotonic() - rows_file.last_seconds, 1
        with Progress(schedule.num_iterations, iteration) as progress:
            while iteration < schedule.num_iterations:
                called = time.monotonic()
                stop = _stop(iteration, blocks, schedule)
                state, sums, done = jax.block_until_ready(chunk(state, iteration, stop))
                now = time.monotonic()
                rows = _rows(jax.device_get(sums), iteration, int(done), env_steps, schedule.log_every)
                _add_times(rows, called - began, now - began, env_steps)
                if probe is not None and (iteration == 0 or int(done) == schedule.num_iterations):
                    rows[-1] |= probe(state)
                bad = _nonfinite(rows[-1], state)
                for row in rows_file.write(rows[:-1] if bad else rows):
                    wandb_run.log(row)
                if bad:
                    raise UserError(_nonfinite_message(bad, int(done), checkpoints))
                iteration, env_steps = int(done), rows[-1]["time/env_steps"]
                if iteration % schedule.checkpoint_every == 0 or iteration == schedule.num_iterations:
                    checkpoint.save(checkpoints, iteration, state, env_steps)
                progress.update(iteration, rows[-1])
                blocks = _next_blocks(blocks, now - called)
    return state


def _stop(iteration: int, blocks: int, schedule: Schedule) -> int:
    """Where the next call ends: at a whole number of blocks, no later than the next checkpoint or the end."""
    until_checkpoint = schedule.checkpoint_every - iteration % schedule.checkpoint_every
    return min(iteration + min(blocks * schedule.log_every, until_checkpoint), schedule.num_iterations)


def _next_blocks(blocks: int, seconds: float) -> int:
    wanted = blocks * SECONDS_PER_CALL / max(seconds, 1e-6)
    return max(1, min(int(wanted), 4 * blocks, MAX_BLOCKS))


def _rows(sums: dict[str, np.ndarray], start: int, done: int, env_steps: int, log_every: int) -> list[dict[str, Any]]:
    """One row per block: means, and the environment steps so far."""
    rows = []
    for block in range(math.ceil((done - start) / log_every)):
        last = min(start + (block + 1) * log_every, done)
        count = last - start - block * log_every
        env_steps += int(sums["time/env_steps"][block])
        means = {name: float(total[block]) / count for name, total in sorted(sums.items()) if name != "time/env_steps"}
        rows.append({"iteration": last, **means, "time/env_steps": env_steps})
    return rows


def _add_times(rows: list[dict[str, Any]], called: float, returned: float, env_steps: int) -> None:
    """Wall-clock fields, spread evenly over the call that produced the rows."""
    per_second = (rows[-1]["time/env_steps"] - env_steps) / (returned - called)
    for i, row in enumerate(rows):
        row["time/seconds"] = round(called + (i + 1) / len(rows) * (returned - called), 3)
        row["time/steps_per_second"] = round(per_second)


def _nonfinite(row: dict[str, Any], state: Any) -> list[str]:
    """What is non-finite among the last row's metrics or, failing that, in the state."""
    bad = [name for name, value in row.items() if not math.isfinite(value)]
    if bad:
        return bad
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [jax.tree_util.keystr(path) for path, leaf in leaves if not np.all(np.isfinite(leaf))]


def _nonfinite_message(bad: list[str], iteration: int, checkpoints: Any) -> str:
    if "inner/step_0" in bad:
        advice = "Data drawn before any inner step are not finite: check the family's rewards and observations."
    else:
        advice = "Try a smaller --inner-lr or --outer-lr."
    return (
        f"iteration {iteration}: non-finite {', '.join(bad)}. Training stopped; the last good checkpoint is iteration "
        f"{checkpoints.latest_step()} in {checkpoints.directory}. {advice}"
    )
