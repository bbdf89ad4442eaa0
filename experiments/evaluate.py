"""``python -m experiments.evaluate --run-dir DIR``: the held-out adaptation curve of a trained run."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import envs
from experiments import checkpoint, plots, sinusoid, step_function, tracking
from experiments.command import UserError, at_least, from_settings, one_line_errors, parse
from experiments.config import Built, TrainConfig, build
from experiments.run_folder import lock, read_config, write_json
from experiments.seed_folders import seed_folders
from experiments.statistics import bootstrap_ci95, iqm, task_hash

TASKS_AT_ONCE = 20  # bounds memory; results do not depend on it
TASKS_DRAWN = 4  # paths shown in the picture


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a trained run on held-out tasks: return after 0..K inner steps, with 95 % intervals.

    A supervised run is evaluated as its own settings say.
    """

    run_dir: Path
    """A run made by experiments.train, or a folder that holds those of several seeds."""
    env: str | None = None
    """If given, checked against the run's."""
    num_tasks: int = 100
    """M: held-out tasks; the first M of the family's fixed list."""
    num_steps: int = 3
    """K: inner steps, more than trained if you like."""
    num_episodes: int | None = None
    """N: episodes per inner step; as in training if not given."""


def evaluate(config: EvaluateConfig, described: dict[str, Any]) -> None:
    """Evaluate the newest checkpoint; print the table, write evaluation.json, adaptation.png and a wandb run.

    Args:
        config: which run and how; the caller holds the run's lock.
        described: the run's config.json.
    """
    at_least(config, num_tasks=1, num_steps=0, num_episodes=1)
    trained = from_settings(TrainConfig, described["settings"] | {"run_dir": config.run_dir})
    if config.env not in (None, trained.env):
        raise UserError(f"--env is {config.env}, but {config.run_dir} was trained on {trained.env}; leave --env out.")
    num_episodes = config.num_episodes or trained.num_episodes
    built = build(trained, num_episodes=num_episodes)
    iteration, state, env_steps = checkpoint.load(config.run_dir, built.learner)
    tasks = envs.held_out_tasks(built.family, config.num_tasks)
    curves = adapt_all(built, state, tasks, config.num_steps)
    result = summarise(curves["returns"].astype(np.float64), num_episodes) | {"task_hash": task_hash(tasks)}
    result = {"env": trained.env, "agent": trained.agent, "seed": trained.seed, "iteration": iteration} | result
    write_json(config.run_dir / "evaluation.json", result)
    draw(config.run_dir / "adaptation.png", built, tasks, result, curves)
    print_table(result)
    log(config.run_dir, described, result, env_steps)


def adapt_all(built: Built, state: Any, tasks: Any, num_steps: int) -> dict[str, Any]:
    """Adapt to every task. Task i's random numbers depend on i alone.

    Returns:
        "returns" [M, K+1], mean over N episodes after 0..K inner steps; "before" and "after", the first episode with the
        unadapted and with the last parameters: (observation [M, T, ...], mask [M, T], last observation [M, ...]).
    """

    def one(index_and_task: tuple[jax.Array, Any]) -> dict[str, Any]:
        index, task = index_and_task
        key = jax.random.fold_in(jax.random.key(checkpoint.KEY_OF_EVALUATION), index)
        curve = built.learner.adapt(state, task, key, num_steps)
        support, query = curve.experience
        first = query if num_steps == 0 else jax.tree.map(lambda x: x[0], support)
        return {"returns": curve.score, "before": first_episode(first), "after": first_episode(query)}

    def first_episode(batch: Any) -> tuple[jax.Array, ...]:
        trajectory = batch.trajectory
        return trajectory.observation[0], trajectory.mask[0], trajectory.last_observation[0]

    num_tasks = jax.tree.leaves(tasks)[0].shape[0]
    batch = min(TASKS_AT_ONCE, num_tasks)
    curves = jax.jit(lambda tasks: jax.lax.map(one, (jnp.arange(num_tasks), tasks), batch_size=batch))(tasks)
    return jax.device_get(curves)


def summarise(returns: np.ndarray, num_episodes: int) -> dict[str, Any]:
    """Means, intervals and budgets of ``returns`` [M, K+1], under the names of evaluation.json."""
    if not np.all(np.isfinite(returns)):
        raise UserError("the agent's held-out returns are not finite; its adaptation diverges: try a smaller --inner-lr.")
    num_tasks, num_points = returns.shape
    return {
        "num_tasks": num_tasks,
        "num_episodes": num_episodes,
        "episodes": [k * num_episodes for k in range(num_points)],
        "return_mean": returns.mean(axis=0).tolist(),
        "return_ci95": bootstrap_ci95([returns]).tolist(),
        "return_iqm": iqm(returns).tolist(),
        "returns": returns.tolist(),
    }


def draw(path: Path, built: Built, tasks: Any, result: dict[str, Any], curves: dict[str, Any]) -> None:
    """The adaptation curve and, where the family lies in a plane, paths before and after adaptation."""
    family, episodes = built.family, None
    if family.plane(np.zeros(family.observation_space.shape or ()), family.default_params) is not None:
        episodes = jax.tree.map(lambda x: x[:TASKS_DRAWN], (curves["before"], curves["after"]))
    plots.adaptation(path, result, family, jax.device_get(tasks), episodes)


def print_table(result: dict[str, Any]) -> None:
    """The adaptation table, with intervals."""
    table = Table(title=f"{result['agent']} on {result['num_tasks']} held-out tasks of {result['env']}")
    for heading in ("inner steps", "episodes used", "return", "95 % interval", "interquartile mean"):
        table.add_column(heading, justify="right")
    rows = zip(result["episodes"], result["return_mean"], result["return_ci95"], result["return_iqm"], strict=True)
    for k, (episodes, mean, (low, high), middle) in enumerate(rows):
        table.add_row(str(k), str(episodes), f"{mean:.2f}", f"[{low:.2f}, {high:.2f}]", f"{middle:.2f}")
    Console().print(table)


def log(run_dir: Path, described: dict[str, Any], result: dict[str, Any], env_steps: int) -> None:
    """The same numbers as a wandb run of job type eval."""
    run = tracking.start_wandb(run_dir, described, agent=result["agent"], env=result["env"], job_type="eval")
    means = result["return_mean"]
    steps = {f"eval/step_{k}": mean for k, mean in enumerate(means)}
    run.log(steps | {"eval/pre": means[0], "eval/post": means[-1], "time/env_steps": env_steps})
    run.finish()


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    config = parse(EvaluateConfig, args, "python -m experiments.evaluate")
    seeds = seed_folders(config.run_dir)
    for run_dir in seeds.values() or [config.run_dir]:
        if seeds:
            print(f"{run_dir}:")
        evaluate_run(dataclasses.replace(config, run_dir=run_dir))


def evaluate_run(config: EvaluateConfig) -> None:
    """Evaluate one run, of whichever script, under its lock."""
    described = read_config(config.run_dir)
    settings = described["settings"] | {"run_dir": config.run_dir}
    with lock(config.run_dir):
        if described["script"] == "sinusoid":
            sinusoid.evaluate(from_settings(sinusoid.SinusoidConfig, settings), described)
        elif described["script"] == "step_function":
            steps = from_settings(step_function.StepFunctionConfig, settings)
            step_function.evaluate(steps, step_function.build(steps))
        else:
            evaluate(config, described)


if __name__ == "__main__":
    main()
