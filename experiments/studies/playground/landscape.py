"""What the page shows of losses: two tasks in the plane, and a slice through the weights of a network of sinusoids."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import sinusoid
from experiments.studies.explain.world import TwoTasks
from experiments.studies.playground.learned import sinusoid_config
from experiments.studies.playground.packing import mlp_of, pack, unpack

ALONG, ACROSS = (-0.6, 1.6), (-0.6, 1.05)  # in units of the distance from MAML's weights to the pretrained ones
NUM_TASKS, STEPS = 40, 10


def plane() -> dict[str, Any]:
    """The two tasks."""
    world = TwoTasks()
    pairs = zip(world.centre.tolist(), world.curvature.tolist(), strict=True)
    return {"tasks": [{"centre": centre, "curvature": curvature} for centre, curvature in pairs], "rate": world.inner_lr}


def surface(regressors: dict[str, Any], num_points: int) -> dict[str, Any]:
    """Mean loss of training tasks after 0..10 steps, on the plane of MAML's, pretrained and fresh parameters.

    Args:
        regressors: agents on sinusoids, as `experiments.studies.playground.learned` describes them.
        num_points: P, along each axis.
    """
    start, pretrained, fresh = (unpack(regressors[name]["weights"]) for name in ("maml", "pretrained", "random"))
    towards, away = pretrained - start, fresh - start
    unit = np.linalg.norm(towards)
    first = towards / unit
    second = away - (away @ first) * first
    second /= np.linalg.norm(second)
    config = sinusoid_config("maml", Path())
    built = sinusoid.build(config, config.train_shots)
    tasks = jax.vmap(built.family.sample_task)(jax.random.split(jax.random.key(1), NUM_TASKS))
    keys = jax.random.split(jax.random.key(2), NUM_TASKS)
    state = built.learner.init(jax.random.key(0))
    sizes = regressors["maml"]["sizes"]

    def losses(place):
        flat = jnp.asarray(start) + unit * (place[0] * first + place[1] * second)
        moved = state._replace(theta=mlp_of(flat, sizes))
        curve = jax.vmap(lambda task, key: built.learner.adapt(moved, task, key, STEPS))(tasks, keys)
        return -jnp.mean(curve.score, axis=0)

    grid = jnp.stack(jnp.meshgrid(jnp.linspace(*ALONG, num_points), jnp.linspace(*ACROSS, num_points)), axis=-1)
    found = np.asarray(jax.jit(lambda: jax.lax.map(losses, grid.reshape(-1, 2)))())
    loss = np.moveaxis(np.nan_to_num(found, nan=np.inf), -1, 0).reshape(STEPS + 1, num_points, num_points)
    points = {"MAML": [0.0, 0.0], "pretrained": [1.0, 0.0]}
    return {"loss": pack(np.minimum(loss, 1e6)), "along": list(ALONG), "across": list(ACROSS), "points": points}
