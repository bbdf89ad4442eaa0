"""Outer updates: the cosine diagnostic and repeated steps, by loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metarl import outer
from metarl.interfaces import MetaState


def test_cosine_is_the_mean_over_pairs_of_tasks(float64):
    grads = {"w": jax.random.normal(jax.random.key(0), (4, 3, 2)), "b": jax.random.normal(jax.random.key(1), (4, 2))}
    rows = [np.concatenate([np.ravel(grads["w"][i]), np.ravel(grads["b"][i])]) for i in range(4)]
    pairs = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in itertools.combinations(rows, 2)]
    np.testing.assert_allclose(outer.cosine(grads), np.mean(pairs))


def test_cosine_at_its_limits():
    same = jnp.ones((3, 5))
    np.testing.assert_allclose(outer.cosine(same), 1.0, rtol=1e-6)
    np.testing.assert_allclose(outer.cosine(jnp.array([[1.0, 0.0], [-1.0, 0.0]])), -1.0, rtol=1e-6)
    np.testing.assert_allclose(outer.cosine(same[:1]), 1.0)
    # A task without a gradient is unrelated to all: of three pairs one agrees.
    np.testing.assert_allclose(outer.cosine(same.at[0].set(0.0)), 1 / 3, rtol=1e-6)
    assert outer.cosine(jnp.zeros((3, 5))) == 0


def test_cosine_of_very_many_tasks():
    """Their pairs are more than 32 bits count."""
    np.testing.assert_allclose(outer.cosine(jnp.ones((70_000, 1))), 1.0, rtol=1e-3)


def descent(num_steps):
    """Gradient descent on the mean over tasks of (theta - target)^2 / 2, ``num_steps`` times on the same targets."""

    def meta_gradient(theta, target):
        return theta - target, {"loss": 0.5 * jnp.sum((theta - target) ** 2)}

    update = outer.repeat(outer.follow(optax.sgd(0.1), lambda iteration: meta_gradient), num_steps)
    state = MetaState(jnp.array([2.0]), update.init(jnp.array([2.0])), jnp.zeros((), jnp.int32))
    return update.step(state, outer.recorded, jnp.array([[0.0], [1.0]]))


@pytest.mark.parametrize("num_steps", [1, 3])
def test_repeated_steps_count_as_one_iteration_and_report_the_first(num_steps):
    state, per_task, metrics = descent(num_steps)
    np.testing.assert_allclose(state.theta, [0.5 + 1.5 * 0.9**num_steps], rtol=1e-6)
    assert state.iteration == 1
    np.testing.assert_allclose(per_task["loss"], [2.0, 0.5])
    np.testing.assert_allclose(metrics["outer/grad_norm"], 1.5)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="num_steps is 0"):
        descent(0)
