"""Tasks from lists: what training draws and evaluation goes through, and what the check says of finite sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import envs
from envs import check
from envs.families.gridworld import GridNavigation
from envs.families.navigation import Navigation2D
from envs.families.regression import sinusoid
from envs.families.sparse_navigation import Navigation2DSparse
from envs.family import TaskFamily
from tests.agents.probe import Guess, Target

FAMILY = Navigation2D()
GOALS = [[0.1, 0.2], [-0.3, 0.4], [0.5, -0.5]]


def goals(*rows):
    return [FAMILY.default_params._replace(position=row) for row in rows]


def drawn(sample, number=64):
    tasks = jax.vmap(sample)(jax.random.split(jax.random.key(0), number))
    return np.unique(np.asarray(jax.tree.leaves(tasks)[0]), axis=0)


def test_training_draws_from_one_list_and_evaluation_goes_through_the_other():
    family = envs.with_tasks(FAMILY, train=goals(*GOALS[:2]), held_out=goals(GOALS[2], GOALS[0]))
    np.testing.assert_allclose(drawn(family.sample_task), np.float32([GOALS[1], GOALS[0]]), rtol=1e-6)
    found = envs.held_out_tasks(family, 5).position
    np.testing.assert_allclose(found, np.float32([GOALS[2], GOALS[0]] * 3)[:5])
    np.testing.assert_allclose(family.default_params.position, np.float32(GOALS[0]))
    assert len(drawn(FAMILY.sample_task)) == 64, "the family it came from is as it was"


def test_a_training_list_alone_is_not_what_is_held_out():
    family = envs.with_tasks(FAMILY, train=goals(GOALS[0]))
    assert len(np.unique(envs.held_out_tasks(family, 8).position, axis=0)) == 8
    family = envs.with_tasks(FAMILY, held_out=goals(GOALS[0]))
    assert len(drawn(family.sample_task)) == 64


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([], "train is [], but must be a list of at least one task"),
        (goals(GOALS[0])[0], "must be a list of at least one task"),
        (goals([0.0]), "train[0]: Navigation2D: task.position has shape (1,)"),
        ([*goals(GOALS[0]), 3.0], "train[1]: Navigation2D: a task looks like"),
        (goals([np.inf, 0.0]), "train[0]: Navigation2D: task.position is [inf"),
    ],
)
def test_lists_are_checked(tasks, said):
    with pytest.raises(ValueError, match="with_tasks") as error:
        envs.with_tasks(FAMILY, train=tasks)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_family_that_only_lists_its_held_out_tasks_draws_them_from_the_list():
    assert drawn(Six().sample_held_out_task).tolist() == [2.0, 7.0]
    assert drawn(envs.with_tasks(Six(), held_out=[Target(4.0)]).sample_held_out_task).tolist() == [4.0]
    assert drawn(envs.with_tasks(Six(), train=[Target(4.0)]).sample_held_out_task).tolist() == [2.0, 7.0]


class Six(Guess):
    """A training set and two held-out tasks, by hand."""

    held_out_list = Target(jnp.array([7.0, 2.0]))
    sample_task = lambda self, key: Target(jax.random.randint(key, (), 0, 6).astype(jnp.float32))


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (Target(jnp.float32(1.0)), "make it a task whose leaves have an axis more"),
        (Target(jnp.zeros((0,))), "make it a task whose leaves have an axis more"),
        ({"value": jnp.zeros(2)}, "make it a task whose leaves have an axis more"),
        (Target(jnp.zeros((2, 3))), "held_out_list: Broken: task"),
    ],
)
def test_a_list_that_is_no_list_of_tasks(listed, said):
    broken = type("Broken", (Six,), {"held_out_list": listed})()
    with pytest.raises(ValueError, match=r"Broken\.held_out_list") as error:
        check.check_task_family(broken)
    assert said in str(error.value) and "\n" not in str(error.value)


def notes(family):
    return check.tasks.held_out_tasks_are_others(check.Evidence(family))


def test_the_check_compares_the_two_sets_before_it_says_something():
    assert (
        notes(Six())
        == "2 held-out tasks in a list, each evaluated as often as the others; 1 of them among 32 training tasks drawn"
    )
    assert "; none of them among" in notes(type("Apart", (Six,), {"held_out_list": Target(jnp.array([7.0]))})())
    unlisted = type("Unlisted", (Six,), {"held_out_list": None})()
    assert "list them in held_out_list if there are no others: evaluation knows only those that it happens to draw" in notes(
        unlisted
    )
    assert notes(FAMILY) is None


@pytest.mark.parametrize("name", sorted(envs.FAMILIES))
def test_our_finite_families_list_their_held_out_tasks(name):
    family = envs.make(name)
    kinds = len(drawn(family.sample_held_out_task, 128)) if jax.tree.leaves(family.default_params)[0].ndim < 2 else 128
    listed = family.held_out_list
    assert listed is not None or kinds > 30, kinds
    if listed is not None:  # a long list is not drawn to its end
        number = len(np.unique(np.asarray(jax.tree.leaves(listed)[0]), axis=0))
        assert kinds == number if number <= 30 else 30 < kinds <= number


def test_the_grid_evaluates_every_goal_once():
    family = GridNavigation()
    found = envs.held_out_tasks(family, 21).position
    assert len(np.unique(found, axis=0)) == 21


def discrete(held_out=None, **fields):
    return envs.from_gymnasium(
        "CartPole-v1", task_space=fields, held_out_task_space=held_out, apply_task=lambda env, task: None, horizon=5
    )


def across(tasks):
    """First and last coordinates of tasks, as numbers."""
    return [np.asarray(leaf, float).reshape(len(leaf), -1)[:, i] for leaf in jax.tree.leaves(tasks) for i in (0, -1)]


@pytest.mark.parametrize(
    ("make", "num_tasks"),
    [
        (Navigation2DSparse, 10),
        (lambda: GridNavigation(size=12), 100),
        (lambda: discrete(row=Discrete(20), kind=Discrete(5)), 30),
    ],
    ids=["half circle", "grid", "product"],
)
def test_the_first_of_a_list_are_like_all_of_it(make, num_tasks):
    """A list that is cut is no corner of the tasks; a longer evaluation goes on with others, and then begins again."""
    family = make()
    everything = across(family.held_out_list)
    length = len(everything[0])
    assert num_tasks < length
    few = envs.held_out_tasks(family, num_tasks)
    for part, whole in zip(across(few), everything, strict=True):
        off = abs(part.mean() - whole.mean())
        assert off <= 3 * whole.std() * np.sqrt((1 - num_tasks / length) / num_tasks)
        assert np.ptp(part) >= 0.7 * np.ptp(whole)
    twice = envs.held_out_tasks(make(), 2 * length)
    for part, both in zip(jax.tree.leaves(few), jax.tree.leaves(twice), strict=True):
        np.testing.assert_array_equal(part, both[:num_tasks])
        np.testing.assert_array_equal(both[:length], both[length:])
    assert len(np.unique(np.stack(across(twice)), axis=1).T) == len(np.unique(np.stack(everything), axis=1).T)


def test_discrete_spaces_of_ordinary_environments_are_lists():
    def family(**held_out):
        return discrete(held_out or None, row=Discrete(6), kind=Discrete(2))

    found = envs.held_out_tasks(family(row=Discrete(2, start=6), kind=Discrete(2)), 4)
    pairs = list(zip(found["row"].tolist(), found["kind"].tolist(), strict=True))
    assert sorted(pairs) == [(6, 0), (6, 1), (7, 0), (7, 1)]
    assert len(family().held_out_list["row"]) == 12
    mixed = envs.from_gymnasium(
        "CartPole-v1", task_space={"a": Discrete(2), "b": Box(0.0, 1.0, ())}, apply_task=lambda env, task: None, horizon=5
    )
    assert mixed.held_out_list is None


def test_boxes_of_whole_numbers_are_lists_too():
    fields = {"cell": Box(np.array([0, 3]), np.array([1, 5]), (2,), np.int32), "kind": Discrete(2)}
    found = discrete(**fields).held_out_list
    rows = {(*cell, kind) for cell, kind in zip(found["cell"].tolist(), found["kind"].tolist(), strict=True)}
    assert rows == {(a, b, kind) for a in (0, 1) for b in (3, 4, 5) for kind in (0, 1)} and len(found["kind"]) == 12
    assert found["cell"].dtype == np.int32
    assert discrete(cell=Box(0, 2000, (), np.int64)).held_out_list is None


def test_regression_families_have_no_list():
    assert isinstance(FAMILY, TaskFamily) and envs.held_out_tasks(sinusoid(), 3).amplitude.shape == (3,)
