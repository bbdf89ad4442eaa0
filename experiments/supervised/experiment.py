"""What the supervised commands share: settings, how an agent is made, and a run from start to end."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro

import agents
from agents.agent import Kind, Training
from experiments.cli.errors import UserError
from experiments.cli.flags import MAX_SEED, at_least, between, multiple, with_paths
from experiments.reporting import sweep_report
from experiments.runs.checkpoint import KEEP
from experiments.training import loop, settings, sweep
from experiments.training.devices import choose_devices, spread
from experiments.training.experiment import Experiment
from experiments.training.session import one_per_seed, train_and_evaluate
from metarl.interfaces import MetaLearner
from metarl.tasks import TaskMap

KIND: Kind = "regression"


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig:
    """Settings of any supervised run."""

    run_dir: Path
    """Where the run is written."""
    agent: str = "maml"
    """maml, cavia, reptile ... (the README lists them), or my_module:mine/agent. Which flags there are depends on it:
    --agent NAME --help."""
    network: str | None = None
    """my_module:mine/network, registered there by agents.register_network; an MLP of --hidden-sizes if not given."""
    seed: int = 0
    """Everything random in training follows from it; held-out tasks do not depend on it."""
    seeds: int | None = None
    """Train this many seeds together, from --seed on, each in a folder of its own: run_dir/seed-0 and so on."""
    sweep: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=VALUE,VALUE,...: train each of these values, and with several --sweep every combination, in folders of their own in
    run_dir. Numbers such as inner_lr are trained together in one program."""
    num_iterations: int = 1
    """Meta-iterations."""
    num_tasks: int = 1
    """M: tasks per meta-iteration."""
    hidden_sizes: tuple[int, ...] = (40, 40)
    """Hidden layers."""
    log_every: int = 100
    """Meta-iterations per line of metrics, which is their mean."""
    checkpoint_every: int = 1000
    """Meta-iterations between checkpoints; a multiple of log_every."""
    devices: int | None = None
    """Spread the tasks over this many devices; one if not given: the work is too small to share."""
    task_batch: int | None = None
    """Tasks worked on at once by each device; fewer need less memory. All if not given."""
    remat: bool = False
    """Recompute inner steps in the backward pass instead of storing them."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """When numbers become non-finite: stop the run, or skip that outer update and count it (outer/skipped)."""
    profile: bool = False
    """Write a JAX profiler trace of one compiled call to profile/ in the run's folder."""
    resume: bool = False
    """Continue the run in run_dir; settings not given are the run's own."""
    overwrite: bool = False
    """Replace the run in run_dir."""
    own: Any = None
    """The agent's hyperparameters; its defaults if None."""

    def __post_init__(self) -> None:
        """Take a folder's name as text."""
        with_paths(self, "run_dir")


class Built(NamedTuple):
    """What a configuration describes. ``family`` is a `RegressionFamily` or a `envs.few_shot.FewShotFamily`."""

    family: Any
    learner: MetaLearner


def refuse_bad_values(config: Any) -> None:
    """Refuse flag values of any supervised run, before anything compiles."""
    at_least(config, num_iterations=0, num_tasks=1, hidden_sizes=1, devices=1, task_batch=1, log_every=1, checkpoint_every=1)
    between(config, seed=(0, MAX_SEED), outer_lr=(0, float("inf")))
    multiple(config, "checkpoint_every", "log_every")


def learner_of(config: Any, world: agents.World, training: Training) -> MetaLearner:
    """The agent of a configuration in a world, or a `UserError` that says why there is none."""
    try:
        return agents.build(config.agent, world, training, **settings.own(config, world.kind))
    except ValueError as error:
        raise UserError(str(error)) from error


def run(
    experiment: Experiment,
    config: Any,
    build: Callable[[Any, TaskMap], Built],
    evaluate: Callable[[Any, dict[str, Any]], None],
    *,
    keep: int | None = KEEP,
    probe: Callable[[Any, Any], dict[str, float]] | None = None,
    task_lists: Mapping[str, str] | None = None,
    resolve: Callable[[Any], Any] = lambda config: config,
) -> None:
    """Meta-train, evaluate, and write the run folder, or those of a sweep.

    Args:
        experiment: whose run this is.
        config: settings, as given.
        build: (resolved settings, how tasks are worked on) -> what they describe.
        evaluate: (settings, config.json) -> evaluates the newest checkpoint.
        keep: how many of the newest checkpoints stay; all if None.
        probe: (settings, state) -> metrics for the first and the last line of metrics.jsonl.
        task_lists: what tells given tasks from others, by their names; a run is not resumed on others.
        resolve: refuses bad settings, and fills in what depends on others: of a sweep those of each combination.
    """
    kind, place = experiment.kind, lambda config: spread(_devices(config), config.task_batch)
    train = functools.partial(_train, experiment, build, evaluate, keep, probe, task_lists)
    if not config.sweep:
        config = resolve(config)
        return train(config, one_per_seed(config), ())
    sweep.sweep(config, kind, resolve=resolve, learner_of=lambda each: build(each, place(each)).learner, train=train)
    sweep_report.write(config.run_dir)


def _devices(config: Any) -> int:
    return choose_devices(config.devices or 1, config.num_tasks)


def _train(
    experiment: Experiment,
    build: Callable[[Any, TaskMap], Built],
    evaluate: Callable[[Any, dict[str, Any]], None],
    keep: int | None,
    probe: Callable[[Any, Any], dict[str, float]] | None,
    task_lists: Mapping[str, str] | None,
    config: Any,
    runs: Sequence[Any],
    names: Sequence[str],
) -> None:
    """Train the runs in one program, whose inputs the named settings are."""
    runs = [dataclasses.replace(each, devices=_devices(each)) for each in runs]
    first, kind = runs[0], experiment.kind
    task_map = spread(first.devices, first.task_batch)
    uses = settings.declared(config.agent, kind).uses
    train_and_evaluate(
        experiment,
        config,
        build(first, task_map).learner,
        loop.Schedule(first.num_iterations, first.log_every, first.checkpoint_every, keep),
        evaluate,
        env=experiment.name.replace("_", "-"),
        execution=loop.execution_of(first, "remat" in uses, task_map),
        probe=probe,
        task_lists=task_lists,
        runs=runs,
        swept=sweep.swept_of(runs, kind, names, lambda each: build(each, task_map).learner),
    )
