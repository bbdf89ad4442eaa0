"""Policies with a value that play trials: one with a recurrent memory, and one that is told the task."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from agents.parts.encoding import row_of
from agents.parts.hypernetwork import generated
from agents.parts.memory import in_chunks, memory_of
from agents.parts.networks import (
    ACTIVATIONS,
    Convolutions,
    Network,
    Policy,
    observation_shape,
    one_line,
    pixels,
    policy,
    regressor,
)
from agents.parts.normalization import Seen, merged, normalized, nothing_seen
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
        no_action: the last action of a trial's very first step; a tuple where actions have parts.
        seeded: (memory at the start, key) -> memory; where a memory draws by itself, with this key from now on.
    """

    init: Callable[[Key], Params]
    start: Callable[[Task], Tree]
    act: Callable[[Params, Tree, jax.Array, Feedback], tuple[Tree, Any, jax.Array]]
    replay: Callable[[Params, Tree, jax.Array, Feedback, jax.Array], tuple[Any, jax.Array]]
    distribution: Callable[[Any], Any]
    no_action: Any
    seeded: Callable[[Tree, Key], Tree] | None = None


def recurrent(
    family: Any,
    policy_options: dict[str, Any],
    memory: nn.Module,
    network: Any = None,
    *,
    called: str = "memory",
    hypernetwork: bool = False,
    chunk: int = 0,
) -> ActorCritic:
    """A memory reads observation, last action, last reward, last end and "an episode starts here"; policy and value read it.

    Duan et al. 2016 (RL2), Section 2.2, whose memory is a GRU. A discrete action is read as one-hot, all zeros when there was
    none; an action with parts as its parts in a row. Of images the memory reads the features of convolutions, if these are the
    policy's trunk.

    Args:
        family: with ``observation_space`` and ``action_space``.
        policy_options: those of `agents.parts.networks.policy`; hidden_sizes come after the memory.
        memory: a flax module that remembers, see `agents.parts.memory.memory_of`.
        network: a flax module of the user's own that maps an observation to the features that the memory reads, or None.
        called: how messages call the memory.
        hypernetwork: policy and value read the observation, and the memory gives their weights; see
            `agents.parts.hypernetwork.generated`.
        chunk: steps between which gradients are cut, see `agents.parts.memory.in_chunks`; 0 cuts none.

    Raises:
        ValueError: for spaces without a policy, and modules that do not fit, in one line.
    """
    shape = observation_shape(family.observation_space)
    images = policy_options.get("trunk") == "conv"
    if network is not None and not isinstance(network, nn.Module):
        shown = getattr(network, "__name__", network)
        raise ValueError(f"network is {shown}, but must be a flax module: a cell, or what maps observations to features.")
    encoder = None if network is None else Encoder(network)
    if images:
        encoder = Encoder(Convolutions(ACTIVATIONS[policy_options["activation"]], nn.initializers.glorot_uniform()))
    num_features = int(np.prod(shape)) if encoder is None else encoder_size(type(network).__name__, encoder, shape)
    num_inputs = num_features + int(gymnasium.spaces.flatdim(family.action_space)) + 3
    kept = memory_of(memory, num_inputs, called)
    kept = in_chunks(kept, chunk) if chunk else kept
    read_space = gymnasium.spaces.Box(-1.0, 1.0, (num_features if hypernetwork else kept.num_outputs,), np.float32)
    generator = kept.num_outputs if hypernetwork else None
    options = policy_options | {"trunk": "mlp"}  # what the readers read is a row of numbers
    readers = readers_of(read_space, family.action_space, options, num_extra=0, generator=generator)
    actions = action_parts(family.action_space)

    def features(params, observation):
        if encoder is None:
            return observation
        return encoder.apply(params["encoder"], pixels(observation) if images else observation)

    def answer(params, y, seen):
        if not hypernetwork:
            return readers.apply(params["readers"], y, ())
        seen = seen.reshape(*y.shape[:-1], -1).astype(float)
        apply = readers.apply if y.ndim == 1 else jax.vmap(readers.apply, (None, 0, 0))
        return apply(params["readers"], seen, y)

    def init(key):
        key_memory, key_readers, *key_encoder = jax.random.split(key, 2 if encoder is None else 3)
        params: dict[str, Any] = {"memory": kept.init(key_memory)}
        params["readers"] = readers.init(key_readers)
        return params if encoder is None else params | {"encoder": encoder.init(key_encoder[0], jnp.zeros(shape))}

    def start(task):
        del task
        return kept.start

    def act(params, memory, observation, feedback):
        seen = features(params, observation)
        memory, y = kept.act(params["memory"], memory, as_row(actions, seen, feedback))
        return memory, *answer(params, y, seen)

    def replay(params, memory, observation, feedback, mask):
        seen = jax.vmap(features, (None, 0))(params, observation)
        _, y = kept.replay(params["memory"], memory, jax.vmap(partial(as_row, actions))(seen, feedback), mask)
        return answer(params, y, seen)

    return ActorCritic(init, start, act, replay, readers.distribution, no_action(family.action_space, -1))


