"""Where training begins: anew, or at the newest checkpoint that is sound and that every seed and its metrics have reached."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from experiments.cli.errors import UserError
from experiments.runs import checkpoint
from experiments.runs.checkpoint import Damaged, State, set_aside, warn
from experiments.runs.writer import RunWriter
from experiments.training.seeds import SeedBatch, of_seed, stack
from metarl.interfaces import MetaLearner


class Start(NamedTuple):
    """What a seed of a new run begins with, where it is not the learner's own start.

    Attributes:
        theta: meta-parameters.
        about: where they are from, for config.json.
    """

    theta: Any
    about: dict[str, Any]


def begin(
    learner: MetaLearner,
    all_seeds: SeedBatch,
    outputs: Sequence[RunWriter],
    start: Callable[[], list[Start]] | None = None,
) -> tuple[int, Any, list[int]]:
    """The iteration, the states [S, ...], and the environment steps that each seed has drawn.

    Checkpoints newer than that which are damaged are set aside, with a warning each, and will be written again.

    Raises:
        UserError: there are checkpoints, but none to begin with.
    """
    kept = [set(out.checkpoints.all_steps()) for out in outputs]
    if not all(kept):  # a run killed before its first checkpoint begins anew, and its companions with it
        states = all_seeds.init()
        if start is not None:
            states = states._replace(theta=stack([each.theta for each in start()]))
            for out, each in zip(outputs, start(), strict=True):
                out.note("started_from", each.about)
        for i, out in enumerate(outputs):
            out.save(0, of_seed(states, i), 0)
        return 0, states, [0] * len(outputs)
    common = set.intersection(*kept)
    if not common:
        newest = ", ".join(f"seed {out.called} {max(steps)}" for out, steps in zip(outputs, kept, strict=True))
        raise UserError(f"the seeds have no checkpoint in common (newest: {newest}); resume the folder of each seed alone.")
    reached = {step for step in common if step <= min(out.lines.last_iteration for out in outputs)}
    found = _newest(learner, outputs, reached) or _newest(learner, outputs, common)
    if not found:
        raise UserError(_nothing_sound(learner, outputs, common))
    iteration = found[0][0]
    for out, steps in zip(outputs, kept, strict=True):
        _clear_above(learner, out, {step for step in steps if step > iteration}, iteration)
        _report_lines(out, iteration)
    return iteration, stack([state for _, state, _ in found]), [env_steps for _, _, env_steps in found]


def _newest(learner: MetaLearner, outputs: Sequence[RunWriter], steps: set[int]) -> list[State]:
    """What each seed has at the newest of these iterations at which every seed's checkpoint is sound; empty if at none."""
    for step in sorted(steps, reverse=True):
        try:
            return [checkpoint.restore(out.checkpoints, learner, step, identity=out.identity) for out in outputs]
        except Damaged:
            continue
    return []


def _clear_above(learner: MetaLearner, out: RunWriter, steps: set[int], iteration: int) -> None:
    """Set aside what is damaged among the checkpoints that training will reach again."""
    for step in sorted(steps, reverse=True):
        try:
            checkpoint.restore(out.checkpoints, learner, step, identity=out.identity)
        except Damaged as error:
            set_aside(out.checkpoints, step)
            warn(
                f"checkpoint {step} in {out.checkpoints.directory} is damaged ({error}) and now called {step}.damaged; "
                f"going on from checkpoint {iteration}."
            )


def _report_lines(out: RunWriter, iteration: int) -> None:
    """Say so where metrics.jsonl ends before checkpoints do, as it can after a power cut or when it was edited."""
    newest, last = out.checkpoints.latest_step(), out.lines.last_iteration
    if last < iteration:
        warn(f"{out.lines.path} ends with iteration {last}, before every checkpoint; lines {last + 1} to {iteration} are lost.")
    elif last < (newest or 0):
        warn(
            f"{out.lines.path} ends with iteration {last}, before checkpoint {newest}; going on from checkpoint {iteration}, "
            "so that no line is missing."
        )


def _nothing_sound(learner: MetaLearner, outputs: Sequence[RunWriter], common: set[int]) -> str:
    for out in outputs:
        found, damaged = checkpoint.search(out.checkpoints, learner, sorted(common), identity=out.identity)
        if found is None:
            return checkpoint.none_sound(out.checkpoints, damaged)
    return (
        f"no iteration among {', '.join(map(str, sorted(common)))} has a sound checkpoint of every seed; resume the folder of "
        "each seed alone."
    )
