"""Tasks outside a family's ``task_space`` are refused wherever a task can be given."""

import functools
from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import envs
from envs.families.gridworld import Cell
from envs.families.navigation import Goal
from envs.family import check_task_space
from envs.registration import construct
from tests.agents.probe import Guess, Target


class Machine(NamedTuple):
    value: jax.Array
    arm: jax.Array


class Bounded(Guess):
    task_space = Machine(Box(-1.0, 1.0, (2,), np.float32), Discrete(3))
    sample_task = lambda self, key: Machine(jax.random.uniform(key, (2,)), jax.random.randint(key, (), 0, 3))
    reward = lambda self, state, action, next_state, rng, params: -jnp.sum((action - params.value[0]) ** 2)


envs.register("probe/Bounded-v0", Bounded)
INSIDE = Machine(np.array([0.5, -1.0]), 2)
OUTSIDE = {
    "value": (Machine(np.array([0.5, 1.5]), 0), r"Bounded: task.value is \[0.5 1.5\], but must lie in Box\(-1.0, 1.0, \(2,\)"),
    "arm": (Machine(np.zeros(2), 3), r"Bounded: task.arm is 3, but must lie in Discrete\(3\)"),
    "nan": (Machine(np.array([0.0, np.nan]), 0), r"Bounded: task.value is \[ 0. nan\]"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_tasks_outside_are_refused(name):
    task, message = OUTSIDE[name]
    env = gymnasium.make("probe/Bounded-v0", task=INSIDE)
    vector = gymnasium.make_vec("probe/Bounded-v0", num_envs=2, task=INSIDE)
    two = jax.tree.map(lambda a, b: np.stack([a, b]), INSIDE, task)
    for refused in (
        lambda: gymnasium.make("probe/Bounded-v0", task=task),
        lambda: env.reset(options={"task": task}),
        lambda: vector.reset(options={"task": task}),
        lambda: vector.reset(options={"task": two}),
    ):
        with pytest.raises(ValueError, match=message) as failure:
            refused()
        assert "\n" not in str(failure.value)
    np.testing.assert_array_equal(env.unwrapped.task.value, INSIDE.value)


def test_without_a_task_space_any_task_of_the_right_shapes_will_do():
    envs.check_task(Guess(), jax.tree.map(lambda x: x + 100.0, Guess().default_params))


@functools.cache
def family_of(id):
    return construct(envs.FAMILIES[f"metarl/{id}-v0"])


def beside(id, **changes):
    """A task of a family with other values in some fields."""
    return jax.device_get(family_of(id).sample_task(jax.random.key(0)))._replace(**changes)


NAN, INF, F32 = np.float32(np.nan), np.float32(np.inf), np.float32
ROWS = np.full((10, 5, 10), 0.1, F32)
NEGATIVE, SHORT = ROWS.copy(), ROWS.copy()
NEGATIVE[3, 1, :2], SHORT[9, 4, 0] = (-0.1, 0.3), 0.0
WRONG = [
    *[
        (id, {"position": np.array([0.0, bad], F32)}, rf"position is \[ ?0\. +{bad}\]")
        for id in ("Navigation2D", "Navigation2DSparse", "NavigationCorner", "AntGoal")
        for bad in (NAN, INF)
    ],
    ("BernoulliBandit", {"mean": np.array([0.5, 0.5, 1.5, 0.5, 0.5], F32)}, r"mean is \[0.5 0.5 1.5 0.5 0.5\]"),
    ("BernoulliBandit", {"mean": np.array([0.5, 0.5, -0.1, 0.5, 0.5], F32)}, "mean is"),
    ("GaussianBandit", {"mean": np.array([0.5] * 9 + [-INF], F32)}, r"mean\[9\] is -inf"),
    ("TabularMDP", {"transition": NEGATIVE}, r"transition\[3, 1, 0\] is -0.1"),
    ("TabularMDP", {"transition": SHORT}, r"transition\[9, 4\] is \[0. .*each row \(last axis\) with sum 1"),
    ("TabularMDP", {"reward": np.full((10, 5), NAN)}, r"reward\[0, 0\] is nan"),
    ("GridNavigation", {"position": np.array([0, 5], np.int32)}, r"position is \[0 5\]"),
    ("GridNavigation", {"position": np.array([-1, 0], np.int32)}, "position is"),
    *[
        (id, {name: np.array(bad, np.int32)}, rf"{name} is \[")
        for id, name in (("DarkRoom", "position"), ("DarkKeyDoor", "key"), ("DarkKeyDoor", "door"))
        for bad in ([0, 9], [-1, 0])
    ],
    *[
        (id, {name: bad}, f"{name} is {bad}")
        for id, names in {
            "PendulumDynamics": ("mass", "length"),
            "CartPoleDynamics": ("length", "pole_mass", "cart_mass"),
            "AcrobotDynamics": ("mass", "length", "inertia"),
        }.items()
        for name in names
        for bad in (F32(0.0), F32(-1.0), INF)
    ],
    *[
        (id, {name: bad}, f"{name} is {bad}")
        for id, name in (
            ("PendulumDynamics", "gravity"),
            ("CartPoleDynamics", "force"),
            ("CartPoleDynamics", "gravity"),
            ("AcrobotDynamics", "torque"),
            ("AcrobotDynamics", "gravity"),
            ("MountainCarDynamics", "force"),
            ("MountainCarDynamics", "gravity"),
            ("HalfCheetahVel", "velocity"),
            ("AntVel", "velocity"),
        )
        for bad in (NAN, -INF)
    ],
    *[(id, {"sign": F32(bad)}, "either -1 or 1") for id in ("HalfCheetahDir", "AntDir") for bad in (0.0, 0.5, 2.0)],
    *[(id, {"mass": np.zeros(n, F32)}, "mass") for id, n in (("HopperRandParams", 5), ("WalkerRandParams", 8))],
    ("HumanoidDir", {"direction": np.ones(2, F32)}, r"direction is \[1. 1.\].*of length 1"),
]


@pytest.mark.parametrize(("id", "changes", "message"), WRONG)
def test_every_family_refuses_tasks_that_make_no_sense(id, changes, message):
    with pytest.raises(ValueError, match=message) as failure:
        check_task_space(family_of(id), beside(id, **changes))
    name = envs.FAMILIES[f"metarl/{id}-v0"].split(":")[1]
    assert str(failure.value).startswith(f"{name}: task.") and f"{name}.task_space" in str(failure.value)
    assert "\n" not in str(failure.value)


def test_every_family_is_among_them():
    assert {f"metarl/{id}-v0" for id, *_ in WRONG} == set(envs.FAMILIES)


def test_tasks_far_from_training_are_taken():
    for id, changes in (
        ("Navigation2D", {"position": np.array([100.0, -100.0], F32)}),
        ("GridNavigation", {"position": np.zeros(2, np.int32)}),
        ("PendulumDynamics", {"mass": F32(50.0), "gravity": F32(-10.0)}),
        ("HalfCheetahVel", {"velocity": F32(-9.0)}),
        ("TabularMDP", {"transition": ROWS}),
    ):
        check_task_space(family_of(id), beside(id, **changes))


DRAWN = [(f"{id}Dynamics", {"held_out": "extreme"}) for id in ("Pendulum", "CartPole", "Acrobot", "MountainCar")] + [
    ("PendulumDynamics", {"ranges": {"mass": [1e-30, 1e30], "gravity": [1, 3e38]}}),
    ("GridNavigation", {"size": 9}),
    ("DarkRoom", {"size": 6}),
    ("DarkKeyDoor", {"size": 3, "held_out": "same"}),
    ("GaussianBandit", {"means": "uniform", "arms": 3}),
    ("TabularMDP", {"states": 40, "actions": 2}),
]


@pytest.mark.parametrize(("id", "options"), DRAWN)
def test_tasks_of_other_options_lie_in_their_space(id, options):
    family = construct(envs.FAMILIES[f"metarl/{id}-v0"], **options)
    for draw in (family.sample_task, family.sample_held_out_task):
        check_task_space(family, jax.vmap(draw)(jax.random.split(jax.random.key(1), 50)), 1)


@pytest.mark.parametrize("bad", [[1.5, 0], [NAN, 0], [1e20, 0], [2**40, 0], ["one", 0], np.array([2**32 + 1, 0])])
def test_whole_numbers_are_not_cut_off(bad):
    with pytest.raises(ValueError, match=r"GridNavigation: task.position is .*must be") as failure:
        envs.check_task(family_of("GridNavigation"), Cell(bad))
    assert "\n" not in str(failure.value)
    np.testing.assert_array_equal(envs.check_task(family_of("GridNavigation"), Cell([1.0, 4.0])).position, [1, 4])


def test_nor_are_floats_in_a_space_of_whole_numbers():
    family = type("Floats", (Guess,), {"task_space": Target(Discrete(3))})()
    check_task_space(family, Target(F32(2.0)))
    with pytest.raises(ValueError, match=r"Floats: task.value is 1.5, but must lie in Discrete\(3\)"):
        check_task_space(family, Target(F32(1.5)))


def test_too_large_for_float32_is_infinite():
    with pytest.raises(ValueError, match=r"Navigation2D: task.position is \[ 0. inf\]"):
        envs.check_task(family_of("Navigation2D"), Goal([0.0, 1e39]))


def test_inside_a_compiled_function_only_shapes_are_looked_at():
    family = envs.make("probe/Bounded-v0")
    task = jax.tree.map(jnp.asarray, INSIDE)
    jax.jit(lambda task: envs.check_task(family, task))(task)
