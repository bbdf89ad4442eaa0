"""Playing trials, and making of them what PPO learns from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents.parts.actor_critic import ActorCritic
from agents.parts.world import Rollouts
from metarl.advantages import explained_variance, normalize
from metarl.interfaces import Tree
from metarl.trial import Feedback, Trial, play_trial, trial_advantage

RECENT = 0.05  # weight of the newest iteration in the running scale of returns; our choice


class ReturnScale(NamedTuple):
    """Running mean and variance of discounted returns: values are learned as distances from the mean in units of the spread."""

    mean: jax.Array
    variance: jax.Array

    @property
    def spread(self) -> jax.Array:
        """Standard deviation, never zero."""
        return jnp.sqrt(jnp.maximum(self.variance, 1e-8))


class Recorded(NamedTuple):
    """What PPO learns from: B trials of S steps. Leaves [B, ...], from ``observation`` on [B, S, ...]."""

    memory: Tree
    observation: jax.Array
    feedback: Feedback
    mask: jax.Array
    action: jax.Array
    log_prob: jax.Array
    distribution: Tree
    advantage: jax.Array
    target: jax.Array


def act_by_sampling(distribution: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """An action and its log-probability."""
    return distribution.sample_and_log_prob(seed=key)


def act_greedily(distribution: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The likeliest action and its log-probability."""
    del key
    action = distribution.mode()
    return action, distribution.log_prob(action)


def play_trials(
    rollouts: Rollouts, actor_critic: ActorCritic, theta, task, key, num_episodes: int, choose=act_by_sampling
) -> tuple[Trial, jax.Array]:
    """N independent trials of one task, leaves [N, E, ...], and the values [N, E, T] of the observations on the way."""

    def actor(memory, observation, feedback, key_action):
        memory, parameters, value = actor_critic.act(theta, memory, observation, feedback)
        action, log_prob = choose(actor_critic.distribution(parameters), key_action)
        return memory, action, log_prob, (parameters, value)

    def one(key_trial):
        start = actor_critic.start(task)
        if actor_critic.seeded is not None:
            start = actor_critic.seeded(start, key_trial)
        return play_trial(
            rollouts.family,
            actor,
            start,
            actor_critic.no_action,
            task,
            key_trial,
            num_episodes=num_episodes,
            horizon=rollouts.family.horizon,
            unroll=rollouts.unroll,
        )

    trials = jax.vmap(one)(jax.random.split(key, rollouts.num_episodes))
    parameters, value = trials.trajectory.distribution
    return trials._replace(trajectory=trials.trajectory._replace(distribution=parameters)), value


def record(
    rollouts: Rollouts, memory: Tree, trials: Trial, value: jax.Array, scale: ReturnScale, iteration: jax.Array
) -> tuple[Recorded, ReturnScale]:
    """Turn trials, leaves [M, N, E, T, ...], into what PPO learns from, and update the scale of returns.

    Args:
        rollouts: gives gamma and lambda.
        memory: leaves [M, ...], at the start of each task's trials.
        trials: as played.
        value: [M, N, E, T], in units of the scale.
        scale: of the iterations before.
        iteration: how many there were.
    """
    num_trials, steps = value.shape[1], trials.trajectory._asdict()
    for name in ("last_observation", "terminated", "info", "key"):
        del steps[name]
    # [M, N, E, T] -> [B, S]: trials of all tasks, the steps of all episodes in a row.
    steps |= {"feedback": trials.feedback, "value": value}
    steps = jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], x.shape[2] * x.shape[3], *x.shape[4:]), steps)
    memory = jax.tree.map(lambda x: jnp.repeat(x, num_trials, axis=0), memory)
    reward, value, mask = steps.pop("reward"), steps.pop("value"), steps["mask"]
    along = jax.vmap(trial_advantage, (0, 0, 0, None, None))
    returns = along(reward, jnp.zeros_like(value), mask, rollouts.gamma, 1.0)
    rate, count = jnp.maximum(1.0 / (iteration + 1.0), RECENT), jnp.sum(mask)
    mean = jnp.sum(mask * returns) / count
    now = ReturnScale(mean, jnp.sum(mask * (returns - mean) ** 2) / count)
    scale = jax.tree.map(lambda old, new: old + rate * (new - old), scale, now)
    advantage = advantages_of(rollouts, reward, value, mask, scale)
    target = value + advantage / scale.spread
    return Recorded(memory=memory, advantage=normalize(advantage, mask), target=target, **steps), scale


def advantages_of(rollouts: Rollouts, reward: jax.Array, value: jax.Array, mask: jax.Array, scale: ReturnScale) -> jax.Array:
    """Advantages [B, S] in units of the reward, from values [B, S] in units of the scale."""
    value = scale.mean + scale.spread * value
    return jax.vmap(trial_advantage, (0, 0, 0, None, None))(reward, value, mask, rollouts.gamma, rollouts.gae_lambda)


def explained_by_episode(
    rollouts: Rollouts, reward: jax.Array, value: jax.Array, mask: jax.Array, scale: ReturnScale
) -> jax.Array:
    """[E], how much of the variance of returns over the rest of the trial the value explains, for each episode of a trial.

    Args:
        rollouts: gives gamma.
        reward: [B, E, T].
        value: [B, E, T], in units of the scale.
        mask: [B, E, T].
        scale: of the returns.
    """
    flat = reward.reshape(reward.shape[0], -1), mask.reshape(mask.shape[0], -1)
    along = jax.vmap(trial_advantage, (0, 0, 0, None, None))
    returns = along(flat[0], jnp.zeros_like(flat[0]), flat[1], rollouts.gamma, 1.0).reshape(reward.shape)
    value = scale.mean + scale.spread * value
    return jax.vmap(explained_variance, 1)(value, returns, mask)
