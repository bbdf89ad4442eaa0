"""Tasks outside a family's ``task_space`` are refused wherever a task can be given."""

from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import envs
from tests.agents.probe import Guess


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
    family = envs.make("metarl/Navigation2D-v0")
    envs.check_task(family, jax.tree.map(lambda x: x + 100.0, family.default_params))


def test_inside_a_compiled_function_only_shapes_are_looked_at():
    family = envs.make("probe/Bounded-v0")
    task = jax.tree.map(jnp.asarray, INSIDE)
    jax.jit(lambda task: envs.check_task(family, task))(task)
