"""What the tutorial MAML in JAX shows besides the run itself: a plain fit, one task against four, deployment on sin(x)."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from agents.networks import mlp
from agents.problems import mean_squared_error
from envs.regression import Sinusoid
from experiments import plots, protocols, seeds
from experiments.progress import Progress
from experiments.run_folder import write_json

NUM_SEEDS = 3
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


def batching(config: Any, build: Callable[[Any, int], Any]) -> dict[str, np.ndarray]:
    """Losses after adaptation [S, I] while training on one task per update and on four, for three seeds."""
    arms = {
        "1 task, 1 query point": {"num_tasks": 1, "query_shots": 1},
        f"1 task, {config.train_shots} query points": {"num_tasks": 1, "query_shots": config.train_shots},
        f"4 tasks, {config.train_shots} query points": {"num_tasks": 4, "query_shots": config.train_shots},
    }
    losses = {}
    for name, settings in arms.items():
        arm = dataclasses.replace(config, **settings)
        some_seeds = [(config.seed + i) % 2**32 for i in range(NUM_SEEDS)]
        learner = build(arm, config.train_shots).learner
        with Progress(config.num_iterations, 0, name) as progress:
            _, scores = seeds.train(learner, some_seeds, config.num_iterations, on_progress=progress.update)
        losses[name] = -scores
    return losses


def summary(losses: np.ndarray) -> dict[str, float | None]:
    """How fast and how steadily an arm trained.

    Returns:
        "final_loss" and "final_std": mean and standard deviation over the last tenth; "iterations_to_target": when the moving
        average, averaged over seeds, first is below `TARGET`, or None.
    """
    tail = losses[:, -max(losses.shape[1] // 10, 1) :]
    below = np.flatnonzero(smoothed(losses).mean(axis=0) < TARGET)
    return {
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


def draw(config: Any, built: Any, state: Any, build: Callable[[Any, int], Any]) -> None:
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
    plots.plain_fit(folder / "plain_fit.png", np.asarray(x), np.asarray(prediction), np.asarray(losses))
    task = Sinusoid(jnp.float32(1), jnp.float32(0))
    curve = jax.jit(built.learner.adapt, static_argnums=3)(state, task, jax.random.key(0), DEPLOYED_STEPS[-1])
    predictions = built.learner.predict(curve.path, task, x[:, None])[..., 0]
    largest = protocols.PROTOCOLS[config.protocol].amplitude[1]
    support = jax.tree.map(lambda leaf: np.asarray(leaf[0, :, 0])[None], curve.experience.support)
    panels = {"true": np.sin(x)[None], "support": support, "predictions": np.asarray(predictions)[None]}
    title = f"{config.agent}, trained on amplitudes up to {largest}, deployed on sin(x) with {config.train_shots} points"
    plots.sinusoid_fits(folder / "deployment.png", np.asarray(x), panels, DEPLOYED_STEPS, title)
    arms = batching(config, build)
    summaries = {name: summary(losses) for name, losses in arms.items()}
    write_json(folder / "batching.json", summaries)
    plots.batching(folder / "batching.png", {name: smoothed(losses) for name, losses in arms.items()}, config.agent)
    for name, found in summaries.items():
        reached = found["iterations_to_target"]
        print(
            f"{name}: loss after adaptation {found['final_loss']:.4f}, standard deviation {found['final_std']:.4f}, "
            + (f"below {TARGET} after {reached} iterations" if reached else f"never below {TARGET}")
        )
