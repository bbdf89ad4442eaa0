"""Proximal meta-policy search."""

import jax.numpy as jnp

from agents.maml import adam_along
from agents.parts.gradient_learner import gradient_learner
from agents.parts.world import Settings, World, must_play
from metarl import meta, outer, rules
from metarl.interfaces import MetaLearner
from metarl.surrogates import clipped_ratio, loaded_dice


def promp(world: World, settings: Settings) -> MetaLearner:
    """ProMP: several optimiser steps on the same experience (Rothfuss et al. 2019, Eq. 7 and Algorithm 1).

    The query's ratio is clipped; inner steps replay their data with ratios too, since the start has moved after the first
    optimiser step, and how far they moved is penalised.

    Raises:
        ValueError: in regression.
    """
    must_play("promp", world)
    network, rule = world.make_network(0), rules.sgd(settings.inner_lr)
    problem = world.make_problem(network, inner_surrogate=loaded_dice(lam=0.0), outer_surrogate=clipped_ratio(settings.clip))

    def penalised(path, experience):
        assert problem.divergence is not None
        loss, metrics = problem.outer_loss(path, experience)
        steps = problem.divergence(path, experience)[:-1]
        return loss + settings.inner_kl * jnp.sum(steps) / max(steps.size, 1), metrics

    meta_gradient = meta.through_adaptation(problem._replace(outer_loss=penalised), rule, remat=settings.remat)
    rate, steps = settings.outer_lr, settings.outer_steps
    if callable(rate):  # a schedule counts meta-iterations, the optimiser its own steps
        settings = settings._replace(outer_lr=lambda count: rate(count // steps))
    update = outer.repeat(adam_along(settings, meta_gradient), steps, settings.over_tasks)
    return gradient_learner(world, settings, problem, network, rule, update)