def as_row(actions: list[Any], seen: jax.Array, feedback: Feedback) -> jax.Array:
    """What a memory reads in one step: what it sees, last action, last reward, last end and "an episode starts here", [F].

    Args:
        actions: `action_parts` of the action's space.
        seen: an observation or its features.
        feedback: of the last step.
    """
    taken = feedback.action if isinstance(feedback.action, tuple) else (feedback.action,)
    rows = [row_of(space, action) for space, action in zip(actions, taken, strict=True)]
    parts = [seen, *rows, feedback.reward, feedback.terminated, feedback.first]
    return jnp.concatenate([jnp.ravel(x).astype(float) for x in parts])


def action_parts(space: Any) -> list[Any]:
    """The spaces of the parts of a policy's action, or its own."""
    return list(space.spaces) if isinstance(space, gymnasium.spaces.Tuple) else [space]


def no_action(space: Any, index: int) -> Any:
    """What stands for an action where there was none: ``index`` where entries are counted, elsewhere 0."""
    if isinstance(space, gymnasium.spaces.Tuple):
        return tuple(no_action(part, index) for part in space.spaces)
    if isinstance(space, gymnasium.spaces.Discrete):
        return jnp.asarray(index)
    if isinstance(space, gymnasium.spaces.MultiDiscrete):
        return jnp.full(space.shape, index, int)
    return jnp.zeros(space.shape, int if isinstance(space, gymnasium.spaces.MultiBinary) else float)


class Encoder(nn.Module):
    """A user's module applied to a single observation: [*shape] -> [F]."""

    module: nn.Module

    @nn.compact
    def __call__(self, observation):
        """As a batch of one, which any module takes."""
        return jnp.ravel(self.module(observation[None].astype(jnp.result_type(observation.dtype, float))))


def encoder_size(name: str, encoder: nn.Module, shape: tuple[int, ...]) -> int:
    """How many features it gives; ValueError in one line if it fails or keeps a state."""
    try:
        features, params = jax.eval_shape(lambda x: encoder.init_with_output(jax.random.key(0), x), jnp.zeros(shape))
    except Exception as error:  # whatever a user's module raises becomes one line
        raise ValueError(
            f"network: {name} fails on observations of shape {shape}: {type(error).__name__}: {one_line(error)}"
        ) from error
    if set(params) != {"params"}:
        kept = ", ".join(sorted(set(params) - {"params"})) or "no parameters"
        raise ValueError(f"network: {name} keeps {kept}; use layers with parameters and without another state.")
    return int(features.size)


def informed(family: Any, trained_on: Any, policy_options: dict[str, Any], network: Any = None) -> ActorCritic:
    """A policy without memory that observes the task: its leaves, flattened, join every observation.

    They are centred and scaled by mean and standard deviation over `TASKS_MEASURED` training tasks; what never varies is left
    at zero.

    Args:
        family: with ``observation_space`` and ``action_space``.
        trained_on: with the ``sample_task`` of training.
        policy_options: those of `agents.parts.networks.policy`.
        network: the user's own, of policy and value each.

    Raises:
        ValueError: for spaces without a policy, and tasks that hold random keys.
    """
    like = jax.eval_shape(trained_on.sample_task, jax.random.key(0))
    for path, leaf in jax.tree_util.tree_leaves_with_path(like):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            where = f"task{jax.tree_util.keystr(path)}"
            raise ValueError(f"oracle reads the task as numbers, but {where} is of random keys; draw with it in sample_task.")

    def flat(task):
        return jnp.concatenate([jnp.ravel(leaf).astype(float) for leaf in jax.tree.leaves(task)])

    with jax.ensure_compile_time_eval():
        keys = jax.random.split(jax.random.key(KEY_OF_MEASURED), TASKS_MEASURED)
        measured = jax.vmap(lambda key: flat(trained_on.sample_task(key)))(keys)
        centre, spread = jnp.mean(measured, axis=0), jnp.std(measured, axis=0)
    readers = readers_of(family.observation_space, family.action_space, policy_options, num_extra=centre.size, network=network)

    def start(task):
        return jnp.where(spread > 0, (flat(task) - centre) / jnp.where(spread > 0, spread, 1.0), 0.0)

    def act(params, memory, observation, feedback):
        del feedback
        return memory, *readers.apply(params, observation, memory)

    def replay(params, memory, observation, feedback, mask):
        del feedback, mask
        return readers.apply(params, observation, memory)

    return ActorCritic(readers.init, start, act, replay, readers.distribution, no_action(family.action_space, 0))


