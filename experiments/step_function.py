"""``python -m experiments.step_function``: MAML on piecewise-constant data, as in the Autograd tutorial."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import agents
import envs
from agents.parts.problems import judged_by_support, mean_squared_error
from agents.parts.world import regression_world
from envs.families.regression import RegressionFamily, step_function
from experiments.cli.command_line import command_line
from experiments.cli.errors import one_line_errors
from experiments.cli.flags import MAX_SEED, at_least, between, multiple, parse
from experiments.reporting import figures
from experiments.reporting.intervals import bootstrap_ci95, task_hash
from experiments.runs import checkpoint
from experiments.runs.folder import to_resume, write_json
from experiments.training import loop
from experiments.training.session import build_agent, train_and_evaluate
from metarl.interfaces import MetaLearner

ENV = "step-function"
NUM_POINTS = 100
VALIDATION_SETS = 500
PANELS = 12
INIT = nn.initializers.normal(0.1)  # of weights and biases


@dataclasses.dataclass(frozen=True)
class StepFunctionConfig:
    """Meta-train on step functions; half the mean squared error on the support points after five inner steps."""

    run_dir: Path
    """Where the run is written."""
    agent: str = "maml"
    """A name of agents.AGENTS."""
    seed: int = 0
    """Everything random in training follows from it; validation sets do not depend on it."""
    seeds: int | None = None
    """Train this many seeds together, from --seed on, each in a folder of its own: run_dir/seed-0 and so on."""
    num_iterations: int = 12_000
    """Meta-iterations."""
    num_tasks: int = 1
    """M: data sets per meta-iteration."""
    num_inner_steps: int = 5
    """K: inner steps."""
    inner_lr: float = 0.1
    """Step size of adaptation."""
    outer_lr: float = 0.01
    """Step size of plain SGD on the meta-parameters."""
    hidden_sizes: tuple[int, ...] = (50, 50)
    """Hidden layers, ReLU."""
    log_every: int = 100
    """Meta-iterations per line of metrics, which is their mean."""
    checkpoint_every: int = 2000
    """Meta-iterations between checkpoints; a multiple of log_every."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """When numbers become non-finite: stop the run, or skip that outer update and count it (outer/skipped)."""
    profile: bool = False
    """Write a JAX profiler trace of one compiled call to profile/ in the run's folder."""
    resume: bool = False
    """Continue the run in run_dir; settings not given are the run's own."""
    overwrite: bool = False
    """Replace the run in run_dir."""


class Built(NamedTuple):
    """What a configuration describes."""

    family: RegressionFamily
    learner: MetaLearner


def build(config: StepFunctionConfig) -> Built:
    """Family and learner; refuses bad flag values before anything compiles."""
    at_least(config, num_iterations=0, num_tasks=1, num_inner_steps=1, hidden_sizes=1, log_every=1, checkpoint_every=1)
    between(config, inner_lr=(0, float("inf")), outer_lr=(0, float("inf")), seed=(0, MAX_SEED))
    multiple(config, "checkpoint_every", "log_every")
    family = step_function()
    world = regression_world(
        family,
        {"hidden_sizes": config.hidden_sizes, "activation": "relu", "init": INIT, "bias_init": INIT},
        num_shots=NUM_POINTS,
        error=lambda prediction, y: 0.5 * mean_squared_error(prediction, y),
        judged_by=judged_by_support,
    )
    settings = agents.Settings(
        num_tasks=config.num_tasks,
        num_inner_steps=config.num_inner_steps,
        inner_lr=config.inner_lr,
        outer_lr=config.outer_lr,
        num_iterations=max(config.num_iterations, 1),
        optimizer=optax.sgd,
    )
    return Built(family, build_agent(config.agent, world, settings))


def validate(built: Built, state: Any, num_steps: int) -> tuple[Any, np.ndarray]:
    """The validation sets, and [V, K+1] the objective on each after 0..K steps."""
    tasks = envs.held_out_tasks(built.family, VALIDATION_SETS)

    def one(index: jax.Array, task: Any) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(checkpoint.KEY_OF_EVALUATION), index)
        return -built.learner.adapt(state, task, key, num_steps).score

    return tasks, np.asarray(jax.jit(jax.vmap(one))(jnp.arange(VALIDATION_SETS), tasks), np.float64)


def evaluate(config: StepFunctionConfig, built: Built) -> None:
    """Write evaluation.json and the picture of twelve validation sets; print the objective."""
    iteration, state, _ = checkpoint.load(config.run_dir, built.learner)
    tasks, losses = validate(built, state, config.num_inner_steps)
    result = {
        "env": ENV,
        "agent": config.agent,
        "seed": config.seed,
        "iteration": iteration,
        "num_tasks": VALIDATION_SETS,
        "objective_mean": losses.mean(axis=0).tolist(),
        "objective_ci95": bootstrap_ci95([losses]).tolist(),
        "task_hash": task_hash(tasks),
    }
    write_json(config.run_dir / "evaluation.json", result)
    draw(config, built, state, tasks)
    for k, (mean, (low, high)) in enumerate(zip(result["objective_mean"], result["objective_ci95"], strict=True)):
        print(f"objective after {k} steps: {mean:.3f} [{low:.3f}, {high:.3f}]")


def draw(config: StepFunctionConfig, built: Built, state: Any, tasks: Any) -> None:
    """Twelve validation sets and the fits after 0..K steps, later steps darker."""
    x = jnp.linspace(*built.family.x_range, 400)

    def one(task: Any, key: jax.Array) -> Any:
        curve = built.learner.adapt(state, task, key, config.num_inner_steps)
        points = jax.tree.map(lambda leaf: leaf[0, :, 0], curve.experience.support)
        return {"support": points, "predictions": built.learner.predict(curve.path, task, x[:, None])[..., 0]}

    few = jax.tree.map(lambda leaf: leaf[:PANELS], tasks)
    panels = jax.jit(jax.vmap(one))(few, jax.random.split(jax.random.key(0), PANELS))
    figures.step_fits(config.run_dir / "adaptation.png", np.asarray(x), jax.device_get(panels), config.agent)


def run(config: StepFunctionConfig) -> None:
    """Meta-train, validate at the first and last line of metrics.jsonl, evaluate."""
    built = build(config)
    train_and_evaluate(
        "step_function",
        config,
        built.learner,
        loop.Schedule(config.num_iterations, config.log_every, config.checkpoint_every),
        lambda run, described: evaluate(run, built),
        env=ENV,
        extendable=config.agent not in agents.ANNEALED,
        execution=loop.execution_of(config),
        probe=lambda state: {"eval/objective": float(validate(built, state, config.num_inner_steps)[1][:, -1].mean())},
    )


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(parse(StepFunctionConfig, args, command_line("step_function"), to_resume))


if __name__ == "__main__":
    main()
