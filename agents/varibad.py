"""VariBAD: a belief about the task, learned by explaining whole trials, and a policy that reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax

from agents.agent import Agent, Bounds, ByPPO, Training
from agents.parts.actor_critic import ActorCritic, has_units, in_units, no_action, readers_of
from agents.parts.belief import Inference, elbo, inference, last_taken
from agents.parts.memory import made
from agents.parts.networks import remembers
from agents.parts.problems import needed
from agents.parts.reward_decoders import RewardDecoder, Transition, by_heads, by_network
from agents.parts.trial_learner import Companion, trial_learner
from agents.parts.trials import play_trials
from agents.parts.world import World
from agents.registration import find_memory
from metarl.interfaces import MetaLearner
from metarl.replay import added, empty, some_rows
from metarl.trial import Feedback

REWARD_DECODERS: dict[str, Callable[..., RewardDecoder]] = {
    "transition": partial(by_network, from_action=True),
    "next": partial(by_network, from_action=False),
    "heads": by_heads,
}


@dataclass(frozen=True)
class VariBad(ByPPO):
    """A belief over tasks by a variational bound, and PPO."""

    trial_episodes: Annotated[int, Bounds(1)] = 2  # VariBAD's released code on MuJoCo; 4 on its gridworld
    """Episodes of one task in a row, in training."""
    latent_size: Annotated[int, Bounds(1)] = 5  # the same, everywhere but on the walker
    """L: numbers of the latent that stands for a task."""
    memory: str = "gru"  # the same
    """What the encoder remembers by: gru, lstm, lru, transformer, or my_module:mine/memory, as of rl2."""
    memory_size: Annotated[int, Bounds(1)] = 128  # the same on MuJoCo; 64 on its gridworld
    """Size of the encoder's memory."""
    decoder_sizes: Annotated[tuple[int, ...], Bounds(1)] = (64, 32)  # the same on MuJoCo; 32 32 on its gridworld
    """Hidden layers of each decoder."""
    decode_rewards: Literal["transition", "next", "heads"] = "transition"  # the same on MuJoCo; heads on its gridworld
    """What rewards are decoded from: the transition, the next observation, or nothing, by heads for observations of a list."""
    decode_transitions: bool = False  # the same
    """Next observations are decoded too."""
    kl_weight: Annotated[float, Bounds(0)] = 0.1  # the same on MuJoCo, but for the walker; 0.01 on its gridworld
    """Weight of the divergence of a belief from the one before, against the squared errors summed over a trial."""
    belief_lr: Annotated[float, Bounds(0)] = 1e-3  # the same
    """Step size of Adam for encoder and decoders; outer_lr is that of policy and value."""
    belief_updates: Annotated[int, Bounds(1)] = 3  # the same on its gridworld, after 16 trials; 1 on MuJoCo
    """Updates of encoder and decoders in a meta-iteration, after PPO."""
    belief_trials: Annotated[int, Bounds(1)] = 25  # the same on its gridworld; 10 on MuJoCo
    """Trials that each of these draws from the buffer."""
    belief_terms: Annotated[int, Bounds(0)] = 0  # the same on its gridworld; 50 on MuJoCo
    """Beliefs of a trial, drawn anew in each update, that decode it; 0: all."""
    decoded_steps: Annotated[int, Bounds(0)] = 0  # the same on its gridworld; 50 on MuJoCo
    """Steps of a trial, drawn anew in each update, that are decoded; 0: all."""
    buffer_trials: Annotated[int, Bounds(1)] = 10_000  # the same on MuJoCo; 100,000 on its gridworld
    """Newest trials that are kept to learn from, in memory and in every checkpoint."""
    encoder_by_ppo: bool = False  # the same
    """PPO's gradient moves the encoder too."""
    normalize_rewards: bool = False  # the same has it for the policy alone, in units of returns
    """Encoder and decoders have rewards less the running mean of all, in standard deviations."""


