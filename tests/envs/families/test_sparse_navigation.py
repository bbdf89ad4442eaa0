"""The two sparse walks, sentence by sentence, against NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.families.navigation import Goal

SPARSE = envs.make("metarl/Navigation2DSparse-v0")
CORNER = envs.make("metarl/NavigationCorner-v0")
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def goals():
    """4000 training and 4000 held-out goals of the half circle."""
    keys = jax.random.split(KEY, 4000)
    draw = jax.jit(lambda keys: (jax.vmap(SPARSE.sample_task)(keys), jax.vmap(SPARSE.sample_held_out_task)(keys)))
    return tuple(np.asarray(tasks.position) for tasks in draw(keys))


def test_training_and_held_out_goals_share_the_half_circle_and_no_point(goals):
    """As many as in the published split, and together all of 100 equally spaced angles."""
    index = [np.arctan2(np.abs(y), x) / np.pi * 99 for x, y in (goal.T for goal in goals)]
    for near, goal in zip(index, goals, strict=True):
        np.testing.assert_allclose(near, np.round(near), atol=1e-3)
        np.testing.assert_allclose(np.linalg.norm(goal, axis=1), 1.0, atol=1e-6)
    train, held_out = (set(np.round(near).astype(int).tolist()) for near in index)
    assert len(train) == 80 and len(held_out) == 20
    assert train | held_out == set(range(100)) and held_out == set(range(2, 100, 5))
    counts = np.bincount(np.round(index[0]).astype(int))
    assert counts[counts > 0].min() > 20, "4000 draws of 80 goals"


def sparse_reward(position, goal, form="sparse"):
    distance = np.linalg.norm(np.asarray(position) - goal)
    if form == "dense":
        return -distance
    return 1.0 - distance if distance <= 0.2 else 0.0


@pytest.mark.parametrize("form", ["sparse", "dense"])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (0.1, 0.1), (0.19, 0.0), (0.21, 0.0), (0.15, 0.15), (-1.0, 0.3)])
def test_sparse_reward(form, offset):
    family, goal = envs.make("metarl/Navigation2DSparse-v0", reward=form), np.array([0.6, 0.8], np.float32)
    position = goal + np.array(offset, np.float32)
    reward = family.reward(None, None, jnp.asarray(position), KEY, Goal(jnp.asarray(goal)))
    np.testing.assert_allclose(reward, sparse_reward(position, goal, form), atol=1e-6)


def test_the_return_of_walking_to_a_known_goal():
    """Moving each axis as far as allowed brings every later position as near as it can be: no walk earns more."""
    returns = []
    for angle in np.pi * np.arange(100) / 99:
        goal, position, total = np.array([np.cos(angle), np.sin(angle)]), np.zeros(2), 0.0
        for _ in range(SPARSE.horizon):
            position = position + np.clip(goal - position, -0.1, 0.1)
            total += sparse_reward(position, goal)
        returns.append(total)
    np.testing.assert_allclose(np.mean(returns), 13.36, atol=0.005)


def corner_reward(before, after, goal):
    """The released code's form: is the goal the nearest of four corners?"""
    if np.abs(after).sum() < 0.5:
        return 0.0
    corners = np.array([[-2, -2], [2, -2], [-2, 2], [2, 2]])
    if np.linalg.norm(after - goal) > np.linalg.norm(after - corners, axis=1).min() + 1e-6:
        return 0.0
    return np.linalg.norm(before - goal) - np.linalg.norm(after - goal)


def test_corner_reward_on_a_grid_of_positions():
    before, goal = np.array([0.3, 0.4], np.float32), np.array([2.0, -2.0], np.float32)
    after = np.stack(np.meshgrid(*[np.linspace(-2.4, 2.4, 17)] * 2), -1).reshape(-1, 2).astype(np.float32)
    ours = jax.vmap(lambda position: CORNER.reward(before, None, position, KEY, Goal(goal)))(after)
    expected = [corner_reward(before, position, goal) for position in after]
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert 0.2 < np.mean(np.array(expected) != 0) < 0.3, "one quarter pays"


def test_a_straight_walk_to_the_corner():
    for goal in (np.array([2.0, 2.0]), np.array([-2.0, 2.0])):
        path = np.sign(goal) * 0.2 * np.arange(11)[:, None]
        total = sum(corner_reward(a, b, goal) for a, b in itertools.pairwise(path))
        np.testing.assert_allclose(total, np.sqrt(8) - 0.2 * np.sqrt(2), atol=1e-6)
        np.testing.assert_allclose(total, 2.55, atol=0.01)
        wrong = sum(corner_reward(a, b, goal * [1, -1]) for a, b in itertools.pairwise(path))
        assert wrong == 0.0, "the other corner's walk earns nothing"


@pytest.mark.parametrize(("form", "power"), [("dense", 1), ("dense_squared", 2)])
def test_dense_corner_rewards(form, power):
    family, goal = envs.make("metarl/NavigationCorner-v0", reward=form), jnp.array([2.0, 2.0])
    reward = family.reward(jnp.zeros(2), None, jnp.array([1.0, -1.0]), KEY, Goal(goal))
    np.testing.assert_allclose(reward, -(np.sqrt(10.0) ** power), rtol=1e-6)


@pytest.mark.parametrize(("family", "step"), [(SPARSE, 0.1), (CORNER, 0.2)])
def test_moves_are_clipped_and_scaled(family, step):
    moved = family.transition(jnp.array([0.2, -0.1]), jnp.array([0.5, -3.0]), KEY, family.default_params)
    np.testing.assert_allclose(moved, [0.2 + 0.5 * step, -0.1 - step], atol=1e-7)


def test_starts_corners_and_horizons():
    keys = jax.random.split(KEY, 500)
    starts = np.asarray(jax.vmap(lambda key: CORNER.initial(key, None))(keys))
    assert np.abs(starts).max() <= 0.2 and np.abs(starts).max() > 0.19 and np.ptp(starts) > 0.39
    corners, counts = np.unique(np.asarray(jax.vmap(CORNER.sample_task)(keys).position), axis=0, return_counts=True)
    np.testing.assert_array_equal(corners, [[-2, -2], [-2, 2], [2, -2], [2, 2]])
    assert counts.min() > 95
    np.testing.assert_array_equal(SPARSE.initial(KEY, None), [0, 0])
    assert (SPARSE.horizon, CORNER.horizon) == (20, 100)


@pytest.mark.parametrize("id", ["metarl/Navigation2DSparse-v0", "metarl/NavigationCorner-v0"])
def test_unknown_reward_is_refused(id):
    with pytest.raises(ValueError, match="reward is 'spares'; known: sparse, dense"):
        envs.make(id, reward="spares")
