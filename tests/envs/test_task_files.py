"""Tasks from CSV and JSON: what is read, and what is refused in one line that says where."""

import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import envs
from envs.families.navigation import Navigation2D
from envs.task_lists import digest, stacked


class Mixed(NamedTuple):
    """Discrete and continuous, single numbers and an array."""

    gear: jax.Array
    wind: jax.Array
    place: jax.Array


class Boat(Navigation2D):
    """Its tasks alone are of interest."""

    terminal = lambda self, state, rng, params: False
    task_space = Mixed(Discrete(3), Box(-1.0, 1.0, ()), Box(-2.0, 2.0, (2,)))

    def sample_task(self, key):
        return Mixed(jax.random.randint(key, (), 0, 3), jax.random.uniform(key), jnp.zeros(2))


class Bare(Navigation2D):
    """A task that is an array."""

    task_space = None
    terminal = lambda self, state, rng, params: False

    def sample_task(self, key):
        return jax.random.uniform(key, (2,))


TABLE = "gear, wind, place.1, place.0, weight\n0, 0.5, -1, 2, 1\n\n2, -0.25, 1.5, 0, 3\n"
ENTRIES = [
    {"gear": 0, "wind": 0.5, "place": [2, -1], "weight": 1},
    {"gear": 2, "wind": -0.25, "place": [0, 1.5], "weight": 3},
]


@pytest.mark.parametrize(("name", "text"), [("a.csv", TABLE), ("a.JSON", json.dumps(ENTRIES))])
def test_both_kinds_of_files_hold_the_same(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    found = envs.read_tasks(tmp_path / name, Boat())
    assert found.weights == [1, 3]
    assert [np.asarray(leaf).tolist() for leaf in found.tasks[0]] == [0, 0.5, [2, -1]]
    assert found.tasks[1].gear.dtype == jnp.int32 and found.tasks[1].place.tolist() == [0, 1.5]


def test_a_task_without_names(tmp_path):
    (tmp_path / "a.csv").write_text("0,1\n0.5,1\n")
    (tmp_path / "a.json").write_text("[[0.5, 1.0]]")
    for name in ("a.csv", "a.json"):
        found = envs.read_tasks(tmp_path / name, Bare())
        assert found.weights is None and np.asarray(found.tasks).tolist() == [[0.5, 1.0]]


def edited(old, new):
    assert old in TABLE
    return TABLE.replace(old, new)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", edited("0.5", "fast"), "a.csv, row 2, column 'wind': 'fast' is no number"),
        ("a.csv", edited("-0.25", "7"), "a.csv, row 4: Boat: task.wind is 7.0, but must lie in"),
        ("a.csv", edited("2, -0.25", "2.5, -0.25"), "a.csv, row 4: Boat: task.gear is 2.5, but must be of whole numbers"),
        ("a.csv", edited("0, 3", "0"), "a.csv, row 4 has 4 entries, but row 1 has 5"),
        ("a.csv", edited("wind", "wnid"), "a.csv, row 1: there is no column 'wnid'; did you mean wind?"),
        ("a.csv", edited("wind, ", ""), "a.csv, row 1: column 'wind' is missing"),
        ("a.csv", edited("wind", "gear"), "a.csv, row 1: column 'gear' is there twice"),
        ("a.csv", edited(", 3", ", -3"), "a.csv, row 4, weight: -3 is no weight"),
        ("a.csv", "gear,wind,place.0,place.1\n", "a.csv holds no task"),
        ("a.csv", "", "row 1: column 'gear' is missing"),
        ("a.csv", "gear,wind,place.0,place.1,weight\n0,0,0,0,0\n", "every weight is 0; one must be above"),
        ("a.json", "{", "a.json is no JSON"),
        ("a.json", "{}", "a.json holds a dict, but must hold a list of tasks"),
        ("a.json", "[3]", "a.json, task 1 is 3, but must be an object with gear, wind, place"),
        ("a.json", json.dumps([ENTRIES[0], {"gear": 1}]), "a.json, task 2: 'wind' is missing"),
        ("a.json", json.dumps([ENTRIES[0] | {"wnid": 1}]), "a.json, task 1: there is no 'wnid'"),
        ("a.json", json.dumps([ENTRIES[0] | {"place": [1]}]), "a.json, task 1: Boat: task.place has shape (1,)"),
        ("a.json", json.dumps([ENTRIES[0] | {"weight": True}]), "a.json, task 1, weight: True is no weight"),
        ("a.json", json.dumps([ENTRIES[0], ENTRIES[1] | {"weight": None}]), "task 2, weight: None is no weight"),
        ("a.json", json.dumps([ENTRIES[0], dict(list(ENTRIES[1].items())[:3])]), "1 of 2 tasks have a weight"),
        ("a.txt", "", "tasks are read from .csv and .json files"),
        ("b.csv", None, "cannot be read: No such file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_that_says_where(name, text, said, tmp_path):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        envs.read_tasks(tmp_path / name, Boat())
    assert said in str(error.value)


def test_lists_that_differ_have_other_hashes():
    family = Boat()
    rows = [family.default_params._replace(wind=wind) for wind in (0.1, 0.2, 0.1)]
    told = {digest(stacked(family, "train", list(tasks))) for tasks in (rows[:2], rows[1:], rows[:1])}
    assert len(told) == 3 and digest(stacked(family, "train", rows[:2])) in told
    lists = envs.with_tasks(family, rows[:2], rows[1:], weights=[1, 2])
    assert set(lists.list_hashes) == {"train", "held_out"} and not family.list_hashes
    assert lists.list_hashes["train"] not in told


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"weights": [1.0]}, "weights has shape (1,), but there are 2 training tasks"),
        ({"weights": [1.0, -1.0]}, "weights is [1.0, -1.0], but must be finite, none below 0 and one above"),
        ({"weights": [0.0, 0.0]}, "none below 0 and one above"),
        ({"weights": "ab"}, "weights is 'ab', but must be 2 numbers"),
        ({"curriculum": 3}, "curriculum is 3, but must be a function of iteration and progress"),
        ({"curriculum": lambda i, p: p.after[:1]}, "curriculum <lambda>: weights has shape (1,)"),
        ({"curriculum": lambda i, p: p.after}, "curriculum <lambda>: weights is [0.0, 0.0]"),
        ({"curriculum": lambda i, p: p.reward}, "curriculum <lambda> fails: AttributeError"),
        ({"curriculum": lambda i, p: p.visits + 1, "weights": [1, 1]}, "which gives weights itself; leave one out"),
    ],
)
def test_weights_and_curricula_are_checked(given, said):
    family = Boat()
    with pytest.raises(ValueError, match=r"^with_tasks: [^\n]*$") as error:
        envs.with_tasks(family, [family.default_params] * 2, **given)
    assert said in str(error.value)


@pytest.mark.parametrize("given", [{"weights": [1]}, {"distinct": True}, {"curriculum": lambda i, p: p.after}])
def test_what_is_about_a_list_needs_one(given):
    with pytest.raises(ValueError, match="there is no train list that it is about"):
        envs.with_tasks(Boat(), held_out=[Boat().default_params], **given)


def test_weights_say_how_often_a_task_is_drawn():
    family = Boat()
    tasks = [family.default_params._replace(gear=gear) for gear in (0, 1, 2)]
    listed = envs.with_tasks(family, tasks, weights=[1, 0, 3])
    drawn = jax.vmap(listed.sample_task)(jax.random.split(jax.random.key(0), 2000)).gear
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 2000, [0.25, 0, 0.75], atol=0.04)
