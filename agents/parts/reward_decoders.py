"""What rewards a latent explains: decoded from the step, or by a head for each observation that there is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from agents.parts.actor_critic import action_parts
from agents.parts.encoding import row_of
from agents.parts.networks import LECUN, mlp
from metarl.interfaces import Key, Params


class Transition(NamedTuple):
    """A step: observations before and after it, action and reward; leaves [...] or, along a trial, [S, ...]."""

    observation: jax.Array
    action: Any
    reward: jax.Array
    next_observation: jax.Array


class RewardDecoder(NamedTuple):
    """Rewards given a latent, as pure functions.

    Attributes:
        init: key -> params.
        expected: (params, latent [L], transition) -> the reward that is expected; that of the transition is not read.
        log_likelihood: (params, latent [L], transition) -> that of the transition's reward, up to a constant.
    """

    init: Callable[[Key], Params]
    expected: Callable[[Params, jax.Array, Transition], jax.Array]
    log_likelihood: Callable[[Params, jax.Array, Transition], jax.Array]


def by_network(family: Any, latent_size: int, hidden_sizes: tuple[int, ...], *, from_action: bool) -> RewardDecoder:
    """A Gaussian of variance 1/2, whose log-likelihood is minus the squared error; layers of ReLU.

    Args:
        family: with ``observation_space``, a Box, and ``action_space``.
        latent_size: L.
        hidden_sizes: its layers.
        from_action: it reads observation, action and next observation; else the next observation alone.
    """
    actions = action_parts(family.action_space)
    num_seen = int(np.prod(family.observation_space.shape))
    num_given = num_seen + (num_seen + int(gymnasium.spaces.flatdim(family.action_space)) if from_action else 0)
    network = mlp((latent_size + num_given,), hidden_sizes, 1, "relu", LECUN, 0)

    def expected(params, latent, step):
        given = (step.observation, *rows_of(actions, step.action)) if from_action else ()
        return network.apply(params, joined(latent, *given, step.next_observation))[0]

    def log_likelihood(params, latent, step):
        return -((expected(params, latent, step) - step.reward) ** 2)

    return RewardDecoder(network.init, expected, log_likelihood)


def by_heads(family: Any, latent_size: int, hidden_sizes: tuple[int, ...]) -> RewardDecoder:
    """The probability of the higher of two rewards at each observation that there is, all from the latent alone.

    For families with few observations and two rewards, as VariBAD's gridworld in its released code. Nothing has to be learned
    about where observations lie, and a rare reward weighs more than in a squared error.

    Args:
        family: with ``observations`` [n, ...] and ``rewards`` (low, high), see `envs.family.TaskFamily`.
        latent_size: L.
        hidden_sizes: layers of ReLU that all heads share.

    Raises:
        ValueError: the family does not list them, in one line.
    """
    known, paid = getattr(family, "observations", None), getattr(family, "rewards", None)
    if known is None or paid is None:
        raise ValueError(
            "decode_rewards is heads, which needs all observations and the two rewards, but the family does not list them "
            "(observations, rewards); leave it out."
        )
    (low, high), places = paid, np.reshape(known, (len(known), -1))
    network = mlp((latent_size,), hidden_sizes, len(places), "relu", LECUN, 0)

    def logit(params, latent, step):
        place = jnp.argmin(jnp.sum((places - jnp.ravel(step.next_observation)) ** 2, axis=-1))
        return network.apply(params, latent)[place]

    def expected(params, latent, step):
        return low + (high - low) * jax.nn.sigmoid(logit(params, latent, step))

    def log_likelihood(params, latent, step):
        here, got = logit(params, latent, step), (step.reward - low) / (high - low)  # 0 or 1
        return got * jax.nn.log_sigmoid(here) + (1.0 - got) * jax.nn.log_sigmoid(-here)

    return RewardDecoder(network.init, expected, log_likelihood)


def rows_of(actions: list[Any], action: Any) -> list[jax.Array]:
    """The parts of an action as rows of numbers.

    Args:
        actions: `agents.parts.actor_critic.action_parts` of the action's space.
        action: as a policy gave it.
    """
    taken = action if isinstance(action, tuple) else (action,)
    return [jnp.ravel(row_of(space, part)) for space, part in zip(actions, taken, strict=True)]


def joined(*parts: jax.Array) -> jax.Array:
    """One row of numbers."""
    return jnp.concatenate([jnp.ravel(part).astype(float) for part in parts])
