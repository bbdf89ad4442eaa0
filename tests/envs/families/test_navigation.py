"""The definition of the point robot, sentence by sentence, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.families.navigation import Goal

FAMILY = envs.make("metarl/Navigation2D-v0")
KEY = jax.random.key(0)


def test_goals_fill_the_square_uniformly():
    for sample in (FAMILY.sample_task, FAMILY.sample_held_out_task):
        goals = np.asarray(jax.vmap(sample)(jax.random.split(KEY, 4000)).position)
        assert goals.min() < -0.49 and goals.max() > 0.49 and np.abs(goals).max() <= 0.5
        np.testing.assert_allclose(np.histogram2d(*goals.T, bins=4)[0] / 250, 1.0, atol=0.3)


def test_held_out_goals_come_from_their_own_stream():
    keys = jax.random.split(KEY, 100)
    assert not np.any(jax.vmap(FAMILY.sample_task)(keys).position == jax.vmap(FAMILY.sample_held_out_task)(keys).position)


def test_held_out_tasks_are_a_constant_of_the_family_and_a_prefix():
    few, many = envs.held_out_tasks(FAMILY, 3), envs.held_out_tasks(envs.make("metarl/Navigation2D-v0"), 10)
    np.testing.assert_array_equal(few.position, many.position[:3])


@pytest.mark.parametrize("action", [[0.5, -0.25], [3.0, -7.0], [0.0, 0.0]])
def test_step_against_numpy(action):
    state, goal = np.array([0.2, -0.1], np.float32), Goal(jnp.array([0.3, 0.4]))
    moved = FAMILY.transition(jnp.asarray(state), jnp.array(action), KEY, goal)
    expected = state + 0.1 * np.clip(action, -1, 1)
    np.testing.assert_allclose(moved, expected, atol=1e-7)
    reward = FAMILY.reward(jnp.asarray(state), jnp.array(action), moved, KEY, goal)
    np.testing.assert_allclose(reward, -np.linalg.norm(expected - [0.3, 0.4]), atol=1e-6)


@pytest.mark.parametrize(
    ("offset", "ends"), [((0.009, -0.009), True), ((0.009, 0.011), False), ((-0.011, 0.0), False), ((0.0099, 0.0099), True)]
)
def test_the_end_is_per_axis_not_a_radius(offset, ends):
    goal = Goal(jnp.array([0.3, 0.4]))
    assert bool(FAMILY.terminal(goal.position + jnp.array(offset), KEY, goal)) is ends


def test_standing_still_returns_38():
    goals = jax.vmap(FAMILY.sample_task)(jax.random.split(KEY, 20_000)).position
    np.testing.assert_allclose(-100 * np.linalg.norm(goals, axis=1).mean(), -38.25, atol=0.4)


def test_start_horizon_and_default_task():
    np.testing.assert_array_equal(FAMILY.initial(KEY, FAMILY.default_params), [0, 0])
    assert FAMILY.horizon == 100
    assert not FAMILY.terminal(FAMILY.initial(KEY, FAMILY.default_params), KEY, FAMILY.default_params)
    assert envs.make("metarl/Navigation2D-v0", horizon=7).horizon == 7
    with pytest.raises(ValueError, match="horizon is 0"):
        envs.make("metarl/Navigation2D-v0", horizon=0)


def test_plane_gives_the_path_and_the_goal():
    position, goal = FAMILY.plane(np.ones((3, 2)), Goal(np.array([0.1, 0.2])))
    assert position.shape == (3, 2)
    np.testing.assert_array_equal(goal, [0.1, 0.2])
