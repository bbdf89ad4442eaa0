"""Agents that adapt by gradient steps: one meta-learner, assembled from an inner rule and a meta-gradient."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from agents.parts.networks import Network
from agents.parts.world import Settings, World
from metarl import rules
from metarl.inner_loop import adapt, collect
from metarl.interfaces import AdaptationCurve, InnerRule, Key, MetaLearner, MetaState, Metrics, Path, Problem, Task, Theta
from metarl.outer import OuterUpdate

EVALUATION_STREAM = 0xE7A1  # folded into a key, so that what an evaluation draws is independent of what adaptation drew


def gradient_learner(
    world: World,
    settings: Settings,
    problem: Problem,
    network: Network,
    rule: InnerRule,
    update: OuterUpdate,
    *,
    resample: bool | None = None,
) -> MetaLearner:
    """Meta-learn a start for inner steps. One meta-iteration: draw tasks, collect, outer update.

    Args:
        world: gives the tasks.
        settings: gives M, K in training (`MetaLearner.adapt` takes any number) and the step sizes at test.
        problem: data and losses.
        network: what the parameters belong to.
        rule: how parameters move during adaptation.
        update: how meta-parameters move.
        resample: whether inner steps draw fresh data; as the world says if None.
    """
    resample = world.resample if resample is None else resample

    def init(key):
        theta = rule.init(network.init(key))
        return MetaState(theta, update.init(theta), jnp.zeros((), jnp.int32))

    def draw(theta, key):
        key_task, key_data = jax.random.split(key)
        task, steps = world.sample_task(key_task), settings.num_inner_steps
        return collect(problem, rule, theta, task, key_data, steps, resample=resample)

    def step(state, key):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(settings.num_tasks))
        state, per_task, metrics = update.step(state, draw, keys)
        return state, report(per_task, settings.num_inner_steps) | metrics

    at_test = rules.scaled(rule, settings.test_step_scale)

    def adapt_to(state, task, key, num_steps):
        return adaptation(problem, at_test, state.theta, task, key, num_steps, resample=resample)

    return MetaLearner(init, step, adapt_to, predictions(network))


def adaptation(
    problem: Problem, rule: InnerRule, theta: Theta, task: Task, key: Key, num_steps: int, *, resample: bool
) -> AdaptationCurve:
    """Collect on one task and replay: the curve that `MetaLearner.adapt` gives. Arguments are those of `collect`."""
    experience = collect(problem, rule, theta, task, key, num_steps, resample=resample)
    path = adapt(rule, problem.inner_loss, theta, experience.support)
    _, metrics = problem.outer_loss(path, experience)
    score, rounds = metrics["score"], jnp.arange(num_steps + 1)
    num_shots = jax.tree.leaves(experience.support)[0].shape[1]
    used = (rounds if resample else jnp.minimum(rounds, 1)) * num_shots
    if problem.evaluate is None:
        return AdaptationCurve(score, path, experience, used)
    key_evaluate = jax.random.fold_in(key, EVALUATION_STREAM)
    sampled, mean = jax.vmap(problem.evaluate, (0, None, 0))(path, task, jax.random.split(key_evaluate, num_steps + 1))
    # Where steps draw their own batches, these have already shown the return after each of them.
    return AdaptationCurve(score if resample else sampled, path, experience, used, mean)


def predictions(network: Network) -> Callable[[Path, Task, jax.Array], jax.Array]:
    """`MetaLearner.predict` of a network that does not see the task."""

    def predict(path, task, x):
        del task
        return jax.vmap(network.apply, (0, None))(path, x)

    return predict


def report(per_task: Metrics, num_steps: int) -> Metrics:
    """Metrics of M tasks -> scalars under the fixed names. A score of two points is that of the first and the last step."""
    metrics = dict(per_task)
    samples = jnp.sum(jnp.asarray(metrics.pop("num_samples")).astype(jnp.int32))  # beyond 2^24 float32 would round
    scores = metrics.pop("score")
    hurt = jnp.mean(scores[:, -1] < scores[:, 0])
    score = jnp.mean(scores, axis=0)
    metrics["outer/loss"] = metrics.pop("loss")
    means = {name: jnp.mean(value) for name, value in metrics.items()}
    indices = range(num_steps + 1) if score.shape[0] == num_steps + 1 else (0, num_steps)
    steps = {f"inner/step_{k}": score[i] for i, k in enumerate(indices)}
    ends = {"meta/pre": score[0], "meta/post": score[-1], "meta/gain": score[-1] - score[0], "meta/hurt": hurt}
    return means | steps | ends | {"time/env_steps": samples}
