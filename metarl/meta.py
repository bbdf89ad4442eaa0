"""Meta-gradients: the derivative of what adaptation achieves, for one task and recorded data.

A meta-gradient is a function ``(theta, experience) -> (grads, metrics)`` with ``loss`` among the metrics. How the derivative
is taken is chosen here, independently of how parameters move (`metarl.rules`).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from metarl.inner_loop import adapt, solve
from metarl.interfaces import Batch, Experience, Fast, InnerRule, Metrics, Params, Path, Problem, Theta, moved, moving
from metarl.rules import proximal

MetaGradient = Callable[[Theta, Experience], tuple[Theta, Metrics]]


def last(path: Path) -> Params:
    """The parameters after the last inner step: leaves [K+1, ...] -> [...].

    >>> last({"w": jnp.array([0.0, 0.5, 0.75])})
    {'w': Array(0.75, dtype=float32)}
    """
    return jax.tree.map(lambda x: x[-1], path)


def final(loss):
    """Apply ``loss(params, batch)`` to the adapted parameters and the query batch: MAML's outer loss.

    >>> loss = lambda params, batch: ((params - batch) ** 2, {})
    >>> path, experience = jnp.array([0.0, 0.5, 1.0]), Experience(support=None, query=jnp.array(3.0))
    >>> value, _ = final(loss)(path, experience)
    >>> float(value)
    4.0
    """

    def outer_loss(path: Path, experience: Experience):
        return loss(last(path), experience.query)

    return outer_loss


def objective(problem: Problem, rule: InnerRule, *, remat: bool = False):
    """MAML's objective for one task: the outer loss after adapting on the support (Finn et al. 2017, Eq. 1).

    ``remat`` trades time for memory, see `metarl.inner_loop.adapt`.

    Returns:
        ``(theta, experience) -> (scalar, metrics)``, a deterministic function that can be checked by finite differences.

    >>> from metarl import Experience, Problem, rules
    >>> def loss(params, batch):
    ...     return 0.5 * jnp.mean((params - batch) ** 2), {}
    >>> problem = Problem(sample_batch=None, inner_loss=loss, outer_loss=final(loss))
    >>> experience = Experience(support=jnp.full((1, 5), 1.0), query=jnp.full(5, 3.0))  # one inner step
    >>> value, _ = objective(problem, rules.sgd(0.5))(jnp.array(0.0), experience)  # adapts to 0.5; the query is 3
    >>> float(value)
    3.125
    """

    def evaluate(theta: Theta, experience: Experience):
        path = adapt(rule, problem.inner_loss, theta, experience.support, remat=remat)
        return problem.outer_loss(path, experience)

    return evaluate


def through_adaptation(problem: Problem, rule: InnerRule, *, remat: bool = False) -> MetaGradient:
    """Differentiate the objective through the inner steps: MAML, or FOMAML when ``rule`` is `rules.first_order`.

    >>> from metarl import Experience, Problem, rules
    >>> def loss(params, batch):
    ...     return 0.5 * jnp.mean((params - batch) ** 2), {}
    >>> problem = Problem(sample_batch=None, inner_loss=loss, outer_loss=final(loss))
    >>> experience = Experience(support=jnp.full((1, 5), 1.0), query=jnp.full(5, 3.0))  # one inner step
    >>> for rule in (rules.sgd(0.5), rules.first_order(rules.sgd(0.5))):
    ...     grads, metrics = through_adaptation(problem, rule)(jnp.array(0.0), experience)
    ...     print(float(grads), float(metrics["loss"]))
    -1.25 3.125
    -2.5 3.125
    """
    value_and_grad = jax.value_and_grad(objective(problem, rule, remat=remat), has_aux=True)

    def meta_gradient(theta: Theta, experience: Experience):
        (loss, metrics), grads = value_and_grad(theta, experience)
        return grads, metrics | {"loss": loss}

    return meta_gradient


def reptile(problem: Problem, rule: InnerRule) -> MetaGradient:
    """Take the way adaptation went as a gradient: theta - theta_K (Nichol et al. 2018, Eq. 2). No second derivative.

    The query batch gives metrics only.

    Raises:
        ValueError: if ``rule`` does not move all of theta, as with learned step sizes, a context vector or a head alone: where
            nothing moves there is no direction to follow.

    >>> from metarl import Experience, Problem, rules
    >>> def loss(params, batch):
    ...     return 0.5 * jnp.mean((params - batch) ** 2), {}
    >>> problem = Problem(sample_batch=None, inner_loss=loss, outer_loss=final(loss))
    >>> experience = Experience(support=jnp.full((1, 5), 1.0), query=jnp.full(5, 3.0))  # one inner step
    >>> grads, _ = reptile(problem, rules.sgd(0.5))(jnp.array(0.0), experience)  # adaptation moves theta by 0.5
    >>> float(grads)
    -0.5
    """
    if not rule.whole:
        raise ValueError(
            "reptile: the inner rule must move all meta-parameters, so use rules.sgd; learned rates, only and "
            "context leave some without a direction."
        )

    def meta_gradient(theta: Theta, experience: Experience):
        path = adapt(rule, problem.inner_loss, theta, experience.support)
        loss, metrics = problem.outer_loss(path, experience)
        return jax.tree.map(lambda start, end: start - end, theta, last(path)), metrics | {"loss": loss}

    return meta_gradient


# problem, fast -> params, fast, batch -> (v -> product of v with a curvature of the inner loss there), both like what moves
Curvature = Callable[[Problem, Callable[[Fast], Params], Fast, Batch], Callable[[Fast], Fast]]


def hessian(problem: Problem, read: Callable[[Fast], Params], fast: Fast, batch: Batch) -> Callable[[Fast], Fast]:
    """Products with the inner loss's own second derivative. It may have negative directions."""
    gradient = jax.grad(lambda f: problem.inner_loss(read(f), batch)[0])
    return lambda v: jax.jvp(gradient, (fast,), (v,))[1]


