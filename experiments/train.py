"""``python -m experiments.train --env ID --agent NAME --seed S --run-dir DIR``: any task family with any agent."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import agents
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.family_errors import blame
from experiments.cli.flags import parse
from experiments.distributed import group
from experiments.evaluate import EvaluateConfig, evaluate
from experiments.runs.folder import CONFIG, read_config, to_resume
from experiments.runs.seed_folders import seed_folders
from experiments.training import loop
from experiments.training.config import TrainConfig, build, family_of, resolve
from experiments.training.devices import choose_batch, choose_devices, spread
from experiments.training.session import train_and_evaluate


def train(config: TrainConfig) -> None:
    """Meta-train as ``config`` says and write the run folder, or one for each of several seeds."""
    with group.joined(config) as settings:
        _train(settings)


def _train(config: TrainConfig) -> None:
    refuse_another_agent(config)
    config = resolve(config)
    family = family_of(config)
    devices = choose_devices(config.devices, config.num_tasks, family, config.agent)
    config = dataclasses.replace(config, devices=devices, task_batch=choose_batch(config.task_batch, family))
    over_tasks = spread(config.devices, config.task_batch)
    built = build(config, over_tasks=over_tasks)
    schedule = loop.Schedule(config.num_iterations, log_every=1, checkpoint_every=config.checkpoint_every)

    def evaluate_run(run: TrainConfig, described: dict[str, Any]) -> None:
        settings = EvaluateConfig(
            run.run_dir, num_tasks=run.eval_tasks, num_steps=run.eval_steps, num_episodes=run.eval_episodes
        )
        evaluate(settings, described)

    with blame(config.env, built.family):
        train_and_evaluate(
            "train",
            config,
            built.learner,
            schedule,
            evaluate_run if config.eval_tasks else None,
            env=config.env,
            extendable=config.outer_schedule == "constant" and config.agent not in agents.ANNEALED,
            execution=loop.execution_of(config, over_tasks),
        )


def refuse_another_agent(config: TrainConfig) -> None:
    """Before flags are judged by the agent: a resumed run keeps its agent."""
    first = next(iter(seed_folders(config.run_dir).values()), config.run_dir)
    if config.resume and (first / CONFIG).is_file():
        agent = read_config(first)["settings"].get("agent")
        if agent != config.agent:
            raise UserError(f"{first} was made with --agent {agent}, not {config.agent}; leave the flag out to resume.")


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    train(parse(TrainConfig, args, command_line("train"), to_resume))


if __name__ == "__main__":
    main()
