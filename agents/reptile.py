"""Reptile: no outer derivative at all."""

from dataclasses import dataclass
from typing import Annotated

from agents.agent import Agent, Bounds, InnerLoop, OnPolicy, Training
from agents.parts.gradient_learner import along, gradient_learner, inner
from agents.parts.world import World
from metarl import meta
from metarl.interfaces import MetaLearner


@dataclass(frozen=True)
class Reptile(OnPolicy, InnerLoop):
    """Several gradient steps."""

    num_inner_steps: Annotated[int, Bounds(1)] = 3  # with one step it is multi-task training; none leads nowhere


def reptile(world: World, training: Training, own: Reptile) -> MetaLearner:
    """Reptile: follow the way adaptation went (Nichol et al. 2018)."""
    loop = inner(world, training, own)
    return gradient_learner(world, training, own, loop, lambda problem, rule: along(training, meta.reptile(problem, rule)))


REPTILE = Agent(reptile, Reptile, uses=("optimizer", "inner_rule", "inner_surrogate"))