def gauss_newton(problem: Problem, read: Callable[[Fast], Params], fast: Fast, batch: Batch) -> Callable[[Fast], Fast]:
    """Products with its Gauss-Newton part (`Problem.gauss_newton`), which has none where the loss is convex in the outputs.

    Raises:
        ValueError: if the problem has none.
    """
    product = problem.gauss_newton
    if product is None:
        raise ValueError("gauss_newton: this problem gives no gauss_newton; take the Hessian, with damping.")

    def times(v):
        params, moved_params = jax.jvp(read, (fast,), (v,))
        _, transpose = jax.vjp(read, fast)
        return transpose(product(params, batch, moved_params))[0]

    return times


def implicit(
    problem: Problem,
    rule: InnerRule,
    strength: float,
    *,
    cg_steps: int,
    damping: float = 0.0,
    curvature_of: Curvature = hessian,
) -> MetaGradient:
    """Differentiate the solution of the proximal inner problem by the implicit function theorem: iMAML.

    With G(theta, fast) = inner_loss + strength/2 * |fast - start|^2 minimised by the inner steps, it solves
    (d2G/dfast2) v = d outer/d fast by conjugate gradients and returns d outer/d theta - (d2G/dtheta dfast)' v. Where fast is
    all of theta this is Rajeswaran et al. 2019, Eq. 6: (I + H/strength)^-1 applied to the outer gradient. Memory does not
    grow with the number of inner steps, so the outer loss sees a path of two: the start and the end.

    Args:
        problem: its first support batch defines the inner problem, so every step must use the same one.
        rule: the rule that moves; `rules.proximal` is added here.
        strength: lambda, weight of the proximal penalty that keeps adaptation near its start.
        cg_steps: iterations of conjugate gradients.
        damping: added to the curvature in the linear system, for inner losses that are not convex. It biases the derivative:
            the more the flatter a direction is.
        curvature_of: how the inner loss is curved: `hessian`, the exact one, or `gauss_newton`, which needs no damping.

    Returns:
        A meta-gradient. Its metrics tell how far its two premises hold: ``implicit/residual``, what conjugate gradients left of
        the linear system relative to its right side, and ``implicit/inner_gradient``, the norm of the proximal problem's
        gradient where adaptation ended (0 at a solution).

    Raises:
        ValueError: if ``rule`` learns step sizes: the exact solution does not depend on them, so they would get no gradient.
            If it is already proximal: the curvature would lack that penalty.

    >>> from metarl import Experience, Problem, rules
    >>> def loss(params, batch):
    ...     return 0.5 * jnp.mean((params - batch) ** 2), {}
    >>> problem = Problem(sample_batch=None, inner_loss=loss, outer_loss=final(loss))
    >>> experience = Experience(support=jnp.full((50, 5), 1.0), query=jnp.full(5, 3.0))  # K = 50: solved
    >>> grads, metrics = implicit(problem, rules.sgd(0.4), strength=1.0, cg_steps=2)(jnp.array(0.0), experience)
    >>> round(float(grads), 3), bool(metrics["implicit/inner_gradient"] < 1e-5)
    (-1.25, True)
    """
    if rule.learned_rates:
        raise ValueError(
            "implicit: the solution of the inner problem does not depend on step sizes, so learned rates get no "
            "gradient; use rules.sgd, only or context."
        )
    if rule.penalised:
        raise ValueError("implicit: the inner rule is already proximal; give the rule itself, the penalty is added here.")
    pulled = proximal(rule, strength)

    def meta_gradient(theta: Theta, experience: Experience):
        batch = jax.tree.map(lambda x: x[0], experience.support)
        solved = solve(pulled, problem.inner_loss, theta, experience.support)
        end = moving(solved)  # a state beside it is part of the way there, on which the solution does not depend

        def outer(theta, fast):
            ends = (rule.read(theta, rule.begin(theta)), rule.read(theta, moved(solved, fast)))
            path = jax.tree.map(lambda a, b: jnp.stack([a, b]), *ends)
            return problem.outer_loss(path, experience)

        def inner_gradient(theta, fast):
            loss = lambda f: problem.inner_loss(rule.read(theta, moved(solved, f)), batch)[0]
            pull = jax.tree.map(lambda f, start: strength * (f - start), fast, moving(rule.begin(theta)))
            return jax.tree.map(jnp.add, jax.grad(loss)(fast), pull)

        loss_curvature = curvature_of(problem, lambda f: rule.read(theta, moved(solved, f)), end, batch)

        def curvature(v):
            return jax.tree.map(lambda p, x: p + (strength + damping) * x, loss_curvature(v), v)

        (loss, metrics), (direct, at_end) = jax.value_and_grad(outer, argnums=(0, 1), has_aux=True)(theta, end)
        v, _ = jax.scipy.sparse.linalg.cg(curvature, at_end, maxiter=cg_steps, tol=0.0)
        _, cross = jax.vjp(lambda t: inner_gradient(t, end), theta)
        grads = jax.tree.map(jnp.subtract, direct, cross(v)[0])
        left = jax.tree.map(jnp.subtract, curvature(v), at_end)
        size = optax.tree.norm(at_end)
        quality = {
            "implicit/residual": optax.tree.norm(left) / jnp.where(size > 0, size, 1.0),
            "implicit/inner_gradient": optax.tree.norm(inner_gradient(theta, end)),
        }
        return grads, metrics | quality | {"loss": loss}

    return meta_gradient


