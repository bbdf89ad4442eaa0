"""What adaptation achieves without meta-learning."""

import optax

from agents.agent import Agent, Training
from agents.maml import Maml
from agents.parts.gradient_learner import gradient_learner, inner
from agents.parts.world import World
from metarl import meta, outer
from metarl.interfaces import MetaLearner


def random_start(world: World, training: Training, own: Maml) -> MetaLearner:
    """No meta-learning: MAML's network and inner steps from an untrained start."""

    def make_update(problem, rule):
        meta_gradient = meta.no_gradient(problem, rule)
        return outer.follow(optax.set_to_zero(), lambda iteration: meta_gradient, training.task_map)

    return gradient_learner(world, training, own, inner(world, training, own), make_update)


RANDOM_START = Agent(random_start, Maml, uses=("inner_rule", "inner_surrogate"), learns=False)