def varibad(world: World, training: Training, own: VariBad) -> MetaLearner:
    """VariBAD: policy and value read the state and a Gaussian belief over the task (Zintgraf et al. 2020).

    An encoder with a memory, which lasts over the episodes of a trial, gives the belief; it is trained by the evidence lower
    bound (`agents.parts.belief.elbo`) on trials of a buffer, and policy and value by PPO on the trials of the meta-iteration.
    PPO's gradient stops at the belief, of which they read mean and log variance.

    The buffer is part of the state. As in rl2 score k is the return of the (k+1)-th episode on a task.
    """
    rollouts = needed("varibad", world.rollouts, "rollouts", "world", "episodes to play by itself")
    steps = own.trial_episodes * rollouts.family.horizon
    if rollouts.policy_options.get("trunk") == "conv":
        raise ValueError(
            "varibad decodes rewards from observations as rows of numbers, but these are images that convolutions read "
            "(trunk conv); use trunk mlp, or another agent."
        )
    for name, given in (("normalize_observations", world.seen is not None), ("normalize_rewards", own.normalize_rewards)):
        if own.decode_rewards == "heads" and given:
            raise ValueError(f"decode_rewards is heads, which reads what the family lists as it is; leave {name} out.")
    for name in ("belief_terms", "decoded_steps"):
        if getattr(own, name) > steps:
            raise ValueError(
                f"{name} is {getattr(own, name)}, but a trial has {steps} steps; lower it, or leave it out for all."
            )
    per_iteration = training.num_tasks * rollouts.num_episodes
    if own.buffer_trials < per_iteration:
        raise ValueError(
            f"buffer_trials is {own.buffer_trials}, but a meta-iteration plays {per_iteration} trials (num_tasks times "
            "num_episodes); give at least as many."
        )
    inferring, network = inference_on(rollouts.family, own, world.network)
    actor_critic = believing(rollouts, inferring, own, network)
    companion = _companion(world, training, own, inferring, actor_critic)
    return trial_learner(world, training, own, actor_critic, own.trial_episodes, own.normalize_rewards, companion)


def inference_on(family: Any, own: VariBad, network: Any = None) -> tuple[Inference, Any]:
    """Encoder and decoders on a family, and the user's network of policy and value, or None.

    Args:
        family: as policies have it.
        own: the agent's numbers.
        network: the user's own; a memory is the encoder's.

    Raises:
        ValueError: in one line, what does not fit.
    """
    given = {"memory_size"} if own.memory_size != VariBad.memory_size else set()
    options = {"memory_size": own.memory_size, "memory_context": own.trial_episodes * family.horizon}
    found, called = (network, f"network: {type(network).__name__}") if remembers(network) else (None, f"memory {own.memory}")
    if found is not None and own.memory != VariBad.memory:
        name = type(network).__name__
        raise ValueError(f"memory is {own.memory}, but the network {name} is a memory too; leave one out.")
    module = made(find_memory(own.memory) if found is None else found, called, options, given)
    rewards = REWARD_DECODERS[own.decode_rewards](family, own.latent_size, own.decoder_sizes)
    of_next = own.decoder_sizes if own.decode_transitions else None
    inferring = inference(family, module, own.latent_size, rewards, of_next, called=called)
    return inferring, network if found is None else None


def believing(rollouts: Any, inferring: Inference, own: VariBad, network: Any = None) -> ActorCritic:
    """A policy and a value of observation and belief, whose memory is the encoder's and the newest belief.

    Args:
        rollouts: give the family and the policy's options.
        inferring: the belief.
        own: says whether PPO moves the encoder.
        network: the user's own, of policy and value each.
    """
    family = rollouts.family
    space, action_space = family.observation_space, family.action_space
    readers = readers_of(space, action_space, rollouts.policy_options, num_extra=2 * own.latent_size, network=network)

    def init(key):
        key_inference, key_readers = jax.random.split(key)
        return inferring.init(key_inference) | {"readers": readers.init(key_readers)}

    def answer(params, observation, belief):
        # Removes the derivative of PPO's loss with respect to the encoder's parameters.
        belief = belief if own.encoder_by_ppo else jax.lax.stop_gradient(belief)
        return readers.apply(params["readers"], observation, jnp.concatenate(belief, axis=-1))

    def act(params, memory, observation, feedback):
        inside, belief = inferring.act(params, memory[0], observation, feedback)
        return (inside, belief), *answer(params, observation, belief)

    def replay(params, memory, observation, feedback, mask):
        return answer(params, observation, inferring.replay(params, memory[0], observation, feedback, mask))

    return ActorCritic(init, lambda task: inferring.start, act, replay, readers.distribution, no_action(action_space, -1))


def feedback_along(row: dict[str, Any], nothing: Any, horizon: int) -> Feedback:
    """What an actor read beside the observations of a trial, leaves [S, ...].

    Args:
        row: action, reward, terminated and mask, leaves [S, ...].
        nothing: the last action of the first step.
        horizon: T.
    """
    before = last_taken(row["mask"])

    def last(values, otherwise):
        there = before.reshape(-1, *[1] * (values.ndim - 1)) >= 0
        return jnp.where(there, values[before], jnp.asarray(otherwise, values.dtype))

    first = jnp.arange(before.shape[0]) % horizon == 0
    action = jax.tree.map(last, row["action"], nothing)
    return Feedback(action, last(row["reward"], 0.0), last(row["terminated"], False), first)


