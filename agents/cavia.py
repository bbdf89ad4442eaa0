"""CAVIA: a context vector is all that adapts."""

from dataclasses import dataclass
from typing import Annotated

from agents.agent import Agent, Bounds, InnerLoop, OnPolicy, Training
from agents.parts.gradient_learner import gradient_learner, inner, through_inner_steps
from agents.parts.networks import with_context
from agents.parts.world import World
from metarl import rules
from metarl.interfaces import MetaLearner


@dataclass(frozen=True)
class Cavia(OnPolicy, InnerLoop):
    """Gradient steps of a context vector."""

    inner_lr: Annotated[float, Bounds(0)] = 1.0  # Zintgraf et al. 2019, released code
    context_size: Annotated[int, Bounds(1)] = 5  # Zintgraf et al. 2019, sinusoids and the README of their code
    """Length of the context vector."""


def cavia(world: World, training: Training, own: Cavia) -> MetaLearner:
    """CAVIA: only a context vector adapts, from zero on every task (Zintgraf et al. 2019)."""
    network, rule = with_context(world.make_network(own.context_size)), rules.context(own.inner_lr, own.context_size)
    loop = inner(world, training, own, network=network, rule=rule)
    return gradient_learner(world, training, own, loop, through_inner_steps(training))


CAVIA = Agent(cavia, Cavia, uses=("optimizer", "remat", "inner_surrogate"))
