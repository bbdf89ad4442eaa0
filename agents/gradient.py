"""Agents that adapt by gradient steps: one meta-learner, assembled from an inner rule and a meta-gradient."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from agents.networks import Network
from agents.world import Settings, World
from metarl import outer
from metarl.adapt import adapt, collect
from metarl.meta import MetaGradient
from metarl.types import AdaptationCurve, InnerRule, Key, MetaLearner, MetaState, Metrics, Path, Problem, Task, Theta


def gradient_learner(
    world: World,
    settings: Settings,
    problem: Problem,
    network: Network,
    rule: InnerRule,
    meta_gradient: Callable[[jax.Array], MetaGradient],
    optimizer: optax.GradientTransformation | None = None,
) -> MetaLearner:
    """Meta-learn a start for inner steps. One meta-iteration: draw tasks, collect, meta-gradient, outer update.

    Args:
        world: gives the tasks, and whether inner steps draw fresh data.
        settings: gives M, K in training (`MetaLearner.adapt` takes any number) and the outer rate.
        problem: data and losses.
        network: what the parameters belong to.
        rule: how parameters move during adaptation.
        meta_gradient: iteration -> how the outer derivative of one task is taken in that meta-iteration.
        optimizer: outer update; that of ``settings`` if None.
    """
    outer_optimizer = settings.optimizer(settings.outer_lr) if optimizer is None else optimizer

    def init(key):
        theta = rule.init(network.init(key))
        return MetaState(theta, outer_optimizer.init(theta), jnp.zeros((), jnp.int32))

    def one_task(state, key):
        key_task, key_data = jax.random.split(key)
        task, steps = world.sample_task(key_task), settings.num_inner_steps
        experience = collect(problem, rule, state.theta, task, key_data, steps, resample=world.resample)
        return meta_gradient(state.iteration)(state.theta, experience)

    def step(state, key):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(settings.num_tasks))
        grads, per_task = jax.vmap(one_task, (None, 0))(state, keys)
        state, outer_metrics = outer.optax_step(outer_optimizer, state, grads)
        return state, report(per_task, settings.num_inner_steps) | outer_metrics

    def adapt_to(state, task, key, num_steps):
        return adaptation(problem, rule, state.theta, task, key, num_steps, resample=world.resample)

    return MetaLearner(init, step, adapt_to, predictions(network))


def adaptation(
    problem: Problem, rule: InnerRule, theta: Theta, task: Task, key: Key, num_steps: int, *, resample: bool
) -> AdaptationCurve:
    """Collect on one task and replay: the curve that `MetaLearner.adapt` gives. Arguments are those of `collect`."""
    experience = collect(problem, rule, theta, task, key, num_steps, resample=resample)
    path = adapt(rule, problem.inner_loss, theta, experience.support)
    _, metrics = problem.outer_loss(path, experience)
    num_shots = jax.tree.leaves(experience.support)[0].shape[1]
    rounds = jnp.arange(num_steps + 1) if resample else jnp.minimum(jnp.arange(num_steps + 1), 1)
    return AdaptationCurve(metrics["score"], path, experience, rounds * num_shots)


def predictions(network: Network) -> Callable[[Path, Task, jax.Array], jax.Array]:
    """`MetaLearner.predict` of a network that does not see the task."""

    def predict(path, task, x):
        del task
        return jax.vmap(network.apply, (0, None))(path, x)

    return predict


def report(per_task: Metrics, num_steps: int) -> Metrics:
    """Metrics of M tasks -> scalars under the fixed names. A score of two points is that of the first and the last step."""
    metrics = dict(per_task)
    samples = jnp.sum(metrics.pop("num_samples")).astype(jnp.int32)
    score = jnp.mean(metrics.pop("score"), axis=0)
    metrics["outer/loss"] = metrics.pop("loss")
    means = {name: jnp.mean(value) for name, value in metrics.items()}
    indices = range(num_steps + 1) if score.shape[0] == num_steps + 1 else (0, num_steps)
    steps = {f"inner/step_{k}": score[i] for i, k in enumerate(indices)}
    ends = {"meta/pre": score[0], "meta/post": score[-1], "meta/gain": score[-1] - score[0]}
    return means | steps | ends | {"time/env_steps": samples}