def _companion(world: World, training: Training, own: VariBad, inferring: Inference, actor_critic: ActorCritic) -> Companion:
    """Encoder and decoders, trained after PPO on trials of a buffer."""
    rollouts = world.rollouts
    horizon, optimizer = rollouts.family.horizon, optax.adam(own.belief_lr)
    steps = own.trial_episodes * horizon
    num_terms, num_decoded = own.belief_terms or steps, own.decoded_steps or steps

    def rows_of(trials):
        """What is kept of trials [B, E, T, ...]: leaves [B, S, ...], next observations [B, E, ...] at the ends of episodes."""
        trajectory = trials.trajectory
        kept = {name: getattr(trajectory, name) for name in ("observation", "action", "reward", "terminated", "mask")}
        along = jax.tree.map(lambda x: x.reshape(x.shape[0], steps, *x.shape[3:]), kept)
        return along | {"last_observation": trajectory.last_observation}

    def one_row(key):
        theta, task = actor_critic.init(key), world.sample_task(key)
        trials, _ = play_trials(rollouts, actor_critic, theta, task, key, own.trial_episodes)
        return jax.tree.map(lambda x: x[0], rows_of(trials))

    def init(theta):
        learned = _learned(theta)
        row = jax.eval_shape(one_row, jax.random.key(0))
        return optimizer.init(learned), empty(row, 1, own.buffer_trials)

    def loss(learned, theta, row, key):
        key_noise, key_terms, key_steps = jax.random.split(key, 3)
        feedback = feedback_along(row, actor_critic.no_action, horizon)
        params, observation, feedback = in_units(theta, row["observation"], feedback)
        _, last, now = in_units(theta, row["last_observation"], feedback._replace(reward=row["reward"]))
        params = params | learned
        belief = inferring.replay(params, inferring.start[0], observation, feedback, row["mask"])
        following = jnp.concatenate([observation.reshape(-1, horizon, *observation.shape[1:])[:, 1:], last[:, None]], axis=1)
        along = Transition(observation, row["action"], now.reward, following.reshape(observation.shape))
        found = elbo(
            belief,
            jax.random.normal(key_noise, (num_terms, own.latent_size), belief.mean.dtype),
            row["mask"],
            lambda latent, i: inferring.decode(params, latent, jax.tree.map(lambda x: x[i], along)),
            own.kl_weight,
            chosen(key_terms, num_terms),
            chosen(key_steps, num_decoded),
        )
        return -found.bound, found

    def chosen(key, number):
        every = jnp.arange(steps)
        return every if number == steps else jax.random.permutation(key, every)[:number]

    def step(theta, state, trials, key):
        opt_state, buffer = state
        new = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), trials._replace(feedback=(), memory=()))
        rows = jax.tree.map(lambda x: x[None], rows_of(new))
        whole = jnp.zeros(1, jnp.int32)  # trials of all tasks are kept as those of one: a belief is not told which is which
        buffer = added(buffer, whole, rows, jnp.ones(jax.tree.leaves(rows)[0].shape[:2]))

        def update(carry, key_update):
            learned, opt_state = carry
            key_rows, key_loss = jax.random.split(key_update)
            rows = training.task_map.share(some_rows(buffer, key_rows, whole[0], own.belief_trials))
            keys = jax.random.split(key_loss, own.belief_trials)

            def mean_loss(learned):
                values, found = jax.vmap(loss, (None, None, 0, 0))(learned, theta, rows, keys)
                return jnp.mean(values), jax.tree.map(jnp.mean, found)

            grads, found = jax.grad(mean_loss, has_aux=True)(learned)
            updates, opt_state = optimizer.update(grads, opt_state, learned)
            return (optax.apply_updates(learned, updates), opt_state), found

        keys = jax.random.split(key, own.belief_updates)
        (learned, opt_state), found = jax.lax.scan(update, (_learned(theta), opt_state), keys)
        theta = theta | {"network": theta["network"] | learned} if has_units(theta) else theta | learned
        bound, likelihood, kl = jax.tree.map(jnp.mean, found)
        metrics = {"belief/elbo": bound, "belief/log_likelihood": likelihood, "belief/kl": kl}
        return theta, (opt_state, buffer), metrics | {"belief/buffer_trials": buffer.size[0].astype(bound.dtype)}

    return Companion(init, step)


def _learned(theta: Any) -> dict[str, Any]:
    """What the bound trains."""
    params = theta["network"] if has_units(theta) else theta
    return {name: params[name] for name in ("encoder", "decoder")}


VARIBAD = Agent(varibad, VariBad, serves=("reinforcement",), adapts_by="memory", mixes_tasks=True)
