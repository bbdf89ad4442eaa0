"""Which of a run's checkpoints is used, where a protocol selects: the one with the least error on training tasks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from experiments.supervised import evaluation
from experiments.supervised.protocols import Protocol

NUM_TASKS = 2000
KEY_OF_TASKS = 0xCA7  # validation tasks come from the training distribution, from this constant
KEY_OF_DATA = 0xDA7A


def validation_error(protocol: Protocol, build: Callable[[int], Any]) -> Callable[[Any], jax.Array]:
    """State -> mean error over the protocol's test points and inner steps, on tasks of the training distribution.

    Held-out tasks and their data have no part in it.

    Args:
        protocol: whose ``select`` lists (test points, inner steps).
        build: test points -> family and learner, as for testing.
    """
    shots_used = sorted({shots for shots, _ in protocol.select})
    built = {shots: build(shots) for shots in shots_used}
    tasks = jax.vmap(built[shots_used[0]].family.sample_task)(jax.random.split(jax.random.key(KEY_OF_TASKS), NUM_TASKS))
    most = max(steps for _, steps in protocol.select)

    def error(state):
        total = jnp.zeros(())
        for shots in shots_used:
            errors = evaluation.errors(built[shots].learner, state, tasks, jax.random.key(KEY_OF_DATA), most)
            means = jnp.mean(errors, axis=0)
            total += sum(means[steps] for used, steps in protocol.select if used == shots)
        return total / len(protocol.select)

    return error
