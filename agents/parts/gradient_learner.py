"""Agents that adapt by gradient steps: one meta-learner, assembled from an inner loop and an outer update."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents.agent import Adaptation, InnerLoop, OnPolicy, Training
from agents.parts import task_lists
from agents.parts.acting import by_gradients
from agents.parts.networks import Network
from agents.parts.normalization import carry, remember, view
from agents.parts.problems import MEASURED, measured
from agents.parts.world import BASELINES, STEP_WEIGHTS, World
from metarl import gains, outer, rules
from metarl.advantages import common_scale, normalize
from metarl.inner_loop import adapt, collect
from metarl.interfaces import (
    Acting,
    AdaptationCurve,
    InnerRule,
    Key,
    MetaLearner,
    MetaState,
    Metrics,
    Path,
    Problem,
    Task,
    Theta,
)
from metarl.meta import MetaGradient, through_adaptation
from metarl.outer import OuterUpdate
from metarl.surrogates import loaded_dice, reinforce

EVALUATION_STREAM = 0xE7A1  # folded into a key, so that what an evaluation draws is independent of what adaptation drew


class Inner(NamedTuple):
    """An inner loop: what adapts, how, and to which data.

    Attributes:
        network: what the parameters belong to.
        problem: data and losses.
        rule: how parameters move.
        resample: whether each inner step draws data of its own; see `metarl.inner_loop.collect`.
    """

    network: Network
    problem: Problem
    rule: InnerRule
    resample: bool


def inner(
    world: World,
    training: Training,
    own: Adaptation,
    *,
    network: Network | None = None,
    rule: InnerRule | None = None,
    **changes: Any,
) -> Inner:
    """SGD on the world's own network and problem, but for what is given otherwise.

    Args:
        world: where.
        training: its ``inner_rule`` and ``inner_surrogate``, where given, go before the agent's own.
        own: step size and, in reinforcement learning, baseline, weight of steps and, of agents that have it, `OnPolicy`.
        network: another network than the world's.
        rule: another rule than SGD.
        **changes: options of `agents.parts.problems.policy_gradient` that the agent sets itself; of no effect in regression.
    """
    network = world.make_network(0) if network is None else network
    rule = carry((training.inner_rule or rules.sgd(own.inner_lr)) if rule is None else rule, world.seen)
    options: dict[str, Any] = {}
    if world.rollouts is not None:
        options["baseline"] = BASELINES[own.baseline]
        options["weigh_steps"] = STEP_WEIGHTS[own.step_weight]
        if isinstance(own, OnPolicy):
            options |= on_policy(own)
        options |= changes
        if training.inner_surrogate is not None:
            options["inner_surrogate"] = training.inner_surrogate
    return Inner(network, world.make_problem(network, **options), rule, world.resample)


def on_policy(own: OnPolicy) -> dict[str, Any]:
    """The options of `agents.parts.problems.policy_gradient` that `OnPolicy` chooses.

    Raises:
        ValueError: a number that would have no effect.
    """
    if own.surrogate != "dice" and own.dice_lambda != OnPolicy.dice_lambda:
        raise ValueError(f"dice_lambda is {own.dice_lambda}, but surrogate is {own.surrogate}, which has none; leave one out.")
    if own.advantage_scale != "common" and own.common_scale != OnPolicy.common_scale:
        raise ValueError(f"common_scale is {own.common_scale}, but advantage_scale is {own.advantage_scale}; leave one out.")
    return {
        "inner_surrogate": loaded_dice(own.dice_lambda) if own.surrogate == "dice" else reinforce,
        "scale": common_scale(own.common_scale) if own.advantage_scale == "common" else normalize,
        "moving_scale": own.advantage_scale == "differentiated",
    }


def through_inner_steps(training: Training) -> Callable[[Problem, InnerRule], OuterUpdate]:
    """The outer optimiser along the meta-gradient that differentiates the inner steps: MAML's update."""
    return lambda problem, rule: along(training, through_adaptation(problem, rule, remat=training.remat))


def along(training: Training, meta_gradient: MetaGradient) -> OuterUpdate:
    """The outer optimiser along one meta-gradient throughout training."""
    return outer.follow(training.optimizer(training.outer_lr), lambda iteration: meta_gradient, training.task_map)


