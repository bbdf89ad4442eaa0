"""Agents that adapt by gradient steps: one meta-learner, assembled from an inner rule and a meta-gradient."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from metarl import outer
from metarl.adapt import adapt, collect
from metarl.meta import MetaGradient, no_gradient, through_adaptation
from metarl.rules import first_order, sgd
from metarl.types import AdaptationCurve, InnerRule, MetaLearner, MetaState, Problem


def gradient_learner(
    problem: Problem,
    init_params: Callable,
    sample_task: Callable,
    rule: InnerRule,
    meta_gradient: MetaGradient,
    optimizer: optax.GradientTransformation,
    *,
    num_tasks: int,
    num_inner_steps: int,
    resample: bool,
) -> MetaLearner:
    """Meta-learn a start for inner steps. One meta-iteration: draw tasks, collect, meta-gradient, outer update.

    Args:
        problem: data and losses.
        init_params: key -> network parameters.
        sample_task: key -> task.
        rule: how parameters move during adaptation.
        meta_gradient: how the outer derivative is taken, for one task.
        optimizer: outer update.
        num_tasks: M, tasks per meta-iteration.
        num_inner_steps: K in training; `MetaLearner.adapt` takes any number.
        resample: see `metarl.adapt.collect`.
    """

    def init(key):
        theta = rule.init(init_params(key))
        return MetaState(theta, optimizer.init(theta))

    def one_task(theta, key):
        key_task, key_data = jax.random.split(key)
        experience = collect(problem, rule, theta, sample_task(key_task), key_data, num_inner_steps, resample=resample)
        return meta_gradient(theta, experience)

    def step(state, key):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num_tasks))
        grads, per_task = jax.vmap(one_task, (None, 0))(state.theta, keys)
        state, outer_metrics = outer.optax_step(optimizer, state, grads)
        return state, report(per_task) | outer_metrics

    def adapt_to(state, task, key, num_steps):
        experience = collect(problem, rule, state.theta, task, key, num_steps, resample=resample)
        path = adapt(rule, problem.inner_loss, state.theta, experience.support)
        _, metrics = problem.outer_loss(path, experience)
        return AdaptationCurve(metrics["score"], path, experience)

    return MetaLearner(init, step, adapt_to)


def report(per_task):
    """Metrics of M tasks -> scalars under the fixed names."""
    metrics = dict(per_task)
    samples = jnp.sum(metrics.pop("num_samples")).astype(jnp.int32)
    score = jnp.mean(metrics.pop("score"), axis=0)
    metrics["outer/loss"] = metrics.pop("loss")
    means = {name: jnp.mean(value) for name, value in metrics.items()}
    steps = {f"inner/step_{k}": score[k] for k in range(score.shape[0])}
    ends = {"meta/pre": score[0], "meta/post": score[-1], "meta/gain": score[-1] - score[0]}
    return means | steps | ends | {"time/env_steps": samples}


def maml(problem, init_params, sample_task, *, inner_lr: float, outer_lr: optax.ScalarOrSchedule, **sizes) -> MetaLearner:
    """MAML: the exact meta-gradient through SGD inner steps, Adam outside (Finn et al. 2017, Algorithms 1-3)."""
    rule = sgd(inner_lr)
    return gradient_learner(
        problem, init_params, sample_task, rule, through_adaptation(problem, rule), optax.adam(outer_lr), **sizes
    )


def fomaml(problem, init_params, sample_task, *, inner_lr: float, outer_lr: optax.ScalarOrSchedule, **sizes) -> MetaLearner:
    """First-order MAML: the gradient at the adapted parameters (Finn et al. 2017, Section 5.2)."""
    rule = first_order(sgd(inner_lr))
    return gradient_learner(
        problem, init_params, sample_task, rule, through_adaptation(problem, rule), optax.adam(outer_lr), **sizes
    )


def random_start(
    problem, init_params, sample_task, *, inner_lr: float, outer_lr: optax.ScalarOrSchedule, **sizes
) -> MetaLearner:
    """The same network and inner steps from an untrained start: what adaptation achieves without meta-learning."""
    del outer_lr
    rule = sgd(inner_lr)
    return gradient_learner(problem, init_params, sample_task, rule, no_gradient(problem, rule), optax.set_to_zero(), **sizes)
