"""``python -m experiments.step_function``: MAML on piecewise-constant data, as in the Autograd tutorial."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import envs
from agents import RegressionSettings, regression_world
from agents.agent import Training, hyperparameters
from agents.parts.problems import judged_by_support, mean_squared_error
from envs.families.regression import step_function
from experiments.cli.command_line import command_line
from experiments.cli.errors import one_line_errors
from experiments.cli.luxuries import luxury
from experiments.reporting import figures
from experiments.reporting.intervals import bootstrap_ci95, task_hash
from experiments.runs import checkpoint
from experiments.runs.folder import write_json
from experiments.supervised import experiment
from experiments.supervised.experiment import KIND, Built, SupervisedConfig, learner_of, refuse_bad_values
from experiments.training.config import network_of
from experiments.training.experiment import Experiment
from experiments.training.settings import declared, from_flat, parse_run
from metarl.tasks import ONE_BATCH, TaskMap

ENV = "step-function"
NUM_POINTS = 100
VALIDATION_SETS = 500
PANELS = 12
INIT = nn.initializers.normal(0.1)  # of weights and biases
OF_THE_TUTORIAL: dict[str, Any] = {"num_inner_steps": 5, "inner_lr": 0.1}  # whatever the agent


@dataclass(frozen=True, kw_only=True)
class StepFunctionConfig(SupervisedConfig):
    """Meta-train on step functions; half the mean squared error on the support points after five inner steps."""

    num_iterations: int = 12_000
    """Meta-iterations."""
    num_tasks: int = 1
    """M: data sets per meta-iteration."""
    outer_lr: float = 0.01
    """Step size of plain SGD on the meta-parameters."""
    hidden_sizes: tuple[int, ...] = (50, 50)
    """Hidden layers, ReLU."""
    checkpoint_every: int = 2000
    """Meta-iterations between checkpoints; a multiple of log_every."""


def step_function_config(**given: Any) -> StepFunctionConfig:
    """A configuration from settings by name, those of the agent among them; the tutorial gives the others.

    Raises:
        UserError: no such agent or setting, or a value out of bounds.
    """
    return from_flat(StepFunctionConfig, KIND, _defaults({}, given.get("agent", StepFunctionConfig.agent)) | given)


def build(config: StepFunctionConfig, task_map: TaskMap = ONE_BATCH) -> Built:
    """Family and learner."""
    family = step_function()
    world = regression_world(
        family,
        RegressionSettings(NUM_POINTS, config.hidden_sizes, "relu"),
        network=network_of(config),
        kernel_init=INIT,
        bias_init=INIT,
        error=lambda prediction, y: 0.5 * mean_squared_error(prediction, y),
        judged_by=judged_by_support,
    )
    training = Training(
        num_tasks=config.num_tasks,
        outer_lr=config.outer_lr,
        num_iterations=max(config.num_iterations, 1),
        optimizer=optax.sgd,
        remat=config.remat,
        task_map=task_map,
    )
    return Built(family, learner_of(config, world, training))


def num_steps_of(config: StepFunctionConfig) -> int:
    """Inner steps in validation: as in training, or the tutorial's for agents that take none there."""
    return getattr(config.own, "num_inner_steps", OF_THE_TUTORIAL["num_inner_steps"])


def validate(built: Built, state: Any, num_steps: int) -> tuple[Any, np.ndarray]:
    """The validation sets, and [V, K+1] the objective on each after 0..K steps."""
    tasks = envs.held_out_tasks(built.family, VALIDATION_SETS)

    def one(index: jax.Array, task: Any) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(checkpoint.KEY_OF_EVALUATION), index)
        return -built.learner.adapt(state, task, key, num_steps).score

    return tasks, np.asarray(jax.jit(jax.vmap(one))(jnp.arange(VALIDATION_SETS), tasks), np.float64)


def evaluate(config: StepFunctionConfig, run_config: dict[str, Any]) -> None:
    """Write evaluation.json and the picture of twelve validation sets; print the objective."""
    del run_config
    built = build(config)
    iteration, state, _ = checkpoint.load(config.run_dir, built.learner)
    tasks, losses = validate(built, state, num_steps_of(config))
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
    with luxury("adaptation.png", config.run_dir / "adaptation.png"):
        draw(config, built, state, tasks)
    for k, (mean, (low, high)) in enumerate(zip(result["objective_mean"], result["objective_ci95"], strict=True)):
        print(f"objective after {k} steps: {mean:.3f} [{low:.3f}, {high:.3f}]")


def draw(config: StepFunctionConfig, built: Built, state: Any, tasks: Any) -> None:
    """Twelve validation sets and the fits after 0..K steps, later steps darker."""
    low, high = built.family.x_range
    x = jnp.linspace(low, high, 400)

    def one(task: Any, key: jax.Array) -> Any:
        curve = built.learner.adapt(state, task, key, num_steps_of(config))
        points = jax.tree.map(lambda leaf: leaf[0, :, 0], curve.experience.support)
        return {"support": points, "predictions": built.learner.predict(curve.path, task, x[:, None])[..., 0]}

    few = jax.tree.map(lambda leaf: leaf[:PANELS], tasks)
    panels = jax.jit(jax.vmap(one))(few, jax.random.split(jax.random.key(0), PANELS))
    figures.step_fits(config.run_dir / "adaptation.png", np.asarray(x), jax.device_get(panels), config.agent)


def run(config: StepFunctionConfig) -> None:
    """Meta-train, validate at the first and last line of metrics.jsonl, evaluate."""

    def probe(config: StepFunctionConfig, state: Any) -> dict[str, float]:
        return {"eval/objective": float(validate(build(config), state, num_steps_of(config))[1][:, -1].mean())}

    def refused(config: StepFunctionConfig) -> StepFunctionConfig:
        refuse_bad_values(config)
        return config

    experiment.run(EXPERIMENT, config, build, evaluate, probe=probe, resolve=refused)


EXPERIMENT = Experiment(
    "step_function", StepFunctionConfig, KIND, lambda config, run_config, flags: evaluate(config, run_config)
)


def _defaults(given: dict[str, str], agent: str) -> dict[str, Any]:
    del given
    known = hyperparameters(declared(agent, KIND), KIND)
    return {name: value for name, value in OF_THE_TUTORIAL.items() if name in known}


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    words = sys.argv[1:] if args is None else args
    run(parse_run(StepFunctionConfig, words, command_line("step_function"), KIND, _defaults))


if __name__ == "__main__":
    main()
