"""Meta-gradients against algebra: on a quadratic loss everything is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from metarl import meta, rules
from metarl.inner_loop import adapt, collect
from metarl.interfaces import Experience, Problem

pytestmark = pytest.mark.usefixtures("float64")

ALPHA = 0.1
CURVATURE = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 3.0]])
THETA = np.array([0.7, -1.2, 0.4])


def quadratic(params, batch):
    """1/2 (theta - c)' A (theta - c), with the task's centre c as the batch."""
    delta = params - batch
    return 0.5 * delta @ jnp.asarray(CURVATURE) @ delta, {}


def problem_of(loss):
    return Problem(lambda params, task, key: task, loss, meta.final(loss))


PROBLEM = problem_of(quadratic)


def experience_of(centre, num_steps, query=None):
    return Experience(np.broadcast_to(centre, (num_steps, 3)), centre if query is None else query)


def closed_form(centre, query, num_steps, *, second_order):
    """Loss and gradient after steps towards ``centre``, judged by ``query``."""
    shrink = np.linalg.matrix_power(np.eye(3) - ALPHA * CURVATURE, num_steps)
    left = centre + shrink @ (THETA - centre) - query
    at_the_end = CURVATURE @ left
    return 0.5 * left @ at_the_end, shrink @ at_the_end if second_order else at_the_end


@pytest.mark.parametrize("num_steps", [0, 1, 2, 5])
@pytest.mark.parametrize("second_order", [True, False])
def test_closed_form_on_a_quadratic(num_steps, second_order):
    rule = rules.sgd(ALPHA) if second_order else rules.first_order(rules.sgd(ALPHA))
    centre, query = np.array([0.1, 0.2, -0.3]), np.array([-0.4, 0.6, 0.5])
    grads, metrics = meta.through_adaptation(problem_of(quadratic), rule)(THETA, experience_of(centre, num_steps, query))
    loss, expected = closed_form(centre, query, num_steps, second_order=second_order)
    np.testing.assert_allclose(grads, expected, atol=1e-12)
    np.testing.assert_allclose(metrics["loss"], loss, atol=1e-12)


def test_first_order_is_not_second_order():
    """The negative case: the closed forms differ, so neither test above passes for the wrong reason."""
    exact, first = (closed_form(np.zeros(3), np.ones(3), 1, second_order=order)[1] for order in (True, False))
    assert np.abs(exact - first).max() > 0.1


def test_tutorial_check():
    """MAML in JAX, the tutorial: g(x, y) = x^2 + y at x = 2, y = 1. One gradient step from x gives -2; the objective is 5."""

    def g(x, y):
        return x**2 + y, {}

    path = adapt(rules.sgd(1.0), g, 2.0, jnp.array([1.0]))
    np.testing.assert_allclose(path, [2.0, -2.0])
    loss, _ = meta.objective(problem_of(g), rules.sgd(1.0))(2.0, Experience(jnp.array([1.0]), jnp.array(1.0)))
    assert loss == 5.0


def wavy(params, batch):
    """A loss with third derivatives, so that nothing cancels."""
    return jnp.sum(jnp.sin(params * batch) + params**2 * batch), {}


@pytest.mark.parametrize("num_steps", [0, 1, 3])
def test_finite_differences_of_the_objective(num_steps):
    support = jax.random.normal(jax.random.key(0), (num_steps, 3))
    experience = Experience(support, jnp.array([0.3, -0.8, 1.1]))
    value = meta.objective(problem_of(wavy), rules.sgd(ALPHA))
    check_grads(
        lambda theta: value(theta, experience)[0], (jnp.asarray(THETA),), order=1, modes=["rev"], atol=1e-7, rtol=1e-7, eps=1e-5
    )


def test_no_inner_steps_is_the_plain_gradient():
    centre = jnp.array([1.0, 2.0, 3.0])
    grads, _ = meta.through_adaptation(problem_of(wavy), rules.sgd(ALPHA))(THETA, experience_of(centre, 0))
    plain = jax.grad(lambda theta: wavy(theta, centre)[0])(jnp.asarray(THETA))
    np.testing.assert_allclose(grads, plain, atol=1e-14)


@pytest.mark.parametrize("rule", [rules.sgd(ALPHA), rules.first_order(rules.sgd(ALPHA))], ids=["sgd", "first_order"])
def test_vmap_over_tasks_equals_a_loop(rule):
    meta_gradient = meta.through_adaptation(problem_of(wavy), rule)
    experience = Experience(jax.random.normal(jax.random.key(1), (5, 2, 3)), jax.random.normal(jax.random.key(2), (5, 3)))
    batched, _ = jax.vmap(meta_gradient, (None, 0))(jnp.asarray(THETA), experience)
    for i in range(5):
        single, _ = meta_gradient(jnp.asarray(THETA), jax.tree.map(lambda x, i=i: x[i], experience))
        np.testing.assert_allclose(batched[i], single, atol=1e-13)


def noisy_batch(params, task, key):
    """Data that depend on the parameters, as in reinforcement learning."""
    return task + 2.0 * jnp.sin(params) + jax.random.normal(key, (3,))


@pytest.mark.parametrize("resample", [True, False])
def test_replay_equals_collect_and_a_loop_by_hand(resample):
    problem = Problem(noisy_batch, wavy, meta.final(wavy))
    theta, task, key = jnp.asarray(THETA), jnp.ones(3), jax.random.key(3)
    experience = collect(problem, rules.sgd(ALPHA), theta, task, key, 3, resample=resample)
    path = adapt(rules.sgd(ALPHA), wavy, theta, experience.support)
    params = theta
    for k in range(3):
        np.testing.assert_allclose(path[k], params, atol=1e-13)
        key_batch = jax.random.split(key)[0]
        batch = noisy_batch(params, task, jax.random.fold_in(key_batch, k)) if resample else noisy_batch(theta, task, key_batch)
        np.testing.assert_allclose(experience.support[k], batch, atol=1e-13)
        params = params - ALPHA * jax.grad(lambda p, batch=batch: wavy(p, batch)[0])(params)
    np.testing.assert_allclose(path[3], params, atol=1e-13)
    np.testing.assert_allclose(experience.query, noisy_batch(params, task, jax.random.split(key)[1]), atol=1e-13)


def test_replay_equals_the_fused_form_and_needs_stop_gradient():
    """Drawing inside the objective is right only with the draw cut from the gradient; without it the gradient is wrong."""
    problem = Problem(noisy_batch, wavy, meta.final(wavy))
    rule, task, key = rules.sgd(ALPHA), jnp.ones(3), jax.random.key(4)
    value = meta.objective(problem, rule)

    def fused(theta, cut):
        return value(theta, cut(collect(problem, rule, theta, task, key, 2, resample=True)))[0]

    theta = jnp.asarray(THETA)
    recorded = collect(problem, rule, theta, task, key, 2, resample=True)
    replayed, _ = meta.through_adaptation(problem, rule)(theta, recorded)
    np.testing.assert_allclose(jax.grad(fused)(theta, jax.lax.stop_gradient), replayed, atol=1e-12)
    leaking = jax.grad(fused)(theta, lambda x: x)
    assert np.linalg.norm(leaking - replayed) > 0.1 * np.linalg.norm(replayed)


def test_resample_false_repeats_the_support_set():
    """Also where data depend on the parameters: the batch is the one drawn at the start."""
    problem = Problem(noisy_batch, wavy, meta.final(wavy))
    once, anew = (
        collect(problem, rules.sgd(ALPHA), jnp.asarray(THETA), jnp.ones(3), jax.random.key(0), 3, resample=r).support
        for r in (False, True)
    )
    np.testing.assert_array_equal(once[0], once[2])
    assert np.abs(anew[0] - anew[2]).max() > 1e-3


def test_no_gradient_is_zero_with_the_objective_s_value():
    experience = experience_of(np.zeros(3), 2)
    grads, metrics = meta.no_gradient(PROBLEM, rules.sgd(ALPHA))(THETA, experience)
    _, exact = meta.through_adaptation(PROBLEM, rules.sgd(ALPHA))(THETA, experience)
    assert not np.any(grads)
    assert metrics["loss"] == exact["loss"]
