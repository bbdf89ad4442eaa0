"""Agents that play trials and learn by PPO: the same meta-iteration whatever the memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents.agent import ByPPO, Training
from agents.parts import task_lists
from agents.parts.acting import by_memory
from agents.parts.actor_critic import ActorCritic, measured, normalizing
from agents.parts.gradient_learner import report
from agents.parts.normalization import seen_in
from agents.parts.problems import MEASURED, Episodes, measures_of
from agents.parts.trials import ReturnScale, act_greedily, advantages_of, explained_by_episode, play_trials, record
from agents.parts.world import Rollouts, World
from metarl import gains
from metarl.interfaces import AdaptationCurve, Experience, Key, MetaLearner, MetaState, Metrics, Task, Theta, Tree
from metarl.ppo import PPO, num_updates, optimise, ppo_loss
from metarl.trial import Trial


class Companion(NamedTuple):
    """What is trained on the same trials beside policy and value, after PPO.

    Attributes:
        init: theta -> its state, a pytree of arrays: optimiser, buffer, whatever it carries.
        step: (theta, state, trials, key) -> (theta, state, metrics), trials with leaves [M, N, E, ...].
    """

    init: Callable[[Theta], Tree]
    step: Callable[[Theta, Tree, Trial, Key], tuple[Theta, Tree, Metrics]]


def trial_learner(
    world: World,
    training: Training,
    own: ByPPO,
    actor_critic: ActorCritic,
    trial_episodes: int,
    normalize_rewards: bool = False,
    companion: Companion | None = None,
    tasks: Any = None,
) -> MetaLearner:
    """Learn to play trials of one task. One meta-iteration: N trials on each of M tasks, then PPO on all of them.

    It draws M * N * ``trial_episodes`` episodes, as many as gradient agents with K = trial_episodes - 1. Score k is the return
    of a trial's episode k + 1, and adaptation to a task is N independent trials, K + 1 episodes each.

    ``policy/kl`` is how far PPO moved the policy in this iteration: the divergence from the one that played, over the steps
    of its last epoch.

    Args:
        world: a reinforcement-learning world.
        training: gives M and the optimiser. A schedule of its step size counts meta-iterations, as for other agents.
        own: gives PPO's numbers.
        actor_critic: what plays.
        trial_episodes: E in training; `MetaLearner.adapt` takes any number.
        normalize_rewards: see `agents.parts.actor_critic.normalizing`.
        companion: what else is trained on the trials; its state joins that of the optimiser.
        tasks: a list that the agent is trained on, see `agents.parts.task_lists.of_training`, in the place of the world's; then
            ``actor_critic.start`` is called with the number of a task there, and whoever gives it says how to adapt and act.
    """
    rollouts = world.rollouts
    actor_critic = normalizing(actor_critic, world.seen, normalize_rewards)
    assert rollouts is not None, "trials are played in reinforcement learning"
    numbers = PPO(own.ppo_epochs, own.ppo_minibatches, own.clip, entropy_cost=own.entropy_cost)
    rate, per_iteration = training.outer_lr, num_updates(numbers, training.num_tasks * rollouts.num_episodes)
    listed = task_lists.drawn_together(world, training.num_tasks) if tasks is None else tasks
    # The optimiser counts its own updates, of which an iteration makes many.
    schedule = (lambda count: rate(count // per_iteration)) if callable(rate) else rate
    optimizer = optax.chain(optax.clip_by_global_norm(numbers.max_grad_norm), training.optimizer(schedule))

    def init(key):
        theta = actor_critic.init(key)
        scale = ReturnScale(jnp.zeros(()), jnp.ones(()))
        beside = () if companion is None else (companion.init(theta),)
        return task_lists.begun(listed, MetaState(theta, (optimizer.init(theta), scale, *beside), jnp.zeros((), jnp.int32)))

    def one_task(theta, source):
        key, task, number = (source, None, None) if listed is None else source
        key_task, key_play = jax.random.split(key)
        task = world.sample_task(key_task) if listed is None else task
        start = actor_critic.start(task if tasks is None else number)
        plays = actor_critic._replace(start=lambda task: start)
        trials, value = play_trials(rollouts, plays, theta, task, key_play, trial_episodes)
        observation, mask = trials.trajectory.observation, trials.trajectory.mask
        played = trials._replace(memory=())  # of each episode's start: nothing here reads it, and it may be large
        shown = {"seen": seen_in(observation.astype(float), mask), "paid": seen_in(trials.trajectory.reward, mask)}
        return start, played, value, shown

    def step(state, key):
        key_data, key_deal = jax.random.split(key)
        key_deal, key_companion = (key_deal, key_deal) if companion is None else jax.random.split(key_deal)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key_data, jnp.arange(training.num_tasks))
        sources: Any = keys
        index = None
        state, progress = task_lists.opened(state)
        if listed is not None:
            index, drawn = task_lists.draw(listed, key_data, training.num_tasks, state.iteration, progress)
            sources = keys, drawn, index
        memory, trials, value, shown = training.task_map(one_task)(state.theta, sources)
        opt_state, scale, *beside = state.opt_state
        batch, scale = record(rollouts, memory, trials, value, scale, state.iteration)
        theta, opt_state, metrics = optimise(
            loss, optimizer, state.theta, opt_state, batch, key_deal, numbers, training.task_map
        )
        if companion is not None:
            theta, carried, found = companion.step(theta, beside[0], trials, key_companion)
            beside, metrics = [carried], metrics | found
        theta = measured(theta, state.theta, shown)
        returns = jnp.swapaxes(jnp.sum(trials.trajectory.reward, axis=-1), 1, 2)  # [M, E, N]
        reward, mask = (x.reshape(-1, *x.shape[2:]) for x in (trials.trajectory.reward, trials.trajectory.mask))
        explained = explained_by_episode(rollouts, reward, value.reshape(reward.shape), mask, scale)
        metrics |= {"score": jnp.mean(returns, axis=-1), "gain_error": jax.vmap(gains.error_of_trials)(returns)}
        metrics |= {"num_samples": jnp.sum(trials.trajectory.mask)}
        found = measures_of(rollouts.family, trials.trajectory)
        metrics |= {MEASURED + name: jnp.mean(value, axis=1) for name, value in found.items()}
        metrics |= {"baseline/explained_variance_pre": explained[0], "baseline/explained_variance_post": explained[-1]}
        after = MetaState(theta, (opt_state, scale, *beside), state.iteration + 1)
        after = task_lists.closed(after, progress, index, metrics["score"], state.iteration)
        return after, report(metrics, trial_episodes - 1)

    def loss(theta, batch):
        parameters, value = jax.vmap(actor_critic.replay, (None, 0, 0, 0, 0))(
            theta, batch.memory, batch.observation, batch.feedback, batch.mask
        )
        distribution, before = actor_critic.distribution(parameters), actor_critic.distribution(batch.distribution)
        log_prob, entropy = distribution.log_prob(batch.action), distribution.entropy()
        total = ppo_loss(log_prob, batch.log_prob, batch.advantage, value, batch.target, entropy, batch.mask, numbers)
        count = jnp.sum(batch.mask)
        return total, {
            "policy/entropy": jnp.sum(batch.mask * entropy) / count,
            "policy/kl": jnp.sum(batch.mask * before.kl_divergence(distribution)) / count,
        }

    def adapt(state, task, key, num_steps):
        state, _ = task_lists.opened(state)
        return curve_of_trials(rollouts, actor_critic, state.theta, state.opt_state[1], task, key, num_steps)

    return MetaLearner(init, step, adapt, first_actions(actor_critic), acting=by_memory(actor_critic))


def curve_of_trials(
    rollouts: Rollouts, actor_critic: ActorCritic, theta: Theta, scale: ReturnScale, task: Task, key: Key, num_steps: int
) -> AdaptationCurve:
    """N independent trials of one task, K + 1 episodes each: the curve that `MetaLearner.adapt` of agents with memory gives.

    Args:
        rollouts: gives N.
        actor_critic: what plays.
        theta: its parameters.
        scale: of its values.
        task: one.
        key: typed.
        num_steps: K.
    """
    key_sampled, key_greedy = jax.random.split(key)
    trials, value = play_trials(rollouts, actor_critic, theta, task, key_sampled, num_steps + 1)
    greedy, _ = play_trials(rollouts, actor_critic, theta, task, key_greedy, num_steps + 1, act_greedily)
    trajectory = trials.trajectory
    reward, flat_value, mask = (x.reshape(x.shape[0], -1) for x in (trajectory.reward, value, trajectory.mask))
    advantage = advantages_of(rollouts, reward, flat_value, mask, scale).reshape(value.shape)
    explained = explained_by_episode(rollouts, trajectory.reward, value, trajectory.mask, scale)
    explained = jnp.broadcast_to(explained, trajectory.reward.shape[:-1])
    measures = measures_of(rollouts.family, trajectory)
    episodes = Episodes(trajectory, advantage, jnp.sum(trajectory.reward, axis=-1), explained, measures)
    episodes = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), episodes)  # [K+1, N, ...]
    support, query = jax.tree.map(lambda x: x[:-1], episodes), jax.tree.map(lambda x: x[-1], episodes)
    repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_steps + 1, *x.shape)), theta)
    feedback = jax.tree.map(lambda x: x[0, :, 0], trials.feedback)
    path = {"theta": repeated, "memory": jax.tree.map(lambda x: x[0], trials.memory), "feedback": feedback}
    return AdaptationCurve(
        score=jnp.mean(episodes.episode_return, axis=1),
        path=path,
        experience=Experience(support, query),
        used=jnp.arange(num_steps + 1),
        greedy_score=jnp.mean(jnp.sum(greedy.trajectory.reward, axis=-1), axis=0),
        gain_error=gains.error_of_trials(episodes.episode_return),
        measures=jax.tree.map(lambda x: jnp.mean(x, axis=1), episodes.measures),
        greedy_measures=jax.tree.map(lambda x: jnp.mean(x, axis=0), measures_of(rollouts.family, greedy.trajectory)),
        gain_freedom=episodes.episode_return.shape[1] - 1,
    )


def first_actions(actor_critic: ActorCritic) -> Callable[[Any, Task, jax.Array], Any]:
    """`MetaLearner.predict`: parameters [K+1, P, ...] of the first action of each episode, were observations [P, ...] seen."""

    def predict(path, task, x):
        del task

        def at(theta, memory, feedback):
            return jax.vmap(lambda observation: actor_critic.act(theta, memory, observation, feedback)[1])(x)

        return jax.vmap(at)(path["theta"], path["memory"], path["feedback"])

    return predict
