"""Agents that play trials and learn by PPO: the same meta-iteration whatever the memory."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents.actor_critic import ActorCritic
from agents.gradient import report
from agents.problems import Episodes
from agents.world import Play, Settings, World
from metarl.advantages import normalize
from metarl.ppo import optimise, ppo_loss
from metarl.trial import Feedback, Trial, play_trial, trial_advantage
from metarl.types import AdaptationCurve, Experience, MetaLearner, MetaState, Tree

RECENT = 0.05  # weight of the newest iteration in the running scale of returns; our choice


class ReturnScale(NamedTuple):
    """Running mean and mean square of discounted returns: values are learned in units of their spread."""

    mean: jax.Array
    square: jax.Array

    @property
    def spread(self) -> jax.Array:
        """Standard deviation, never zero."""
        return jnp.sqrt(jnp.maximum(self.square - self.mean**2, 1e-8))


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


def trial_learner(world: World, settings: Settings, actor_critic: ActorCritic, trial_episodes: int) -> MetaLearner:
    """Learn to play trials of one task. One meta-iteration: N trials on each of M tasks, then PPO on all of them.

    It draws M * N * ``trial_episodes`` episodes, as many as gradient agents with K = trial_episodes - 1. Score k is the return
    of a trial's episode k + 1, and adaptation to a task is N independent trials, K + 1 episodes each.

    ``policy/kl`` is how far PPO moved the policy in this iteration: the divergence from the one that played, over the steps
    of its last epoch.

    Args:
        world: a reinforcement-learning world.
        settings: gives M, PPO's numbers and its step size; a schedule for it counts minibatches.
        actor_critic: what plays.
        trial_episodes: E in training; `MetaLearner.adapt` takes any number.
    """
    play = world.play
    assert play is not None, "trials are played in reinforcement learning"
    optimizer = optax.chain(optax.clip_by_global_norm(settings.ppo.max_grad_norm), settings.optimizer(settings.outer_lr))

    def init(key):
        theta = actor_critic.init(key)
        scale = ReturnScale(jnp.zeros(()), jnp.ones(()))
        return MetaState(theta, (optimizer.init(theta), scale), jnp.zeros((), jnp.int32))

    def one_task(theta, key):
        key_task, key_play = jax.random.split(key)
        task = world.sample_task(key_task)
        trials, value = play_trials(play, actor_critic, theta, task, key_play, trial_episodes)
        return actor_critic.start(task), trials, value

    def step(state, key):
        key_data, key_deal = jax.random.split(key)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key_data, jnp.arange(settings.num_tasks))
        memory, trials, value = jax.vmap(one_task, (None, 0))(state.theta, keys)
        opt_state, scale = state.opt_state
        batch, scale = record(play, memory, trials, value, scale, state.iteration)
        theta, opt_state, metrics = optimise(loss, optimizer, state.theta, opt_state, batch, key_deal, settings.ppo)
        score = jnp.mean(jnp.sum(trials.trajectory.reward, axis=-1), axis=(0, 1))
        metrics |= {"score": score[None], "num_samples": jnp.sum(trials.trajectory.mask)}
        return MetaState(theta, (opt_state, scale), state.iteration + 1), report(metrics, trial_episodes - 1)

    def loss(theta, batch):
        parameters, value = jax.vmap(actor_critic.replay, (None, 0, 0, 0, 0))(
            theta, batch.memory, batch.observation, batch.feedback, batch.mask
        )
        distribution, before = actor_critic.distribution(parameters), actor_critic.distribution(batch.distribution)
        log_prob, entropy = distribution.log_prob(batch.action), distribution.entropy()
        total = ppo_loss(log_prob, batch.log_prob, batch.advantage, value, batch.target, entropy, batch.mask, settings.ppo)
        count = jnp.sum(batch.mask)
        return total, {
            "policy/entropy": jnp.sum(batch.mask * entropy) / count,
            "policy/kl": jnp.sum(batch.mask * before.kl_divergence(distribution)) / count,
        }

    def adapt(state, task, key, num_steps):
        key_sampled, key_mean = jax.random.split(key)
        trials, value = play_trials(play, actor_critic, state.theta, task, key_sampled, num_steps + 1)
        by_mode, _ = play_trials(play, actor_critic, state.theta, task, key_mean, num_steps + 1, act_by_mode)
        trajectory, (_, scale) = trials.trajectory, state.opt_state
        reward, flat_value, mask = (x.reshape(x.shape[0], -1) for x in (trajectory.reward, value, trajectory.mask))
        advantage = _advantages(play, reward, flat_value, mask, scale).reshape(value.shape)
        episodes = Episodes(trajectory, advantage, jnp.sum(trajectory.reward, axis=-1))
        episodes = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), episodes)  # [K+1, N, ...]
        support, query = jax.tree.map(lambda x: x[:-1], episodes), jax.tree.map(lambda x: x[-1], episodes)
        repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_steps + 1, *x.shape)), state.theta)
        feedback = jax.tree.map(lambda x: x[0, :, 0], trials.feedback)
        path = {"theta": repeated, "memory": jax.tree.map(lambda x: x[0], trials.memory), "feedback": feedback}
        return AdaptationCurve(
            score=jnp.mean(episodes.episode_return, axis=1),
            path=path,
            experience=Experience(support, query),
            used=jnp.arange(num_steps + 1),
            mean_score=jnp.mean(jnp.sum(by_mode.trajectory.reward, axis=-1), axis=0),
        )

    def predict(path, task, x):
        """Distribution parameters [K+1, P, ...] of the first action of each episode of one trial, were x [P, ...] seen."""
        del task

        def at(theta, memory, feedback):
            return jax.vmap(lambda observation: actor_critic.act(theta, memory, observation, feedback)[1])(x)

        return jax.vmap(at)(path["theta"], path["memory"], path["feedback"])

    return MetaLearner(init, step, adapt, predict)


def act_by_sampling(distribution: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """An action and its log-probability."""
    return distribution.sample_and_log_prob(seed=key)


def act_by_mode(distribution: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The likeliest action and its log-probability."""
    del key
    action = distribution.mode()
    return action, distribution.log_prob(action)