def gradient_learner(
    world: World,
    training: Training,
    own: InnerLoop,
    inner: Inner,
    make_update: Callable[[Problem, InnerRule], OuterUpdate],
) -> MetaLearner:
    """Meta-learn a start for inner steps. One meta-iteration: draw tasks, collect, outer update.

    Args:
        world: gives the tasks.
        training: gives M.
        own: gives K in training (`MetaLearner.adapt` takes any number) and the step sizes at test.
        inner: the inner loop.
        make_update: its problem and rule -> how meta-parameters move.
    """
    network, problem, rule, resample = inner
    seeing = view(network, world.seen)
    update = make_update(problem, rule)
    num_steps = own.num_inner_steps
    listed = task_lists.drawn_together(world, training.num_tasks)

    def init(key):
        theta = rule.init(seeing.init(key))
        return task_lists.begun(listed, MetaState(theta, update.init(theta), jnp.zeros((), jnp.int32)))

    def draw(theta, source):
        key, task = (source, None) if listed is None else source
        key_task, key_data = jax.random.split(key)
        task = world.sample_task(key_task) if listed is None else task
        return collect(problem, rule, theta, task, key_data, num_steps, resample=resample)

    def step(state, key):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(training.num_tasks))
        sources: Any = keys
        index, iteration = None, state.iteration
        state, progress = task_lists.opened(state)
        if listed is not None:
            index, tasks = task_lists.draw(listed, key, training.num_tasks, iteration, progress)
            sources = keys, tasks
        after, per_task, metrics = update.step(state, draw, sources)
        state, per_task = remember(state, after, per_task)
        state = task_lists.closed(state, progress, index, per_task.get("score"), iteration)
        return state, report(per_task, num_steps) | metrics

    at_test = inner._replace(rule=rules.scaled(rule, own.test_step_scale))

    def adapt_to(state, task, key, num_steps):
        return adaptation(at_test, state.theta, task, key, num_steps)

    return MetaLearner(init, step, adapt_to, predictions(seeing), acting=acting(world, at_test, num_steps))


def acting(world: World, inner: Inner, num_steps: int) -> Acting | None:
    """How an agent with this inner loop acts; ``num_steps`` on the one batch where there is one. None in regression."""
    if world.distribution is None:
        return None
    seeing = view(inner.network, world.seen)
    return by_gradients(seeing, world.distribution, inner.problem, inner.rule, None if inner.resample else num_steps)


def adaptation(inner: Inner, theta: Theta, task: Task, key: Key, num_steps: int) -> AdaptationCurve:
    """Collect on one task and replay: the curve that `MetaLearner.adapt` gives. Arguments are those of `collect`."""
    _, problem, rule, resample = inner
    experience = collect(problem, rule, theta, task, key, num_steps, resample=resample)
    path = adapt(rule, problem.inner_loss, theta, experience.support)
    _, metrics = problem.outer_loss(path, experience)
    score, rounds = metrics["score"], jnp.arange(num_steps + 1)
    measures = measured(metrics)
    num_shots = jax.tree.leaves(experience.support)[0].shape[1]
    used = (rounds if resample else jnp.minimum(rounds, 1)) * num_shots
    if problem.evaluate is None:
        return AdaptationCurve(score, path, experience, used, gain_error=metrics.get("gain_error"), measures=measures)
    key_evaluate = jax.random.fold_in(key, EVALUATION_STREAM)
    keys = jax.random.split(key_evaluate, num_steps + 1)
    sampled, greedy, error = jax.vmap(problem.evaluate, (0, None, 0))(path, task, keys)
    # Where steps draw their own batches, these have already shown the return after each of them.
    gain_error = metrics.get("gain_error")
    if not resample:
        (score, measures), gain_error = sampled, gains.error_of_means(error)
    freedom = gains.freedom_of_batches(num_shots)
    return AdaptationCurve(score, path, experience, used, greedy.score, gain_error, measures, greedy.measures, freedom)


def predictions(network: Network) -> Callable[[Path, Task, jax.Array], jax.Array]:
    """`MetaLearner.predict` of a network that does not see the task."""

    def predict(path, task, x):
        del task
        return jax.vmap(network.apply, (0, None))(path, x)

    return predict


def report(per_task: Metrics, num_steps: int) -> Metrics:
    """Metrics of M tasks -> scalars under the fixed names. A score of two points is that of the first and the last step."""
    metrics = dict(per_task)
    for name in ("score", "num_samples"):
        if name not in metrics:
            raise ValueError(f"outer_loss gives no {name!r} among its metrics ({', '.join(metrics)}); see metarl.Problem.")
    samples = jnp.sum(jnp.asarray(metrics.pop("num_samples")).astype(jnp.int32))  # beyond 2^24 float32 would round
    scores = metrics.pop("score")
    measures = {name: metrics.pop(name) for name in list(metrics) if name.startswith(MEASURED)}
    error = jnp.asarray(metrics.pop("gain_error", jnp.zeros_like(scores)))
    hurt = jnp.mean(gains.clearly_worse(scores[:, -1] - scores[:, 0], error[:, -1]))
    score = jnp.mean(scores, axis=0)
    metrics["outer/loss"] = metrics.pop("loss")
    means = {name: jnp.mean(value) for name, value in metrics.items()}
    indices = range(num_steps + 1) if score.shape[0] == num_steps + 1 else (0, num_steps)
    steps = {f"inner/step_{k}": score[i] for i, k in enumerate(indices)}
    for name, value in measures.items():
        means |= {f"{name}_pre": jnp.mean(value[:, 0]), f"{name}_post": jnp.mean(value[:, -1])}
    ends = {"meta/pre": score[0], "meta/post": score[-1], "meta/gain": score[-1] - score[0], "meta/hurt": hurt}
    return means | steps | ends | {"time/env_steps": samples}
