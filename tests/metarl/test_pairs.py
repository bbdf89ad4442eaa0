"""Every rule with every way to take the derivative, from one table: finite differences, and the pairs that make no sense."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from metarl import meta, rules
from metarl.inner_loop import adapt
from metarl.interfaces import Experience
from tests.metarl.test_algorithms import ALPHA, ANIL, LAMBDA, THETA, B, merge_head, problem_of, split_head

pytestmark = pytest.mark.usefixtures("float64")

RULES = {
    "sgd": rules.sgd(ALPHA),
    "meta_sgd": rules.meta_sgd(ALPHA),
    "per_step": rules.per_step(ALPHA, 3),
    "anil": ANIL,
    "anil of meta_sgd": rules.only(rules.meta_sgd(ALPHA), split_head, merge_head),
    "cavia": rules.context(ALPHA, 2),
    "proximal": rules.proximal(rules.sgd(ALPHA), LAMBDA),
}


def wavy(params, batch):
    """A loss with third derivatives in every argument."""
    if isinstance(params, dict):
        params = params["network"] + B @ jnp.sin(params["context"])
    return jnp.sum(jnp.sin(params * batch) + params**2 * batch**2), {}


WAVY = problem_of(wavy)


def wavy_experience(num_steps):
    support = jnp.broadcast_to(jnp.array([0.9, -0.5, 0.7]), (num_steps, 3))
    return Experience(support, jnp.array([0.3, -0.8, 1.1]))


def value_after(take, rule, problem, theta, experience):
    """The outer loss after K steps, each ``take(fast, batch, k)``."""
    fast, path = rule.begin(theta), [rule.read(theta, rule.begin(theta))]
    for k in range(len(experience.support)):
        fast = take(fast, experience.support[k], k)
        path.append(rule.read(theta, fast))
    return problem.outer_loss(jax.tree.map(lambda *leaves: jnp.stack(leaves), *path), experience)[0]


def exact_objective(problem, rule, theta_0, experience):
    """MAML's objective, step by step in Python."""
    del theta_0

    def objective(theta):
        def take(fast, batch, k):
            grads = jax.grad(lambda f: problem.inner_loss(rule.read(theta, f), batch)[0])(fast)
            return rule.step(theta, fast, grads, k)

        return value_after(take, rule, problem, theta, experience)

    return objective


def frozen_objective(problem, rule, theta_0, experience):
    """What FOMAML differentiates: every inner gradient keeps the value it had at ``theta_0``."""
    fast, recorded = rule.begin(theta_0), []
    for k, batch in enumerate(experience.support):
        recorded.append(jax.grad(lambda f, b=batch: problem.inner_loss(rule.read(theta_0, f), b)[0])(fast))
        fast = rule.step(theta_0, fast, recorded[-1], k)

    def objective(theta):
        return value_after(lambda fast, batch, k: rule.step(theta, fast, recorded[k], k), rule, problem, theta, experience)

    return objective


def solved_objective(problem, rule, theta_0, experience):
    """The outer loss at the solution of the proximal problem, found by many steps."""
    del theta_0
    long = Experience(jnp.broadcast_to(experience.support[0], (300, 3)), experience.query)
    return lambda theta: meta.objective(problem, rules.proximal(rule, STRENGTH))(theta, long)[0]


def implicit_of_a_long_loop(problem, rule):
    def meta_gradient(theta, experience):
        long = Experience(jnp.broadcast_to(experience.support[0], (300, 3)), experience.query)
        return meta.implicit(problem, rule, STRENGTH, cg_steps=20)(theta, long)

    return meta_gradient


def wavy_step_losses(path, experience):
    losses = jax.vmap(lambda params: wavy(params, experience.query)[0])(path)
    return losses[1:], {}


def multi_step(problem):
    def outer_loss(path, experience):
        losses, _ = wavy_step_losses(path, experience)
        return meta.weighted_steps(wavy_step_losses, jnp.linspace(0.2, 0.5, len(losses)))(path, experience)

    return problem._replace(outer_loss=outer_loss)


STRENGTH = 6.0
META_GRADIENTS = {  # how the derivative is taken, and the function of theta that it should be the derivative of
    "through_adaptation": (meta.through_adaptation, exact_objective),
    "rematerialised": (lambda problem, rule: meta.through_adaptation(problem, rule, remat=True), exact_objective),
    "multi-step": (
        lambda problem, rule: meta.through_adaptation(multi_step(problem), rule),
        lambda problem, *rest: exact_objective(multi_step(problem), *rest),
    ),
    "first order": (lambda problem, rule: meta.through_adaptation(problem, rules.first_order(rule)), frozen_objective),
    "implicit": (implicit_of_a_long_loop, solved_objective),
}
REFUSED = {"meta_sgd", "per_step", "anil of meta_sgd", "proximal"}  # by implicit
PAIRS = [(how, name) for how in META_GRADIENTS for name in RULES if how != "implicit" or name not in REFUSED]


