"""Tasks that are drawn together: without replacement, and by a curriculum whose progress is a part of the state."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from agents.parts import task_lists
from envs.families.navigation import Navigation2D
from envs.task_lists import TaskList
from experiments.examples.curriculum import prioritised
from metarl.interfaces import MetaState

FAMILY = Navigation2D(3)
GOALS = [FAMILY.default_params._replace(position=[x, 0.1]) for x in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)]
SMALL = {"num_episodes": 2, "hidden_sizes": (4,)}


def learner(name="maml", num_tasks=4, **given):
    return agents.make(name, envs.with_tasks(FAMILY, GOALS, **given), num_tasks=num_tasks, **SMALL)


def listed(weights=None, distinct=False, curriculum=None):
    return TaskList(jnp.arange(6.0), weights, distinct, curriculum)


def indices(listed, num_tasks, number=2000, progress=None):
    draw = lambda key: task_lists.draw(listed, key, num_tasks, jnp.asarray(0), progress)[0]
    return np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), number)))


@pytest.mark.parametrize("num_tasks", [1, 4, 6])
def test_distinct_tasks_are_distinct_and_drawn_alike(num_tasks):
    found = indices(listed(distinct=True), num_tasks)
    assert all(len(set(row)) == num_tasks for row in found.tolist())
    np.testing.assert_allclose(np.bincount(found.ravel(), minlength=6) / found.size, 1 / 6, atol=0.03)
    repeated = indices(listed(curriculum=lambda i, p: jnp.ones(6))._replace(curriculum=None), 4)
    assert any(len(set(row)) < 4 for row in repeated.tolist()), "drawn with replacement they repeat"


def test_weights_without_replacement_are_those_of_one_draw_after_another():
    weights = np.float32([4, 2, 1, 1, 0, 0])
    found = indices(listed(weights, distinct=True), 2, 8000)
    np.testing.assert_allclose(np.bincount(found[:, 0], minlength=6) / 8000, weights / 8, atol=0.02)
    second = sum(weights[i] / 8 * np.where(np.arange(6) == i, 0, weights) / (8 - weights[i]) for i in range(4))
    np.testing.assert_allclose(np.bincount(found[:, 1], minlength=6) / 8000, second, atol=0.02)


def test_a_curriculum_of_fewer_tasks_than_are_drawn_is_filled_up_by_chance():
    found = indices(listed(distinct=True, curriculum=lambda i, p: 0.0 + (jnp.arange(6) == 4)), 3, progress=(jnp.zeros(6),) * 4)
    assert (found[:, 0] == 4).all() and all(len(set(row)) == 3 for row in found.tolist())
    np.testing.assert_allclose(
        np.bincount(found[:, 1:].ravel(), minlength=6) / 4000, np.array([1, 1, 1, 1, 0, 1]) / 5, atol=0.03
    )


def test_a_list_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="num_tasks is 7, but the list has 6 tasks to draw different ones from"):
        learner(num_tasks=7, distinct=True)
    with pytest.raises(ValueError, match="the list has 3 tasks"):
        learner(weights=[1, 1, 1, 0, 0, 0], distinct=True)
    learner(num_tasks=7, weights=[1, 1, 1, 0, 0, 0])


def test_where_tasks_are_drawn_one_by_one_nothing_changes():
    key = jax.random.key(1)
    plain, lists = learner(), agents.make("maml", envs.with_tasks(FAMILY, GOALS), num_tasks=4, **SMALL)
    for one, other in zip(*(jax.tree.leaves(jax.jit(x.init)(key)) for x in (plain, lists)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not isinstance(jax.eval_shape(learner(distinct=True).init, key).opt_state, task_lists.Beside)


class Step(NamedTuple):
    index: np.ndarray
    score: np.ndarray


def test_averages_are_those_of_the_visits():
    """Against a loop in plain Python, a task that is drawn twice in one meta-iteration included."""
    given = listed(curriculum=lambda iteration, progress: jnp.ones(6))
    state = task_lists.begun(given, MetaState(0.0, "opt", jnp.asarray(0)))
    steps = [
        Step([0, 1, 1], [[0, 1], [2, 3], [4, 5]]),
        Step([5, 1, 0], [[1, 9], [8, 7], [2, 2]]),
        Step([0, 0, 0], [[3, 4]] * 3),
    ]
    expected = {name: np.zeros(6) for name in ("before", "after", "visits")} | {"last": np.full(6, -1)}
    for iteration, step in enumerate(steps):
        inside, progress = task_lists.opened(state)
        assert inside.opt_state == "opt"
        score = jnp.asarray(step.score, jnp.float32)
        state = task_lists.closed(inside, progress, jnp.asarray(step.index), score, jnp.asarray(iteration))
        for i in set(step.index):
            mine = np.float32([score for index, score in zip(step.index, step.score, strict=True) if index == i])
            for name, column in (("before", 0), ("after", -1)):
                mean, old = mine[:, column].mean(), expected[name][i]
                expected[name][i] = mean if expected["visits"][i] == 0 else old + 0.3 * (mean - old)
            expected["visits"][i] += 1
            expected["last"][i] = iteration
    found = given.read(state.opt_state.progress)._asdict()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6)


@pytest.mark.parametrize("distinct", [False, True])
def test_what_a_curriculum_gives_counts(distinct):
    only = lambda iteration, progress: jnp.where(jnp.arange(6) >= 4, 1.0, jnp.nan)
    found = indices(listed(distinct=distinct, curriculum=only), 2, 200, progress=(jnp.zeros(6),) * 4)
    assert set(found.ravel().tolist()) == {4, 5}
    nothing = lambda iteration, progress: -jnp.ones(6)
    assert len(set(indices(listed(distinct=distinct, curriculum=nothing), 2, 200, (jnp.zeros(6),) * 4).ravel().tolist())) == 6


@pytest.mark.parametrize("name", ["maml", "promp", "rl2"])
def test_agents_are_trained_by_a_curriculum(name):
    """Tasks come from where it says, iteration by iteration, and what they scored is seen by it."""
    by_turns = lambda iteration, progress: 1.0 * (jnp.arange(6) // 2 == iteration % 3)
    made = learner(name, num_tasks=2, distinct=True, curriculum=by_turns)
    state = jax.jit(made.init)(jax.random.key(0))
    step = jax.jit(made.step)
    for iteration in range(4):
        state, metrics = step(state, jax.random.key(iteration))
    progress = envs.task_lists.Progress(*state.opt_state.progress)
    assert progress.visits.tolist() == [2, 2, 1, 1, 1, 1] and progress.last.tolist() == [3, 3, 1, 1, 2, 2]
    assert (progress.after < 0).all() and np.isfinite(metrics["meta/post"])
    curve = jax.jit(made.adapt, static_argnums=3)(state, GOALS[0]._replace(position=jnp.zeros(2)), jax.random.key(0), 1)
    assert np.isfinite(curve.score).all()


def test_prioritised_replay_visits_all_first_and_then_what_is_left_to_gain():
    state = envs.task_lists.no_progress(6)
    weights = prioritised(
        jnp.asarray(3), state._replace(visits=jnp.array([1, 1, 0, 1, 1, 1]), last=jnp.array([0, 1, -1, 2, 2, 2]))
    )
    assert int(jnp.argmax(weights)) == 2
    after = jnp.array([-1.0, -9.0, -2.0, -3.0, -4.0, -5.0])
    weights = prioritised(jnp.asarray(3), state._replace(visits=jnp.ones(6), last=jnp.full(6, 2), after=after))
    assert jnp.argsort(-weights).tolist() == [1, 5, 4, 3, 2, 0]
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
