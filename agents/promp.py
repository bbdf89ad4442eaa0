"""Proximal meta-policy search."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from agents.agent import Agent, Bounds, InnerLoop, Training
from agents.parts.gradient_learner import along, gradient_learner, inner
from agents.parts.problems import needed
from agents.parts.world import World
from metarl import meta, outer
from metarl.inner_loop import adapt
from metarl.interfaces import InnerRule, MetaLearner, Problem
from metarl.outer import OuterUpdate
from metarl.surrogates import clipped_ratio, loaded_dice
from metarl.tasks import TaskMap


@dataclass(frozen=True)
class ProMP(InnerLoop):
    """Several clipped outer steps on the same experience. Values are those of ProMP's released code."""

    outer_steps: Annotated[int, Bounds(1)] = 5  # ProMP's code, as the next two
    """Optimiser steps on the same experience."""
    clip: Annotated[float, Bounds(1e-9)] = 0.3
    """How far probability ratios count."""
    inner_kl: Annotated[float, Bounds(0)] = 5e-4
    """Penalty on the KL of inner steps."""
    inner_kl_target: Annotated[float, Bounds(0)] = 0.0  # the run scripts have it off; where it is on, 0.01
    """KL that this weight is adapted to: halved below two thirds of it, doubled above one and a half times it; 0: fixed."""


def promp(world: World, training: Training, own: ProMP) -> MetaLearner:
    """ProMP: several optimiser steps on the same experience (Rothfuss et al. 2019, Eq. 7 and Algorithm 1).

    The query's ratio is clipped; inner steps replay their data with ratios too, since the start has moved after the first
    optimiser step, and how far they moved is penalised.
    """

    def make_update(problem, rule):
        needed("promp", problem.divergence, "divergence", "problem", "the KL of every inner step")

        def penalised(weights):
            def outer_loss(path, experience):
                loss, metrics = problem.outer_loss(path, experience)
                steps = problem.divergence(path, experience)[:-1]
                return loss + jnp.sum(weights * steps) / max(steps.size, 1), metrics

            return outer_loss

        def meta_gradient(theta, given):
            experience, weights = given
            with_penalty = problem._replace(outer_loss=penalised(weights))
            return meta.through_adaptation(with_penalty, rule, remat=training.remat)(theta, experience)

        rate, along_it = training.outer_lr, training
        if callable(rate):  # a schedule counts meta-iterations, the optimiser its own steps
            along_it = training._replace(outer_lr=lambda count: rate(count // own.outer_steps))
        steps = outer.repeat(along(along_it, meta_gradient), own.outer_steps, training.task_map)
        if own.inner_kl_target:
            return adaptive(steps, problem, rule, own, training.task_map)

        def step(state, draw, sources):
            weighted: Any = lambda theta, source: (draw(theta, source), own.inner_kl)
            return steps.step(state, weighted, sources)

        return outer.OuterUpdate(steps.init, step)

    surrogates: dict[str, Any] = {"inner_surrogate": loaded_dice(lam=0.0), "outer_surrogate": clipped_ratio(own.clip)}
    return gradient_learner(world, training, own, inner(world, training, own, **surrogates), make_update)


def adaptive(steps: OuterUpdate, problem: Problem, rule: InnerRule, own: ProMP, task_map: TaskMap) -> OuterUpdate:
    """Outer steps with a weight of the penalty for each inner step [K], adapted after each meta-iteration (`adapted`).

    The KL that counts is that of the inner steps from the new start, on the experience of this meta-iteration, as in the
    released code.
    """
    assert problem.divergence is not None, "data of a policy"
    divergence = problem.divergence

    def init(theta):
        return steps.init(theta), jnp.full(own.num_inner_steps, own.inner_kl)

    def step(state, draw, sources):
        opt_state, weights = state.opt_state
        experience = task_map(draw)(state.theta, sources)
        each = jnp.broadcast_to(weights, (jax.tree.leaves(sources)[0].shape[0], *weights.shape))
        state, per_task, metrics = steps.step(state._replace(opt_state=opt_state), outer.recorded, (experience, each))
        moved = lambda theta, one: divergence(adapt(rule, problem.inner_loss, theta, one.support), one)[:-1]
        kl = jnp.mean(task_map(moved)(state.theta, experience), axis=0)
        metrics |= {"inner/kl_weight": jnp.mean(weights)}
        return state._replace(opt_state=(state.opt_state, adapted(weights, kl, own.inner_kl_target))), per_task, metrics

    return outer.OuterUpdate(init, step)


def adapted(weights: jax.Array, kl: jax.Array, target: float) -> jax.Array:
    """Weights [K] halved where the KL [K] is below two thirds of the target, and doubled where it is above one and a half.

    >>> adapted(jnp.ones(3), jnp.array([0.005, 0.01, 0.02]), target=0.01).tolist()
    [0.5, 1.0, 2.0]
    """
    return weights * jnp.where(kl < target / 1.5, 0.5, jnp.where(kl > target * 1.5, 2.0, 1.0))


PROMP = Agent(promp, ProMP, serves=("reinforcement",), uses=("optimizer", "remat", "inner_rule", "inner_surrogate"))
