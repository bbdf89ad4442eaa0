"""Inner rules from optax: against steps written out by hand in NumPy, and meta-gradients against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import agents
from envs.families.regression import sinusoid
from metarl import Experience, Problem, meta, rules
from metarl.inner_loop import adapt
from metarl.interfaces import InnerRule
from tests.few import few

pytestmark = pytest.mark.usefixtures("float64")
CURVATURE = np.array([[2.0, 0.3, 0.0], [0.3, 1.0, 0.2], [0.0, 0.2, 0.5]])
START = np.array([0.7, -1.1, 0.4])
TARGETS = np.array([[0.1, 0.5, -0.3], [1.0, -0.2, 0.6], [-0.4, 0.3, 0.9]])  # of three inner steps


def loss(params, target):
    off = params["w"] - target
    return 0.5 * off @ (jnp.asarray(CURVATURE) @ off), {}


def path_of(rule, start=START):
    theta = rule.init({"w": jnp.asarray(start), "never": jnp.ones(2)})
    return adapt(rule, loss, theta, jnp.asarray(TARGETS))


def gradient(w, k):
    return CURVATURE @ (w - TARGETS[k])


def by_sgd(w, lr=0.1):
    for k in range(3):
        w = w - lr * gradient(w, k)
        yield w


def by_momentum(w, lr=0.1, decay=0.9):
    trace = 0.0
    for k in range(3):
        trace = gradient(w, k) + decay * trace
        w = w - lr * trace
        yield w


def by_adam(w, lr=0.1, b1=0.9, b2=0.999, eps=1e-8):
    m = v = 0.0
    for k in range(3):
        g = gradient(w, k)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = w - lr * (m / (1 - b1 ** (k + 1))) / (np.sqrt(v / (1 - b2 ** (k + 1))) + eps)
        yield w


def by_clipping(w, lr=0.1, most=0.5):
    for k in range(3):
        g = gradient(w, k)
        w = w - lr * g * min(1.0, most / np.linalg.norm(g))
        yield w


FORMS = {
    "sgd": (optax.sgd(0.1), by_sgd),
    "momentum": (optax.sgd(0.1, momentum=0.9), by_momentum),
    "adam": (optax.adam(0.1), by_adam),
    "clipped": (optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1)), by_clipping),
}


@pytest.mark.parametrize("name", FORMS)
def test_curvature_is_differentiated_forward_over_reverse(name):
    """As the products with curvature of a trust region are; against central differences of the meta-gradient."""
    weights, direction = jnp.array([0.3, -0.8, 0.5]), jnp.array([1.0, 0.5, -2.0])
    slope = jax.grad(lambda start: weights @ jnp.sin(path_of(rules.optax(FORMS[name][0]), start)["w"][-1]))
    _, found = jax.jvp(slope, (jnp.asarray(START),), (direction,))
    step = 1e-5 * direction
    np.testing.assert_allclose(found, (slope(START + step) - slope(START - step)) / 2e-5, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", FORMS)
def test_steps_and_meta_gradient_by_hand(name):
    """The meta-gradient of a linear outer loss, by central differences of the steps written in NumPy."""
    transformation, by_hand = FORMS[name]
    rule = rules.optax(transformation)
    np.testing.assert_allclose(path_of(rule)["w"], [START, *by_hand(START)], rtol=1e-12)
    weights = np.array([0.3, -0.8, 0.5])
    found = jax.grad(lambda start: jnp.asarray(weights) @ path_of(rule, start)["w"][-1])(jnp.asarray(START))
    outer = lambda start: weights @ list(by_hand(start))[-1]
    expected = [(outer(START + 1e-6 * e) - outer(START - 1e-6 * e)) / 2e-6 for e in np.eye(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "transformation", [optax.adam(0.1), optax.rmsprop(0.1), optax.adagrad(0.1, initial_accumulator_value=0.0)]
)
def test_second_moments_of_zero_give_no_nan(transformation):
    """``never`` has no inner gradient: it stays, and its meta-gradient is that of the outer loss alone."""
    rule = rules.optax(transformation)

    def outer(theta):
        path = adapt(rule, loss, theta, jnp.asarray(TARGETS))
        return jnp.sum(path["w"][-1] ** 2) + path["never"][-1] @ jnp.array([2.0, -3.0])

    theta = {"w": jnp.asarray(START), "never": jnp.ones(2)}
    np.testing.assert_array_equal(path_of(rule)["never"], np.ones((4, 2)))
    found = jax.grad(outer)(theta)
    np.testing.assert_array_equal(found["never"], [2.0, -3.0])
    expected = [(outer(theta | {"w": START + 1e-6 * e}) - outer(theta | {"w": START - 1e-6 * e})) / 2e-6 for e in np.eye(3)]
    np.testing.assert_allclose(found["w"], expected, rtol=1e-5)


def test_nan_from_further_on_is_not_hidden():
    rule = rules.optax(optax.adam(0.1))
    outer = lambda theta: jnp.sqrt(path_of(rule, theta)["w"][-1] * 0.0)[0]
    assert np.isnan(jax.grad(outer)(jnp.asarray(START))).any()


def problem():
    return Problem(None, loss, meta.final(loss))


def test_rules_made_of_it():
    """As those of SGD where the transformation is SGD; only what moves is scaled."""
    plain, same = rules.sgd(0.1), rules.optax(optax.sgd(0.1))
    split, merge = lambda p: (p["w"], p["never"]), lambda w, never: {"w": w, "never": never}
    made = {
        "scaled": lambda rule: rules.scaled(rule, (1.0, 0.5)),
        "proximal": lambda rule: rules.proximal(rule, 0.7),
        "first order": rules.first_order,
        "only": lambda rule: rules.only(rule, split, merge),
    }
    for name, make in made.items():
        np.testing.assert_allclose(path_of(make(same))["w"], path_of(make(plain))["w"], rtol=1e-12, err_msg=name)
    half = path_of(rules.scaled(rules.optax(optax.adam(0.1)), (0.5,)))["w"]
    np.testing.assert_allclose(half[1] - START, 0.5 * (next(by_adam(START)) - START), rtol=1e-12)


@pytest.mark.parametrize("transformation", [optax.adam(0.05), optax.sgd(0.1, momentum=0.5)])
def test_the_implicit_gradient_does_not_depend_on_the_way(transformation):
    """Once solved, the proximal inner problem has the derivative of its solution in closed form: (C + s)^-1 s."""
    support, query = jnp.broadcast_to(TARGETS[0], (2000, 3)), jnp.asarray(TARGETS[1])
    rule = rules.optax(transformation)
    theta = {"w": jnp.asarray(START), "never": jnp.zeros(2)}
    implicit = meta.implicit(problem(), rule, 1.0, cg_steps=5)
    grads, _ = jax.jit(implicit)(theta, Experience(support, query))
    inverse = np.linalg.inv(CURVATURE + np.eye(3))
    end = inverse @ (CURVATURE @ TARGETS[0] + START)
    np.testing.assert_allclose(grads["w"], inverse @ (CURVATURE @ (end - TARGETS[1])), rtol=1e-3)


def test_reptile_follows_it():
    rule = rules.optax(optax.adam(0.1))
    theta = {"w": jnp.asarray(START), "never": jnp.ones(2)}
    grads, _ = meta.reptile(problem(), rule)(theta, Experience(jnp.asarray(TARGETS), jnp.asarray(TARGETS[0])))
    np.testing.assert_allclose(grads["w"], START - list(by_adam(START))[-1], rtol=1e-12)


def test_a_state_that_is_not_kept_apart_is_told():
    """The rule of case 06, a dict of parameters and optax state."""
    adam = optax.adam(0.1)

    def step(theta, fast, grads, k):
        updates, state = adam.update(grads["p"], fast["s"], fast["p"])
        return {"p": optax.apply_updates(fast["p"], updates), "s": state}

    rule = InnerRule(lambda p: p, lambda theta: {"p": theta, "s": adam.init(theta)}, step, lambda theta, fast: fast["p"])
    with pytest.raises(ValueError, match=r"is to move fast\['s'\]\[0\]\.count, which is int32 .* metarl\.rules\.optax"):
        path_of(rule)


TAKING = [
    (name, kind)
    for name in agents.AGENTS
    for kind in agents.find(name).serves
    if "inner_rule" in agents.find(name).uses and kind == "regression"
]


@pytest.mark.parametrize(("name", "kind"), few(TAKING, ("maml", "regression"), ("imaml", "regression")))
def test_every_agent_that_takes_inner_rules_takes_these(name, kind):
    rule = rules.optax(optax.adam(0.01))
    learner = agents.make(name, sinusoid(), inner_rule=rule, num_inner_steps=2, num_tasks=2, hidden_sizes=(8,))

    @jax.jit
    def trained(key):
        state, metrics = learner.step(learner.init(key), key)
        return state, metrics, learner.adapt(state, sinusoid().sample_task(key), key, 3).score

    state, metrics, score = trained(jax.random.key(0))
    assert score.shape == (4,) and np.isfinite(score).all() and np.isfinite(metrics["outer/loss"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.theta))


@pytest.mark.parametrize(
    ("transformation", "said"),
    [
        (optax.adam, r"is no optax transformation, with init and update; call it, as in optax\.adam\(0\.01\)"),
        (0.1, "0.1 is no optax transformation"),
        (optax.lbfgs(), "is missing 3 required keyword-only arguments: 'value', 'grad', and 'value_fn', but inner steps give"),
        (optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau()), "missing 1 required keyword-only argument: 'value'"),
    ],
)
def test_what_inner_steps_cannot_follow_is_refused_when_the_rule_is_made(transformation, said):
    with pytest.raises(ValueError, match=said) as error:
        rules.optax(transformation)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "transformation",
    [
        optax.inject_hyperparams(optax.adam)(learning_rate=optax.linear_schedule(0.1, 0.01, 5)),
        optax.masked(optax.adam(0.1), {"w": True, "never": False}),
        optax.multi_transform({"a": optax.adam(0.1), "b": optax.set_to_zero()}, {"w": "a", "never": "b"}),
        optax.MultiSteps(optax.adam(0.1), 2),
        optax.apply_if_finite(optax.adam(0.1), 3),
    ],
)
def test_transformations_of_transformations(transformation):
    found = jax.grad(lambda start: jnp.sum(jnp.sin(path_of(rules.optax(transformation), start)["w"][-1])))(jnp.asarray(START))
    assert np.isfinite(found).all() and np.any(found != 0)


def test_one_made_for_other_parameters_is_told_in_a_line():
    rule = rules.optax(optax.masked(optax.adam(0.1), {"weights": True}))
    with pytest.raises(ValueError, match=r"^rules\.optax: the transformation fails: ValueError[^\n]*$"):
        path_of(rule)