def finite_differences(value, theta):
    """Central differences in every coordinate."""
    flat, unflatten = ravel_pytree(theta)
    at = jax.jit(jax.vmap(lambda x: value(unflatten(x))))
    offsets = 1e-5 * jnp.eye(flat.size)
    return (at(flat + offsets) - at(flat - offsets)) / 2e-5


@pytest.mark.parametrize("num_steps", [1, 3])
@pytest.mark.parametrize(("how", "name"), PAIRS)
def test_finite_differences_of_every_pair(how, name, num_steps):
    rule, (take, objective_of) = RULES[name], META_GRADIENTS[how]
    theta = jax.tree.map(lambda x: x + 0.01, rule.init(jnp.asarray(THETA)))
    experience = wavy_experience(num_steps)
    grads, _ = take(WAVY, rule)(theta, experience)
    expected = finite_differences(objective_of(WAVY, rule, theta, experience), theta)
    np.testing.assert_allclose(ravel_pytree(grads)[0], expected, atol=1e-7)


def test_the_objectives_of_the_pairs_differ():
    """The negative case: the gradients of one rule's objectives are all different (rematerialising changes none)."""
    theta, experience = jnp.asarray(THETA), wavy_experience(3)
    found = [
        take(WAVY, RULES["sgd"])(theta, experience)[0] for how, (take, _) in META_GRADIENTS.items() if how != "rematerialised"
    ]
    for i, a in enumerate(found):
        for b in found[i + 1 :]:
            assert np.abs(a - b).max() > 1e-3


@pytest.mark.parametrize("name", [name for name in RULES if name not in REFUSED])
def test_implicit_equals_differentiating_a_long_proximal_loop(name):
    """Two ways to the derivative of the same solution, on a loss that is not quadratic."""
    rule, strength = RULES[name], 6.0
    theta, experience = rule.init(jnp.asarray(THETA)), wavy_experience(300)
    found, metrics = meta.implicit(WAVY, rule, strength, cg_steps=20)(theta, experience)
    unrolled, expected = meta.through_adaptation(WAVY, rules.proximal(rule, strength))(theta, experience)
    chex.assert_trees_all_close(found, unrolled, atol=1e-8)
    np.testing.assert_allclose(metrics["loss"], expected["loss"], atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_first_order_keeps_the_steps_and_drops_the_curvature(name):
    """Equal path; and the gradient of a rule on a *linear* loss, which has no curvature, is unchanged."""
    rule, cut = RULES[name], rules.first_order(RULES[name])
    theta = rule.init(jnp.asarray(THETA))
    for loss, differs in ((wavy, True), (lambda p, b: (jnp.sum(sum(jax.tree.leaves(jax.tree.map(jnp.sum, p)))), {}), False)):
        problem, experience = problem_of(loss), wavy_experience(2)
        paths = [adapt(r, loss, theta, experience.support) for r in (rule, cut)]
        chex.assert_trees_all_equal(*paths)
        exact, first = (meta.through_adaptation(problem, r)(theta, experience)[0] for r in (rule, cut))
        gap = max(float(jnp.abs(a - b).max()) for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(first), strict=True))
        assert (gap > 1e-3) == differs, gap


@pytest.mark.parametrize("name", RULES)
def test_rematerialised_steps_give_the_same_gradient(name):
    rule = RULES[name]
    theta, experience = rule.init(jnp.asarray(THETA)), wavy_experience(5)
    plain, remat = (meta.through_adaptation(WAVY, rule, remat=r)(theta, experience)[0] for r in (False, True))
    chex.assert_trees_all_close(plain, remat, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("sgd", "proximal")])
def test_reptile_refuses_rules_that_leave_something_unmoved(name):
    with pytest.raises(ValueError, match="must move all meta-parameters"):
        meta.reptile(WAVY, RULES[name])


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_implicit_refuses_learned_rates_and_a_second_pull(name):
    message = "already proximal" if name == "proximal" else "does not depend on step sizes"
    with pytest.raises(ValueError, match=message):
        meta.implicit(WAVY, RULES[name], LAMBDA, cg_steps=5)
