"""The dark rooms: every cell and move, rewards and ends by hand, the key before the door, and the split of tasks."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.families.dark_room import HELD_OUT, DarkKeyDoor, DarkRoom, KeyAndDoor
from envs.families.gridworld import Cell

KEY = jax.random.key(0)
ROOM, KEY_DOOR = DarkRoom(size=5), DarkKeyDoor(size=5)
CELLS = list(itertools.product(range(5), repeat=2))
STAY, UP, RIGHT, DOWN, LEFT = range(5)


def played(family, task, start, actions):
    """Positions, rewards and ends of the episode of some actions; nothing is stopped at an end."""

    def step(state, action):
        after = family.transition(state, action, KEY, task)
        reward = family.reward(state, action, after, KEY, task)
        return after, (family.observation(after, KEY, task), reward, family.terminal(after, KEY, task))

    _, (seen, rewards, ends) = jax.jit(lambda: jax.lax.scan(step, start, jnp.asarray(actions)))()
    cells = np.round((np.asarray(seen) + 1) * (family.size - 1) / 2).astype(int)
    return [tuple(cell) for cell in cells.tolist()], rewards.tolist(), ends.tolist()


def walker(cell, has_key=False):
    return KEY_DOOR.initial(KEY, None)._replace(position=jnp.asarray(cell, jnp.int32), has_key=jnp.asarray(has_key))


@pytest.mark.parametrize("cell", CELLS)
def test_every_move(cell):
    """0 stays, 1 up, 2 right, 3 down, 4 left; walls stop. With a key as without."""
    x, y = cell
    expected = [(x, y), (x, min(y + 1, 4)), (min(x + 1, 4), y), (x, max(y - 1, 0)), (max(x - 1, 0), y)]
    for action, after in enumerate(expected):
        assert tuple(np.asarray(ROOM.transition(jnp.asarray(cell), action, KEY, None)).tolist()) == after
        task = KeyAndDoor(jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.int32))
        assert tuple(np.asarray(KEY_DOOR.transition(walker(cell), action, KEY, task).position).tolist()) == after


def test_a_room_by_hand():
    """From the middle (2, 2) to the goal (3, 4), past it into the wall, and away."""
    actions = [RIGHT, UP, UP, UP, STAY, LEFT, RIGHT]
    cells, rewards, ends = played(ROOM, Cell(jnp.array([3, 4])), ROOM.initial(KEY, None), actions)
    assert cells == [(3, 2), (3, 3), (3, 4), (3, 4), (3, 4), (2, 4), (3, 4)]
    assert rewards == [0, 0, 1, 1, 1, 0, 1] and not any(ends)


def test_only_the_own_cell_is_seen():
    for family in (ROOM, KEY_DOOR):
        assert family.observation_space.shape == (2,)
    np.testing.assert_allclose(ROOM.observation(jnp.array([0, 3]), KEY, None), [-1.0, 0.5])
    seen = [KEY_DOOR.observation(walker((0, 3), has), KEY, None) for has in (False, True)]
    np.testing.assert_array_equal(*seen)
    np.testing.assert_allclose(seen[0], [-1.0, 0.5])


def test_starts():
    np.testing.assert_array_equal(DarkRoom().initial(KEY, None), [4, 4])
    np.testing.assert_array_equal(ROOM.initial(KEY, None), [2, 2])
    starts = jax.vmap(lambda key: KEY_DOOR.initial(key, None))(jax.random.split(KEY, 5000))
    cells, counts = np.unique(np.asarray(starts.position), axis=0, return_counts=True)
    assert [tuple(cell) for cell in cells] == CELLS and counts.min() > 140, "5000 draws of 25"
    assert not starts.has_key.any() and not starts.is_open.any()


def test_the_key_opens_the_door_and_nothing_else_does():
    """Across the door without a key, onto the key, on, and back to the door."""
    task = KeyAndDoor(key=jnp.array([3, 0]), door=jnp.array([1, 0]))
    actions = [RIGHT, RIGHT, RIGHT, STAY, LEFT, LEFT]
    cells, rewards, ends = played(KEY_DOOR, task, walker((0, 0)), actions)
    assert cells == [(1, 0), (2, 0), (3, 0), (3, 0), (2, 0), (1, 0)]
    assert rewards == [0, 0, 1, 0, 0, 1], "the key pays once, the door when there is a key"
    assert ends == [False] * 5 + [True]


def test_a_key_where_one_starts_is_found_by_staying():
    task = KeyAndDoor(key=jnp.array([2, 2]), door=jnp.array([2, 3]))
    _, rewards, ends = played(KEY_DOOR, task, walker((2, 2)), [STAY, UP])
    assert rewards == [1, 1] and ends == [False, True]
    _, rewards, ends = played(KEY_DOOR, task, walker((2, 2)), [UP, STAY])
    assert rewards == [0, 0] and not any(ends)


def test_key_and_door_in_one_cell_take_two_steps():
    task = KeyAndDoor(key=jnp.array([1, 1]), door=jnp.array([1, 1]))
    _, rewards, ends = played(KEY_DOOR, task, walker((0, 1)), [RIGHT, STAY])
    assert rewards == [1, 1] and ends == [False, True]


def test_success_is_the_goal_or_the_open_door():
    state, goal = jnp.array([2, 2]), Cell(jnp.array([2, 3]))
    assert float(ROOM.transition_info(state, UP, jnp.array([2, 3]), goal)["success"]) == 1.0
    assert float(ROOM.transition_info(state, DOWN, jnp.array([2, 1]), goal)["success"]) == 0.0
    task = KeyAndDoor(key=jnp.array([2, 3]), door=jnp.array([3, 3]))
    for action, before in ((UP, walker((2, 2))), (RIGHT, walker((2, 3), True))):
        after = KEY_DOOR.transition(before, action, KEY, task)
        assert float(KEY_DOOR.transition_info(before, action, after, task)["success"]) == float(action == RIGHT)


@pytest.mark.parametrize(("kind", "sizes"), [(DarkRoom, {5: 20, 6: 29, 9: 65}), (DarkKeyDoor, {5: 500, 9: 5249})])
def test_held_out_tasks_are_a_fifth_that_is_never_trained_on(kind, sizes):
    for size, number in sizes.items():
        family, again = kind(size=size), kind(size=size)
        rows = [np.concatenate(tasks, axis=1) for tasks in (family.train_list.tasks, family.held_out_list)]
        assert len(rows[0]) == number and len(rows[1]) == round(0.2 * (number + len(rows[1])))
        every = np.concatenate(rows)
        assert len(np.unique(every, axis=0)) == len(every) == size ** every.shape[1], "each task is in one of the two"
        np.testing.assert_array_equal(np.concatenate(again.held_out_list, axis=1), rows[1])
        drawn = jax.jit(jax.vmap(lambda key, family=family: (family.sample_task(key), family.sample_held_out_task(key))))
        for draws, allowed in zip(drawn(jax.random.split(KEY, 500)), rows, strict=True):
            assert {*map(tuple, np.concatenate(draws, axis=1).tolist())} <= {*map(tuple, allowed.tolist())}
        if kind is DarkKeyDoor:
            assert all(len(np.unique(cells, axis=0)) == size**2 for cells in family.train_list.tasks), "any cell, in both roles"


def test_held_out_same_trains_on_all():
    assert HELD_OUT == ("apart", "same")
    for kind, number in ((DarkRoom, 25), (DarkKeyDoor, 625)):
        family = kind(size=5, held_out="same")
        for tasks in (family.train_list.tasks, family.held_out_list):
            assert len(np.unique(np.concatenate(tasks, axis=1), axis=0)) == number


def test_what_the_docstring_says_of_returns():
    """Value iteration over the family's own moves and rewards: the mean over all goals of who knows the goal."""
    family = envs.make("metarl/DarkRoom-v0", held_out="same")
    cells = jnp.asarray(list(itertools.product(range(9), repeat=2)), jnp.int32)
    number = lambda cell: cell[..., 0] * 9 + cell[..., 1]

    def best(goal):
        after = jax.vmap(lambda cell: jax.vmap(lambda a: family.transition(cell, a, KEY, Cell(goal)))(jnp.arange(5)))(cells)
        paid = jax.vmap(jax.vmap(lambda cell: family.reward(None, None, cell, KEY, Cell(goal))))(after)
        value = jnp.zeros(81)
        for _ in range(family.horizon):
            value = (paid + value[number(after)]).max(axis=1)
        return value[number(family.initial(KEY, None))]

    assert float(jax.jit(jax.vmap(best))(cells).mean()) == pytest.approx(16.54, abs=0.005)
    assert sum(range(1, family.horizon + 1)) / len(cells) == pytest.approx(2.59, abs=0.005)
