"""MAML++'s annealing: which derivative is followed when, read off one plain gradient step of the outer optimiser."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
from agents.maml_plus_plus import ANNEAL_STEPS_UNTIL, FIRST_ORDER_UNTIL, step_weights
from envs.families.regression import sinusoid
from metarl import rules
from metarl.inner_loop import collect

WORLD = agents.regression_world(sinusoid(), agents.RegressionSettings(5, (6,), "tanh"))
STEPS, PLANNED = 3, 1000
LEARNER = agents.build("maml++", WORLD, agents.Training(2, 1.0, PLANNED, optax.sgd), num_inner_steps=STEPS, inner_lr=0.05)
STEP = jax.jit(LEARNER.step)  # compiled once, wherever in training it is


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0.0, [1 / 3, 1 / 3, 1 / 3]), (0.5, [1 / 6, 1 / 6, 2 / 3]), (1.0, [0, 0, 1]), (7.0, [0, 0, 1])],
)
def test_weights_of_the_steps(progress, expected):
    np.testing.assert_allclose(step_weights(STEPS, jnp.asarray(progress)), expected, atol=1e-6)


@functools.partial(jax.jit, static_argnums=3)
def by_hand(theta, experience, weights, second_order):
    """Sum of weighted query losses after each step, differentiated through a Python loop."""
    problem = WORLD.make_problem(WORLD.make_network(0))
    support = jax.tree.map(lambda x: x[0], experience.support)
    inner = lambda params: problem.inner_loss(params, support)[0]

    def objective(theta):
        params, total = theta["params"], 0.0
        for k in range(STEPS):
            grads = jax.grad(inner)(params)
            grads = grads if second_order else jax.lax.stop_gradient(grads)
            params = jax.tree.map(lambda p, g, rate, k=k: p - jnp.exp(rate[k]) * g, params, grads, theta["log_lr"])
            total += weights[k] * problem.inner_loss(params, experience.query)[0]
        return total

    return jax.grad(objective)(theta)


@jax.jit
def drawn(theta, key):
    """The experience of one task."""
    (key_task, key_data), problem = jax.random.split(key), WORLD.make_problem(WORLD.make_network(0))
    rule = rules.per_step(0.05, STEPS)
    return collect(problem, rule, theta, WORLD.sample_task(key_task), key_data, STEPS, resample=False)


@pytest.mark.parametrize("share", [0.0, 0.6 * ANNEAL_STEPS_UNTIL, 0.9 * FIRST_ORDER_UNTIL, 1.1 * FIRST_ORDER_UNTIL, 0.9])
def test_one_outer_step_against_a_loop(share):
    state = jax.jit(LEARNER.init)(jax.random.key(0))._replace(iteration=jnp.asarray(round(share * PLANNED)))
    after, _ = STEP(state, jax.random.key(1))
    followed = jax.tree.map(jnp.subtract, state.theta, after.theta)  # SGD with rate 1 at the start of the cosine
    weights = step_weights(STEPS, jnp.asarray(share / ANNEAL_STEPS_UNTIL))
    expected = {True: [], False: []}
    for index in range(2):
        experience = drawn(state.theta, jax.random.fold_in(jax.random.key(1), index))
        for second_order, found in expected.items():
            found.append(by_hand(state.theta, experience, weights, second_order))
    means = {order: jax.tree.map(lambda *x: sum(x) / 2, *found) for order, found in expected.items()}
    gap = {order: distance(followed, mean) for order, mean in means.items()}
    second = share >= FIRST_ORDER_UNTIL
    assert gap[second] < 1e-4 and gap[not second] > 1e-2, gap


def distance(a, b):
    return max(float(jnp.abs(x - y).max()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
