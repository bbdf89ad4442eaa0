"""PEARL: an off-policy actor-critic on a latent task variable, inferred from a context and sampled for each episode."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents.agent import Agent, Bounds, Training
from agents.parts import task_lists
from agents.parts.acting import by_memory
from agents.parts.actor_critic import measured, normalizing
from agents.parts.gradient_learner import report
from agents.parts.normalization import normalized, seen_in
from agents.parts.posterior_sampling import posterior_sampling
from agents.parts.problems import MEASURED, measures_of, needed
from agents.parts.soft_actor_critic import Numbers, Transition, belief, loss, networks, tracked
from agents.parts.squashed import bounds_of
from agents.parts.trial_learner import curve_of_trials, first_actions
from agents.parts.trials import ReturnScale, explained_by_episode, play_trials
from agents.parts.world import Rollouts, World
from metarl import gains
from metarl.interfaces import MetaLearner, MetaState, Params, Trajectory, Tree
from metarl.replay import Replay, added, cleared, empty, some_rows, some_tasks

KEY_OF_TASKS = 0x9EA21  # the training tasks come from this constant, whatever the seed
USUAL_TASKS = 100  # oyster, half-cheetah's velocities and humanoid's directions
IN_REWARDS = ReturnScale(jnp.zeros(()), jnp.ones(()))  # values are in units of the reward


@dataclass(frozen=True)
class Pearl:
    """Memory by a belief, learned off-policy. Values are those of oyster's configs/default.py, where nothing else is said."""

    trial_episodes: Annotated[int, Bounds(1)] = 2
    """Episodes of one task in a row, in training."""
    prior_episodes: Annotated[int, Bounds(1)] = 1
    """The first of them, also at test, which are played with samples of the prior."""
    prior_context: bool = True
    """In training, contexts hold episodes that were played with samples of the prior, and no others."""
    num_train_tasks: Annotated[int, Bounds(0)] = 0
    """How many fixed tasks to train on, drawn once; 0: 100, or those of the family's list where it has one."""
    latent_size: Annotated[int, Bounds(1)] = 5
    """Z, size of the task variable."""
    updates: Annotated[int, Bounds(1)] = 200  # ours; oyster has 1,000 to 4,000 for some 4,000 to 10,000 steps
    """Updates in a meta-iteration."""
    update_tasks: Annotated[int, Bounds(1)] = 16
    """Tasks in an update."""
    batch_size: Annotated[int, Bounds(1)] = 256
    """Transitions of each of them that critics and policy learn from."""
    context_size: Annotated[int, Bounds(1)] = 64
    """Transitions of each of them that the belief is inferred from."""
    buffer_size: Annotated[int, Bounds(1)] = 10_000  # ours; oyster has 1,000,000
    """Transitions of each training task that are kept: the newest."""
    reward_scale: Annotated[float, Bounds(1e-9)] = 5.0
    """What critics see rewards multiplied with: the larger, the less the policy's entropy counts."""
    kl_weight: Annotated[float, Bounds(0)] = 0.1
    """Of the belief's KL from the prior, summed over the tasks of an update."""
    target_rate: Annotated[float, Bounds(1e-9, 1)] = 0.005
    """How far the slow copy of the value moves in an update."""
    learned_reward: str = ""
    """A measure of the family, such as a dense form of a sparse reward, that the critics learn from in the reward's place."""


class Kept(NamedTuple):
    """What training carries beside the parameters.

    Attributes:
        opt_state: of the optimiser.
        replay: transitions that critics and policy learn from.
        context: transitions of the newest visit to each task, for the encoder.
    """

    opt_state: Tree
    replay: Replay
    context: Replay


