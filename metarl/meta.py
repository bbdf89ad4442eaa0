"""Meta-gradients: the derivative of what adaptation achieves, for one task and recorded data.

A meta-gradient is a function ``(theta, experience) -> (grads, metrics)`` with ``loss`` among the metrics. How the derivative
is taken is chosen here, independently of how parameters move (`metarl.rules`).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metarl.adapt import adapt
from metarl.types import Experience, InnerRule, Metrics, Params, Path, Problem, Theta

MetaGradient = Callable[[Theta, Experience], tuple[Theta, Metrics]]


def last(path: Path) -> Params:
    """The parameters after the last inner step: leaves [K+1, ...] -> [...]."""
    return jax.tree.map(lambda x: x[-1], path)


def final(loss):
    """Lift ``loss(params, batch)`` to the last parameters and the query batch: MAML's outer loss."""

    def outer_loss(path: Path, experience: Experience):
        return loss(last(path), experience.query)

    return outer_loss


def objective(problem: Problem, rule: InnerRule):
    """MAML's objective for one task: the outer loss after adapting on the support (Finn et al. 2017, Eq. 1).

    Returns:
        ``(theta, experience) -> (scalar, metrics)``, a deterministic function that can be checked by finite differences.
    """

    def evaluate(theta: Theta, experience: Experience):
        path = adapt(rule, problem.inner_loss, theta, experience.support)
        return problem.outer_loss(path, experience)

    return evaluate


def through_adaptation(problem: Problem, rule: InnerRule) -> MetaGradient:
    """Differentiate the objective through the inner steps: MAML, or FOMAML when ``rule`` is `rules.first_order`."""
    value_and_grad = jax.value_and_grad(objective(problem, rule), has_aux=True)

    def meta_gradient(theta: Theta, experience: Experience):
        (loss, metrics), grads = value_and_grad(theta, experience)
        return grads, metrics | {"loss": loss}

    return meta_gradient


def no_gradient(problem: Problem, rule: InnerRule) -> MetaGradient:
    """Zero, with the objective's metrics: a start that is never trained."""

    def meta_gradient(theta: Theta, experience: Experience):
        loss, metrics = objective(problem, rule)(theta, experience)
        return jax.tree.map(jnp.zeros_like, theta), metrics | {"loss": loss}

    return meta_gradient
