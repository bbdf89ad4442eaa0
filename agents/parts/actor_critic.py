"""Policies with a value that play trials: one with a recurrent memory, and one that is told the task."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from agents.parts.networks import mlp, observation_shape, policy
from metarl.interfaces import Key, Params, Task, Tree
from metarl.trial import Feedback

TASKS_MEASURED = 256  # tasks whose parameters are looked at to bring them to one scale
KEY_OF_MEASURED = 0x5CA1E  # and where they come from, whatever the seed


class ActorCritic(NamedTuple):
    """What plays a trial, with its value.

    Attributes:
        init: key -> params.
        start: task -> memory at the start of a trial.
        act: (params, memory, observation, feedback) -> (memory, distribution parameters, value).
        replay: (params, memory at the start, observation [S, ...], feedback [S, ...], mask [S]) -> (distribution parameters
            [S, ...], values [S]): what ``act`` gave along a recorded trial, differentiable in ``params``.
        distribution: distribution parameters -> distrax.Distribution over actions.
        no_action: the last action of a trial's very first step.
    """

    init: Callable[[Key], Params]
    start: Callable[[Task], Tree]
    act: Callable[[Params, Tree, jax.Array, Feedback], tuple[Tree, Any, jax.Array]]
    replay: Callable[[Params, Tree, jax.Array, Feedback, jax.Array], tuple[Any, jax.Array]]
    distribution: Callable[[Any], Any]
    no_action: jax.Array


def recurrent(family: Any, policy_options: dict[str, Any], memory_size: int) -> ActorCritic:
    """A GRU reads observation, last action, last reward, last end and "an episode starts here"; policy and value read the GRU.

    Duan et al. 2016 (RL2), Section 2.2. A discrete action is read as one-hot, all zeros when there was none.

    Args:
        family: with ``observation_space`` and ``action_space``.
        policy_options: those of `agents.parts.networks.policy`; hidden_sizes come after the memory.
        memory_size: of the GRU's state.

    Raises:
        ValueError: for spaces without a policy.
    """
    shape = observation_shape(family.observation_space)
    cell = nn.GRUCell(memory_size)
    state_space = gymnasium.spaces.Box(-1.0, 1.0, (memory_size,), np.float32)
    readers = _readers(state_space, family.action_space, policy_options, num_extra=0)
    discrete = isinstance(family.action_space, gymnasium.spaces.Discrete)

    def read(observation, feedback):
        action = jax.nn.one_hot(feedback.action, int(family.action_space.n)) if discrete else feedback.action
        scalars = [feedback.reward, feedback.terminated, feedback.first]
        parts = [observation, action, *scalars]
        return jnp.concatenate([jnp.ravel(x).astype(float) for x in parts])

    def init(key):
        key_cell, key_readers = jax.random.split(key)
        size = int(np.prod(shape)) + int(gymnasium.spaces.flatdim(family.action_space)) + 3
        params = cell.init(key_cell, jnp.zeros(memory_size), jnp.zeros(size))
        return {"memory": params, "readers": readers.init(key_readers)}

    def start(task):
        del task
        return jnp.zeros(memory_size)

    def act(params, memory, observation, feedback):
        memory, _ = cell.apply(params["memory"], memory, read(observation, feedback))
        return memory, *readers.apply(params["readers"], memory, ())

    def replay(params, memory, observation, feedback, mask):
        def step(memory, inputs):
            x, mask = inputs
            after, _ = cell.apply(params["memory"], memory, x)
            return jnp.where(mask > 0, after, memory), after

        _, states = jax.lax.scan(step, memory, (jax.vmap(read)(observation, feedback), mask))
        return readers.apply(params["readers"], states, ())

    no_action = jnp.asarray(-1) if discrete else jnp.zeros(family.action_space.shape)
    return ActorCritic(init, start, act, replay, readers.distribution, no_action)


def informed(family: Any, trained_on: Any, policy_options: dict[str, Any]) -> ActorCritic:
    """A policy without memory that observes the task: its leaves, flattened, join every observation.

    They are centred and scaled by mean and standard deviation over `TASKS_MEASURED` training tasks; what never varies is left
    at zero.

    Args:
        family: with ``observation_space`` and ``action_space``.
        trained_on: with the ``sample_task`` of training.
        policy_options: those of `agents.parts.networks.policy`.

    Raises:
        ValueError: for spaces without a policy.
    """

    def flat(task):
        return jnp.concatenate([jnp.ravel(leaf).astype(float) for leaf in jax.tree.leaves(task)])

    with jax.ensure_compile_time_eval():
        keys = jax.random.split(jax.random.key(KEY_OF_MEASURED), TASKS_MEASURED)
        measured = jax.vmap(lambda key: flat(trained_on.sample_task(key)))(keys)
        centre, spread = jnp.mean(measured, axis=0), jnp.std(measured, axis=0)
    readers = _readers(family.observation_space, family.action_space, policy_options, num_extra=centre.size)

    def start(task):
        return jnp.where(spread > 0, (flat(task) - centre) / jnp.where(spread > 0, spread, 1.0), 0.0)

    def act(params, memory, observation, feedback):
        del feedback
        return memory, *readers.apply(params, observation, memory)

    def replay(params, memory, observation, feedback, mask):
        del feedback, mask
        return readers.apply(params, observation, memory)

    discrete = isinstance(family.action_space, gymnasium.spaces.Discrete)
    no_action = jnp.asarray(0) if discrete else jnp.zeros(family.action_space.shape)
    return ActorCritic(readers.init, start, act, replay, readers.distribution, no_action)


class _Readers(NamedTuple):
    init: Callable[[Key], Params]
    apply: Callable[[Params, jax.Array, Any], tuple[Any, jax.Array]]
    distribution: Callable[[Any], Any]


def _readers(space, action_space, policy_options, num_extra) -> _Readers:
    """A policy and a value with networks of their own on the same inputs."""
    actor = policy(space, action_space, **policy_options, num_extra=num_extra)
    sizes, activation = policy_options["hidden_sizes"], policy_options["activation"]
    critic = mlp(space.shape, sizes, 1, activation, nn.initializers.glorot_uniform(), num_extra)

    def init(key):
        key_actor, key_critic = jax.random.split(key)
        return {"actor": actor.network.init(key_actor), "critic": critic.init(key_critic)}

    def apply(params, x, extra):
        return actor.network.apply(params["actor"], x, extra), critic.apply(params["critic"], x, extra)[..., 0]

    return _Readers(init, apply, actor.distribution)
