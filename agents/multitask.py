"""Multi-task learning: one trunk, one head per training task; a new task gets a new head."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp

from agents.agent import Adaptation, Agent, Bounds, Training
from agents.parts.gradient_learner import adaptation, inner, predictions, report
from agents.parts.networks import with_head
from agents.parts.world import World
from metarl import outer, rules
from metarl.interfaces import MetaLearner, MetaState

TRAIN_TASKS = 0x7A5C  # the fixed training tasks come from this constant, whatever the seed


@dataclass(frozen=True)
class Multitask(Adaptation):
    """A shared trunk and heads."""

    train_tasks: Annotated[int, Bounds(1)] = 100  # ours
    """How many fixed tasks to train heads for."""


def multitask(world: World, training: Training, own: Multitask) -> MetaLearner:
    """Multi-task learning: a shared trunk, a head for each of ``train_tasks`` fixed tasks, a new head for a new task.

    The new head starts at the mean of the trained ones and moves by SGD on the support set; the trunk stays.

    Raises:
        ValueError: with more tasks per meta-iteration than there are heads.
    """
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


MULTITASK = Agent(multitask, Multitask, serves=("regression", "classification"), adapts_by="one batch")
