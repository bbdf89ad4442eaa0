"""What the tutorial MAML in JAX shows besides the run itself: a plain fit, one task against four, deployment on sin(x)."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import envs
from agents.parts.networks import mlp
from agents.parts.problems import mean_squared_error
from envs.families.regression import Sinusoid
from experiments.cli.luxuries import luxury
from experiments.reporting import figures
from experiments.runs import checkpoint
from experiments.runs.folder import write_json
from experiments.supervised import evaluation, protocols
from experiments.training import without_folders
from experiments.training.progress import Progress

NUM_SEEDS = 3
HELD_OUT_TASKS = 1000
ADAM_STEPS, ADAM_RATE = 100, 0.01
DEPLOYED_STEPS = (0, 1, 2, 3, 4)
TARGET = 0.02  # of an adapted loss, to say how fast a run trained
WINDOW = 200  # iterations in a moving average


def plain_fit(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Fit sin(x) without any meta-learning: predictions [X] after 100 steps of Adam, and the loss before each [100]."""
    network = mlp((1,), (40, 40), 1, "relu", nn.initializers.lecun_normal(), num_extra=0)
    optimizer = optax.adam(ADAM_RATE)
    inputs = x[:, None]

    def loss(params):
        return mean_squared_error(network.apply(params, inputs), jnp.sin(inputs))

    def step(carry, _):
        params, opt_state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), value

    @jax.jit
    def fit(key):
        params = network.init(key)
        (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), length=ADAM_STEPS)
        return network.apply(params, inputs)[:, 0], losses

    return fit(jax.random.key(0))


class Arm(NamedTuple):
    """One way to train, over S seeds.

    Attributes:
        losses: [S, I], after adaptation, on the tasks and query points of each update.
        held_out: [S], mean squared error after one inner step on held-out tasks, the same for every arm.
    """

    losses: np.ndarray
    held_out: np.ndarray


def batching(config: Any, build: Callable[..., Any]) -> dict[str, Arm]:
    """Train on one task per update and on four, with three seeds. Four tasks are four times the data of an update."""
    arms = {
        "1 task, 1 query point": {"num_tasks": 1, "query_shots": 1},
        f"1 task, {config.train_shots} query points": {"num_tasks": 1, "query_shots": config.train_shots},
        f"4 tasks, {config.train_shots} query points": {"num_tasks": 4, "query_shots": config.train_shots},
    }
    tested = build(config, config.train_shots, test=True)
    tasks = envs.held_out_tasks(tested.family, HELD_OUT_TASKS)
    key = jax.random.key(checkpoint.KEY_OF_EVALUATION)
    error = jax.jit(jax.vmap(lambda state: jnp.mean(evaluation.errors(tested.learner, state, tasks, key, 1)[:, 1])))
    found = {}
    for name, settings in arms.items():
        arm = dataclasses.replace(config, **settings)
        some_seeds = [(config.seed + i) % 2**32 for i in range(NUM_SEEDS)]
        learner = build(arm, config.train_shots).learner
        with Progress(config.num_iterations, 0, name) as progress:
            states, scores = without_folders.train(learner, some_seeds, config.num_iterations, on_progress=progress.update)
        found[name] = Arm(-scores, np.asarray(error(states)))
    return found


def summary(arm: Arm) -> dict[str, Any]:
    """How fast and how steadily an arm trained.

    The spread of the losses has two causes: parameters that wander, and the average over fewer tasks and query points. The
    held-out errors of the seeds show the first alone.

    Returns:
        "held_out_error": one number per seed; "final_loss" and "final_std": mean and standard deviation over the last tenth of
        the iterations; "iterations_to_target": when the moving average, averaged over seeds, first is below `TARGET`, or None.
    """
    losses = arm.losses
    tail = losses[:, -max(losses.shape[1] // 10, 1) :]
    below = np.flatnonzero(smoothed(losses).mean(axis=0) < TARGET)
    return {
        "held_out_error": arm.held_out.tolist(),
        "final_loss": float(tail.mean()),
        "final_std": float(tail.std(axis=1).mean()),
        "iterations_to_target": int(below[0]) + window(losses) if below.size else None,
    }


def window(losses: np.ndarray) -> int:
    """Iterations in the moving average: fewer in runs to try things out."""
    return min(WINDOW, max(losses.shape[1] // 4, 1))


def smoothed(losses: np.ndarray) -> np.ndarray:
    """[S, I - window + 1] moving averages."""
    kernel = np.ones(window(losses)) / window(losses)
    return np.stack([np.convolve(row, kernel, mode="valid") for row in losses])


def draw(config: Any, built: Any, state: Any, build: Callable[..., Any]) -> None:
    """Write plain_fit.png, batching.png, batching.json and deployment.png into the run's folder.

    Args:
        config: the run's resolved settings.
        built: its family and learner.
        state: what it learned.
        build: (settings, shots) -> family and learner.
    """
    folder: Path = config.run_dir
    low, high = built.family.x_range
    x = jnp.linspace(low, high, 100)
    prediction, losses = plain_fit(x)
    with luxury("plain_fit.png", folder / "plain_fit.png"):
        figures.plain_fit(folder / "plain_fit.png", np.asarray(x), np.asarray(prediction), np.asarray(losses))
    task = Sinusoid(jnp.float32(1), jnp.float32(0))
    curve = jax.jit(built.learner.adapt, static_argnums=3)(state, task, jax.random.key(0), DEPLOYED_STEPS[-1])
    predictions = built.learner.predict(curve.path, task, x[:, None])[..., 0]
    largest = protocols.PROTOCOLS[config.protocol].amplitude[1]
    support = jax.tree.map(lambda leaf: np.asarray(leaf[0, :, 0])[None], curve.experience.support)
    panels = {"true": np.sin(x)[None], "support": support, "predictions": np.asarray(predictions)[None]}
    title = f"{config.agent}, trained on amplitudes up to {largest}, deployed on sin(x) with {config.train_shots} points"
    with luxury("deployment.png", folder / "deployment.png"):
        figures.sinusoid_fits(folder / "deployment.png", np.asarray(x), panels, DEPLOYED_STEPS, title)
    if config.num_iterations:
        compare_batching(config, build)


def compare_batching(config: Any, build: Callable[..., Any]) -> None:
    """Train the three arms, draw them, and print what they reached."""
    arms = batching(config, build)
    summaries = {name: summary(arm) for name, arm in arms.items()}
    write_json(config.run_dir / "batching.json", summaries)
    curves = {name: smoothed(arm.losses) for name, arm in arms.items()}
    some = next(iter(arms.values())).losses
    with luxury("batching.png", config.run_dir / "batching.png"):
        figures.batching(config.run_dir / "batching.png", curves, window(some), config.agent)
    for name, found in summaries.items():
        reached, errors = found["iterations_to_target"], found["held_out_error"]
        print(
            f"{name}: held-out error {np.mean(errors):.4f} (seeds {min(errors):.4f} to {max(errors):.4f}), loss in training "
            + (f"below {TARGET} after {reached} iterations" if reached else f"never below {TARGET}")
        )
