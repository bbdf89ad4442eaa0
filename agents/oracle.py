"""The upper bound: a network that sees the task's parameters and need not adapt."""

import jax
import jax.numpy as jnp

from agents.maml import maml
from agents.world import Settings, World
from metarl.types import AdaptationCurve, MetaLearner


def oracle(world: World, settings: Settings) -> MetaLearner:
    """Train on all tasks with the task among the inputs, without an inner loop; its curve is flat.

    Raises:
        ValueError: in worlds that cannot reveal their tasks.
    """
    if world.reveal is None:
        raise ValueError("oracle needs a world that can show the task to the network; so far it serves regression only.")
    revealed = world.reveal()
    learner = maml(revealed, settings._replace(num_inner_steps=0))

    def adapt(state, task, key, num_steps):
        curve = learner.adapt(state, task, key, num_steps)
        first = jnp.zeros(num_steps + 1, int)
        return AdaptationCurve(curve.score[first], jax.tree.map(lambda x: x[first], curve.path), curve.experience, first)

    def predict(path, task, x):
        return learner.predict(path, task, revealed.see_task(task, x))

    return learner._replace(adapt=adapt, predict=predict)
