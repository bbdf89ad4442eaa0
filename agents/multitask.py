"""Multi-task learning: some fixed training tasks share a network, but for a head, or an embedding, of each task's own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp

from agents.agent import Adaptation, Agent, Bounds, ByPPO, Only, Training
from agents.parts import task_lists
from agents.parts.acting import starting_from
from agents.parts.actor_critic import divided, no_action, value_network
from agents.parts.gradient_learner import acting, adaptation, inner, predictions, report
from agents.parts.networks import Network, policy, with_embedding, with_head
from agents.parts.normalization import view
from agents.parts.problems import needed
from agents.parts.trial_learner import trial_learner
from agents.parts.world import World
from metarl import outer, rules
from metarl.interfaces import MetaLearner, MetaState

TRAIN_TASKS = 0x7A5C  # the fixed training tasks come from this constant, whatever the seed
USUAL_TASKS = 100  # ours, as in supervised learning


@dataclass(frozen=True)
class Multitask(ByPPO, Adaptation):
    """A shared trunk and heads; by PPO in reinforcement learning."""

    train_tasks: Annotated[int, Bounds(1), Only("regression"), Only("classification")] = 100  # ours
    """How many fixed tasks to train heads for."""
    num_train_tasks: Annotated[int, Bounds(0), Only("reinforcement")] = 0
    """How many fixed tasks to train on, drawn once; 0: 100, or those of the family's list where it has one."""


@dataclass(frozen=True)
class TaskEmbedding(Multitask):
    """A network that reads an embedding; by PPO."""

    inner_lr: Annotated[float, Bounds(0)] = 1.0  # Zintgraf et al. 2019, released code, for such a context
    embedding_size: Annotated[int, Bounds(1)] = 5  # their context's
    """Length of a task's embedding, one for the policy and one for the value."""


def multitask(world: World, training: Training, own: Multitask) -> MetaLearner:
    """Multi-task learning: a shared trunk, a head for each of some fixed tasks, a new head for a new task (Caruana 1997).

    The new head starts at the mean of the trained ones and moves by gradient steps on the new task's data; the trunk stays.
    In reinforcement learning policy and value are trained by PPO on single episodes, and the policy's head moves by policy
    gradients.

    Raises:
        ValueError: with more tasks per meta-iteration than there are heads, or a network of the user's own without a head.
    """
    if world.kind == "reinforcement":
        return _by_ppo("multitask", world, training, own, 0, with_head)
    if training.num_tasks > own.train_tasks:
        raise ValueError(
            f"multitask draws num_tasks {training.num_tasks} of its train_tasks {own.train_tasks}; lower the first or "
            "raise the second."
        )
    network = with_head(world.make_network(0))
    rule = rules.scaled(rules.only(rules.sgd(own.inner_lr), network.split, network.merge), own.test_step_scale)
    loop = inner(world, training, own, network=network, rule=rule)
    problem = loop.problem
    optimizer = training.optimizer(training.outer_lr)
    key_of_tasks = jax.random.key(TRAIN_TASKS)
    sample_query = problem.sample_query or problem.sample_batch

    def init(key):
        key_trunk, key_heads = jax.random.split(key)
        _, trunk = network.split(network.init(key_trunk))
        heads = jax.vmap(lambda key: network.split(network.init(key))[0])(jax.random.split(key_heads, own.train_tasks))
        theta = {"trunk": trunk, "heads": heads}
        return MetaState(theta, optimizer.init(theta), jnp.zeros((), jnp.int32))

    def loss_of_task(theta, source):
        task, index, key = source
        params = network.merge(jax.tree.map(lambda head: head[index], theta["heads"]), theta["trunk"])
        x, y = sample_query(params, task, key)
        loss, _ = problem.inner_loss(params, (x, y))
        return loss, {"loss": loss, "score": -loss[None], "num_samples": jnp.asarray(x.shape[0])}

    def step(state, key):
        key_choice, key_data = jax.random.split(key)
        chosen = jax.random.choice(key_choice, own.train_tasks, (training.num_tasks,), replace=False)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key_data, jnp.arange(training.num_tasks))
        tasks = jax.vmap(lambda i: world.sample_task(jax.random.fold_in(key_of_tasks, i)))(chosen)
        gradient = jax.grad(loss_of_task, has_aux=True)
        grads, per_task = training.task_map(gradient)(state.theta, (tasks, chosen, keys))
        state, outer_metrics = outer.optax_step(optimizer, state, grads)
        return state, report(per_task, 0) | outer_metrics

    def adapt_to(state, task, key, num_steps):
        head = jax.tree.map(lambda heads: jnp.mean(heads, axis=0), state.theta["heads"])
        theta = {"part": head, "rest": state.theta["trunk"]}
        return adaptation(loop, theta, task, key, num_steps)

    return MetaLearner(init, step, adapt_to, predictions(network))


def task_embedding(world: World, training: Training, own: TaskEmbedding) -> MetaLearner:
    """A policy that reads a learned embedding of its task beside the observation, by PPO on some fixed tasks.

    A new task's embedding starts at the mean of the trained ones and is all that moves there, by policy gradients, as
    CAVIA's context does (Zintgraf et al. 2019); here it was not trained for that.

    Raises:
        ValueError: with more tasks per meta-iteration than there are embeddings.
    """
    return _by_ppo("task-embedding", world, training, own, own.embedding_size, partial(with_embedding, size=own.embedding_size))


def _by_ppo(
    name: str, world: World, training: Training, own: Multitask, num_extra: int, with_own: Callable[[Network], Network]
) -> MetaLearner:
    """The one or the other in reinforcement learning: ``with_own`` makes a task's own part of a network its head."""
    rollouts = needed(name, world.rollouts, "rollouts", "world", "episodes to play by itself")
    key_of_tasks = jax.random.key(TRAIN_TASKS)
    listed = task_lists.of_training(name, world, training.num_tasks, own.num_train_tasks, USUAL_TASKS, key_of_tasks)
    spaces, options = (rollouts.family.observation_space, rollouts.family.action_space), rollouts.policy_options
    acts = policy(*spaces, **options, num_extra=num_extra, network=world.network)
    network = with_own(acts.network)
    judges = with_own(value_network(spaces[0], options, num_extra, world.network))
    actor_critic = divided(acts._replace(network=network), judges, no_action(spaces[1], 0), task_lists.size(listed))
    learner = trial_learner(world, training, own, actor_critic, trial_episodes=1, tasks=listed)

    loop = inner(world, training, own, network=network, rule=rules.only(rules.sgd(own.inner_lr), network.split, network.merge))
    at_test = loop._replace(rule=rules.scaled(loop.rule, own.test_step_scale))

    def new_task(theta):
        if world.seen is not None:
            return theta | {"network": _begun(theta["network"])}
        return _begun(theta)

    def adapt(state, task, key, num_steps):
        return adaptation(at_test, new_task(state.theta), task, key, num_steps)

    acts_there = needed(name, acting(world, at_test, 0), "distribution", "world", "to act")
    return learner._replace(
        adapt=adapt, predict=predictions(view(network, world.seen)), acting=starting_from(new_task, acts_there)
    )


def _begun(theta):
    """What `rules.only` reads on a new task: the mean of the policy's heads, and what they share."""
    mean = jax.tree.map(lambda heads: jnp.mean(heads, axis=0), theta["heads"]["actor"])
    return {"part": mean, "rest": theta["shared"]["actor"]}


MULTITASK = Agent(multitask, Multitask, mixes_tasks=True)
TASK_EMBEDDING = Agent(task_embedding, TaskEmbedding, serves=("reinforcement",), mixes_tasks=True)
