"""MAML, and what differs from it by the inner rule alone: first order, learned step sizes, the head only."""

from dataclasses import dataclass

from agents.agent import Agent, InnerLoop, OnPolicy, Training
from agents.parts.gradient_learner import gradient_learner, inner, through_inner_steps
from agents.parts.networks import with_head
from agents.parts.world import World
from metarl import rules
from metarl.interfaces import InnerRule, MetaLearner


@dataclass(frozen=True)
class Maml(OnPolicy, InnerLoop):
    """Gradient steps from a learned start."""


def maml(world: World, training: Training, own: Maml) -> MetaLearner:
    """MAML: differentiate through SGD inner steps (Finn et al. 2017, Algorithms 1-3)."""
    return _differentiated(world, training, own, training.inner_rule or rules.sgd(own.inner_lr))


def fomaml(world: World, training: Training, own: Maml) -> MetaLearner:
    """First-order MAML: the gradient at the adapted parameters (Finn et al. 2017, Section 5.2)."""
    rule = training.inner_rule or rules.sgd(own.inner_lr)
    return _differentiated(world, training, own, rules.first_order(rule))


def meta_sgd(world: World, training: Training, own: Maml) -> MetaLearner:
    """Meta-SGD: MAML with a learned step size for every parameter (Li et al. 2017)."""
    return _differentiated(world, training, own, rules.meta_sgd(own.inner_lr))


def anil(world: World, training: Training, own: Maml) -> MetaLearner:
    """ANIL: only the head adapts; the body is meta-learned (Raghu et al. 2020)."""
    network, rule = with_head(world.make_network(0)), training.inner_rule or rules.sgd(own.inner_lr)
    return _differentiated(world, training, own, rules.only(rule, network.split, network.merge))


def _differentiated(world: World, training: Training, own: Maml, rule: InnerRule) -> MetaLearner:
    return gradient_learner(world, training, own, inner(world, training, own, rule=rule), through_inner_steps(training))


MAML = Agent(maml, Maml, uses=("optimizer", "remat", "inner_rule", "inner_surrogate"))
FOMAML = MAML._replace(make=fomaml)
META_SGD = Agent(meta_sgd, Maml, uses=("optimizer", "remat", "inner_surrogate"))
ANIL = MAML._replace(make=anil)
