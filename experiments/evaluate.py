"""``python -m experiments.evaluate --run-dir DIR``: the held-out adaptation curve of a trained run."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import agents
import envs
from experiments import sinusoid, step_function
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.family_errors import NotFinite, blame
from experiments.cli.flags import at_least, between, from_settings, parse
from experiments.evaluation import rollout_video, wandb_evaluation
from experiments.evaluation.trained import Trained, load
from experiments.reporting import figures
from experiments.reporting.intervals import bootstrap_ci95, iqm, share_ci95, task_hash
from experiments.runs import checkpoint
from experiments.runs.folder import lock, read_config, write_json
from experiments.runs.seed_folders import seed_folders
from experiments.training import agent_flags
from experiments.training.config import TrainConfig, build

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
    """N: episodes per inner step (for agents with memory: trials to average over); as in training if not given."""
    step_scale: tuple[float, ...] | None = None
    """How far each inner step goes, relative to training; as the run was set if not given. 1 0.5 halves it after the first."""


def evaluate(config: EvaluateConfig, described: dict[str, Any]) -> None:
    """Evaluate the newest checkpoint; print the table, write evaluation.json, adaptation.png, rollout.gif and wandb.

    Args:
        config: which run and how; the caller holds the run's lock.
        described: the run's config.json.
    """
    at_least(config, num_tasks=1, num_steps=0, num_episodes=1)
    between(config, step_scale=(1e-9, float("inf")))
    settings = described["settings"]
    if config.env not in (None, settings["env"]):
        raise UserError(f"--env is {config.env}, but {config.run_dir} was trained on {settings['env']}; leave --env out.")
    if config.step_scale and settings["agent"] not in agent_flags.INNER:
        raise UserError(f"--step-scale is {config.step_scale}, but {settings['agent']} takes no inner steps; leave it out.")
    changes: dict[str, Any] = {"num_episodes": config.num_episodes, "test_step_scale": config.step_scale}
    trained = load(config.run_dir, **{name: value for name, value in changes.items() if value is not None})
    tasks = envs.held_out_tasks(trained.family, config.num_tasks)
    with blame(settings["env"], trained.family):
        curves = adapt_all(trained, tasks, config.num_steps)
        summary = summarise(curves["returns"].astype(np.float64), curves["mean_returns"].astype(np.float64))
    result = {
        "env": settings["env"],
        "agent": settings["agent"],
        "seed": settings["seed"],
        "iteration": trained.iteration,
        "adapts_by": adapts_by(settings["agent"]),
        "num_tasks": config.num_tasks,
        "num_episodes": config.num_episodes or settings["num_episodes"],
        "step_scale": list(config.step_scale or settings.get("test_step_scale") or (1.0,)),
        "episodes": curves["used"][0].tolist(),
        **summary,
        "task_hash": task_hash(tasks),
    }
    write_json(config.run_dir / "evaluation.json", result)
    draw(config.run_dir / "adaptation.png", trained.family, tasks, result, curves)
    print_table(result)
    first = jax.tree.map(lambda x: x[0], curves | {"tasks": tasks})
    episodes = {name: (first[name][0], first["actions"][i], first[name][1]) for i, name in enumerate(("before", "after"))}
    rollout_video.write(config.run_dir / "rollout.gif", trained.family, first["tasks"], episodes)
    wandb_evaluation.log(config.run_dir, described, result, trained.env_steps)


def adapts_by(agent: str) -> str:
    """How an agent gets from 0 to K on a new task: "gradient" steps, all on "one batch", "memory", or "nothing"."""
    if agent in agent_flags.INNER:
        return "one batch" if agent in agents.REUSE else "gradient"
    return "memory" if agent in agents.MEMORY else "nothing"


def adapt_all(trained: Trained, tasks: Any, num_steps: int) -> dict[str, Any]:
    """Adapt to every task. Task i's random numbers depend on i alone; compiled once for all seeds of a run.

    Returns:
        "returns" [M, K+1], mean over N episodes after 0..K inner steps; "mean_returns" [M, K+1], the same acting by the mode of
        the policy; "used" [M, K+1], episodes used by then; "before" and "after", the first episode with the unadapted and with
        the last parameters: (observation [M, T, ...], mask [M, T], last observation [M, ...]); "actions", those of both.
    """
    like_any_seed = dataclasses.replace(trained.config, seed=0, run_dir=Path(), resume=False, overwrite=False)
    return jax.device_get(adapter(like_any_seed, num_steps)(trained.state, tasks))


@functools.lru_cache(maxsize=1)
def adapter(config: TrainConfig, num_steps: int) -> Callable[[Any, Any], dict[str, Any]]:
    """The compiled (state, tasks) -> curves of `adapt_all`."""
    learner = build(config).learner

    def one(state: Any, index: jax.Array, task: Any) -> dict[str, Any]:
        key = jax.random.fold_in(jax.random.key(checkpoint.KEY_OF_EVALUATION), index)
        curve = learner.adapt(state, task, key, num_steps)
        support, query = curve.experience
        first = query if num_steps == 0 else jax.tree.map(lambda x: x[0], support)
        episodes = {"before": first_episode(first), "after": first_episode(query)}
        episodes["actions"] = (first.trajectory.action[0], query.trajectory.action[0])
        return {"returns": curve.score, "mean_returns": curve.mean_score, "used": curve.used} | episodes

    def first_episode(batch: Any) -> tuple[jax.Array, ...]:
        trajectory = batch.trajectory
        return trajectory.observation[0], trajectory.mask[0], trajectory.last_observation[0]

    @jax.jit
    def all_tasks(state, tasks):
        num_tasks = jax.tree.leaves(tasks)[0].shape[0]
        batch = min(TASKS_AT_ONCE, num_tasks)
        return jax.lax.map(lambda pair: one(state, *pair), (jnp.arange(num_tasks), tasks), batch_size=batch)

    return all_tasks


def summarise(returns: np.ndarray, mean_returns: np.ndarray) -> dict[str, Any]:
    """Means, intervals and the share of tasks hurt, under the names of evaluation.json.

    Args:
        returns: [M, K+1], of sampled actions.
        mean_returns: [M, K+1], of the policy's mode.
    """
    if not np.all(np.isfinite(returns)):
        raise NotFinite("the agent's held-out returns are not finite; its adaptation diverges: try a smaller --inner-lr.")
    hurt = (returns[:, -1] < returns[:, 0]).astype(np.float64)
    return {
        "return_mean": returns.mean(axis=0).tolist(),
        "return_ci95": bootstrap_ci95([returns]).tolist(),
        "return_iqm": iqm(returns).tolist(),
        "mean_action_mean": mean_returns.mean(axis=0).tolist(),
        "mean_action_ci95": bootstrap_ci95([mean_returns]).tolist(),
        "hurt": float(hurt.mean()),
        "hurt_ci95": share_ci95([hurt]),
        "returns": returns.tolist(),
        "mean_action_returns": mean_returns.tolist(),
    }


def draw(path: Path, family: Any, tasks: Any, result: dict[str, Any], curves: dict[str, Any]) -> None:
    """The adaptation curve and, where the family lies in a plane, paths before and after adaptation."""
    episodes = None
    if family.plane(np.zeros(family.observation_space.shape or ()), family.default_params) is not None:
        episodes = jax.tree.map(lambda x: x[:TASKS_DRAWN], (curves["before"], curves["after"]))
    figures.adaptation(path, result, family, jax.device_get(tasks), episodes)


def print_table(result: dict[str, Any]) -> None:
    """The adaptation table, with intervals."""
    table = Table(title=f"{result['agent']} on {result['num_tasks']} held-out tasks of {result['env']}")
    step = "episode" if result["adapts_by"] == "memory" else "inner step"
    for heading in (step, "episodes", "return", "95 % interval", "IQM", "mean action"):
        table.add_column(heading, justify="right", no_wrap=True)
    columns = ("episodes", "return_mean", "return_ci95", "return_iqm", "mean_action_mean")
    rows = zip(*(result[name] for name in columns), strict=True)
    for k, (episodes, mean, (low, high), middle, greedy) in enumerate(rows):
        table.add_row(str(k), str(episodes), f"{mean:.2f}", f"[{low:.2f}, {high:.2f}]", f"{middle:.2f}", f"{greedy:.2f}")
    console = Console()
    console.print(table)
    low, high = result["hurt_ci95"]
    console.print("episodes: used on the new task by then; IQM: interquartile mean; mean action: without sampling.")
    console.print(f"worse after the last than at first: {result['hurt']:.0%} of tasks [{low:.0%}, {high:.0%}]", highlight=False)


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    config = parse(EvaluateConfig, args, command_line("evaluate"))
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