def play_trials(
    play: Play, actor_critic: ActorCritic, theta, task, key, num_episodes: int, choose=act_by_sampling
) -> tuple[Trial, jax.Array]:
    """N independent trials of one task, leaves [N, E, ...], and the values [N, E, T] of the observations on the way."""

    def actor(memory, observation, feedback, key_action):
        memory, parameters, value = actor_critic.act(theta, memory, observation, feedback)
        action, log_prob = choose(actor_critic.distribution(parameters), key_action)
        return memory, action, log_prob, (parameters, value)

    def one(key_trial):
        return play_trial(
            play.family,
            actor,
            actor_critic.start(task),
            actor_critic.no_action,
            task,
            key_trial,
            num_episodes=num_episodes,
            horizon=play.family.horizon,
            unroll=play.unroll,
        )

    trials = jax.vmap(one)(jax.random.split(key, play.num_episodes))
    parameters, value = trials.trajectory.distribution
    return trials._replace(trajectory=trials.trajectory._replace(distribution=parameters)), value


def record(
    play: Play, memory: Tree, trials: Trial, value: jax.Array, scale: ReturnScale, iteration: jax.Array
) -> tuple[Recorded, ReturnScale]:
    """Turn trials, leaves [M, N, E, T, ...], into what PPO learns from, and update the scale of returns.

    Args:
        play: gives gamma and lambda.
        memory: leaves [M, ...], at the start of each task's trials.
        trials: as played.
        value: [M, N, E, T], in units of the scale.
        scale: of the iterations before.
        iteration: how many there were.
    """
    num_trials, steps = value.shape[1], trials.trajectory._asdict()
    del steps["last_observation"], steps["terminated"]
    # [M, N, E, T] -> [B, S]: trials of all tasks, the steps of all episodes in a row.
    steps |= {"feedback": trials.feedback, "value": value}
    steps = jax.tree.map(lambda x: x.reshape(x.shape[0] * x.shape[1], x.shape[2] * x.shape[3], *x.shape[4:]), steps)
    memory = jax.tree.map(lambda x: jnp.repeat(x, num_trials, axis=0), memory)
    reward, value, mask = steps.pop("reward"), steps.pop("value"), steps["mask"]
    advantages = jax.vmap(trial_advantage, (0, 0, 0, None, None))
    returns = advantages(reward, jnp.zeros_like(value), mask, play.gamma, 1.0)
    rate, count = jnp.maximum(1.0 / (iteration + 1.0), RECENT), jnp.sum(mask)
    now = ReturnScale(jnp.sum(mask * returns) / count, jnp.sum(mask * returns**2) / count)
    scale = jax.tree.map(lambda old, new: old + rate * (new - old), scale, now)
    advantage = _advantages(play, reward, value, mask, scale)
    target = value + advantage / scale.spread
    return Recorded(memory=memory, advantage=normalize(advantage, mask), target=target, **steps), scale


def _advantages(play, reward, value, mask, scale):
    """[B, S], from values in units of the scale."""
    value = scale.mean + scale.spread * value
    return jax.vmap(trial_advantage, (0, 0, 0, None, None))(reward, value, mask, play.gamma, play.gae_lambda)
