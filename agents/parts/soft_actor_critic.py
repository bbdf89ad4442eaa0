"""Soft actor-critic on a latent variable of the task, as PEARL learns it: networks, and the loss of one update."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from agents.parts.networks import Network, observation_shape, regressor
from agents.parts.squashed import LOG_STD, Bounds, Squashed
from metarl.gaussians import draw, kl_from_standard, product_of
from metarl.interfaces import Key, Params

MIN_VARIANCE = 1e-7  # of one transition's Gaussian: oyster
REGULARISED = 1e-3  # weight of the squares of the policy's mean and log standard deviation: oyster


class Transition(NamedTuple):
    """A step as it is replayed. Leaves [...].

    Attributes:
        observation: before it.
        action: [A], between -1 and 1.
        reward: what the context holds.
        learned_reward: what the critic learns from; the same, unless the agent is told otherwise.
        next_observation: after it.
        terminated: bool; reaching the horizon is not an end.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    learned_reward: jax.Array
    next_observation: jax.Array
    terminated: jax.Array


class Numbers(NamedTuple):
    """Numbers of the loss.

    Attributes:
        gamma: discount.
        reward_scale: what rewards are multiplied with; the inverse of the entropy's weight.
        kl_weight: of the KL from the prior, summed over the tasks of an update.
    """

    gamma: float
    reward_scale: float
    kl_weight: float


class Networks(NamedTuple):
    """All that is learned, functions of params ``{"policy", "q1", "q2", "v", "encoder"}`` and of those of the target.

    Attributes:
        init: key -> params.
        policy: (params, observation [..., O], z [..., Z]) -> ``{"mean": [..., A], "log_std": [..., A]}``.
        q: (params, observation, action in [-1, 1], z) -> ([...], [...]), of both.
        v: (params of v, observation, z) -> [...].
        encode: (params, observation, action, reward) -> mean and variance [..., Z] of each transition's Gaussian.
    """

    init: Callable[[Key], Params]
    policy: Callable[..., dict[str, jax.Array]]
    q: Callable[..., tuple[jax.Array, jax.Array]]
    v: Callable[..., jax.Array]
    encode: Callable[..., tuple[jax.Array, jax.Array]]


def networks(space: Any, num_actions: int, latent_size: int, options: dict[str, Any], network: Any = None) -> Networks:
    """Five networks of the same layers.

    Args:
        space: of observations.
        num_actions: A.
        latent_size: Z.
        options: hidden_sizes, activation, initial_std and trunk, see `agents.parts.networks.policy`.
        network: the user's own layers in the place of each MLP.
    """
    start = float(np.log(options["initial_std"]))

    def make(num_extra: int, num_outputs: int) -> Network:
        return regressor(
            observation_shape(space),
            options["hidden_sizes"],
            options["activation"],
            num_extra=num_extra,
            num_outputs=num_outputs,
            network=network,
            kernel_init=nn.initializers.glorot_uniform(),
            trunk=options["trunk"],
        )

    parts = {
        "policy": make(latent_size, 2 * num_actions),
        "q1": make(num_actions + latent_size, 1),
        "q2": make(num_actions + latent_size, 1),
        "v": make(latent_size, 1),
        "encoder": make(num_actions + 1, 2 * latent_size),
    }

    def init(key):
        keys = jax.random.split(key, len(parts))
        return {name: part.init(each) for (name, part), each in zip(parts.items(), keys, strict=True)}

    def act(params, observation, z):
        mean, log_std = jnp.split(parts["policy"].apply(params["policy"], observation, z), 2, axis=-1)
        return {"mean": mean, "log_std": jnp.clip(start + log_std, *LOG_STD)}

    def q(params, observation, action, z):
        extra = jnp.concatenate([action, z], axis=-1)
        one, two = (parts[name].apply(params[name], observation, extra)[..., 0] for name in ("q1", "q2"))
        return one, two

    def v(params, observation, z):
        return parts["v"].apply(params, observation, z)[..., 0]

    def encode(params, observation, action, reward):
        extra = jnp.concatenate([action, reward[..., None]], axis=-1)
        mean, spread = jnp.split(parts["encoder"].apply(params["encoder"], observation, extra), 2, axis=-1)
        return mean, jnp.maximum(jax.nn.softplus(spread), MIN_VARIANCE)

    return Networks(init, act, q, v, encode)


