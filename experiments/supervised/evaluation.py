"""Held-out evaluation of supervised runs: error after 0..10 inner steps for several numbers of test points."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import envs
from experiments.cli.luxuries import luxury
from experiments.reporting import figures
from experiments.reporting.intervals import bootstrap_ci95, task_hash
from experiments.reporting.tables import Table, digits, show
from experiments.runs import checkpoint, wandb_run
from experiments.runs.folder import write_json

TEST_SHOTS = (5, 10, 20)
TEST_STEPS = 10
SHOTS_DRAWN = 5
STEPS_DRAWN = (0, 1, 5, 10)
TASKS_DRAWN = 3
DIVERGED = 1e6  # what a task whose inner steps ran away counts for: finite, and plain to see in the mean


def evaluate(
    run_dir: Path, labels: dict[str, Any], built: dict[int, Any], state: Any, *, num_tasks: int, run_config: dict[str, Any]
) -> None:
    """Evaluate on held-out tasks; print the table, write evaluation.json, adaptation.png and a wandb run.

    Args:
        run_dir: the run's folder.
        labels: env, protocol, agent, seed and so on, for evaluation.json.
        built: test shots -> family, network and learner.
        state: what was learned.
        num_tasks: held-out tasks.
        run_config: the run's config.json.
    """
    tasks = envs.held_out_tasks(built[TEST_SHOTS[0]].family, num_tasks)
    found = {shots: held_out_errors(built[shots].learner, tasks)(state) for shots in TEST_SHOTS}
    result = labels | {
        "num_tasks": num_tasks,
        "mse_mean": {str(shots): error.mean(axis=0).tolist() for shots, error in found.items()},
        "mse_ci95": {str(shots): bootstrap_ci95([error]).tolist() for shots, error in found.items()},
        "mse_median": {str(shots): np.median(error, axis=0).tolist() for shots, error in found.items()},
        "mse": {str(shots): error.round(6).tolist() for shots, error in found.items()},
        "task_hash": task_hash(tasks),
    }
    write_json(run_dir / "evaluation.json", result)
    print_table(result)
    picture = run_dir / "adaptation.png"
    with luxury(picture.name, picture):
        draw(picture, built[SHOTS_DRAWN], state, tasks, labels["agent"])
    with luxury("the evaluation in wandb"):
        log(run_dir, run_config, result)


def held_out_errors(learner: Any, tasks: Any) -> Callable[[Any], np.ndarray]:
    """State -> [M, 11] `errors` of held-out tasks after 0..10 steps, always on the same data; compiles once for all states."""
    key = jax.random.key(checkpoint.KEY_OF_EVALUATION)
    compiled = jax.jit(lambda state: errors(learner, state, tasks, key, TEST_STEPS))
    return lambda state: np.asarray(compiled(state), np.float64)


def errors(learner: Any, state: Any, tasks: Any, key: jax.Array, num_steps: int) -> jax.Array:
    """[M, K+1] query mean squared error of each task after 0..K steps on one support set, at most `DIVERGED`."""

    def one(index: jax.Array, task: Any) -> jax.Array:
        return -learner.adapt(state, task, jax.random.fold_in(key, index), num_steps).score

    num_tasks = jax.tree.leaves(tasks)[0].shape[0]
    found = jax.vmap(one)(jnp.arange(num_tasks), tasks)
    return jnp.minimum(jnp.nan_to_num(found, nan=DIVERGED, posinf=DIVERGED), DIVERGED)


def draw(path: Path, built: Any, state: Any, tasks: Any, agent: str) -> None:
    """Predictions for a few held-out tasks before and during adaptation to five points."""
    x = jnp.linspace(built.family.x_range[0], built.family.x_range[1], 200)

    def one(task: Any, key: jax.Array) -> Any:
        curve = built.learner.adapt(state, task, key, TEST_STEPS)
        predictions = built.learner.predict(curve.path, task, x[:, None])[jnp.asarray(STEPS_DRAWN), :, 0]
        support = jax.tree.map(lambda leaf: leaf[0, :, 0], curve.experience.support)
        return {"true": built.family.curve(task, x), "support": support, "predictions": predictions}

    few = jax.tree.map(lambda leaf: leaf[:TASKS_DRAWN], tasks)
    keys = jax.random.split(jax.random.key(0), len(jax.tree.leaves(few)[0]))
    panels = jax.jit(jax.vmap(one))(few, keys)
    title = f"{agent}: adapting to {SHOTS_DRAWN} points of a held-out sinusoid"
    figures.sinusoid_fits(path, np.asarray(x), jax.device_get(panels), STEPS_DRAWN, title)


def print_table(result: dict[str, Any]) -> None:
    """Mean squared errors with intervals, one column per number of test points."""
    rows = []
    for k in range(TEST_STEPS + 1):
        cells = []
        for shots, means in result["mse_mean"].items():
            low, high = result["mse_ci95"][shots][k]
            cells.append(f"{digits(means[k])} [{digits(low, 2)}, {digits(high, 2)}]")
        rows.append((str(k), *cells))
    title = f"{result['agent']}: mean squared error on {result['num_tasks']} held-out tasks [95 % interval]"
    show(Table(("inner steps", *(f"{shots}-shot" for shots in result["mse_mean"])), rows, title, words=()))
    for shots, rows in result["mse"].items():
        count = sum(row[-1] > 100 for row in rows)
        if count:
            print(f"{shots}-shot: inner steps diverge on {count} of {len(rows)} tasks (error above 100 after {TEST_STEPS}).")


def log(run_dir: Path, run_config: dict[str, Any], result: dict[str, Any]) -> None:
    """The same numbers as a wandb run of job type eval; scores are negative losses, as everywhere."""
    run = wandb_run.start_wandb(run_dir, run_config, agent=result["agent"], env=result["env"], job_type="eval")
    wandb_run.log_model(run, run_dir, used=True)
    mean = result["mse_mean"][str(TEST_SHOTS[0])]
    row = {f"eval/step_{k}": -error for k, error in enumerate(mean)} | {"eval/pre": -mean[0], "eval/post": -mean[-1]}
    row["time/env_steps"] = result["env_steps"]
    run.log(row | {f"eval/mse_{shots}_shot_step_1": means[1] for shots, means in result["mse_mean"].items()})
    run.finish()
