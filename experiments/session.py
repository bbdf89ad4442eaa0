"""One run from start to end: make or resume the folder, train, evaluate."""

import json
from collections.abc import Callable
from typing import Any

import agents
from experiments import checkpoint, runner, tracking
from experiments.command import UserError
from experiments.run_folder import CONFIG, prepare, settings_of, write_json
from metarl.types import MetaLearner


def train_and_evaluate(
    script: str,
    config: Any,
    learner: MetaLearner,
    schedule: runner.Schedule,
    evaluate: Callable[[dict[str, Any]], None] | None,
    *,
    env: str,
    extendable: bool,
    probe: Callable[[Any], dict[str, float]] | None = None,
) -> None:
    """Do what is left to do of a run: the training, the evaluation, or nothing.

    Args:
        script: the command, such as "train".
        config: its settings, with run_dir, agent, seed, resume and overwrite.
        learner: what is trained.
        schedule: how long, and how often it writes.
        evaluate: evaluates the newest checkpoint, given config.json; None leaves it out.
        env: for wandb.
        extendable: whether a resumed run may go on for longer than planned.
        probe: state -> metrics for the first and the last line of metrics.jsonl.
    """
    described, lock = prepare(script, settings_of(config), extendable=extendable)
    with lock:
        done = checkpoint.newest(config.run_dir)
        if done < schedule.num_iterations:
            described["settings"]["num_iterations"] = schedule.num_iterations
            write_json(config.run_dir / CONFIG, described)
            wandb_run = tracking.start_wandb(config.run_dir, described, agent=config.agent, env=env, job_type="train")
            try:
                runner.run(
                    learner, config.run_dir, schedule, seed=config.seed, resume=config.resume, wandb_run=wandb_run, probe=probe
                )
            finally:
                tracking.finish(wandb_run, config.run_dir)
        else:
            advice = "raise --num-iterations to go on" if extendable else "its schedule ends there"
            print(f"{config.run_dir} already has its {done} iterations; {advice}.")
        if evaluate is not None and _evaluated(config.run_dir) != max(done, schedule.num_iterations):
            evaluate(described)


def build_agent(name: str, world: agents.World, settings: agents.Settings) -> MetaLearner:
    """The agent called ``name``, or a `UserError` that says why there is none."""
    try:
        return agents.agent(name)(world, settings)
    except ValueError as error:
        raise UserError(str(error)) from error


def _evaluated(run_dir: Any) -> int:
    """The iteration that evaluation.json is about; -1 if there is none."""
    path = run_dir / "evaluation.json"
    return int(json.loads(path.read_text()).get("iteration", -1)) if path.is_file() else -1
