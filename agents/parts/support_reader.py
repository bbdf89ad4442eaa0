"""Agents that read the support set at one go, without gradient steps: one meta-learner, assembled from how they read it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from agents.agent import Training
from agents.parts.gradient_learner import predictions, report
from agents.parts.networks import Network
from agents.parts.problems import measured
from agents.parts.world import World
from metarl import outer
from metarl.interfaces import AdaptationCurve, Batch, Experience, Key, MetaLearner, MetaState, Params, Theta


def support_reader(
    world: World,
    training: Training,
    network: Network,
    init: Callable[[Key, Experience], Theta],
    read: Callable[[Theta, Batch], tuple[Params, Params]],
) -> MetaLearner:
    """Meta-learn to read a support set. Its curve has what it knows unread at step 0, and all of it from step 1 on.

    Args:
        world: where.
        training: gives M, the outer optimiser and how tasks are worked on.
        network: predicts with what ``read`` gives.
        init: (key, a task's data as shapes) -> meta-parameters.
        read: (theta, support) -> the parameters of ``network`` before reading it and after.
    """
    problem = world.make_problem(network)
    optimizer = training.optimizer(training.outer_lr)
    sample_query = problem.sample_query or problem.sample_batch

    def draw(task, key):
        key_support, key_query = jax.random.split(key)
        return problem.sample_batch((), task, key_support), sample_query((), task, key_query)

    def start(key):
        shapes = jax.eval_shape(lambda key: Experience(*draw(world.sample_task(key), key)), key)
        theta = init(key, shapes)
        return MetaState(theta, optimizer.init(theta), jnp.zeros((), jnp.int32))

    def judged(theta, support, query):
        path = jax.tree.map(lambda *ends: jnp.stack(ends), *read(theta, support))
        loss, metrics = problem.outer_loss(path, Experience(jax.tree.map(lambda x: x[None], support), query))
        return loss, (path, metrics | {"loss": loss})

    def one_task(theta, key):
        key_task, key_data = jax.random.split(key)
        support, query = draw(world.sample_task(key_task), key_data)
        grads, (_, metrics) = jax.grad(judged, has_aux=True)(theta, support, query)
        return grads, metrics

    def step(state, key):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(training.num_tasks))
        grads, per_task = training.task_map(one_task)(state.theta, keys)
        state, outer_metrics = outer.optax_step(optimizer, state, grads)
        return state, report(per_task, 1) | outer_metrics

    def adapt_to(state, task, key, num_steps):
        support, query = draw(task, key)
        _, (ends, metrics) = judged(state.theta, support, query)
        index = jnp.minimum(jnp.arange(num_steps + 1), 1)
        path = jax.tree.map(lambda x: x[index], ends)
        repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_steps, *x.shape)), support)
        measures = {name: value[index] for name, value in measured(metrics).items()}
        used = index * support[0].shape[0]
        return AdaptationCurve(metrics["score"][index], path, Experience(repeated, query), used, measures=measures)

    return MetaLearner(start, step, adapt_to, predictions(network))
