"""``python -m experiments.train --env ID --agent NAME --seed S --run-dir DIR``: any task family with any agent."""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envs.from_gymnasium.family import HostFamily
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.family_errors import explained
from experiments.cli.flags import flag, given_flags
from experiments.distributed import group
from experiments.evaluation.held_out import EvaluateConfig, evaluate_run
from experiments.evaluation.source import settings_of, starts
from experiments.reporting import sweep_report
from experiments.runs.checkpoint import warn
from experiments.training import loop, memory_terms, sweep
from experiments.training.config import KIND, TrainConfig, build, chosen, family_of, resolve
from experiments.training.devices import choose_batch, choose_devices, spread
from experiments.training.experiment import Experiment
from experiments.training.memory import refuse_too_large_state
from experiments.training.session import one_per_seed, train_and_evaluate
from experiments.training.settings import declared, flat, parse_run, stored_as, swept_name
from experiments.training.suggested import from_family, from_table, told
from metarl.tasks import TaskMap


def train(config: TrainConfig) -> None:
    """Meta-train as ``config`` says and write the run folder, or one for each of several seeds."""
    refuse_hosts(config)
    with group.joined(config.hosts, config.hosts_wait) as processes:
        _train(config, processes)


def _train(config: TrainConfig, processes: group.Group) -> None:
    settings = processes.announce(flat(config, KIND))
    if not processes.is_first():
        mine = {"run_dir": Path(settings["run_dir"]), "hosts": config.hosts, "hosts_wait": config.hosts_wait}
        config = stored_as(TrainConfig, KIND, settings | mine)
    if config.sweep:
        together = functools.partial(_train_together, processes=processes)
        learner_of = lambda each: build(each).learner
        sweep.sweep(config, KIND, resolve=_resolve_aloud, learner_of=learner_of, train=together)
        sweep_report.write(config.run_dir)
        return
    config = _resolve_aloud(config)
    _train_together(config, one_per_seed(config), (), processes)


def refuse_hosts(config: TrainConfig) -> None:
    """Refuse a sweep by several processes, before anybody waits for the others."""
    if config.sweep and config.hosts is not None:
        raise UserError("--sweep is given with --hosts, but a sweep is trained by one process; leave one of them out.")


def warn_of_chance(config: TrainConfig) -> None:
    """One line, where episodes of an ordinary environment do not follow from their seeds, as `envs.check` refuses."""
    said = None
    with contextlib.suppress(Exception):  # what fails here is told where the run begins
        family = family_of(config)
        said = family.unrepeatable() if isinstance(family, HostFamily) else None
    if said is not None:
        further = f"training goes on, but cannot be repeated ({command_line('check')} {config.env} looks further)"
        warn(f"{said.rstrip('.')}; {further}.")


def _resolve_aloud(given: TrainConfig) -> TrainConfig:
    """`resolve`, and one line about what it chose."""
    config = resolve(given)
    if (said := chosen(given, config)) and said not in _said:
        _said.add(said)
        print(said, flush=True)
    return config


_said: set[str] = set()  # once per process


