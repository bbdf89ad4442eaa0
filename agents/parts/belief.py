"""Gaussian beliefs about a task, and the evidence lower bound that teaches them (Zintgraf et al. 2020, VariBAD)."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from agents.parts.actor_critic import action_parts, as_row
from agents.parts.memory import memory_of
from agents.parts.networks import LECUN, mlp
from agents.parts.reward_decoders import RewardDecoder, Transition, joined, rows_of
from metarl.interfaces import Key, Params, Tree
from metarl.trial import Feedback


class Belief(NamedTuple):
    """A Gaussian over latent tasks: mean [..., L] and logarithm of the variance [..., L], a number each."""

    mean: jax.Array
    log_variance: jax.Array


class Elbo(NamedTuple):
    """Means over the beliefs of a trial: the bound, and its two parts, the divergence without its weight."""

    bound: jax.Array
    log_likelihood: jax.Array
    kl: jax.Array


class Inference(NamedTuple):
    """What infers a task and what its latent explains, as pure functions.

    Attributes:
        init: key -> {"encoder": ..., "decoder": ...}.
        start: (memory, belief) before the first observation of a trial; the belief is N(0, I).
        act: (params, memory, observation, feedback) -> (memory, belief), one step.
        replay: (params, memory, observation [S, ...], feedback [S, ...], mask [S]) -> beliefs [S, L]: what ``act`` gives.
        decode: (params, latent [L], transition) -> log-likelihood of the transition's reward, and of its next observation
            where these are decoded, up to a constant.
        reward: (params, latent [L], transition) -> the reward that is expected; that of the transition is not read.
    """

    init: Callable[[Key], Params]
    start: tuple[Tree, Belief]
    act: Callable[[Params, Tree, jax.Array, Feedback], tuple[Tree, Belief]]
    replay: Callable[[Params, Tree, jax.Array, Feedback, jax.Array], Belief]
    decode: Callable[[Params, jax.Array, Transition], jax.Array]
    reward: Callable[[Params, jax.Array, Transition], jax.Array]


def inference(
    family: Any,
    memory: nn.Module,
    latent_size: int,
    rewards: RewardDecoder,
    hidden_sizes: tuple[int, ...] | None = None,
    *,
    called: str = "memory",
) -> Inference:
    """A recurrent encoder of a trial so far, and decoders.

    The encoder reads in step t what `agents.parts.actor_critic.as_row` has: the observation, and action, reward and end of the
    step before. Next observations are decoded as Gaussians, whose log-likelihood is minus the mean of the squared errors of
    their numbers.

    Args:
        family: with ``observation_space``, a Box, and ``action_space``.
        memory: a flax module that remembers, see `agents.parts.memory.memory_of`.
        latent_size: L.
        rewards: what decodes them, for latents of this size.
        hidden_sizes: of ReLU, of what decodes next observations from observation and action; None where they are not decoded.
        called: how messages call the memory.

    Raises:
        ValueError: in one line: a memory that does not fit.
    """
    actions = action_parts(family.action_space)
    num_seen = int(np.prod(family.observation_space.shape))
    num_done = int(gymnasium.spaces.flatdim(family.action_space))
    kept = memory_of(memory, num_seen + num_done + 3, called)
    # Small heads: before anything is learned a belief is almost N(0, I).
    heads = mlp((kept.num_outputs,), (), 2 * latent_size, "relu", nn.initializers.variance_scaling(0.01, "fan_in", "normal"), 0)
    of_next = None
    if hidden_sizes is not None:
        of_next = mlp((latent_size + num_seen + num_done,), hidden_sizes, num_seen, "relu", LECUN, 0)

    def init(key):
        key_memory, key_heads, key_reward, key_next = jax.random.split(key, 4)
        encoder = {"memory": kept.init(key_memory), "heads": heads.init(key_heads)}
        decoder = {"reward": rewards.init(key_reward)} | ({} if of_next is None else {"next": of_next.init(key_next)})
        return {"encoder": encoder, "decoder": decoder}

    def believe(params, y):
        return Belief(*jnp.split(heads.apply(params["encoder"]["heads"], y), 2, axis=-1))

    def act(params, memory, observation, feedback):
        memory, y = kept.act(params["encoder"]["memory"], memory, as_row(actions, observation, feedback))
        return memory, believe(params, y)

    def replay(params, memory, observation, feedback, mask):
        rows = jax.vmap(partial(as_row, actions))(observation, feedback)
        _, y = kept.replay(params["encoder"]["memory"], memory, rows, mask)
        return believe(params, y)

    def reward(params, latent, step):
        return rewards.expected(params["decoder"]["reward"], latent, step)

    def decode(params, latent, step):
        likelihood = rewards.log_likelihood(params["decoder"]["reward"], latent, step)
        if of_next is not None:
            given = joined(latent, step.observation, *rows_of(actions, step.action))
            seen = of_next.apply(params["decoder"]["next"], given)
            likelihood -= jnp.mean((seen - jnp.ravel(step.next_observation).astype(float)) ** 2)
        return likelihood

    nothing = jnp.zeros(latent_size)
    return Inference(init, (kept.start, Belief(nothing, nothing)), act, replay, decode, reward)


def kl_divergence(posterior: Belief, prior: Belief) -> jax.Array:
    """KL(posterior || prior) of Gaussians with diagonal covariances, [..., L] -> [...].

    >>> nothing = Belief(jnp.zeros(2), jnp.zeros(2))
    >>> float(kl_divergence(Belief(jnp.array([1.0, 0.0]), jnp.zeros(2)), nothing))
    0.5
    """
    ratio = posterior.log_variance - prior.log_variance
    distance = (posterior.mean - prior.mean) ** 2 * jnp.exp(-prior.log_variance)
    return 0.5 * jnp.sum(jnp.exp(ratio) + distance - 1.0 - ratio, axis=-1)


def sampled(belief: Belief, noise: jax.Array) -> jax.Array:
    """Latents [..., L] from standard normal numbers, differentiable in the belief."""
    return belief.mean + jnp.exp(0.5 * belief.log_variance) * noise


def last_taken(mask: jax.Array) -> jax.Array:
    """The index of the last step taken before each of a trial's, -1 where there is none: [S] -> [S].

    >>> last_taken(jnp.array([1.0, 1.0, 0.0, 0.0, 1.0])).tolist()
    [-1, 0, 1, 1, 1]
    """
    index = jnp.where(mask > 0, jnp.arange(mask.shape[0]), -1)
    return jnp.concatenate([jnp.full(1, -1), jax.lax.cummax(index)[:-1]])


def elbo(
    belief: Belief,
    noise: jax.Array,
    mask: jax.Array,
    decode: Callable[[jax.Array, jax.Array], jax.Array],
    kl_weight: float,
    terms: jax.Array,
    steps: jax.Array,
) -> Elbo:
    """The evidence lower bound of a trial (Zintgraf et al. 2020, Eq. 8 and 9), the mean over its beliefs.

    The bound of belief t is the log-likelihood of all steps of the trial, past and future, given a latent drawn from it, minus
    its weighted divergence from the belief before; that before the first is N(0, I). Steps that were not taken count nowhere.

    Args:
        belief: [S, L], after each observation.
        noise: [B, L], standard normal, of each of the ``terms``.
        mask: [S], 1.0 for steps that were taken.
        decode: (latent [L], step index) -> log-likelihood of that step.
        kl_weight: of the divergence.
        terms: [B], which beliefs count, without repetition; where these are not all, an unbiased estimate.
        steps: [D], which steps are decoded, the same.
    """
    size, before = mask.shape[0], last_taken(mask)
    prior = jax.tree.map(lambda x: jnp.where(before[:, None] >= 0, x[before], 0.0), belief)
    divergence = kl_divergence(belief, prior)[terms]
    latent = sampled(jax.tree.map(lambda x: x[terms], belief), noise)
    likelihood = jax.vmap(lambda z: jax.vmap(lambda i: decode(z, i))(steps))(latent)  # [B, D]
    likelihood = size / len(steps) * jnp.sum(mask[steps] * likelihood, axis=1)
    weight = size / len(terms) * mask[terms] / jnp.sum(mask)
    found = Elbo(likelihood - kl_weight * divergence, likelihood, divergence)
    return jax.tree.map(lambda x: jnp.sum(weight * x), found)
