"""``python -m experiments.train --env ID --agent NAME --seed S --run-dir DIR``: any task family with any agent."""

from collections.abc import Sequence

from experiments import checkpoint, runner, tracking
from experiments.command import one_line_errors, parse
from experiments.config import TrainConfig, build, check
from experiments.evaluate import EvaluateConfig, evaluate
from experiments.run_folder import prepare, settings_of


def train(config: TrainConfig) -> None:
    """Meta-train as ``config`` says and write the run folder."""
    check(config)
    built = build(config)
    described, lock = prepare("train", settings_of(config))
    with lock:
        if config.resume and checkpoint.newest(config.run_dir) >= config.num_iterations:
            print(f"{config.run_dir} already has its {config.num_iterations} iterations; raise --num-iterations to go on.")
            return
        wandb_run = tracking.start_wandb(config.run_dir, described, agent=config.agent, env=config.env, job_type="train")
        schedule = runner.Schedule(config.num_iterations, log_every=1, checkpoint_every=config.checkpoint_every)
        try:
            runner.run(built.learner, config.run_dir, schedule, seed=config.seed, resume=config.resume, wandb_run=wandb_run)
        finally:
            wandb_run.finish()
        if config.eval_tasks:
            evaluate(EvaluateConfig(config.run_dir, num_tasks=config.eval_tasks))


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    train(parse(TrainConfig, args, "python -m experiments.train"))


if __name__ == "__main__":
    main()
