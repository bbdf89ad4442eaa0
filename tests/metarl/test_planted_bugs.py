"""Tests of the tests: a bug planted in each formula must make a test of that formula fail.

A bug is a change of the real source text, so none of these can go stale unnoticed: the text must occur exactly once.
"""

import importlib
import inspect

import pytest

from experiments.studies import surrogates as bias_variance
from metarl import advantages, inner_loop, meta, rules, sampler, surrogates
from tests.metarl import test_advantages, test_algorithms, test_meta_gradients, test_sampler, test_surrogates

pytestmark = pytest.mark.usefixtures("float64")

LIBRARY = [advantages, inner_loop, meta, sampler, rules, surrogates]
TESTS = [bias_variance, test_advantages, test_algorithms, test_meta_gradients, test_sampler, test_surrogates]


def broken(function, right, wrong):
    """``function`` compiled anew with ``right`` replaced by ``wrong`` in its source."""
    source = inspect.getsource(function)
    assert source.count(right) == 1, f"{right!r} occurs {source.count(right)} times in {function.__name__}"
    namespace = dict(vars(importlib.import_module(function.__module__)))
    exec(compile(source.replace(right, wrong), f"<{function.__name__} with a bug>", "exec"), namespace)
    return namespace[function.__name__]


def plant(monkeypatch, function, right, wrong):
    """Put the bug wherever the library or its tests refer to the function, and into what they built with it on import."""
    bug = broken(function, right, wrong)
    for module in LIBRARY + TESTS:
        for name, value in list(vars(module).items()):
            if value is function:
                monkeypatch.setattr(module, name, bug)
    for name, value in list(vars(bias_variance).items()):
        if callable(value) and hasattr(value, "lower"):  # compiled: once traced, it would go on without the bug
            monkeypatch.setattr(bias_variance, name, value.__wrapped__)
    heads = rules.only(rules.sgd(test_algorithms.ALPHA), test_algorithms.split_head, test_algorithms.merge_head)
    monkeypatch.setattr(test_algorithms, "ANIL", heads)
    for name in bias_variance.SURROGATES:
        rebuilt = surrogates.reinforce if name == "reinforce" else surrogates.loaded_dice(float(name.removeprefix("lam=")))
        monkeypatch.setitem(bias_variance.SURROGATES, name, rebuilt)


def closed_form(order):
    return lambda: test_meta_gradients.test_closed_form_on_a_quadratic(2, second_order=order == "second")


def gradient_of(name):
    return lambda: test_surrogates.test_every_surrogate_has_the_right_gradient(name, test_surrogates.minus_baseline, 1.0)


def dice_hessian():
    test_surrogates.test_dice_has_the_right_hessian(test_surrogates.returns_to_go, 0.0)


def replay():
    test_meta_gradients.test_replay_equals_collect_and_a_loop_by_hand(True)


