"""Implicit MAML."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax.numpy as jnp

from agents.agent import Agent, Bounds, InnerLoop, Only, Training
from agents.parts.gradient_learner import Inner, along, gradient_learner, inner
from agents.parts.world import World
from metarl import meta, rules
from metarl.interfaces import InnerRule, MetaLearner, Problem
from metarl.surrogates import loaded_dice


@dataclass(frozen=True)
class Imaml(InnerLoop):
    """Gradient steps on one batch, held near the start."""

    num_inner_steps: Annotated[int, Bounds(1)] = 5  # ours: the inner problem is to be solved, not only begun
    proximal: Annotated[float, Bounds(1e-6)] = 1.0  # ours, in reinforcement learning; Rajeswaran et al. 2019 is supervised
    """How strongly adaptation is held near the start (lambda)."""
    cg_steps: Annotated[int, Bounds(1)] = 5  # ours
    """Iterations of conjugate gradients."""
    cg_damping: Annotated[float, Bounds(0)] = 1.0  # ours: the curvature of a policy's loss need not be positive
    """Added to the curvature in its linear system."""
    curvature: Annotated[Literal["hessian", "gauss-newton"], Only("regression"), Only("classification")] = "hessian"
    """Of the inner loss."""


def imaml(world: World, training: Training, own: Imaml) -> MetaLearner:
    """Implicit MAML: differentiate the solution of a proximal inner problem (Rajeswaran et al. 2019).

    There is one inner problem, so one support batch serves all inner steps. In reinforcement learning its actions were drawn by
    the policy that adaptation starts from, and probability ratios account for that.
    """
    loop = unpulled(world, training, own)
    plain = loop.rule

    def make_update(problem, rule):
        del rule  # the proximal one; the implicit gradient adds the pull to the plain one by itself
        implicit = gradient_of(problem, plain, own)

        def meta_gradient(theta, experience):
            grads, metrics = implicit(theta, experience)
            # The reused batch knows the return before adaptation, the query that after the last step; nobody played between.
            ends = jnp.array([0, -1])
            metrics |= {name: metrics[name][ends] for name in ("score", "gain_error") if name in metrics}
            if world.rollouts is not None:  # and it was drawn once, not once per step
                support, query = experience.support.trajectory.mask[0], experience.query.trajectory.mask
                metrics["num_samples"] = jnp.sum(support) + jnp.sum(query)
            return grads, metrics

        return along(training, meta_gradient)

    held = loop._replace(rule=rules.proximal(plain, own.proximal), resample=False)
    return gradient_learner(world, training, own, held, make_update)


def unpulled(world: World, training: Training, own: Imaml) -> Inner:
    """The inner loop without the proximal penalty."""
    return inner(world, training, own, inner_surrogate=loaded_dice(lam=0.0))


def gradient_of(problem: Problem, plain: InnerRule, own: Imaml) -> meta.MetaGradient:
    """The meta-gradient that the agent follows, given the rule without its penalty."""
    solver: dict[str, Any] = {"cg_steps": own.cg_steps, "damping": own.cg_damping, "curvature_of": CURVATURES[own.curvature]}
    return meta.implicit(problem, plain, own.proximal, **solver)


CURVATURES: dict[str, meta.Curvature] = {"hessian": meta.hessian, "gauss-newton": meta.gauss_newton}

IMAML = Agent(imaml, Imaml, adapts_by="one batch", uses=("optimizer", "inner_rule"))