def _train_together(whole: TrainConfig, runs: Sequence[TrainConfig], names: Sequence[str], processes: group.Group) -> None:
    """Train resolved runs in one program, whose inputs the named settings are; ``whole`` is what they are part of."""
    config = runs[0]
    family, agent = family_of(config), declared(config.agent, KIND)
    devices = choose_devices(config.devices, config.num_tasks, family, mixes_tasks=agent.mixes_tasks)
    placed: dict[str, Any] = {"devices": devices, "task_batch": choose_batch(config.task_batch, family)}
    runs = [dataclasses.replace(each, **placed) for each in runs]
    config = runs[0]
    task_map = spread(config.devices, config.task_batch)
    built = build(config, task_map=task_map)
    execution = loop.execution_of(config, "remat" in agent.uses, task_map, processes)
    others = execution.memory_flags + (" or fewer values of --sweep" if names else "")
    execution = execution._replace(memory_flags=memory_terms.advice(config, built.family, others))
    refuse_too_large_state(built.learner, len(runs), execution.memory_flags)
    start = None
    if config.start_from is not None:
        seeds = [each.seed for each in runs]
        start = functools.cache(lambda: starts(config, built.learner, seeds))
        if processes.is_first() and not config.resume:  # what does not fit is refused before a folder is made
            start()
    schedule = loop.Schedule(config.num_iterations, log_every=1, checkpoint_every=config.checkpoint_every)
    alone = TaskMap(batch_size=config.task_batch)  # on one device, in the memory that the run has there
    with explained(config.env, built.family, lambda watched: build(config, family=watched, task_map=alone).learner):
        train_and_evaluate(
            EXPERIMENT,
            whole,
            built.learner,
            schedule,
            evaluate_as_planned if config.eval_tasks else None,
            env=config.env,
            execution=execution,
            start=start,
            task_lists=getattr(built.family, "list_hashes", {}),
            runs=runs,
            swept=sweep.swept_of(runs, KIND, names, lambda each: build(each, task_map=task_map).learner),
        )


def evaluate_as_planned(config: TrainConfig, run_config: dict[str, Any]) -> None:
    """The evaluation at the end of a run."""
    flags: dict[str, Any] = {
        "num_tasks": config.eval_tasks,
        "num_steps": config.eval_steps,
        "num_episodes": config.eval_episodes,
    }
    evaluate_run(EvaluateConfig(config.run_dir, **flags), run_config)


def evaluate_as_asked(config: TrainConfig, run_config: dict[str, Any], flags: dict[str, Any]) -> None:
    """What `experiments.evaluate` does for a run."""
    evaluate_run(EvaluateConfig(config.run_dir, **flags), run_config)


EXPERIMENT = Experiment(
    "train",
    TrainConfig,
    KIND,
    evaluate_as_asked,
    flags=("num_tasks", "num_steps", "num_episodes", "horizon", "step_scale", "held_out_tasks"),
)


def from_source(given: dict[str, str]) -> dict[str, Any]:
    """The settings of the run that ``--start-from`` names, for `parse_run`.

    Raises:
        UserError: there is none, or the new run is to go on with itself, too.
    """
    if "start_from" not in given:
        return {}
    if "resume" in given:
        raise UserError("--resume goes on with a run and --start-from begins another; give one of them.")
    return settings_of(given["start_from"], given.get("env"))


def refuse_without_effect(config: TrainConfig, given: dict[str, str]) -> None:
    """Refuse flags that were given for what another one leaves out.

    Raises:
        UserError: of an evaluation that there is not, of another run, or of processes where there is one.
    """
    for name in ("eval_steps", "eval_episodes"):
        if name in given and not config.eval_tasks:
            raise UserError(f"{flag(name)} is {given[name]}, but --eval-tasks is 0: nothing is evaluated; leave one out.")
    if "trust" in given and not (config.resume or config.start_from):
        raise UserError(
            f"--trust is {given['trust']}, but no other run is read without --resume or --start-from; leave it out."
        )
    if "hosts_wait" in given and config.hosts is None:
        raise UserError(f"--hosts-wait is {given['hosts_wait']}, but there is no --hosts to wait for; leave it out.")


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    args = sys.argv[1:] if args is None else args
    given = given_flags(args)
    parsed = functools.partial(parse_run, TrainConfig, args, command_line("train"), KIND, source=from_source)
    # Nothing may compute before several processes have met.
    config = parsed(defaults=from_table if "hosts" in given else from_family)
    refuse_without_effect(config, given)
    refuse_hosts(config)
    with group.joined(config.hosts, config.hosts_wait) as processes:
        config = parsed(defaults=from_family) if "hosts" in given else config
        if not config.resume:
            taken = from_source(given)
            if taken:
                print(f"Settings not given are those of {config.start_from}.", flush=True)
            swept = dict.fromkeys(map(swept_name, config.sweep), "")
            for line in told(swept | given, config.env, config.agent, taken):
                print(line, flush=True)
            warn_of_chance(config)
        _train(config, processes)


if __name__ == "__main__":
    main()