def pearl(world: World, training: Training, own: Pearl) -> MetaLearner:
    """PEARL: soft actor-critic on a belief about the task, from replayed experience (Rakelly et al. 2019).

    One meta-iteration: on each of M tasks, N trials of ``trial_episodes`` episodes, as at test; then ``updates`` updates, each
    on ``update_tasks`` of the tasks that have been visited. The M tasks are different ones of the fixed training tasks. Score k
    is the return of the (k+1)-th episode of a trial, after k episodes used.

    Raises:
        ValueError: actions that are no bounded Box, more tasks than there are, buffers too small for a meta-iteration, or
            settings without an effect, in one line.
    """
    rollouts = needed("pearl", world.rollouts, "rollouts", "world", "episodes to play by itself")
    family, num_tasks = rollouts.family, training.num_tasks
    bounds = bounds_of("pearl", family.action_space, world.to_action)
    _check(rollouts, own)
    key_of_tasks = jax.random.key(KEY_OF_TASKS)
    listed = task_lists.of_training("pearl", world, num_tasks, own.num_train_tasks, USUAL_TASKS, key_of_tasks)
    num_listed = task_lists.size(listed)
    nets = networks(family.observation_space, bounds.middle.size, own.latent_size, rollouts.policy_options, world.network)
    options = (own.latent_size, own.prior_episodes, own.reward_scale)
    plain = posterior_sampling(family, nets, bounds, *options, in_bytes=world.seen is None)
    actor_critic = normalizing(plain, world.seen, rewards=False)
    inside = lambda theta: theta if world.seen is None else theta["network"]
    numbers = Numbers(rollouts.gamma, own.reward_scale, own.kl_weight)
    rate = training.outer_lr
    # The optimiser counts its own updates, of which an iteration makes many.
    schedule = (lambda count: rate(count // own.updates)) if callable(rate) else rate
    optimizer = training.optimizer(schedule)
    context_episodes = min(own.prior_episodes, own.trial_episodes) if own.prior_context else own.trial_episodes
    per_episode = rollouts.num_episodes * family.horizon

    def init(key):
        params = actor_critic.init(key)
        theta = params | {"target": inside(params)["v"]}
        _, rows, *_ = jax.eval_shape(one_task, theta, (key, jax.tree.map(lambda x: x[0], listed.tasks)))
        row = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[3:], x.dtype), rows)  # less [N, E, T]
        replay = empty(row, num_listed, own.buffer_size)
        context = empty(row, num_listed, context_episodes * per_episode)
        kept = Kept(optimizer.init(inside(params)), replay, context)
        return task_lists.begun(listed, MetaState(theta, kept, jnp.zeros((), jnp.int32)))

    def one_task(theta, source):
        key, task = source
        trials, value = play_trials(rollouts, actor_critic, theta, task, key, own.trial_episodes)
        trajectory = trials.trajectory
        seen = seen_in(trajectory.observation.astype(float), trajectory.mask)
        return trajectory, transitions_of(trajectory, bounds, own.learned_reward), value, seen

    def step(state, key):
        key_data, key_updates = jax.random.split(key)
        state, progress = task_lists.opened(state)
        index, tasks = task_lists.draw(listed, key_data, num_tasks, state.iteration, progress)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key_data, jnp.arange(num_tasks))
        trajectory, rows, value, seen = training.task_map(one_task)(state.theta, (keys, tasks))
        opt_state, replay, context = state.opt_state
        in_rows = lambda x: x.reshape(x.shape[0], -1, *x.shape[4:])  # [M, N, E, T, ...] -> [M, S, ...]
        replay = added(replay, index, jax.tree.map(in_rows, rows), in_rows(trajectory.mask))
        first = jax.tree.map(lambda x: in_rows(x[:, :, :context_episodes]), (rows, trajectory.mask))
        context = added(cleared(context, index), index, *first)

        def some(key):
            key_tasks, key_rows, key_loss = jax.random.split(key, 3)
            chosen = some_tasks(replay, key_tasks, own.update_tasks)
            keys = jax.random.split(key_rows, own.update_tasks)

            def draw(task, key):
                of_context = some_rows(context, jax.random.fold_in(key, 0), task, own.context_size)
                return read(of_context), read(some_rows(replay, jax.random.fold_in(key, 1), task, own.batch_size))

            return training.task_map.share(jax.vmap(draw)(chosen, keys)), key_loss

        def read(rows):
            if world.seen is None:
                return rows
            see = lambda x: normalized(x, state.theta["seen"])
            return rows._replace(observation=see(rows.observation), next_observation=see(rows.next_observation))

        def update(carry, key):
            params, target, opt_state = carry
            drawn, key_loss = some(key)
            gradient = jax.value_and_grad(partial(loss, nets, numbers), has_aux=True)
            (total, metrics), grads = gradient(params, target, *drawn, key_loss)
            changes, opt_state = optimizer.update(grads, opt_state, params)
            params = optax.apply_updates(params, changes)
            metrics |= {"loss": total, "outer/grad_norm": optax.tree.norm(grads)}
            return (params, tracked(target, params["v"], own.target_rate), opt_state), metrics

        before = {name: part for name, part in inside(state.theta).items() if name != "target"}
        keys = jax.random.split(key_updates, own.updates + 1)
        start = before, state.theta["target"], opt_state
        (params, target, opt_state), metrics = jax.lax.scan(update, start, keys[:-1])
        metrics = jax.tree.map(jnp.mean, metrics)
        metrics["policy/kl"] = _moved(nets, before, params, *some(keys[-1])[0])
        theta = (params if world.seen is None else state.theta | {"network": params}) | {"target": target}
        theta = measured(theta, state.theta, {"seen": seen})

        returns = jnp.swapaxes(jnp.sum(trajectory.reward, axis=-1), 1, 2)  # [M, E, N]
        metrics |= {"score": jnp.mean(returns, axis=-1), "gain_error": jax.vmap(gains.error_of_trials)(returns)}
        metrics |= {"num_samples": jnp.sum(trajectory.mask)}
        found = measures_of(family, trajectory)
        metrics |= {MEASURED + name: jnp.mean(each, axis=1) for name, each in found.items()}
        reward, mask, value = (x.reshape(-1, *x.shape[2:]) for x in (trajectory.reward, trajectory.mask, value))
        explained = explained_by_episode(rollouts, reward, value, mask, IN_REWARDS)
        metrics |= {"baseline/explained_variance_pre": explained[0], "baseline/explained_variance_post": explained[-1]}
        after = MetaState(theta, Kept(opt_state, replay, context), state.iteration + 1)
        after = task_lists.closed(after, progress, index, metrics["score"], state.iteration)
        return after, report(metrics, own.trial_episodes - 1)

    def adapt(state, task, key, num_steps):
        state, _ = task_lists.opened(state)
        return curve_of_trials(rollouts, actor_critic, state.theta, IN_REWARDS, task, key, num_steps)

    return MetaLearner(init, step, adapt, first_actions(actor_critic), acting=by_memory(actor_critic))


