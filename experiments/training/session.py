"""One run, or several seeds together, from start to end: make or resume the folders, train, evaluate."""

import dataclasses
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError
from experiments.cli.flags import MAX_SEED, at_least
from experiments.cli.luxuries import luxury
from experiments.cli.signals import Stopped
from experiments.runs import checkpoint
from experiments.runs.folder import CONFIG, EVALUATION, EXECUTION, load_json, prepare, refuse_parent, write_json
from experiments.runs.seed_folders import seed_folder
from experiments.runs.writer import open_writer
from experiments.training import loop
from experiments.training.experiment import Experiment
from experiments.training.follower import follow
from experiments.training.resume import Start
from experiments.training.seeds import Swept
from experiments.training.settings import declared, flat, stored_as
from metarl.interfaces import MetaLearner

OUTDATED = "evaluation_outdated"  # in config.json, while evaluation.json is of other settings


def train_and_evaluate(
    experiment: Experiment,
    config: Any,
    learner: MetaLearner,
    schedule: loop.Schedule,
    evaluate: Callable[[Any, dict[str, Any]], None] | None,
    *,
    env: str,
    execution: loop.Execution = loop.PLAINLY,
    probe: Callable[[Any, Any], dict[str, float]] | None = None,
    start: Callable[[], list[Start]] | None = None,
    task_lists: Mapping[str, str] | None = None,
    runs: Sequence[Any] | None = None,
    swept: Swept | None = None,
) -> None:
    """Do what is left to do of a run, or of the runs of several seeds: the training, the evaluation, or nothing.

    Args:
        experiment: whose runs these are.
        config: its settings, with run_dir, agent, seed, seeds, resume and overwrite.
        learner: what is trained.
        schedule: how long, and how often it writes.
        evaluate: evaluates the newest checkpoint of one run, given its settings and config.json; None leaves it out.
        env: for wandb.
        execution: how it is carried out.
        probe: (settings of the run, state) -> metrics for the first and the last line of metrics.jsonl.
        start: what each seed begins with, where it is not the learner's own start; asked if a run has no checkpoint yet.
        task_lists: what tells given lists of tasks from others, by their names; a run is not resumed on others.
        runs: the settings of each run, where they are not those of ``config`` with its seeds.
        swept: the settings in which they differ, if they do.

    Raises:
        Stopped: a signal ended the training early; all is saved.
    """
    script = experiment.name
    annealed = getattr(config, "outer_schedule", "constant") != "constant"
    extendable = declared(config.agent, experiment.kind).extendable and not annealed
    configs = one_per_seed(config) if runs is None else list(runs)
    if not execution.group.is_first():
        if execution.group.announce(None):  # there is something to train
            _stopped(follow(learner, [each.seed for each in configs], schedule, execution), script, config.run_dir, schedule)
        return
    all_settings = [flat(each, experiment.kind) for each in configs]

    def complete(stored: dict[str, Any]) -> dict[str, Any]:
        again = flat(stored_as(experiment.config, experiment.kind, stored | {"run_dir": config.run_dir}), experiment.kind)
        return json.loads(json.dumps(again)) | stored

    run_configs, locks = prepare(
        script,
        all_settings,
        experiment=experiment.found_at(),
        extendable=extendable,
        complete=complete,
        task_lists=None if task_lists is None else dict(task_lists),
    )
    with locks:
        pairs = list(zip(configs, run_configs, strict=True))
        for each, run_config in pairs:
            _note_evaluation(each, run_config)
        done = min(checkpoint.newest_sound(each.run_dir, learner) for each in configs)
        if execution.group.announce(done < schedule.num_iterations):
            _stopped(
                _train(pairs, learner, schedule, env=env, execution=execution, probe=probe, start=start, swept=swept),
                script,
                config.run_dir,
                schedule,
            )
        else:
            advice = "raise --num-iterations to go on" if extendable else "its schedule ends there"
            where = config.run_dir if swept is None else f"{len(configs)} runs: each"
            print(f"{where} already has its {done} iterations; {advice}.")
        if evaluate is None:
            return
        for each, run_config in pairs:
            if _evaluated(each.run_dir) != checkpoint.newest(each.run_dir) or OUTDATED in run_config:
                if len(pairs) > 1:
                    with luxury("the name of the run"):
                        print(f"{each.run_dir}:")
                evaluate(each, run_config)
                if run_config.pop(OUTDATED, False):
                    write_json(each.run_dir / CONFIG, run_config)


def _note_evaluation(config: Any, run_config: dict[str, Any]) -> None:
    """Note in config.json that a resumed run is to be evaluated otherwise than it was, until it has been."""
    settings = run_config["settings"]
    new = {name: getattr(config, name) for name in EVALUATION if hasattr(config, name)}
    if any(settings.get(name) != value for name, value in new.items()):
        run_config[OUTDATED] = True
        settings |= new
        write_json(config.run_dir / CONFIG, run_config)


def _stopped(finished: loop.Finished, script: str, run_dir: Any, schedule: loop.Schedule) -> None:
    """Say so if a signal ended the training early."""
    if finished.signal:
        raise Stopped(
            f"{finished.signal}: stopped after iteration {finished.iteration} of {schedule.num_iterations} and saved; "
            f"go on with: {command_line(script)} --run-dir {shlex.quote(str(run_dir))} --resume"
        )


def one_per_seed(config: Any) -> list[Any]:
    """The settings of each run: ``config`` itself or, with ``--seeds``, one per seed with a folder of its own."""
    if config.seeds is None:
        return [config]
    at_least(config, seeds=1)
    last = config.seed + config.seeds - 1
    if last > MAX_SEED:
        raise UserError(
            f"--seed {config.seed} with --seeds {config.seeds} ends beyond the largest seed, {MAX_SEED}; lower one."
        )
    refuse_parent(config.run_dir)
    return [
        dataclasses.replace(config, seed=seed, seeds=None, run_dir=seed_folder(config.run_dir, seed))
        for seed in range(config.seed, last + 1)
    ]


def _train(
    runs: list[tuple[Any, dict[str, Any]]],
    learner: MetaLearner,
    schedule: loop.Schedule,
    *,
    env: str,
    execution: loop.Execution,
    probe: Callable[[Any, Any], dict[str, float]] | None,
    start: Callable[[], list[Start]] | None,
    swept: Swept | None,
) -> loop.Finished:
    """Train the runs, each given by its settings and its config.json, in one program."""
    with ExitStack() as stack:
        outputs = []
        for config, run_config in runs:
            planned = max(schedule.num_iterations, checkpoint.newest(config.run_dir))
            run_config["settings"] |= {name: getattr(config, name) for name in EXECUTION if name in run_config["settings"]}
            run_config["settings"]["num_iterations"] = planned
            write_json(config.run_dir / CONFIG, run_config)
            opened = open_writer(config.run_dir, run_config, agent=config.agent, env=env, keep=schedule.keep)
            outputs.append(stack.enter_context(opened))
        of_run = None if probe is None else lambda i, state: probe(runs[i][0], state)
        return loop.run(learner, outputs, schedule, execution=execution, probe=of_run, start=start, swept=swept)


def _evaluated(run_dir: Any) -> int:
    """The iteration that evaluation.json is about; -1 if there is none."""
    path = run_dir / "evaluation.json"
    found = load_json(path).get("iteration", -1) if path.is_file() else -1
    return found if isinstance(found, int) else -1
