"""A file to copy: a family with a list of tasks, and a curriculum that says how often each is trained on.

`prioritised` is prioritized level replay (Jiang et al. 2021) on a fixed list: with probability 1 - `STALE` by the rank of what
is still to be gained on a task, else by how long ago it was visited. What is still to be gained is taken for the distance to
the best average return in the list: right where all tasks can be solved equally well.

    python -m experiments.train --env experiments.examples.curriculum:examples/Goals-v0 --run-dir runs/curriculum
"""

import jax.numpy as jnp
import numpy as np

import envs

POWER = 2.0  # 1 / beta: weights fall with this power of the rank
STALE = 0.3  # rho


def prioritised(iteration, progress):
    """Weights [L] for the next meta-iteration; tasks that were never visited come first."""
    unseen = progress.visits == 0
    best = jnp.max(jnp.where(unseen, -jnp.inf, progress.after))
    to_gain = jnp.where(unseen, jnp.inf, best - progress.after)
    rank = 1 + jnp.argsort(jnp.argsort(-to_gain))
    by_rank = 1.0 / rank**POWER
    stale = 1.0 * (iteration - progress.last)
    return (1 - STALE) * by_rank / jnp.sum(by_rank) + STALE * stale / jnp.sum(stale)


def goals(**options):
    """A hundred goals, of which far ones are hard."""
    family = envs.make("metarl/Navigation2D-v0", **options)
    places = np.random.default_rng(0).uniform(-0.5, 0.5, (100, 2)).astype(np.float32)
    tasks = [family.default_params._replace(position=place) for place in places]
    return envs.with_tasks(family, train=tasks, distinct=True, curriculum=prioritised)


envs.register("examples/Goals-v0", goals)
