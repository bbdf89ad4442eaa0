"""Proximal meta-policy search."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax.numpy as jnp

from agents.agent import Agent, Bounds, InnerLoop, Training
from agents.parts.gradient_learner import along, gradient_learner, inner
from agents.parts.world import World
from metarl import meta, outer
from metarl.interfaces import MetaLearner
from metarl.surrogates import clipped_ratio, loaded_dice


@dataclass(frozen=True)
class ProMP(InnerLoop):
    """Several clipped outer steps on the same experience. Values are those of ProMP's released code."""

    outer_steps: Annotated[int, Bounds(1)] = 5  # ProMP's code, as the next two
    """Optimiser steps on the same experience."""
    clip: Annotated[float, Bounds(1e-9)] = 0.3
    """How far probability ratios count."""
    inner_kl: Annotated[float, Bounds(0)] = 5e-4
    """Penalty on the KL of inner steps."""


def promp(world: World, training: Training, own: ProMP) -> MetaLearner:
    """ProMP: several optimiser steps on the same experience (Rothfuss et al. 2019, Eq. 7 and Algorithm 1).

    The query's ratio is clipped; inner steps replay their data with ratios too, since the start has moved after the first
    optimiser step, and how far they moved is penalised.
    """

    def make_update(problem, rule):
        def penalised(path, experience):
            loss, metrics = problem.outer_loss(path, experience)
            steps = problem.divergence(path, experience)[:-1]
            return loss + own.inner_kl * jnp.sum(steps) / max(steps.size, 1), metrics

        meta_gradient = meta.through_adaptation(problem._replace(outer_loss=penalised), rule, remat=training.remat)
        rate, along_it = training.outer_lr, training
        if callable(rate):  # a schedule counts meta-iterations, the optimiser its own steps
            along_it = training._replace(outer_lr=lambda count: rate(count // own.outer_steps))
        return outer.repeat(along(along_it, meta_gradient), own.outer_steps, training.task_map)

    surrogates: dict[str, Any] = {"inner_surrogate": loaded_dice(lam=0.0), "outer_surrogate": clipped_ratio(own.clip)}
    return gradient_learner(world, training, own, inner(world, training, own, **surrogates), make_update)


PROMP = Agent(promp, ProMP, serves=("reinforcement",), uses=("optimizer", "remat", "inner_rule", "inner_surrogate"))
