"""Proximal policy optimisation (Schulman et al. 2017): the loss, and several epochs of minibatches over one set of data."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl.interfaces import Key, Metrics, Theta, Tree
from metarl.surrogates import clipped_ratio
from metarl.tasks import ONE_BATCH, TaskMap


class PPO(NamedTuple):
    """Hyperparameters of PPO. The first four differ between tasks and agents, so they have no default here.

    Attributes:
        num_epochs: passes over the data of one meta-iteration.
        num_minibatches: updates per pass; rows left over by the division sit that pass out.
        clip: epsilon, how far from 1 the probability ratio counts.
        entropy_cost: weight of the entropy bonus.
        value_cost: weight of the squared error of the value function.
        max_grad_norm: gradients are clipped to this global norm.
    """

    num_epochs: int
    num_minibatches: int
    clip: float
    entropy_cost: float
    value_cost: float = 0.5  # OpenAI baselines, ppo2
    max_grad_norm: float = 0.5  # OpenAI baselines, ppo2


def num_updates(numbers: PPO, num_rows: int) -> int:
    """Updates that `optimise` makes of a batch of ``num_rows``."""
    return numbers.num_epochs * min(numbers.num_minibatches, num_rows)


def ppo_loss(
    log_prob: jax.Array,
    behaviour_log_prob: jax.Array,
    advantage: jax.Array,
    value: jax.Array,
    target: jax.Array,
    entropy: jax.Array,
    mask: jax.Array,
    numbers: PPO,
) -> jax.Array:
    """Clipped surrogate, squared error of the value and entropy bonus (Schulman et al. 2017, Eq. 9), to be minimised.

    Args:
        log_prob: [B, S], of the recorded actions under the parameters being differentiated.
        behaviour_log_prob: [B, S], of the same actions under the policy that drew them.
        advantage: [B, S].
        value: [B, S], predicted.
        target: [B, S], what it should have been.
        entropy: [B, S], of the action distributions.
        mask: [B, S], 1.0 for steps that were taken. All three means are over B * S steps, as in `metarl.surrogates`.
        numbers: of PPO.
    """
    surrogate = clipped_ratio(numbers.clip)(log_prob, behaviour_log_prob, advantage, mask)
    value_error = 0.5 * jnp.mean(mask * (value - target) ** 2)
    return -surrogate + numbers.value_cost * value_error - numbers.entropy_cost * jnp.mean(mask * entropy)


def optimise(
    loss: Callable[[Theta, Tree], tuple[jax.Array, Metrics]],
    optimizer: optax.GradientTransformation,
    theta: Theta,
    opt_state: Tree,
    batch: Tree,
    key: Key,
    numbers: PPO,
    task_map: TaskMap = ONE_BATCH,
) -> tuple[Theta, Tree, Metrics]:
    """Several epochs of minibatch updates; every epoch deals the batch anew.

    Args:
        loss: (theta, minibatch) -> (scalar, metrics).
        optimizer: any optax transformation; gradient clipping is part of it.
        theta: parameters.
        opt_state: of ``optimizer``.
        batch: leaves [B, ...]; rows are dealt to minibatches.
        key: typed key.
        numbers: of PPO; at most B minibatches are made.
        task_map: where the rows lie; each device then works on its part of every minibatch.

    Returns:
        New parameters, new optimiser state, and the metrics of the last epoch, with ``loss``, as means over its updates;
        ``outer/grad_norm`` is the global norm before clipping, the mean over all updates.
    """
    num_rows = jax.tree.leaves(batch)[0].shape[0]
    num_minibatches = num_updates(numbers, num_rows) // numbers.num_epochs
    size = num_rows // num_minibatches

    def update(carry, rows):
        theta, opt_state = carry
        # Dealing whole batches would copy them for nothing.
        minibatch = batch if num_minibatches == 1 else jax.tree.map(lambda x: x[rows], batch)
        minibatch = task_map.share(minibatch)
        (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(theta, minibatch)
        updates, opt_state = optimizer.update(grads, opt_state, theta)
        metrics = metrics | {"loss": value, "outer/grad_norm": optax.tree.norm(grads)}
        return (optax.apply_updates(theta, updates), opt_state), metrics

    def epoch(carry, key_epoch):
        rows = jax.random.permutation(key_epoch, num_rows)[: num_minibatches * size].reshape(num_minibatches, size)
        return jax.lax.scan(update, carry, rows)

    keys = jax.random.split(key, numbers.num_epochs)
    (theta, opt_state), metrics = jax.lax.scan(epoch, (theta, opt_state), keys)
    last = {name: jnp.mean(values[-1]) for name, values in metrics.items()}
    return theta, opt_state, last | {"outer/grad_norm": jnp.mean(metrics["outer/grad_norm"])}