a, t = test_algorithms, test_sampler
BUGS = {
    # dropped terms
    "maml without curvature": (
        inner_loop.inner_step,
        "fast, grads, k)",
        "fast, jax.lax.stop_gradient(grads), k)",
        closed_form("second"),
    ),
    "fomaml with curvature": (rules.first_order, "jax.lax.stop_gradient(grads)", "grads", closed_form("first")),
    "imaml without the direct term": (
        meta.implicit,
        "jax.tree.map(jnp.subtract, direct, cross(v)[0])",
        "jax.tree.map(jnp.negative, cross(v)[0])",
        a.test_imaml_of_a_head,
    ),
    "imaml without the pull": (meta.implicit, "strength * (f - start), fast", "0 * (f - start), fast", a.test_imaml),
    "imaml without damping": (meta.implicit, "(strength + damping) * x", "strength * x", a.test_imaml_damping),
    "anil without the body's gradient": (
        rules.only,
        'theta["rest"]),',
        'jax.lax.stop_gradient(theta["rest"])),',
        lambda: a.test_anil(2),
    ),
    "meta-sgd without the rates' gradient": (
        rules.meta_sgd,
        "jnp.exp(log_lr) * g",
        "jax.lax.stop_gradient(jnp.exp(log_lr)) * g",
        a.test_meta_sgd_in_one_step,
    ),
    "multi-step loss without weights": (
        meta.weighted_steps,
        "jnp.sum(weights * losses)",
        "jnp.mean(losses)",
        a.test_multi_step_loss_is_the_sum_of_its_steps,
    ),
    "dice without the second box": (
        surrogates.loaded_dice,
        "jnp.exp(here) - jnp.exp(here - log_ratio)",
        "jnp.exp(here)",
        gradient_of("lam=1.0"),
    ),
    "dice without the log-probability's own curvature": (
        surrogates.loaded_dice,
        "jnp.exp(here) - jnp.exp(here - log_ratio)",
        "log_prob",
        dice_hessian,
    ),
    "surrogate without its mask": (
        surrogates.reinforce,
        "mask * log_prob",
        "log_prob",
        test_surrogates.test_masked_steps_have_no_effect,
    ),
    "advantage without discount": (
        advantages.generalized_advantage,
        "gamma * value[1:]",
        "value[1:]",
        lambda: test_advantages.test_generalized_advantage_against_rlax(0.7, 12),
    ),
    "baseline fitted to what follows the end": (
        advantages.fit_linear_baseline,
        "(feature * mask[..., None])",
        "feature",
        test_advantages.test_linear_baseline_against_numpy,
    ),
    "centred without its mask": (
        advantages.centre,
        "mask * (advantage - jnp.sum",
        "(advantage - jnp.sum",
        test_advantages.test_normalize_against_numpy,
    ),
    # wrong signs
    "maml uphill": (rules.sgd, "p - learning_rate", "p + learning_rate", closed_form("second")),
    "reptile backwards": (meta.reptile, "start - end", "end - start", lambda: a.test_reptile(2)),
    "imaml's cross term": (meta.implicit, "jnp.subtract, direct", "jnp.add, direct", a.test_imaml),
    "proximal pushing away": (rules.proximal, "g + strength", "g - strength", a.test_imaml),
    "cavia uphill": (rules.context, "fast - learning_rate", "fast + learning_rate", lambda: a.test_cavia(2)),
    "reinforce downhill": (surrogates.reinforce, "jnp.mean(mask", "-jnp.mean(mask", gradient_of("reinforce")),
    "dice with its second box too far": (
        surrogates.loaded_dice,
        "jnp.exp(here - log_ratio))",
        "jnp.exp(here - 2 * log_ratio))",
        gradient_of("lam=0.5"),
    ),
    "ratios to nothing": (surrogates.loaded_dice, "log_prob - behaviour_log_prob", "log_prob", gradient_of("lam=0.0")),
    # stale or wrong data
    "support of the second step from the start": (
        inner_loop.collect,
        "sample_batch(rule.read(theta, fast), task",
        "sample_batch(rule.read(theta, start), task",
        replay,
    ),
    "query from the start": (
        inner_loop.collect,
        "sample_query(rule.read(theta, fast)",
        "sample_query(rule.read(theta, rule.begin(theta))",
        replay,
    ),
    "one key for every step": (
        inner_loop.collect,
        "jax.random.fold_in(key_support, k)",
        "key_support",
        replay,
    ),
    "outer loss on the support": (
        meta.final,
        "experience.query",
        "jax.tree.map(lambda x: x[0], experience.support)",
        closed_form("second"),
    ),
    "outer loss before adaptation": (meta.last, "x[-1]", "x[0]", closed_form("second")),
    "every replayed step on the first batch": (
        inner_loop.adapt,
        "(support, jnp.arange(num_steps))",
        "(jax.tree.map(lambda x: jnp.stack([x[0]] * num_steps), support), jnp.arange(num_steps))",
        replay,
    ),
    "context kept from elsewhere": (rules.context, "jnp.zeros(size", "jnp.ones(size", lambda: a.test_cavia(2)),
    "rates of the next step": (
        rules.per_step,
        "jnp.minimum(k, num_steps - 1)",
        "jnp.minimum(k + 1, num_steps - 1)",
        a.test_per_step_rates,
    ),
    "rates that start again": (
        rules.per_step,
        "jnp.minimum(k, num_steps - 1)",
        "k % num_steps",
        a.test_per_step_rates_go_on_with_the_last,
    ),
    "discount one step late": (surrogates.decay_matrix, "exponent >= 0", "exponent > 0", dice_hessian),
    "reward after the end": (
        sampler.rollout_with_memory,
        "jnp.where(alive, reward, 0.0)",
        "reward",
        t.test_nothing_counts_after_the_end,
    ),
    "life after the end": (
        sampler.rollout_with_memory,
        "alive & ~terminated, next_memory",
        "~terminated, next_memory",
        t.test_nothing_counts_after_the_end,
    ),
    "episodes that never end": (bias_variance.expected_return, "(1.0 - ends * END)", "1.0", gradient_of("reinforce")),
}


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_caught(name, monkeypatch):
    function, right, wrong, test = BUGS[name]
    plant(monkeypatch, function, right, wrong)
    with pytest.raises(AssertionError):
        test()


def test_planting_changes_nothing_else(monkeypatch):
    """The negative case: with a change that means nothing, the tests used above pass."""
    plant(monkeypatch, rules.sgd, "p - learning_rate * g", "p - (learning_rate * g)")
    for _, _, _, test in BUGS.values():
        test()
