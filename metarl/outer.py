"""Outer updates: how the meta-parameters move, given the experience of M tasks.

Each is an `OuterUpdate`, or a function from one to another. An update draws the experience itself: one that needs it only once
draws and differentiates task by task, and with micro-batches never holds the experience of all tasks.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl.interfaces import Experience, MetaState, Metrics, Theta, Tree
from metarl.meta import MetaGradient
from metarl.tasks import ONE_BATCH, TaskMap, mean_over_tasks

Draw = Callable[[Theta, Tree], Experience]  # theta, what one task is drawn from -> its experience


class OuterUpdate(NamedTuple):
    """How meta-parameters move.

    Attributes:
        init: theta -> optimiser state.
        step: (state, draw, sources) -> (state, metrics of each task [M, ...], metrics of the update). ``draw(theta, source)``
            gives one task's experience, and ``sources`` has leaves [M, ...]: keys, or recorded experience with `recorded`.
    """

    init: Callable[[Theta], Tree]
    step: Callable[[MetaState, Draw, Tree], tuple[MetaState, Metrics, Metrics]]


def recorded(theta: Theta, experience: Experience) -> Experience:
    """A `Draw` from experience that exists already: whatever theta is now, the data are these."""
    del theta
    return experience


def follow(
    optimizer: optax.GradientTransformation,
    meta_gradient: Callable[[jax.Array], MetaGradient],
    task_map: TaskMap = ONE_BATCH,
) -> OuterUpdate:
    """One step of ``optimizer`` along the mean of the tasks' meta-gradients.

    Args:
        optimizer: any optax transformation.
        meta_gradient: iteration -> how the outer derivative of one task is taken in that meta-iteration.
        task_map: how tasks are worked on.
    """

    def step(state: MetaState, draw: Draw, sources: Tree):
        def one_task(given, source):
            theta, iteration = given
            return meta_gradient(iteration)(theta, draw(theta, source))

        grads, per_task = task_map(one_task)((state.theta, state.iteration), sources)
        state, metrics = optax_step(optimizer, state, grads)
        return state, per_task, metrics

    return OuterUpdate(optimizer.init, step)


def optax_step(optimizer: optax.GradientTransformation, state: MetaState, grads) -> tuple[MetaState, Metrics]:
    """Average meta-gradients over tasks and take one step of ``optimizer``.

    Args:
        optimizer: any optax transformation.
        state: meta-parameters and optimiser state.
        grads: one meta-gradient per task, leaves [M, ...].

    Returns:
        The new state; ``outer/grad_norm``, the global norm of the mean meta-gradient, and ``outer/grad_cosine``, see `cosine`.

    >>> optimizer, theta = optax.sgd(1.0), jnp.zeros(2)
    >>> state = MetaState(theta, optimizer.init(theta), jnp.zeros((), jnp.int32))
    >>> state, metrics = optax_step(optimizer, state, jnp.array([[3.0, 0.0], [0.0, 4.0]]))  # meta-gradients of two tasks
    >>> state.theta, float(metrics["outer/grad_norm"])
    (Array([-1.5, -2. ], dtype=float32), 2.5)
    """
    mean = mean_over_tasks(grads)
    updates, opt_state = optimizer.update(mean, state.opt_state, state.theta)
    theta = optax.apply_updates(state.theta, updates)
    metrics = {"outer/grad_norm": optax.tree.norm(mean), "outer/grad_cosine": cosine(grads)}
    return MetaState(theta, opt_state, state.iteration + 1), metrics


def cosine(grads: Tree) -> jax.Array:
    """Mean cosine similarity of the meta-gradients of two different tasks: 1 where all agree, 0 where they are unrelated.

    Args:
        grads: leaves [M, ...]; of a single task it is 1, and a zero gradient has similarity 0 to all others.

    >>> float(cosine(jnp.array([[1.0, 0.0], [3.0, 0.0]])))
    1.0
    >>> float(cosine(jnp.array([[1.0, 0.0], [0.0, 3.0]])))
    0.0
    """
    leaves = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(grads)]
    num_tasks = leaves[0].shape[0]
    if num_tasks == 1:
        return jnp.ones((), leaves[0].dtype)
    norm = jnp.sqrt(sum(jnp.sum(leaf**2, axis=1) for leaf in leaves))
    scale = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1.0), 0.0)
    # The squared norm of the sum of unit vectors is M, from each with itself, plus the cosines of all ordered pairs.
    squared = sum(jnp.sum((scale @ leaf) ** 2) for leaf in leaves)
    return (squared - jnp.sum(norm > 0)) / (float(num_tasks) * (num_tasks - 1))  # as integers too many for 32 bits


def repeat(update: OuterUpdate, num_steps: int, task_map: TaskMap = ONE_BATCH) -> OuterUpdate:
    """Take ``num_steps`` of an update on the same experience, as PPO and ProMP do. Metrics are those of the first step."""
    if num_steps < 1:
        raise ValueError(f"repeat: num_steps is {num_steps}, but must be at least 1.")

    def step(state: MetaState, draw: Draw, sources: Tree):
        iteration, experience = state.iteration, task_map(draw)(state.theta, sources)

        def again(state, _):
            state, per_task, metrics = update.step(state._replace(iteration=iteration), recorded, experience)
            return state, (per_task, metrics)

        # The first step is in the loop too: outside, it would be compiled a second time.
        state, outputs = jax.lax.scan(again, state, length=num_steps)
        per_task, metrics = jax.tree.map(lambda x: x[0], outputs)
        return state, per_task, metrics

    return OuterUpdate(update.init, step)
