"""Players who know the rules of a dark room: one who knows the task, one who searches for it, nearest cells first.

Both see what an agent sees, the own cell and rewards, and are played in the family itself.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.families.dark_room import DarkKeyDoor, DarkRoom, cells_of
from metarl.interfaces import Task

STAY, UP, RIGHT, DOWN, LEFT = range(5)
WAYS = 8  # a spiral may start in any of four directions and turn left or right
Room = DarkRoom | DarkKeyDoor


class Belief(NamedTuple):
    """What a player knows of S things to be found one after another: the goal, or the key and then the door.

    Attributes:
        possible: [S, C] bool, the cells where each may be, in the order of `cells_of`.
        stage: scalar int32, which of them is looked for.
    """

    possible: jax.Array
    stage: jax.Array


def nothing_known(family: Room) -> Belief:
    """Each thing may be in every cell."""
    number = len(jax.tree.leaves(family.task_space))
    return Belief(jnp.ones((number, family.size**2), bool), jnp.zeros((), jnp.int32))


def all_known(family: Room, task: Task) -> Belief:
    """Each thing is where it is."""
    cells = jnp.stack(jax.tree.leaves(task))
    return Belief(jax.nn.one_hot(cells @ jnp.array([family.size, 1]), family.size**2, dtype=bool), jnp.zeros((), jnp.int32))


def spiral(size: int, way: int) -> np.ndarray:
    """[C] int32, when a square spiral out of the middle comes to each cell, in the order of `cells_of`.

    Args:
        size: cells along a wall.
        way: which of the `WAYS`.

    >>> spiral(3, 0).reshape(3, 3).tolist()
    [[6, 7, 8], [5, 0, 1], [4, 3, 2]]
    """
    along, turn = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)][way % 4]), 1 if way < 4 else -1
    cell, visited = np.full(2, size // 2), []
    for leg in range(4 * size):  # legs of 1, 1, 2, 2, 3, 3 ... cells
        for _ in range(leg // 2 + 1):
            visited.append(tuple(cell.tolist()))
            cell = cell + along
        along = turn * np.array([along[1], -along[0]])
    inside = [cell for cell in visited if min(cell) >= 0 and max(cell) < size]
    return np.array([inside.index((x, y)) for x, y in cells_of(size).tolist()], np.int32)


def chosen(family: Room, ranks: jax.Array, belief: Belief, cell: jax.Array) -> jax.Array:
    """The action: towards the nearest cell that may hold what is looked for, first along x.

    Args:
        family: the room.
        ranks: [C], which of cells equally near comes first.
        belief: what is known.
        cell: [2], where the player is.
    """
    cells = jnp.asarray(cells_of(family.size))
    near = jnp.sum(jnp.abs(cells - cell), axis=-1) * len(cells) + ranks
    along = cells[jnp.argmin(jnp.where(belief.possible[belief.stage], near, jnp.iinfo(jnp.int32).max))] - cell
    by_x, by_y = jnp.where(along[0] > 0, RIGHT, LEFT), jnp.where(along[1] > 0, UP, jnp.where(along[1] < 0, DOWN, STAY))
    return jnp.where(along[0] != 0, by_x, by_y)


def learned(family: Room, belief: Belief, cell: jax.Array, reward: jax.Array) -> Belief:
    """After a step into a cell: a reward says that it is there, and what comes next is looked for; none that it is not."""
    here, paid = jnp.arange(family.size**2) == cell @ jnp.array([family.size, 1]), reward > 0
    left = jnp.where(paid, here, belief.possible[belief.stage] & ~here)
    stage = jnp.minimum(belief.stage + paid, len(belief.possible) - 1)
    return Belief(belief.possible.at[belief.stage].set(left), stage)


def returns(family: Room, task: Task, belief: Belief, ranks: jax.Array, key: jax.Array, episodes: int) -> jax.Array:
    """Return of each episode of a player on one task, [E].

    Args:
        family: the room.
        task: its task.
        belief: what the player knows at first.
        ranks: [C], see `chosen`.
        key: of the starts.
        episodes: E.
    """
    seen = lambda state: jnp.round((family.observation(state, None, task) + 1) * (family.size - 1) / 2).astype(jnp.int32)

    def step(carry, _):
        state, belief, ended = carry
        action = chosen(family, ranks, belief, seen(state))
        after = family.transition(state, action, None, task)
        reward = jnp.where(ended, 0.0, family.reward(state, action, after, None, task))
        belief = jax.tree.map(lambda new, old: jnp.where(ended, old, new), learned(family, belief, seen(after), reward), belief)
        return (after, belief, ended | family.terminal(after, None, task)), reward

    def episode(belief, key):
        start = (family.initial(key, task), belief._replace(stage=jnp.zeros((), jnp.int32)), jnp.asarray(False))
        (_, belief, _), rewards = jax.lax.scan(step, start, length=family.horizon)
        return belief, rewards.sum()

    return jax.lax.scan(episode, belief, jax.random.split(key, episodes))[1]


def mean_returns(family: Room, tasks: Task, knows: Any, episodes: int, starts: int = 1) -> np.ndarray:
    """Mean return of each episode over tasks, the eight spirals and drawn starts, [E].

    Where the start is one cell, as in `DarkRoom`, nothing is drawn and this is exact.

    Args:
        family: the room.
        tasks: leaves [M, 2].
        knows: task -> `Belief` before the first episode.
        episodes: E.
        starts: draws of the starts of all episodes, for each task and spiral.
    """
    ranks = jnp.asarray([spiral(family.size, way) for way in range(WAYS)])
    keys = jax.random.split(jax.random.key(0), (len(jax.tree.leaves(tasks)[0]), WAYS, starts))
    one = lambda task, rank, key: returns(family, task, knows(task), rank, key, episodes)
    every = jax.vmap(jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, 0)), (0, None, 0))
    return np.asarray(jax.jit(every)(tasks, ranks, keys), np.float64).mean(axis=(0, 1, 2))
