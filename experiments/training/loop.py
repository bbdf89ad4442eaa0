"""The outer loop: many meta-iterations per compiled call, metrics to the progress bar, the files and wandb while it runs."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.cli.family_errors import NotFinite
from experiments.cli.flags import flag
from experiments.cli.signals import StopSignals
from experiments.distributed.group import ALONE, Group
from experiments.runs.checkpoint import KEEP
from experiments.runs.checkpoint_format import keys_of
from experiments.runs.writer import RunWriter
from experiments.training.nonfinite import GUARDS, Guard, stop_at_once
from experiments.training.profiler import profiled
from experiments.training.program import MAX_BLOCKS, Program, compile_chunk
from experiments.training.progress import Progress
from experiments.training.resume import Start, begin
from experiments.training.rows import add_times, nonfinite, rows_of, shown
from experiments.training.seeds import Swept, batch_seeds, changes_of, key_of_iteration, of_seed
from metarl.interfaces import MetaLearner
from metarl.tasks import ONE_BATCH, TaskMap

SECONDS_PER_CALL = 1.0  # how long a compiled call should take: progress and logs lag by this much


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
    keep: int | None = KEEP


class Execution(NamedTuple):
    """How a run is carried out; none of it changes what is learned, but for the last digits.

    Attributes:
        task_map: the devices that tasks are spread over; the learner was built with it.
        guard: what happens to updates that are not finite, see `experiments.training.nonfinite`.
        profile: the folder of a JAX profiler trace of one compiled call; none if None.
        memory_flags: the flags that make a run need less memory.
        group: the processes that share the run.
    """

    task_map: TaskMap = ONE_BATCH
    guard: Guard = stop_at_once
    profile: Path | None = None
    memory_flags: str = "fewer tasks"
    group: Group = ALONE


PLAINLY = Execution()  # on one device


def execution_of(config: Any, uses_remat: bool, task_map: TaskMap = ONE_BATCH, group: Group = ALONE) -> Execution:
    """As a configuration with on_nonfinite and profile says; ``uses_remat`` tells whether its agent takes --remat."""
    smaller = ("task_batch", "num_tasks", "num_episodes", "horizon", "train_shots", "hidden_sizes")
    flags = [f"a smaller {flag(name)}" for name in smaller if hasattr(config, name)]
    flags += ["--remat"] * (uses_remat and hasattr(config, "remat"))
    profile = config.run_dir / "profile" if config.profile else None
    advice = " or ".join([", ".join(flags[:-1]), flags[-1]])
    return Execution(task_map, GUARDS[config.on_nonfinite], profile, advice, group)


class Call(NamedTuple):
    """What one compiled call did.

    Attributes:
        first: iterations done before it.
        reached: iterations done after it.
        states: leaves [S, ...], on the host.
        sums: {name: [MAX_BLOCKS, S]}, see `experiments.training.program.Program`.
        counted: [MAX_BLOCKS, S].
        began: seconds of the monotonic clock.
        ended: the same.
    """

    first: int
    reached: int
    states: Any
    sums: dict[str, np.ndarray]
    counted: np.ndarray
    began: float
    ended: float

    def rows(self, seed: int, env_steps: int, log_every: int, earlier: float = 0.0) -> list[dict[str, Any]]:
        """The metrics of one of the S seeds, a row per block.

        Args:
            seed: its index.
            env_steps: that it had drawn before.
            log_every: meta-iterations per block.
            earlier: seconds to add to the clock.
        """
        rows = rows_of(of_seed(self.sums, seed, axis=1), self.counted[:, seed], self.first, self.reached, env_steps, log_every)
        add_times(rows, self.began + earlier, self.ended + earlier, env_steps)
        return rows


def calls(
    program: Program,
    states: Any,
    first: int,
    schedule: Schedule,
    *,
    decide: Callable[[int], int | None] = lambda stop: stop,
    written: int = 0,
    profile: Path | None = None,
) -> Iterator[Call]:
    """Train, one compiled call after another. This is the only loop: commands, followers and Python programs iterate over it.

    A call takes about `SECONDS_PER_CALL`, and ends at checkpoints.

    Args:
        program: what is called.
        states: of S seeds, after ``first`` iterations.
        first: iterations done.
        schedule: how far to go.
        decide: asked before each call, with where it would end: where it does, or None to train no further.
        written: the last line of metrics that exists already: a call ends there too, since it may end a shorter block.
        profile: the folder of a profiler trace of one call; none if None.
    """
    iteration, blocks = first, 1
    while iteration < schedule.num_iterations:
        tracing = profile is not None and (iteration > first or schedule.num_iterations - first <= schedule.log_every)
        stop = decide(_stop(iteration, 1 if tracing else blocks, schedule, written))
        if stop is None:
            return
        began = time.monotonic()
        with profiled(profile if tracing else None):
            states, sums, counted, reached = jax.block_until_ready(program.call(states, iteration, stop))
        ended = time.monotonic()
        done = int(reached)
        states, sums, counted = jax.device_get((states, sums, counted))
        yield Call(iteration, done, states, sums, counted, began, ended)
        blocks = _next_blocks(-(-(done - iteration) // schedule.log_every), ended - began)
        iteration, profile = done, None if tracing else profile


class Finished(NamedTuple):
    """How a training ended.

    Attributes:
        states: the final state of each seed, on the host.
        iteration: how many are done.
        signal: the name of the signal that ended it early, or None.
    """

    states: list[Any]
    iteration: int
    signal: str | None


def run(
    learner: MetaLearner,
    outputs: Sequence[RunWriter],
    schedule: Schedule,
    *,
    execution: Execution = PLAINLY,
    probe: Callable[[int, Any], dict[str, float]] | None = None,
    start: Callable[[], list[Start]] | None = None,
    swept: Swept | None = None,
) -> Finished:
    """Train the seeds of ``outputs`` in one program.

    Goes on from the newest iteration of which every seed has a checkpoint, or begins. Writes metrics.jsonl, checkpoints and
    the wandb run of every seed as it goes. Wall-clock time is shared: ``time/seconds`` is that of training all seeds
    together, and ``time/steps_per_second`` counts the environment steps of one seed, so that its sum over the seeds is what
    the machine does. On SIGTERM and SIGINT the call that runs is finished, saved, and no other begun.

    Args:
        learner: what is trained.
        outputs: where each seed's run is written.
        schedule: how long, and how often it writes.
        execution: how.
        probe: (index of the run, state) -> metrics, added to the first and the last line of metrics.jsonl.
        start: what each seed begins with, see `experiments.training.resume.begin`.
        swept: settings in which the runs differ, if they do.

    Raises:
        UserError: a metric or parameter of a seed became non-finite, the seeds have no checkpoint in common, or there is not
            enough memory.
    """
    all_seeds, group = batch_seeds(learner, [out.seed for out in outputs], swept=swept), execution.group
    first, states, env_steps = begin(learner, all_seeds, outputs, start)
    changes = changes_of([out.run_config.get("rekeyed", ()) for out in outputs])
    group.broadcast((np.int64(first), states, changes))
    all_seeds = batch_seeds(learner, [out.seed for out in outputs], changes, swept)
    group.note_checkpoint(first)
    began = time.monotonic()
    written = min(out.lines.last_iteration for out in outputs)
    iteration = saved = first
    received: str | None = None
    with StopSignals() as signals, Progress(schedule.num_iterations, first, _label(outputs)) as progress:
        program = compile_chunk(
            all_seeds, states, schedule.log_every, execution.guard, execution.task_map, execution.memory_flags
        )
        progress.tell(program.summary())
        for out in outputs:
            out.describe(program.description())
        group.meet()

        def decide(stop: int) -> int | None:
            nonlocal received
            stop, received = group.agree(stop, signals.received)
            return None if received else stop

        for call in calls(program, states, first, schedule, decide=decide, written=written, profile=execution.profile):
            # A resumed run's seconds go on.
            rows = [
                call.rows(i, env_steps[i], schedule.log_every, out.lines.last_seconds - began) for i, out in enumerate(outputs)
            ]
            if probe is not None and (call.first == 0 or call.reached == schedule.num_iterations):
                for i in _each(outputs):
                    rows[i][-1] |= probe(i, of_seed(call.states, i))
            bad = _write(outputs, rows, call, whole=(call.reached - call.first) // schedule.log_every)
            if bad:
                replay = _replay(program, states, call, group)
                raise _not_finite(bad, outputs, call.reached - 1, replay, changes, alike=swept is None)
            iteration, states, env_steps = call.reached, call.states, [row[-1]["time/env_steps"] for row in rows]
            progress.update(iteration, shown(rows))
            if iteration % schedule.checkpoint_every == 0:
                _save(outputs, iteration, states, env_steps)
                group.note_checkpoint(iteration)
                saved = iteration
        if saved < iteration:
            _save(outputs, iteration, states, env_steps)
    return Finished([of_seed(states, i) for i in _each(outputs)], iteration, received or signals.received)


def _save(outputs: Sequence[RunWriter], iteration: int, states: Any, env_steps: list[int]) -> None:
    """A checkpoint of every seed."""
    for i, out in enumerate(outputs):
        out.save(iteration, of_seed(states, i), env_steps[i])


def _write(outputs: Sequence[RunWriter], rows: list[list[dict[str, Any]]], call: Call, *, whole: int) -> dict[int, list[str]]:
    """Write the rows of every seed; where one became non-finite, only what is sound.

    Args:
        outputs: of the S seeds.
        rows: [S][block], the newest metrics.
        call: that they are of.
        whole: how many blocks are complete; a stop because of a non-finite metric leaves one that is not.

    Returns:
        Each seed that became non-finite, and what of it did.
    """
    bad = {i: names for i in _each(outputs) if (names := nonfinite(rows[i][-1], of_seed(call.states, i)))}
    for i, out in enumerate(outputs):
        out.write(rows[i][:-1] if i in bad else rows[i][:whole] if bad else rows[i])
    return bad


def _replay(program: Program, states: Any, call: Call, group: Group) -> Callable[[int], Any] | None:
    """Iteration -> the states before it, of a call that began with ``states``; None where other processes would have to
    help.
    """

    @functools.cache  # several seeds may have stopped in the same iteration
    def before(iteration: int) -> Any:
        return jax.device_get(program.call(states, call.first, iteration)[0]) if iteration > call.first else states

    return before if group is ALONE else None


def _not_finite(
    bad: dict[int, list[str]],
    outputs: Sequence[RunWriter],
    iteration: int,
    replay: Callable[[int], Any] | None,
    changes: np.ndarray,
    *,
    alike: bool,
) -> NotFinite:
    """The error; its runs will draw other random numbers when they are resumed, from the iteration that spoiled them on.

    That is the last one, or the one before it: parameters that it spoiled show in the metrics of the next.

    Args:
        bad: of `_write`.
        outputs: of the S seeds.
        iteration: the last one, counted from 0.
        replay: of `_replay`.
        changes: [S, ...], of the random streams so far.
        alike: whether all runs have the same settings, so that one learner can repeat what any of them did.
    """
    repeat, noted = None, True
    for i in reversed(bad):  # the first is told about
        began = max(iteration - 1, 0)  # where it cannot be told, both are drawn anew
        if replay is not None:
            states = replay(iteration)
            if not nonfinite({}, of_seed(states, i)):
                began = iteration
            states = replay(began)
            key = key_of_iteration(keys_of(outputs[i].seed)[1], began, changes[i])
            repeat = functools.partial(_step_once, of_seed(states, i), key) if alike else None
        noted &= outputs[i].rekey(began)
    return NotFinite(*_nonfinite_message(bad, iteration + 1, outputs, noted=noted), repeat)


def _step_once(state: Any, key: jax.Array, learner: MetaLearner) -> None:
    jax.block_until_ready(jax.jit(learner.step)(state, key))


def _each(outputs: Sequence[RunWriter]) -> range:
    return range(len(outputs))


def _label(outputs: Sequence[RunWriter]) -> str:
    if len(outputs) == 1:
        return "iteration"
    return f"{len(outputs)} {'runs' if outputs[0].combination else 'seeds'}"


def _stop(iteration: int, blocks: int, schedule: Schedule, written: int = 0) -> int:
    """Where the next call ends: at a whole number of blocks, no later than the next checkpoint or the end.

    Nor beyond the last line that was ``written`` before, which may end a shorter block: that of a run that was to end there.
    """
    until_checkpoint = schedule.checkpoint_every - iteration % schedule.checkpoint_every
    stop = min(iteration + min(blocks * schedule.log_every, until_checkpoint), schedule.num_iterations)
    return written if iteration < written < stop else stop


def _next_blocks(blocks: int, seconds: float) -> int:
    wanted = blocks * SECONDS_PER_CALL / max(seconds, 1e-6)
    return max(1, min(int(wanted), 4 * blocks, MAX_BLOCKS))


def _nonfinite_message(
    bad: dict[int, list[str]], iteration: int, outputs: Sequence[RunWriter], *, noted: bool
) -> tuple[str, str]:
    """What happened to the first of the seeds that became non-finite, which is named where there are several; and advice.

    ``noted``: whether the run will draw other random numbers when it is resumed.
    """
    first, names = next(iter(bad.items()))
    checkpoints = outputs[first].checkpoints
    if "inner/step_0" in names:
        advice = "Data drawn before any inner step are not finite: check the family's rewards and observations."
    elif any(name.startswith(("policy/kl", "inner/kl")) for name in names):  # from finite parameters
        advice = "Inner steps throw the policy too far: try a smaller --inner-lr or a larger --initial-std."
    else:
        advice = "Try a smaller --inner-lr or --outer-lr, with --overwrite or in another --run-dir."
    seeds = ", ".join(outputs[i].called for i in bad)
    who = "" if len(outputs) == 1 else f"seed {seeds}, " if len(bad) == 1 else f"seeds {seeds}, "
    past = " --resume tries again from there, with other random numbers for what was not finite." if noted else ""
    message = (
        f"{who}iteration {iteration}: non-finite {', '.join(names)}. Training stopped; the last good checkpoint is iteration "
        f"{checkpoints.latest_step()} in {checkpoints.directory}.{past}"
    )
    return message, advice
