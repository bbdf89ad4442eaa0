"""MAML as in its published reinforcement-learning experiments: a trust region outside."""

from dataclasses import dataclass
from typing import Annotated

from agents.agent import Agent, Bounds, InnerLoop, OnPolicy, Training
from agents.parts.gradient_learner import gradient_learner, inner
from agents.parts.problems import needed
from agents.parts.world import World
from metarl import meta
from metarl.interfaces import MetaLearner
from metarl.surrogates import loaded_dice
from metarl.trust_region import trust_region


@dataclass(frozen=True)
class MamlTrpo(OnPolicy, InnerLoop):
    """Gradient steps from a start that moves within a trust region."""

    max_kl: Annotated[float, Bounds(1e-9)] = 0.01  # Finn et al. 2017, Appendix A.2
    """Mean KL of the adapted policies that one outer step may cause."""


def maml_trpo(world: World, training: Training, own: MamlTrpo) -> MetaLearner:
    """MAML with a natural-gradient outer step: mean KL of the adapted policies at most ``max_kl``.

    Finn et al. 2017, Appendix A.2, with exact Hessian-vector products instead of finite differences.
    """

    def make_update(problem, rule):
        needed("maml-trpo", problem.divergence, "divergence", "problem", "the KL of the adapted policies")
        return trust_region(
            meta.objective(problem, rule, remat=training.remat),
            meta.divergence(problem, rule),
            max_divergence=own.max_kl,
            remat=training.remat,
            task_map=training.task_map,
        )

    loop = inner(world, training, own, outer_surrogate=loaded_dice(lam=0.0))
    return gradient_learner(world, training, own, loop, make_update)


MAML_TRPO = Agent(maml_trpo, MamlTrpo, serves=("reinforcement",), uses=("remat", "inner_rule", "inner_surrogate"))
