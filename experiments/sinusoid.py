"""``python -m experiments.sinusoid``: the supervised benchmark of Finn et al. 2017, Section 5.1, through the same core.

Settings, with the source beside each: the paper (P) or the code released with it (C).
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from rich.console import Console
from rich.table import Table

import agents
import envs
from agents.networks import ACTIVATIONS, Network, regressor
from agents.problems import regression
from envs.regression import RegressionFamily, sinusoid
from experiments import checkpoint, plots, runner, tracking
from experiments.command import UserError, at_least, between, one_line_errors, parse
from experiments.run_folder import prepare, settings_of, write_json
from experiments.statistics import bootstrap_ci95, task_hash
from metarl.types import MetaLearner

ENV = "sinusoid"
TEST_SHOTS = (5, 10, 20)  # P
TEST_STEPS = 10  # P
SHOTS_DRAWN = 5
STEPS_DRAWN = (0, 1, 5, 10)
SCHEDULES = {
    "cosine": lambda rate, num_iterations: optax.cosine_decay_schedule(rate, max(num_iterations, 1)),
    "constant": lambda rate, num_iterations: rate,
}


@dataclasses.dataclass(frozen=True)
class SinusoidConfig:
    """Meta-train on sinusoids, test with 5, 10 and 20 points and 0..10 inner steps on held-out ones."""

    run_dir: Path
    """Where the run is written."""
    protocol: Literal["maml"] = "maml"
    """Whose settings: maml (Finn et al. 2017)."""
    agent: str = "maml"
    """maml, fomaml or random."""
    seed: int = 0
    """Everything random in training follows from it; held-out tasks do not depend on it."""
    num_iterations: int = 70_000
    """Meta-iterations (C)."""
    num_tasks: int = 25
    """M: tasks per meta-iteration (C)."""
    train_shots: int = 10
    """K-shot: support points in training, and as many query points (P)."""
    num_inner_steps: int = 1
    """Inner steps in training (P)."""
    inner_lr: float = 0.01
    """Step size of adaptation (P)."""
    outer_lr: float = 1e-3
    """Step size of Adam on the meta-parameters (C)."""
    outer_schedule: Literal["cosine", "constant"] = "cosine"
    """How outer_lr goes on: constant in C; cosine to zero, because with a constant rate about 2 held-out tasks in 1,000
    diverge within ten inner steps and their errors swamp the mean."""
    hidden_sizes: tuple[int, ...] = (40, 40)
    """Hidden layers (P)."""
    activation: str = "relu"
    """tanh or relu (P)."""
    eval_tasks: int = 2000
    """Held-out tasks at the end; the paper's code takes 600 (C)."""
    log_every: int = 100
    """Meta-iterations per line of metrics, which is their mean."""
    checkpoint_every: int = 5000
    """Meta-iterations between checkpoints; a multiple of log_every."""
    resume: bool = False
    """Continue the run in run_dir; settings not given are the run's own."""
    overwrite: bool = False
    """Replace the run in run_dir."""


class Built(NamedTuple):
    """What a configuration describes."""

    family: RegressionFamily
    network: Network
    learner: MetaLearner


def check(config: SinusoidConfig) -> None:
    """Refuse bad flag values before anything compiles."""
    at_least(config, num_iterations=0, num_tasks=1, train_shots=1, num_inner_steps=0, hidden_sizes=1, seed=0)
    at_least(config, eval_tasks=1, log_every=1, checkpoint_every=1)
    between(config, inner_lr=(0, float("inf")), outer_lr=(0, float("inf")))
    if config.activation not in ACTIVATIONS:
        raise UserError(f"--activation is {config.activation!r}; known: {', '.join(ACTIVATIONS)}.")
    if config.checkpoint_every % config.log_every:
        raise UserError(
            f"--checkpoint-every is {config.checkpoint_every}, but must be a multiple of --log-every {config.log_every}."
        )


def build(config: SinusoidConfig, num_shots: int) -> Built:
    """Family, network and learner for a number of shots; states of different shots fit one another."""
    try:
        factory = agents.agent(config.agent)
    except ValueError as error:
        raise UserError(str(error)) from error
    family = sinusoid()
    network = regressor(config.hidden_sizes, config.activation, nn.initializers.lecun_normal())
    learner = factory(
        regression(family, network, num_shots=num_shots),
        network.init,
        family.sample_task,
        inner_lr=config.inner_lr,
        outer_lr=SCHEDULES[config.outer_schedule](config.outer_lr, config.num_iterations),
        num_tasks=config.num_tasks,
        num_inner_steps=config.num_inner_steps,
        resample=False,
    )
    return Built(family, network, learner)


