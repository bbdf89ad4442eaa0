"""Inner rules: how parameters move during adaptation. Each is an `InnerRule`, or a function from one to another."""

import jax

from metarl.types import InnerRule


def sgd(learning_rate: float) -> InnerRule:
    """Move every parameter against its gradient (Finn et al. 2017, Eq. 1).

    Args:
        learning_rate: the inner step size alpha, the same for every parameter and step.
    """

    def step(theta, fast, grads, k):
        del theta, k
        return jax.tree.map(lambda p, g: p - learning_rate * g, fast, grads)

    return InnerRule(init=lambda params: params, begin=lambda theta: theta, step=step, read=lambda theta, fast: fast)


def first_order(rule: InnerRule) -> InnerRule:
    """Make the meta-gradient of ``rule`` ignore how inner gradients depend on the meta-parameters (FOMAML).

    Finn et al. 2017, Section 5.2. The values of the steps stay the same.
    """

    def step(theta, fast, grads, k):
        # Removes the term through the inner gradient: alpha times the Hessian of the inner loss.
        return rule.step(theta, fast, jax.lax.stop_gradient(grads), k)

    return rule._replace(step=step)