def belief(nets: Networks, params: Params, context: Transition) -> tuple[jax.Array, jax.Array]:
    """Mean and variance [..., Z] of a task's latent, after a context with leaves [..., C, ...]."""
    return product_of(*nets.encode(params, context.observation, context.action, context.reward))


def q_target(reward: jax.Array, terminated: jax.Array, next_value: jax.Array, numbers: Numbers) -> jax.Array:
    """``reward_scale * reward + gamma * (1 - terminated) * next_value``; all [...]."""
    return numbers.reward_scale * reward + numbers.gamma * (1.0 - terminated) * next_value


def v_target(q1: jax.Array, q2: jax.Array, log_prob: jax.Array) -> jax.Array:
    """The smaller of two values of a new action, less its log-probability; all [...]."""
    return jnp.minimum(q1, q2) - log_prob


def loss(
    nets: Networks, numbers: Numbers, params: Params, target: Params, context: Transition, batch: Transition, key: Key
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The sum of the losses of critics and encoder, value and policy (Rakelly et al. 2019, Algorithm 1).

    Each part of the parameters gets the gradient of its own loss alone: the encoder that of the critics' error and of the KL.
    All are taken at the same parameters, where the released code moves the critics before the policy.

    Args:
        nets: what is learned.
        numbers: of the loss.
        params: of the networks.
        target: of the slow copy of v.
        context: leaves [B, C, ...], of B tasks.
        batch: leaves [B, R, ...], of the same.
        key: of the latents and of the policy's actions.
    """
    key_latent, key_action = jax.random.split(key)
    mean, variance = belief(nets, params, context)
    kl = kl_from_standard(mean, variance)
    z = jnp.broadcast_to(draw(key_latent, mean, variance)[:, None], (*batch.reward.shape, mean.shape[-1]))
    # Removes the encoder's derivative from all but the critics' error.
    fixed_z = jax.lax.stop_gradient(z)
    next_value = nets.v(target, batch.next_observation, fixed_z)
    goal = q_target(batch.learned_reward, batch.terminated.astype(next_value.dtype), next_value, numbers)
    q1, q2 = nets.q(params, batch.observation, batch.action, z)
    critic = jnp.mean((q1 - goal) ** 2) + jnp.mean((q2 - goal) ** 2)

    unit = Bounds(np.zeros(()), np.ones(()))
    parameters = nets.policy(params, batch.observation, fixed_z)
    action, log_prob = Squashed(**parameters, bounds=unit).sample_and_log_prob(seed=key_action)
    # Removes the critics' derivative from the policy's loss, which differentiates them in the action.
    fixed_critics = jax.lax.stop_gradient(params)
    soft_value = v_target(*nets.q(fixed_critics, batch.observation, action, fixed_z), log_prob)
    # Removes the policy's derivative from the value's loss.
    value = jnp.mean((nets.v(params["v"], batch.observation, fixed_z) - jax.lax.stop_gradient(soft_value)) ** 2)
    size = jnp.mean(parameters["mean"] ** 2) + jnp.mean(parameters["log_std"] ** 2)
    policy = -jnp.mean(soft_value) + REGULARISED * size
    total = critic + numbers.kl_weight * jnp.sum(kl) + value + policy
    return total, {
        "critic/loss": critic,
        "critic/value_loss": value,
        "encoder/kl": jnp.mean(kl),
        "policy/loss": policy,
        "policy/entropy": -jnp.mean(log_prob),
    }


def tracked(target: Params, params: Params, rate: float) -> Params:
    """The slow copy, ``rate`` nearer to the parameters (Polyak averaging)."""
    return jax.tree.map(lambda old, new: old + rate * (new - old), target, params)
