"""Every rule and meta-gradient against algebra on a quadratic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl import meta, rules
from metarl.inner_loop import adapt
from metarl.interfaces import Experience, Problem

pytestmark = pytest.mark.usefixtures("float64")

ALPHA, LAMBDA = 0.1, 0.7
A = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 3.0]])
B = np.array([[1.0, 0.2], [-0.4, 0.5], [0.3, 1.1]])  # how CAVIA's context enters
THETA = np.array([0.7, -1.2, 0.4])
CENTRE = np.array([0.1, 0.2, -0.3])
DELTA = THETA - CENTRE
I = np.eye(3)
HEAD = np.diag([1.0, 1.0, 0.0])  # ANIL moves the first two coordinates
STEPS = [1, 2, 5]


def power(matrix, k):
    return np.linalg.matrix_power(matrix, k)


def quadratic(params, batch):
    """1/2 r' A r with r = params - centre; with a context c, r = network + B c - centre."""
    if isinstance(params, dict):
        params = params["network"] + B @ params["context"]
    residual = params - batch
    return 0.5 * residual @ jnp.asarray(A) @ residual, {}


def problem_of(loss):
    return Problem(lambda params, task, key: task, loss, meta.final(loss))


QUADRATIC = problem_of(quadratic)


def experience_of(num_steps):
    return Experience(np.broadcast_to(CENTRE, (num_steps, 3)), CENTRE)


def split_head(params):
    return params[:2], params[2:]


def merge_head(head, body):
    return jnp.concatenate([head, body])


ANIL = rules.only(rules.sgd(ALPHA), split_head, merge_head)


def meta_gradient(how, rule, num_steps, **options):
    theta = rule.init(jnp.asarray(THETA))
    return how(QUADRATIC, rule, **options)(theta, experience_of(num_steps))


@pytest.mark.parametrize("num_steps", STEPS)
def test_reptile(num_steps):
    grads, metrics = meta_gradient(meta.reptile, rules.sgd(ALPHA), num_steps)
    shrink = power(I - ALPHA * A, num_steps)
    np.testing.assert_allclose(grads, (I - shrink) @ DELTA, atol=1e-12)
    np.testing.assert_allclose(metrics["loss"], 0.5 * DELTA @ shrink @ A @ shrink @ DELTA, atol=1e-12)


@pytest.mark.parametrize("num_steps", STEPS)
def test_anil(num_steps):
    grads, _ = meta_gradient(meta.through_adaptation, ANIL, num_steps)
    shrink = power(I - ALPHA * HEAD @ A, num_steps)
    np.testing.assert_allclose(merge_head(grads["part"], grads["rest"]), shrink.T @ A @ shrink @ DELTA, atol=1e-12)


@pytest.mark.parametrize("num_steps", STEPS)
def test_cavia(num_steps):
    grads, _ = meta_gradient(meta.through_adaptation, rules.context(ALPHA, 2), num_steps)
    shrink = power(I - ALPHA * B @ B.T @ A, num_steps)
    np.testing.assert_allclose(grads, shrink.T @ A @ shrink @ DELTA, atol=1e-12)


def test_cavia_starts_every_task_at_zero():
    path = adapt(rules.context(ALPHA, 2), quadratic, jnp.asarray(THETA), experience_of(1).support)
    np.testing.assert_array_equal(path["context"][0], np.zeros(2))
    np.testing.assert_allclose(path["context"][1], -ALPHA * B.T @ A @ DELTA, atol=1e-12)
    np.testing.assert_array_equal(path["network"][1], THETA)


def test_meta_sgd_in_one_step():
    rule = rules.meta_sgd(ALPHA)
    rates = np.array([0.05, 0.2, 0.1])
    theta = {"params": jnp.asarray(THETA), "log_lr": jnp.log(rates)}
    grads, _ = meta.through_adaptation(QUADRATIC, rule)(theta, experience_of(1))
    at_end = A @ (I - np.diag(rates) @ A) @ DELTA
    np.testing.assert_allclose(grads["params"], (I - A @ np.diag(rates)) @ at_end, atol=1e-12)
    np.testing.assert_allclose(grads["log_lr"], -rates * (A @ DELTA) * at_end, atol=1e-12)


@pytest.mark.parametrize("num_steps", STEPS)
def test_meta_sgd_with_equal_rates_is_maml(num_steps):
    grads, _ = meta_gradient(meta.through_adaptation, rules.meta_sgd(ALPHA), num_steps)
    expected, _ = meta_gradient(meta.through_adaptation, rules.sgd(ALPHA), num_steps)
    np.testing.assert_allclose(grads["params"], expected, atol=1e-12)


def test_per_step_rates():
    rates = np.array([0.05, 0.2, 0.1])
    theta = {"params": jnp.asarray(THETA), "log_lr": jnp.log(rates)}
    grads, _ = meta.through_adaptation(QUADRATIC, rules.per_step(ALPHA, 3))(theta, experience_of(3))
    factors = [I - rate * A for rate in rates]
    shrink = factors[0] @ factors[1] @ factors[2]
    at_end = A @ shrink @ DELTA
    np.testing.assert_allclose(grads["params"], shrink @ at_end, atol=1e-12)
    for k, rate in enumerate(rates):
        others = np.linalg.multi_dot([factor for j, factor in enumerate(factors) if j != k])
        np.testing.assert_allclose(grads["log_lr"][k], -rate * (A @ others @ DELTA) @ at_end, atol=1e-12)


