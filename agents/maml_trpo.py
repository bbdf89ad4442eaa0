"""MAML as in its published reinforcement-learning experiments: a trust region outside."""

from agents.parts.gradient_learner import gradient_learner
from agents.parts.world import Settings, World, must_play
from metarl import meta, rules
from metarl.interfaces import MetaLearner
from metarl.surrogates import loaded_dice
from metarl.trust_region import trust_region


def maml_trpo(world: World, settings: Settings) -> MetaLearner:
    """MAML with a natural-gradient outer step: mean KL of the adapted policies at most ``settings.max_kl``.

    Finn et al. 2017, Appendix A.2, with exact Hessian-vector products instead of finite differences.

    Raises:
        ValueError: in regression.
    """
    must_play("maml-trpo", world)
    network, rule = world.make_network(0), rules.sgd(settings.inner_lr)
    problem = world.make_problem(network, outer_surrogate=loaded_dice(lam=0.0))
    objective = meta.objective(problem, rule, remat=settings.remat)
    update = trust_region(
        objective,
        meta.divergence(problem, rule),
        max_divergence=settings.max_kl,
        remat=settings.remat,
        over_tasks=settings.over_tasks,
    )
    return gradient_learner(world, settings, problem, network, rule, update)