def divided(actor: Policy, critic: Network, no_action: Any, num_tasks: int) -> ActorCritic:
    """Policies and values of a fixed number of tasks, L: each task has heads of its own, and tasks share all else.

    What `Network.split` takes for the head is a task's own. Parameters are ``{"heads": {"actor", "critic"}, leaves [L, ...],
    "shared": {"actor", "critic"}}``. The memory is the number of the task, from 0, with which ``start`` is called.

    Args:
        actor: of one task.
        critic: the same.
        no_action: see `ActorCritic`.
        num_tasks: L.
    """
    networks = {"actor": actor.network, "critic": critic}

    def init(key):
        key_shared, key_heads = jax.random.split(key)
        heads = jax.vmap(lambda key: drawn(key, 0))(jax.random.split(key_heads, num_tasks))
        return {"heads": heads, "shared": drawn(key_shared, 1)}

    def drawn(key, which):
        keys = jax.random.split(key, len(networks))
        return {
            name: network.split(network.init(key))[which] for (name, network), key in zip(networks.items(), keys, strict=True)
        }

    def apply(params, number, observation):
        whole = {
            name: network.merge(jax.tree.map(lambda head: head[number], params["heads"][name]), params["shared"][name])
            for name, network in networks.items()
        }
        return actor.network.apply(whole["actor"], observation), critic.apply(whole["critic"], observation)[..., 0]

    def act(params, number, observation, feedback):
        del feedback
        return number, *apply(params, number, observation)

    def replay(params, number, observation, feedback, mask):
        del feedback, mask
        return apply(params, number, observation)

    return ActorCritic(init, lambda number: number, act, replay, actor.distribution, no_action)


def normalizing(actor_critic: ActorCritic, start: Any, rewards: bool) -> ActorCritic:
    """The same, reading observations and last rewards in units of what has been seen; see `agents.parts.normalization`.

    Args:
        actor_critic: what plays.
        start: where statistics of observations begin; None leaves observations as they are.
        rewards: whether the last reward is read as its distance from the mean of rewards in standard deviations of rewards. In
            those of discounted returns, as Gymnasium's NormalizeReward has it, rewards of long episodes that pay at every step
            are too small for a memory to tell apart.
    """
    if start is None and not rewards:
        return actor_critic

    def init(key):
        theta: dict[str, Any] = {"network": actor_critic.init(key)}
        theta |= {} if start is None else {"seen": start}
        return theta | ({"paid": nothing_seen(())} if rewards else {})

    def act(theta, memory, observation, feedback):
        params, observation, feedback = in_units(theta, observation, feedback)
        return actor_critic.act(params, memory, observation, feedback)

    def replay(theta, memory, observation, feedback, mask):
        params, observation, feedback = in_units(theta, observation, feedback)
        return actor_critic.replay(params, memory, observation, feedback, mask)

    return actor_critic._replace(init=init, act=act, replay=replay)


def in_units(theta: Params, observation: jax.Array, feedback: Feedback) -> tuple[Params, jax.Array, Feedback]:
    """Parameters, observations and feedback as what `normalizing` was given reads them; all as they are without units."""
    if not has_units(theta):
        return theta, observation, feedback
    if "seen" in theta:
        observation = normalized(observation, theta["seen"])
    if "paid" in theta:
        feedback = feedback._replace(reward=normalized(feedback.reward, theta["paid"]))
    return theta["network"], observation, feedback


def has_units(theta: Params) -> bool:
    """Whether meta-parameters are those of `normalizing`: a network's, with statistics beside them."""
    return isinstance(theta, dict) and "network" in theta


def measured(theta: Params, before: Params, shown: Mapping[str, Seen]) -> Params:
    """Meta-parameters after an update with statistics of what its trials have shown.

    Args:
        theta: after the update.
        before: before it.
        shown: of observations ("seen") and rewards ("paid"), leaves [M, ...]; those that nothing normalises are left out.
    """
    if not has_units(theta):
        return theta
    return theta | {name: merged(before[name], parts) for name, parts in shown.items() if name in theta}


class Readers(NamedTuple):
    """A policy and a value: ``init(key) -> params``, ``apply(params, x, extra) -> (distribution parameters, value)``."""

    init: Callable[[Key], Params]
    apply: Callable[[Params, jax.Array, Any], tuple[Any, jax.Array]]
    distribution: Callable[[Any], Any]


def readers_of(space, action_space, policy_options, num_extra, network=None, generator=None) -> Readers:
    """A policy and a value with networks of their own on the same inputs.

    With ``generator`` their weights are made of so many numbers, which are then given in the place of ``extra``.
    """
    actor = policy(space, action_space, **policy_options, num_extra=num_extra, network=network)
    critic = value_network(space, policy_options, num_extra, network)
    acts = actor.network if generator is None else generated(actor.network, generator)
    judges = critic if generator is None else generated(critic, generator)

    def init(key):
        key_actor, key_critic = jax.random.split(key)
        return {"actor": acts.init(key_actor), "critic": judges.init(key_critic)}

    def apply(params, x, extra):
        return acts.apply(params["actor"], x, extra), judges.apply(params["critic"], x, extra)[..., 0]

    return Readers(init, apply, actor.distribution)


def value_network(space: Any, policy_options: dict[str, Any], num_extra: int, network: Any = None) -> Network:
    """A value with a network like the policy's; its output is [..., 1]."""
    sizes, activation = policy_options["hidden_sizes"], policy_options["activation"]
    options: dict[str, Any] = {"num_extra": num_extra, "network": network, "trunk": policy_options.get("trunk", "mlp")}
    return regressor(space.shape, sizes, activation, kernel_init=nn.initializers.glorot_uniform(), **options)
