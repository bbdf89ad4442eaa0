"""The grid with a hidden goal: every cell and every move, and the return of knowing the goal."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.families.gridworld import Cell, GridNavigation

KEY = jax.random.key(0)
FAMILY = envs.make("metarl/GridNavigation-v0")
CELLS = list(itertools.product(range(5), repeat=2))
GOALS = [cell for cell in CELLS if cell not in [(0, 0), (0, 1), (1, 0), (1, 1)]]


@pytest.fixture(scope="module")
def moves():
    """[25, 5, 2] the next cell, and [25, 5, 25] the reward, of every cell, action and goal."""

    def step(cell, action, goal):
        after = FAMILY.transition(cell, action, KEY, Cell(goal))
        return after, FAMILY.reward(cell, action, after, KEY, Cell(goal))

    cells = jnp.asarray(CELLS, jnp.int32)
    every = jax.vmap(jax.vmap(jax.vmap(step, (None, None, 0)), (None, 0, None)), (0, None, None))
    after, reward = jax.jit(every)(cells, jnp.arange(5), cells)
    return np.asarray(after[:, :, 0]), np.asarray(reward)


def test_every_move(moves):
    """0 stays, 1 up, 2 right, 3 down, 4 left; the border stops."""
    for (x, y), after in zip(CELLS, moves[0], strict=True):
        expected = [(x, y), (x, min(y + 1, 4)), (min(x + 1, 4), y), (x, max(y - 1, 0)), (max(x - 1, 0), y)]
        np.testing.assert_array_equal(after, expected)


def test_reward_is_1_on_the_goal_and_minus_a_tenth_elsewhere(moves):
    after, reward = moves
    on_goal = np.all(after[:, :, None] == np.array(CELLS), axis=-1)
    np.testing.assert_allclose(reward, np.where(on_goal, 1.0, -0.1), atol=1e-7)


def test_the_return_of_knowing_the_goal(moves):
    """Value iteration over the family's own moves and rewards, against shortest paths: d - 1 moves at -0.1, then 1 each."""
    after, reward = moves
    index = np.array([[CELLS.index(tuple(cell)) for cell in row] for row in after])
    value = np.zeros((25, 25))
    for _ in range(FAMILY.horizon):
        value = (reward + value[index]).max(axis=1)
    best = [value[CELLS.index((0, 0)), CELLS.index(goal)] for goal in GOALS]
    by_paths = [-0.1 * (x + y - 1) + (15 - (x + y - 1)) for x, y in GOALS]
    np.testing.assert_allclose(best, by_paths, atol=1e-5)
    np.testing.assert_allclose(np.mean(best), 11.07, atol=0.005)


def test_goals_are_the_21_cells_outside_the_corner_block():
    drawn = jax.jit(jax.vmap(lambda key: (FAMILY.sample_task(key), FAMILY.sample_held_out_task(key))))
    for task in drawn(jax.random.split(KEY, 4000)):
        cells, counts = np.unique(np.asarray(task.position), axis=0, return_counts=True)
        assert [tuple(cell) for cell in cells] == GOALS
        assert counts.min() > 140, "4000 draws of 21"
    assert len(GridNavigation(size=3).held_out_list.position) == 5


def test_observation_start_and_plane():
    assert FAMILY.horizon == 15
    np.testing.assert_array_equal(FAMILY.initial(KEY, None), [0, 0])
    np.testing.assert_allclose(FAMILY.observation(jnp.array([0, 3]), KEY, None), [-1.0, 0.5])
    seen, goal = FAMILY.plane(np.array([[-1.0, 0.5]]), Cell(np.array([4, 2])))
    np.testing.assert_allclose(goal, [1.0, 0.0])
    np.testing.assert_allclose(seen, [[-1.0, 0.5]])


def test_too_small_a_grid_is_refused():
    with pytest.raises(ValueError, match="size is 2, but must be a whole number of at least 3"):
        GridNavigation(size=2)