def divergence(problem: Problem, rule: InnerRule):
    """How far theta has moved the adapted policy of one task: ``(theta, experience) -> scalar``.

    The mean KL from the policy that drew the query batch to the policy adapted from theta on the recorded support; zero at the
    theta that the data were drawn with.

    Raises:
        ValueError: if the problem's data have no action probabilities.
    """
    between = problem.divergence
    if between is None:
        raise ValueError("divergence: this problem draws data without action probabilities, so there is no KL.")

    def evaluate(theta: Theta, experience: Experience):
        path = adapt(rule, problem.inner_loss, theta, experience.support)
        query_alone = experience._replace(support=jax.tree.map(lambda x: x[:0], experience.support))
        return between(jax.tree.map(lambda x: x[-1:], path), query_alone)[0]

    return evaluate


def weighted_steps(step_losses, weights: jax.Array):
    """MAML++'s multi-step loss: the weighted sum of the losses after 1..K inner steps (Antoniou et al. 2019, Eq. 5).

    Args:
        step_losses: (path, experience) -> ([K] losses after 1..K steps, metrics).
        weights: [K]; all on the last step is MAML's loss.

    >>> step_losses = lambda path, experience: ((path[1:] - experience.query) ** 2, {})
    >>> path, experience = jnp.array([0.0, 1.0, 2.0]), Experience(support=None, query=jnp.array(3.0))
    >>> loss, _ = weighted_steps(step_losses, jnp.array([0.25, 0.75]))(path, experience)
    >>> float(loss)  # 0.25 * 4 + 0.75 * 1
    1.75
    """

    def outer_loss(path: Path, experience: Experience):
        losses, metrics = step_losses(path, experience)
        return jnp.sum(weights * losses), metrics

    return outer_loss


def no_gradient(problem: Problem, rule: InnerRule) -> MetaGradient:
    """Zero, with the objective's metrics: a start that is never trained."""

    def meta_gradient(theta: Theta, experience: Experience):
        loss, metrics = objective(problem, rule)(theta, experience)
        return jax.tree.map(jnp.zeros_like, theta), metrics | {"loss": loss}

    return meta_gradient
