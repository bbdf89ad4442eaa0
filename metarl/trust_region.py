"""The outer update of MAML's published RL experiments: a natural-gradient step with a line search, all of it compiled."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from metarl.interfaces import Experience, MetaState, Metrics, Theta, Tree, known
from metarl.outer import Draw, OuterUpdate, cosine
from metarl.tasks import ONE_BATCH, TaskMap, mean_over_tasks


def trust_region(
    objective: Callable[[Theta, Experience], tuple[jax.Array, Metrics]],
    divergence: Callable[[Theta, Experience], jax.Array],
    *,
    max_divergence: float = 0.01,
    cg_steps: int = 10,
    damping: float = 1e-5,
    backtracks: int = 15,
    shrink: float = 0.8,
    remat: bool = False,
    task_map: TaskMap = ONE_BATCH,
) -> OuterUpdate:
    """Minimise ``objective`` as far as ``divergence`` allows (TRPO: Schulman et al. 2015, Appendix C).

    The direction solves (H + damping) x = g by conjugate gradients, H the exact Hessian of the mean divergence (forward over
    reverse), g the meta-gradient; its length is what the quadratic model allows. It is then shortened until the objective
    has improved and the divergence holds. Where no candidate does, parameters stay as they are.

    Args:
        objective: one task's loss, a function of theta on recorded experience, and its metrics.
        divergence: one task's mean KL from the policy that drew the query batch to that adapted from theta; 0 at the start.
        max_divergence: the greatest mean over tasks that a step may have.
        cg_steps: iterations of conjugate gradients.
        damping: added to the Hessian.
        backtracks: candidates of the line search.
        shrink: length of each candidate relative to the one before.
        remat: recompute the replay for every product with the Hessian instead of storing its linearisation for all tasks.
        task_map: how tasks are worked on.

    Returns:
        An update without optimiser state. Metrics: those of `metarl.outer.optax_step`, ``outer/kl`` (of the step taken) and
        ``outer/line_search_failed`` (1 where parameters stayed).
    """
    if known(max_divergence) and not max_divergence > 0:
        raise ValueError(f"trust_region: max_divergence is {max_divergence}, but must be positive.")

    def step(state: MetaState, draw: Draw, sources: Tree):
        experience = task_map(draw)(state.theta, sources)

        def mean_loss(theta):
            return jnp.mean(task_map(objective)(theta, experience)[0])

        def mean_divergence(theta):
            return jnp.mean(task_map(divergence)(theta, experience))

        def slope(theta):
            return mean_over_tasks(task_map(jax.grad(divergence))(theta, experience))

        def curve(given, one):
            theta, v = given
            return jax.jvp(lambda theta: jax.grad(divergence)(theta, one), (theta,), (v,))[1]

        if remat:
            hessian = lambda v: mean_over_tasks(task_map(curve)((state.theta, v), experience))
        else:  # linearised once: a product then repeats neither the replay nor its gradient
            _, hessian = jax.linearize(slope, state.theta)

        def damped(v):
            return jax.tree.map(lambda h, x: h + damping * x, hessian(v), v)

        (losses, per_task), grads = task_map(jax.value_and_grad(objective, has_aux=True))(state.theta, experience)
        start, gradient = jnp.mean(losses), mean_over_tasks(grads)
        direction, _ = jax.scipy.sparse.linalg.cg(damped, gradient, maxiter=cg_steps, tol=0.0)
        curvature = optax.tree.vdot(direction, damped(direction))
        longest = jnp.sqrt(2 * max_divergence / jnp.where(curvature > 0, curvature, jnp.nan))

        def candidate(index):
            length = longest * shrink**index
            theta = jax.tree.map(lambda p, x: p - length * x, state.theta, direction)
            return theta, mean_divergence(theta)

        def searching(carry):
            index, found, _, _ = carry
            return (index < backtracks) & ~found

        def search(carry):
            index, _, _, _ = carry
            theta, moved = candidate(index)
            # A comparison with a number that is not finite is false: such a candidate is refused.
            found = (mean_loss(theta) < start) & (moved <= max_divergence)
            return index + 1, found, theta, moved

        first = (jnp.zeros((), jnp.int32), jnp.asarray(False), state.theta, jnp.zeros_like(start))
        _, found, theta, moved = jax.lax.while_loop(searching, search, first)
        theta = jax.tree.map(lambda new, old: jnp.where(found, new, old), theta, state.theta)
        metrics = {
            "outer/grad_norm": optax.tree.norm(gradient),
            "outer/grad_cosine": cosine(grads),
            "outer/kl": jnp.where(found, moved, 0.0),
            "outer/line_search_failed": (~found).astype(start.dtype),
        }
        return MetaState(theta, state.opt_state, state.iteration + 1), per_task | {"loss": losses}, metrics

    return OuterUpdate(lambda theta: (), step)
