"""One function of one task over all tasks: at once, in micro-batches and over devices it is the same function."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from metarl import outer
from metarl.interfaces import MetaState
from metarl.tasks import TASKS, TaskMap

M = 8
WAYS = [(devices, batch) for devices in (None, 1, 2, 4) for batch in (None, 1, 3)]


def ways(devices, batch):
    return TaskMap(None if devices is None else Mesh(np.array(jax.devices()[:devices]), (TASKS,)), batch)


@pytest.mark.parametrize(("devices", "batch"), WAYS)
def test_every_way_gives_what_a_loop_gives(devices, batch):
    def one(scale, key):
        return {"drawn": jax.random.normal(key, (2,)), "constant": jnp.ones(3), "scaled": scale * jax.random.uniform(key)}

    keys = jax.random.split(jax.random.key(0), M)
    found = jax.jit(ways(devices, batch)(one))(2.0, keys)
    for i in range(M):
        expected = jax.jit(one)(2.0, keys[i])
        jax.tree.map(lambda all, mine, i=i: np.testing.assert_array_equal(all[i], mine), found, expected)


@pytest.mark.parametrize(("devices", "batch"), [(2, None), (4, 1), (None, 3)])
def test_an_update_is_that_of_the_mean_over_all_tasks(devices, batch, float64):
    """On a quadratic: theta - rate * mean(theta - target), whatever the way; and ``draw`` is asked once per task."""

    def draw(theta, source):
        return source + 0 * theta

    def meta_gradient(theta, target):
        return theta - target, {"loss": jnp.sum((theta - target) ** 2)}

    update = outer.follow(optax.sgd(0.1), lambda iteration: meta_gradient, ways(devices, batch))
    targets = np.random.default_rng(0).normal(size=(M, 3))
    theta = jnp.ones(3)
    state, per_task, metrics = jax.jit(lambda state: update.step(state, draw, jnp.asarray(targets)))(
        MetaState(theta, update.init(theta), jnp.zeros((), jnp.int32))
    )
    np.testing.assert_allclose(state.theta, 1 - 0.1 * (1 - targets.mean(axis=0)), rtol=1e-12)
    np.testing.assert_allclose(per_task["loss"], ((1 - targets) ** 2).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(metrics["outer/grad_norm"], np.linalg.norm(1 - targets.mean(axis=0)), rtol=1e-12)


def test_micro_batches_hold_the_experience_of_few_tasks():
    """What the compiler sets aside grows with the micro-batch, not with the number of tasks: draws are not kept either."""

    def draw(theta, key):
        return jax.random.normal(key, (1000,)) * theta

    def meta_gradient(theta, experience):
        value, grad = jax.value_and_grad(lambda theta: jnp.mean(jnp.tanh(experience * theta) ** 2))(theta)
        return grad, {"loss": value}

    def temporary(num_tasks, batch):
        update = outer.follow(optax.sgd(0.1), lambda iteration: meta_gradient, TaskMap(None, batch))
        state = MetaState(jnp.ones(()), update.init(jnp.ones(())), jnp.zeros((), jnp.int32))
        keys = jax.random.split(jax.random.key(0), num_tasks)
        compiled = jax.jit(lambda state, keys: update.step(state, draw, keys)).lower(state, keys).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    one_by_one, at_once = temporary(64, 1), temporary(64, None)
    assert at_once > 64 * 1000 * 4 > 8 * one_by_one
    assert temporary(256, 1) - one_by_one < 192 * 1000  # per further task a few numbers, not its thousand draws of 4 bytes