def run(config: SinusoidConfig) -> None:
    """Meta-train, evaluate, and write the run folder."""
    check(config)
    built = build(config, config.train_shots)
    described, lock = prepare("sinusoid", settings_of(config), extendable=config.outer_schedule == "constant")
    with lock:
        if config.resume and checkpoint.newest(config.run_dir) >= config.num_iterations:
            print(f"{config.run_dir} already has its {config.num_iterations} iterations; raise --num-iterations to go on.")
            return
        wandb_run = tracking.start_wandb(config.run_dir, described, agent=config.agent, env=ENV, job_type="train")
        schedule = runner.Schedule(config.num_iterations, config.log_every, config.checkpoint_every)
        try:
            state = runner.run(
                built.learner, config.run_dir, schedule, seed=config.seed, resume=config.resume, wandb_run=wandb_run
            )
        finally:
            wandb_run.finish()
        evaluate(config, described, state)


def evaluate(config: SinusoidConfig, described: dict[str, Any], state: Any) -> None:
    """Mean squared error on held-out sinusoids after 0..10 steps; print, write and draw it."""
    family = sinusoid()
    tasks = envs.held_out_tasks(family, config.eval_tasks)
    errors = {shots: held_out_errors(build(config, shots), state, tasks) for shots in TEST_SHOTS}
    if not all(np.all(np.isfinite(error)) for error in errors.values()):
        raise UserError("held-out errors are not finite: adaptation diverges; try a smaller --inner-lr.")
    result = {
        "env": ENV,
        "protocol": config.protocol,
        "agent": config.agent,
        "seed": config.seed,
        "iteration": config.num_iterations,
        "num_tasks": config.eval_tasks,
        "mse_mean": {str(shots): error.mean(axis=0).tolist() for shots, error in errors.items()},
        "mse_ci95": {str(shots): bootstrap_ci95([error]).tolist() for shots, error in errors.items()},
        "mse": {str(shots): error.round(6).tolist() for shots, error in errors.items()},
        "task_hash": task_hash(tasks),
    }
    write_json(config.run_dir / "evaluation.json", result)
    draw(config, state, tasks)
    print_table(result)
    log(config, described, result)


def held_out_errors(built: Built, state: Any, tasks: Any) -> np.ndarray:
    """[M, 11] query mean squared error of each task after 0..10 steps on one support set."""

    def one(index: jax.Array, task: Any) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(checkpoint.KEY_OF_EVALUATION), index)
        return -built.learner.adapt(state, task, key, TEST_STEPS).score

    num_tasks = jax.tree.leaves(tasks)[0].shape[0]
    return np.asarray(jax.jit(jax.vmap(one))(jnp.arange(num_tasks), tasks), np.float64)


def draw(config: SinusoidConfig, state: Any, tasks: Any) -> None:
    """Predictions for a few held-out sinusoids before and during adaptation to five points."""
    built = build(config, SHOTS_DRAWN)
    x = jnp.linspace(*built.family.x_range, 200)[:, None]

    def one(task: Any, key: jax.Array) -> Any:
        curve = built.learner.adapt(state, task, key, TEST_STEPS)
        predictions = jax.vmap(built.network.apply, (0, None))(curve.path, x)[jnp.asarray(STEPS_DRAWN), :, 0]
        support = jax.tree.map(lambda leaf: leaf[0, :, 0], curve.experience.support)
        return {"true": built.family.curve(task, x[:, 0]), "support": support, "predictions": predictions}

    few = jax.tree.map(lambda leaf: leaf[:3], tasks)
    panels = jax.jit(jax.vmap(one))(few, jax.random.split(jax.random.key(0), 3))
    plots.sinusoid_fits(
        config.run_dir / "adaptation.png", np.asarray(x[:, 0]), jax.device_get(panels), STEPS_DRAWN, config.agent
    )


def print_table(result: dict[str, Any]) -> None:
    """Mean squared errors with intervals, one column per number of test points."""
    table = Table(title=f"{result['agent']}: mean squared error on {result['num_tasks']} held-out sinusoids [95 % interval]")
    table.add_column("inner steps", justify="right")
    for shots in TEST_SHOTS:
        table.add_column(f"{shots}-shot", justify="right")
    for k in range(TEST_STEPS + 1):
        cells = []
        for shots, errors in result["mse_mean"].items():
            low, high = result["mse_ci95"][shots][k]
            cells.append(f"{errors[k]:.3f} [{low:.2f}, {high:.2f}]")
        table.add_row(str(k), *cells)
    Console().print(table)


def log(config: SinusoidConfig, described: dict[str, Any], result: dict[str, Any]) -> None:
    """The same numbers as a wandb run of job type eval; scores are negative losses, as everywhere."""
    wandb_run = tracking.start_wandb(config.run_dir, described, agent=config.agent, env=ENV, job_type="eval")
    mean = result["mse_mean"][str(TEST_SHOTS[0])]
    row = {f"eval/step_{k}": -error for k, error in enumerate(mean)} | {"eval/pre": -mean[0], "eval/post": -mean[-1]}
    wandb_run.log(row | {f"eval/mse_{shots}_shot_step_1": errors[1] for shots, errors in result["mse_mean"].items()})
    wandb_run.finish()


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(parse(SinusoidConfig, args, "python -m experiments.sinusoid"))


if __name__ == "__main__":
    main()
