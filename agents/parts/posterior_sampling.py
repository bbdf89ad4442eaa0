"""Acting on a belief about the task that is sampled anew in every episode, as PEARL does at test and in training."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.parts.actor_critic import ActorCritic, no_action
from agents.parts.networks import observation_shape
from agents.parts.soft_actor_critic import Networks
from agents.parts.squashed import Bounds, Squashed
from metarl.gaussians import Factors, draw, factor, moments

STREAM = 0x5EED  # folded into a trial's key, beyond the number of any episode


class Belief(NamedTuple):
    """What is remembered over a trial.

    Attributes:
        factors: of the context so far, leaves [Z].
        z: [Z], what this episode is played with.
        observation: of the last step, which waits for its action's reward.
        episodes: how many have begun, int32.
        key: words of a typed key, of the samples of z.
    """

    factors: Factors
    z: jax.Array
    observation: jax.Array
    episodes: jax.Array
    key: jax.Array


def posterior_sampling(
    family: Any, nets: Networks, bounds: Bounds, latent_size: int, prior_episodes: int, reward_scale: float, *, in_bytes: bool
) -> ActorCritic:
    """A policy that plays each episode with one sample of its belief about the task (Rakelly et al. 2019, Section 5).

    The first ``prior_episodes`` are played with samples of the prior, all others with samples of the belief after the episodes
    before. Every step counts for the belief, from the next episode on.

    Args:
        family: with ``observation_space`` and ``action_space``, in the policy's units.
        nets: the policy, the encoder of transitions and the value.
        bounds: of actions.
        latent_size: Z.
        prior_episodes: how many.
        reward_scale: of the value, which is given in units of the reward.
        in_bytes: whether images of bytes are read as such, and not normalised before.
    """
    shape = observation_shape(family.observation_space)
    dtype = np.uint8 if in_bytes and family.observation_space.dtype == np.uint8 else float

    def start(task):
        del task
        nothing = Factors(jnp.zeros(latent_size), jnp.zeros(latent_size))
        memory = Belief(nothing, nothing.weighted, jnp.zeros(shape, dtype), jnp.zeros((), jnp.int32), jnp.zeros(2, jnp.uint32))
        return seeded(memory, jax.random.key(0))

    def seeded(memory, key):
        return memory._replace(key=jax.random.key_data(jax.random.fold_in(key, STREAM)))

    def act(params, memory, observation, feedback):
        observation = observation.astype(memory.observation.dtype)
        took = bounds.to_unit(feedback.action)
        new = factor(*nets.encode(params, memory.observation, took, feedback.reward))
        known = memory.episodes > 0  # a last step
        factors = jax.tree.map(lambda old, more: old + jnp.where(known, more, 0.0), memory.factors, new)
        mean, variance = moments(factors)
        blind = memory.episodes < prior_episodes
        mean, variance = jnp.where(blind, 0.0, mean), jnp.where(blind, 1.0, variance)
        key = jax.random.fold_in(jax.random.wrap_key_data(memory.key), memory.episodes)
        z = jnp.where(feedback.first, draw(key, mean, variance), memory.z)
        episodes = memory.episodes + feedback.first.astype(jnp.int32)
        value = nets.v(params["v"], observation, z) / reward_scale
        return Belief(factors, z, observation, episodes, memory.key), nets.policy(params, observation, z), value

    def replay(params, memory, observation, feedback, mask):
        def step(memory, recorded):
            *read, counts = recorded
            new, parameters, value = act(params, memory, *read)
            memory = jax.tree.map(lambda new, old: jnp.where(counts > 0, new, old), new, memory)
            return memory, (parameters, value)

        return jax.lax.scan(step, memory, (observation, feedback, mask))[1]

    def distribution(parameters):
        return Squashed(**parameters, bounds=bounds)

    return ActorCritic(nets.init, start, act, replay, distribution, no_action(family.action_space, 0), seeded)
