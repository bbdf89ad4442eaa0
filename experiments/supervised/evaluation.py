"""Held-out evaluation of supervised runs: error, or accuracy, after 0..10 inner steps for several numbers of test points."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cli.luxuries import luxury
from experiments.reporting import figures
from experiments.reporting.intervals import bootstrap_ci95, task_hash
from experiments.reporting.tables import Table, digits, show, tasks_of
from experiments.runs import checkpoint, wandb_run
from experiments.runs.folder import write_json
from metarl.interfaces import AdaptationCurve

TEST_SHOTS = (5, 10, 20)
TEST_STEPS = 10
SHOTS_DRAWN = 5
STEPS_DRAWN = (0, 1, 5, 10)
TASKS_DRAWN = 3
DIVERGED = 1e6  # what a task whose inner steps ran away counts for: finite, and plain to see in the mean


class Measure(NamedTuple):
    """What is read off an adaptation curve.

    Attributes:
        name: in evaluation.json.
        words: in tables.
        of: curve -> [K+1].
    """

    name: str
    words: str
    of: Callable[[AdaptationCurve], jax.Array]


MSE = Measure("mse", "mean squared error", lambda curve: -curve.score)
CROSS_ENTROPY = Measure("cross_entropy", "cross-entropy", lambda curve: -curve.score)
ACCURACY = Measure("accuracy", "accuracy", lambda curve: curve.measures["accuracy"])


def evaluate(
    run_dir: Path,
    labels: dict[str, Any],
    built: dict[int, Any],
    state: Any,
    tasks: Any,
    *,
    run_config: dict[str, Any],
    measures: tuple[Measure, ...],
    draw: Callable[[Path, dict[str, Any]], None],
    of_task: np.ndarray | None = None,
    digest: str | None = None,
) -> None:
    """Evaluate on held-out tasks; print the table, write evaluation.json, adaptation.png and a wandb run.

    Args:
        run_dir: the run's folder.
        labels: env, protocol, agent, seed and so on, for evaluation.json.
        built: test shots -> family, network and learner.
        state: what was learned.
        tasks: held-out tasks [M].
        run_config: the run's config.json.
        measures: the first is that of tables, the last is the loss.
        draw: (path, what evaluation.json holds) -> draws adaptation.png.
        of_task: [M], where tasks are repeats of a few, which each is of.
        digest: what tells these tasks from others; their hash if None.
    """
    found = {shots: held_out_measures(each.learner, tasks, measures)(state) for shots, each in built.items()}
    result = labels | {"num_tasks": len(jax.tree.leaves(tasks)[0])} | ({} if of_task is None else {"of_task": of_task.tolist()})
    for name in (measure.name for measure in measures):
        values = {str(shots): each[name] for shots, each in found.items()}
        result |= {
            f"{name}_mean": {shots: value.mean(axis=0).tolist() for shots, value in values.items()},
            f"{name}_ci95": {shots: bootstrap_ci95([value], of_task).tolist() for shots, value in values.items()},
            f"{name}_median": {shots: np.median(value, axis=0).tolist() for shots, value in values.items()},
            name: {shots: value.round(6).tolist() for shots, value in values.items()},
        }
    result["task_hash"] = task_hash(tasks) if digest is None else digest
    write_json(run_dir / "evaluation.json", result)
    with luxury("the table"):
        print_table(result, measures[0])
    picture = run_dir / "adaptation.png"
    with luxury(picture.name, picture):
        draw(picture, result)
    with luxury("the evaluation in wandb"):
        log(run_dir, run_config, result, measures)


def held_out_measures(learner: Any, tasks: Any, measures: tuple[Measure, ...]) -> Callable[[Any], dict[str, np.ndarray]]:
    """State -> name -> [M, 11] of held-out tasks after 0..10 steps, always on the same data; compiles once for all states."""
    key = jax.random.key(checkpoint.KEY_OF_EVALUATION)
    compiled = jax.jit(lambda state: measured(learner, state, tasks, key, TEST_STEPS, measures))
    return lambda state: {name: np.asarray(value, np.float64) for name, value in compiled(state).items()}


def held_out_errors(learner: Any, tasks: Any) -> Callable[[Any], np.ndarray]:
    """State -> [M, 11] mean squared errors, as in `held_out_measures`."""
    found = held_out_measures(learner, tasks, (MSE,))
    return lambda state: found(state)[MSE.name]


def errors(learner: Any, state: Any, tasks: Any, key: jax.Array, num_steps: int) -> jax.Array:
    """[M, K+1] query mean squared error of each task after 0..K steps on one support set, at most `DIVERGED`."""
    return measured(learner, state, tasks, key, num_steps, (MSE,))[MSE.name]


def measured(
    learner: Any, state: Any, tasks: Any, key: jax.Array, num_steps: int, measures: tuple[Measure, ...]
) -> dict[str, jax.Array]:
    """Name -> [M, K+1] of the query set of each task after 0..K steps on one support set, at most `DIVERGED`."""

    def one(index: jax.Array, task: Any) -> dict[str, jax.Array]:
        curve = learner.adapt(state, task, jax.random.fold_in(key, index), num_steps)
        return {measure.name: measure.of(curve) for measure in measures}

    num_tasks = jax.tree.leaves(tasks)[0].shape[0]
    found = jax.vmap(one)(jnp.arange(num_tasks), tasks)
    return jax.tree.map(lambda x: jnp.minimum(jnp.nan_to_num(x, nan=DIVERGED, posinf=DIVERGED), DIVERGED), found)


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


def print_table(result: dict[str, Any], measure: Measure) -> None:
    """Means with intervals, one column per number of test points."""
    by_shots = result[f"{measure.name}_mean"]
    rows = []
    for k in range(TEST_STEPS + 1):
        cells = []
        for shots, means in by_shots.items():
            low, high = result[f"{measure.name}_ci95"][shots][k]
            cells.append(f"{digits(means[k])} [{digits(low, 2)}, {digits(high, 2)}]")
        rows.append((str(k), *cells))
    title = f"{result['agent']}: {measure.words} on {tasks_of(result)} [95 % interval]"
    show(Table(("inner steps", *(f"{shots}-shot" for shots in by_shots)), rows, title, words=()))
    for shots, rows in result["mse"].items() if measure is MSE else ():
        count = sum(row[-1] > 100 for row in rows)
        if count:
            print(f"{shots}-shot: inner steps diverge on {count} of {len(rows)} tasks (error above 100 after {TEST_STEPS}).")


def log(run_dir: Path, run_config: dict[str, Any], result: dict[str, Any], measures: tuple[Measure, ...]) -> None:
    """The same numbers as a wandb run of job type eval; scores are negative losses, as everywhere."""
    run = wandb_run.start_wandb(run_dir, run_config, agent=result["agent"], env=result["env"], job_type="eval")
    wandb_run.log_model(run, run_dir, used=True)
    mean = next(iter(result[f"{measures[-1].name}_mean"].values()))
    row = {f"eval/step_{k}": -error for k, error in enumerate(mean)} | {"eval/pre": -mean[0], "eval/post": -mean[-1]}
    row["time/env_steps"] = result["env_steps"]
    for name in (measure.name for measure in measures):
        row |= {f"eval/{name}_{shots}_shot_step_1": means[1] for shots, means in result[f"{name}_mean"].items()}
    run.log(row)
    run.finish()
