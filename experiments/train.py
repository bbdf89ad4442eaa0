"""``python -m experiments.train --env ID --agent NAME --seed S --run-dir DIR``: any task family with any agent."""

from collections.abc import Sequence
from typing import Any

import agents
from experiments import runner
from experiments.command import one_line_errors, parse
from experiments.config import TrainConfig, build, resolve
from experiments.evaluate import EvaluateConfig, evaluate
from experiments.session import train_and_evaluate


def train(config: TrainConfig) -> None:
    """Meta-train as ``config`` says and write the run folder, or one for each of several seeds."""
    config = resolve(config)
    built = build(config)
    schedule = runner.Schedule(config.num_iterations, log_every=1, checkpoint_every=config.checkpoint_every)

    def evaluate_run(run: TrainConfig, described: dict[str, Any]) -> None:
        settings = EvaluateConfig(
            run.run_dir, num_tasks=run.eval_tasks, num_steps=run.eval_steps, num_episodes=run.eval_episodes
        )
        evaluate(settings, described)

    train_and_evaluate(
        "train",
        config,
        built.learner,
        schedule,
        evaluate_run if config.eval_tasks else None,
        env=config.env,
        extendable=config.outer_schedule == "constant" and config.agent not in agents.ANNEALED,
    )


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    train(parse(TrainConfig, args, "python -m experiments.train"))


if __name__ == "__main__":
    main()