def transitions_of(trajectory: Trajectory, bounds: Any, learned_reward: str) -> Transition:
    """The steps of episodes, leaves [..., T, ...]; where the mask is zero they mean nothing.

    Args:
        trajectory: leaves [..., T, ...].
        bounds: of actions.
        learned_reward: a measure, or "" for the reward.
    """
    time = trajectory.reward.ndim - 1
    last = jnp.expand_dims(trajectory.last_observation, time)
    following = jnp.concatenate([jax.lax.slice_in_dim(trajectory.observation, 1, None, axis=time), last], axis=time)
    learned = trajectory.info[learned_reward] if learned_reward else trajectory.reward
    return Transition(
        trajectory.observation,
        bounds.to_unit(trajectory.action),
        trajectory.reward,
        learned,
        following,
        trajectory.terminated,
    )


def _moved(nets: Any, before: Params, after: Params, context: Transition, batch: Transition) -> jax.Array:
    """The mean KL from the policy before some updates to that after them, tanh and all, with the mean of the belief before."""
    z, _ = belief(nets, before, context)
    z = jnp.broadcast_to(z[:, None], (*batch.reward.shape, z.shape[-1]))
    old, new = (nets.policy(params, batch.observation, z) for params in (before, after))
    ratio = jnp.exp(2.0 * (old["log_std"] - new["log_std"]))
    distance = ((old["mean"] - new["mean"]) * jnp.exp(-new["log_std"])) ** 2
    return jnp.mean(0.5 * jnp.sum(ratio + distance - 1.0 - jnp.log(ratio), axis=-1))


def _check(rollouts: Rollouts, own: Pearl) -> None:
    """Refuse settings without an effect, and buffers too small."""
    if rollouts.gae_lambda != 1.0:
        raise ValueError(f"pearl: gae_lambda is {rollouts.gae_lambda:g}, but critics learn from single steps; leave it out.")
    drawn = rollouts.num_episodes * own.trial_episodes * rollouts.family.horizon
    if own.buffer_size < drawn:
        raise ValueError(
            f"pearl: buffer_size is {own.buffer_size:,}, but a meta-iteration draws up to {drawn:,} transitions of a task; "
            "give as many, or more."
        )
    known = list(getattr(rollouts.family, "measures", ()))
    if own.learned_reward and own.learned_reward not in known:
        there = f"known: {', '.join(known)}" if known else "the family has none"
        raise ValueError(f"pearl: learned_reward is {own.learned_reward!r}, which is no measure of the family; {there}.")


PEARL = Agent(pearl, Pearl, serves=("reinforcement",), adapts_by="memory", mixes_tasks=True)