def test_per_step_rates_go_on_with_the_last():
    theta = {"params": jnp.asarray(THETA), "log_lr": jnp.log(jnp.array([0.05, 0.2]))}
    path = adapt(rules.per_step(ALPHA, 2), quadratic, theta, experience_of(4).support)
    expected = CENTRE + power(I - 0.2 * A, 3) @ (I - 0.05 * A) @ DELTA
    np.testing.assert_allclose(path[-1], expected, atol=1e-12)


@pytest.mark.parametrize("scales", [(1.0, 0.5), (0.25,), (1.0, 1.0)])
def test_scaled_steps(scales):
    """Step k is as long as ``scales`` says, the last number for all later ones; also of a rule with learned rates."""
    support = jnp.asarray(np.stack([CENTRE] * 4))
    params = THETA
    by_hand = [params]
    for k in range(4):
        params = params - scales[min(k, len(scales) - 1)] * ALPHA * A @ (params - CENTRE)
        by_hand.append(params)
    for rule in (rules.sgd(ALPHA), rules.meta_sgd(ALPHA)):
        rule = rules.scaled(rule, scales)
        path = adapt(rule, quadratic, rule.init(jnp.asarray(THETA)), support)
        np.testing.assert_allclose(path, by_hand, atol=1e-12)


@pytest.mark.parametrize("scales", [(), (1.0, 0.0), (-1.0,)])
def test_scales_without_meaning_are_refused(scales):
    with pytest.raises(ValueError, match="there must be at least one, all positive"):
        rules.scaled(rules.sgd(ALPHA), scales)


def test_imaml():
    """J A J (theta - c) with J = lambda (A + lambda I)^-1, the inner problem solved to the end."""
    grads, _ = meta_gradient(meta.implicit, rules.sgd(ALPHA), 400, strength=LAMBDA, cg_steps=10)
    jacobian = LAMBDA * np.linalg.inv(A + LAMBDA * I)
    np.testing.assert_allclose(grads, jacobian @ A @ jacobian @ DELTA, atol=1e-10)


def test_imaml_damping():
    grads, _ = meta_gradient(meta.implicit, rules.sgd(ALPHA), 400, strength=LAMBDA, cg_steps=10, damping=0.5)
    jacobian, damped = (LAMBDA * np.linalg.inv(A + (LAMBDA + extra) * I) for extra in (0.0, 0.5))
    np.testing.assert_allclose(grads, damped @ A @ jacobian @ DELTA, atol=1e-10)


def test_imaml_of_a_head():
    """Only the head solves its inner problem; the body's gradient comes through the head's solution as well."""
    grads, _ = meta_gradient(meta.implicit, ANIL, 400, strength=LAMBDA, cg_steps=10)
    hh, hb = A[:2, :2], A[:2, 2:]
    inverse = np.linalg.inv(hh + LAMBDA * np.eye(2))
    # head* - c = inverse (lambda (head - c) - hb (body - c)), the body stays: the solution is linear, delta* = S delta.
    solution = np.block([[LAMBDA * inverse, -inverse @ hb], [np.zeros((1, 2)), np.eye(1)]])
    found = merge_head(grads["part"], grads["rest"])
    np.testing.assert_allclose(found, solution.T @ A @ solution @ DELTA, atol=1e-10)


def test_imaml_of_a_context():
    grads, _ = meta_gradient(meta.implicit, rules.context(ALPHA, 2), 800, strength=LAMBDA, cg_steps=10)
    solution = I - B @ np.linalg.inv(B.T @ A @ B + LAMBDA * np.eye(2)) @ B.T @ A
    np.testing.assert_allclose(grads, solution.T @ A @ solution @ DELTA, atol=1e-10)


def test_everything_selected_equals_the_rule_itself():
    rule = rules.only(rules.sgd(ALPHA), lambda params: (params, ()), lambda part, rest: part)
    grads, _ = meta_gradient(meta.through_adaptation, rule, 3)
    expected, _ = meta_gradient(meta.through_adaptation, rules.sgd(ALPHA), 3)
    np.testing.assert_allclose(grads["part"], expected, atol=1e-14)


def step_losses(path, experience):
    losses = jax.vmap(lambda params: quadratic(params, experience.query)[0])(path)
    return losses[1:], {}


def test_multi_step_loss_is_the_sum_of_its_steps():
    weights = np.array([0.5, 0.2, 0.3])
    rule, theta = rules.sgd(ALPHA), jnp.asarray(THETA)
    problem = QUADRATIC._replace(outer_loss=meta.weighted_steps(step_losses, weights))
    grads, _ = meta.through_adaptation(problem, rule)(theta, experience_of(3))
    shrinks = [power(I - ALPHA * A, k) for k in (1, 2, 3)]
    expected = sum(weight * shrink @ A @ shrink @ DELTA for weight, shrink in zip(weights, shrinks, strict=True))
    np.testing.assert_allclose(grads, expected, atol=1e-12)
    last_only = QUADRATIC._replace(outer_loss=meta.weighted_steps(step_losses, np.array([0.0, 0.0, 1.0])))
    found, _ = meta.through_adaptation(last_only, rule)(theta, experience_of(3))
    np.testing.assert_allclose(found, meta_gradient(meta.through_adaptation, rule, 3)[0], atol=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: rules.per_step(0.1, 0), "num_steps is 0"),
        (lambda: rules.context(0.1, 0), "size is 0"),
        (lambda: rules.proximal(rules.sgd(0.1), 0.0), "strength is 0.0"),
    ],
)
def test_settings_without_meaning_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
