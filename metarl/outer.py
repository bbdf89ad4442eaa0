"""Outer updates: how the meta-parameters move, given each task's meta-gradient."""

import jax
import jax.numpy as jnp
import optax

from metarl.types import MetaState, Metrics


def optax_step(optimizer: optax.GradientTransformation, state: MetaState, grads) -> tuple[MetaState, Metrics]:
    """Average meta-gradients over tasks and take one step of ``optimizer``.

    Args:
        optimizer: any optax transformation.
        state: meta-parameters and optimiser state.
        grads: one meta-gradient per task, leaves [M, ...].

    Returns:
        The new state, and ``outer/grad_norm``, the global norm of the mean meta-gradient.
    """
    mean = jax.tree.map(lambda g: jnp.mean(g, axis=0), grads)
    updates, opt_state = optimizer.update(mean, state.opt_state, state.theta)
    theta = optax.apply_updates(state.theta, updates)
    return MetaState(theta, opt_state, state.iteration + 1), {"outer/grad_norm": optax.tree.norm(mean)}
