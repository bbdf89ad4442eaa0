"""Multi-task learning in reinforcement learning: each training task's own part, what a new task begins with, and the tasks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
import envs
from agents.parts.networks import mlp, with_embedding
from tests.agents.probe import Guess, Target

NAMES = ("multitask", "task-embedding")
SIDES = [Target(jnp.float32(value)) for value in (1.0, -1.0)]
SETTINGS = {"num_tasks": 2, "num_episodes": 16, "hidden_sizes": (8,), "gamma": 0.9}


def made(name, family=None, **settings):
    family = envs.with_tasks(Guess(), train=SIDES) if family is None else family
    return agents.make(name, family, **(SETTINGS | settings))


@functools.cache
def trained(name):
    """On the two sides: the learner, its first and its last state."""
    learner = made(name, outer_lr=0.01)
    start = jax.jit(learner.init)(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 100)
    return learner, start, jax.jit(lambda state: jax.lax.scan(learner.step, state, keys)[0])(start)


def with_heads(state, change):
    return state._replace(theta=state.theta | {"heads": jax.tree.map(change, state.theta["heads"])})


@pytest.mark.parametrize("name", NAMES)
def test_each_task_has_learned_a_head_of_its_own(name):
    """Played with its own head a task returns close to the best, and with the other's far less; with their mean, in between."""
    learner, _, state = trained(name)
    adapt = jax.jit(functools.partial(learner.adapt, num_steps=1))

    def played(task, head):
        alike = with_heads(state, lambda heads: jnp.broadcast_to(heads[head], heads.shape))
        return float(adapt(alike, SIDES[task], jax.random.key(2)).greedy_score[0])

    own, other = [played(task, task) for task in (0, 1)], [played(task, 1 - task) for task in (0, 1)]
    assert min(own) > -0.5 and max(other) < -3, (own, other)
    mean = float(adapt(state, SIDES[0], jax.random.key(2)).greedy_score[0])
    assert max(other) < mean < min(own)


@pytest.mark.parametrize("name", NAMES)
def test_a_new_task_begins_with_the_mean_of_the_heads_and_moves_nothing_else(name):
    learner, _, state = trained(name)
    path = jax.jit(functools.partial(learner.adapt, num_steps=2))(state, SIDES[0], jax.random.key(3)).path
    heads, shared = state.theta["heads"]["actor"], state.theta["shared"]["actor"]
    if name == "multitask":
        layers = path["mean"]["params"]
        part, rest = {"mean": layers["Dense_1"], "log_std": path["log_std"]}, {"Dense_0": layers["Dense_0"]}
    else:
        part, rest = path["context"], path["network"]
    jax.tree.map(lambda p, h: np.testing.assert_allclose(p[0], np.mean(h, axis=0), rtol=1e-6, atol=1e-7), part, heads)
    assert all(np.any(leaf[1] != leaf[0]) and np.any(leaf[2] != leaf[1]) for leaf in jax.tree.leaves(part))
    jax.tree.map(lambda p, s: np.testing.assert_array_equal(p, np.broadcast_to(s, p.shape)), rest, shared)


@pytest.mark.parametrize("name", NAMES)
def test_heads_of_tasks_that_were_not_drawn_stay(name):
    """With plain SGD, that is: one of three tasks is drawn, and its head, policy's and value's, is all of them that moves."""
    listed = envs.with_tasks(Guess(), train=[*SIDES, SIDES[0]])
    learner = made(name, listed, num_tasks=1, optimizer=optax.sgd(0.1))
    start = jax.jit(learner.init)(jax.random.key(0))
    after, _ = jax.jit(learner.step)(start, jax.random.key(1))
    moved = jax.tree.map(lambda a, b: np.any(a != b, axis=tuple(range(1, a.ndim))), after.theta["heads"], start.theta["heads"])
    which = np.stack(jax.tree.leaves(moved))
    assert which.sum(axis=1).tolist() == [1] * len(which) and (which == which[0]).all()
    assert all(
        np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (after.theta["shared"], start.theta["shared"])), strict=True)
    )


def number_of_heads(learner):
    theta = jax.eval_shape(learner.init, jax.random.key(0)).theta
    return {leaf.shape[0] for leaf in jax.tree.leaves(theta["heads"])}


def test_there_are_as_many_heads_as_training_tasks():
    assert number_of_heads(made("multitask")) == {2}, "the family's list"
    assert number_of_heads(made("multitask", Guess())) == {100}
    assert number_of_heads(made("multitask", Guess(), num_train_tasks=7)) == {7}
    rewards = envs.with_tasks(Guess(), train=SIDES, weights=[1.0, 3.0])
    assert number_of_heads(made("task-embedding", rewards)) == {2}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        (None, {"num_train_tasks": 3}, "num_train_tasks is 3, but the family has a list of its own; leave one out."),
        (None, {"num_tasks": 3}, "num_tasks is 3, but it trains on 2 fixed tasks; lower it, or give a longer list."),
        (
            Guess(),
            {"num_train_tasks": 1},
            "num_tasks is 2, but it trains on 1 fixed tasks; lower it, or raise num_train_tasks.",
        ),
        (Guess(), {"train_tasks": 5}, "has no setting 'train_tasks'"),
    ],
)
def test_what_cannot_be_is_refused(name, family, settings, message):
    with pytest.raises(ValueError, match=rf"^{name}.*{message}"):
        made(name, family, **settings)


def test_a_network_with_an_embedding_is_the_network_with_further_inputs():
    plain = mlp((3,), (4,), 2, "tanh", jax.nn.initializers.glorot_uniform(), num_extra=5)
    network = with_embedding(plain, 5)
    params, x = network.init(jax.random.key(0)), jnp.ones((6, 3))
    embedding, shared = network.split(params)
    np.testing.assert_array_equal(network.apply(params, x), plain.apply(shared, x, embedding))
    assert jax.tree.structure(network.merge(embedding, shared)) == jax.tree.structure(params)
    drawn = jax.vmap(lambda key: network.split(network.init(key))[0])(jax.random.split(jax.random.key(1), 500))
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0, 1], atol=0.1)
