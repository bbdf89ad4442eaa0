"""Replay: for each of L tasks the newest transitions, in arrays on the device. A part of the state, so that runs resume."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl.interfaces import Key, Tree


class Replay(NamedTuple):
    """A ring for each task.

    Attributes:
        rows: leaves [L, C, ...], what is kept; beyond ``size`` zeros.
        size: [L] int32, how many rows of each task there are, at most C.
        place: [L] int32, where the next one goes: over the oldest, once the ring is full.
    """

    rows: Tree
    size: jax.Array
    place: jax.Array


def empty(like: Tree, num_tasks: int, capacity: int) -> Replay:
    """Nothing yet.

    Args:
        like: a row, leaves [...]; shapes and dtypes suffice.
        num_tasks: L.
        capacity: C.
    """
    nothing = jnp.zeros(num_tasks, jnp.int32)
    rows = jax.tree.map(lambda x: jnp.zeros((num_tasks, capacity, *x.shape), x.dtype), like)
    return Replay(rows, nothing, nothing)


def cleared(replay: Replay, tasks: jax.Array) -> Replay:
    """The same without the rows of ``tasks`` [M]."""
    return replay._replace(size=replay.size.at[tasks].set(0), place=replay.place.at[tasks].set(0))


def added(replay: Replay, tasks: jax.Array, rows: Tree, mask: jax.Array) -> Replay:
    """The same with new rows of some tasks, each over the oldest of its task.

    Args:
        replay: of L tasks.
        tasks: [M] int32, which; all different.
        rows: leaves [M, S, ...], in their order; S at most the capacity.
        mask: [M, S], 1.0 for those that count.

    >>> one = empty(jnp.zeros(()), num_tasks=1, capacity=3)
    >>> one = added(one, jnp.array([0]), jnp.array([[1.0, 9.0, 2.0]]), jnp.array([[1.0, 0.0, 1.0]]))
    >>> one = added(one, jnp.array([0]), jnp.array([[3.0, 4.0]]), jnp.ones((1, 2)))
    >>> one.rows.tolist(), one.size.tolist(), one.place.tolist()
    ([[4.0, 2.0, 3.0]], [3], [1])
    """
    capacity = jax.tree.leaves(replay.rows)[0].shape[1]
    counts = (mask > 0).astype(jnp.int32)
    offset = jnp.cumsum(counts, axis=1) - 1
    # What does not count goes beyond the ring, where nothing is written.
    to = jnp.where(counts > 0, (replay.place[tasks][:, None] + offset) % capacity, capacity)
    written = jax.tree.map(lambda old, new: old.at[tasks[:, None], to].set(new, mode="drop"), replay.rows, rows)
    number = jnp.sum(counts, axis=1)
    size = replay.size.at[tasks].set(jnp.minimum(replay.size[tasks] + number, capacity))
    return Replay(written, size, replay.place.at[tasks].set((replay.place[tasks] + number) % capacity))


def some_tasks(replay: Replay, key: Key, num_tasks: int) -> jax.Array:
    """Tasks [B] that have rows, drawn with replacement, each as likely as another."""
    return jax.random.categorical(key, jnp.where(replay.size > 0, 0.0, -jnp.inf), shape=(num_tasks,))


def some_rows(replay: Replay, key: Key, task: jax.Array, num_rows: int) -> Tree:
    """Rows of one task, leaves [R, ...], drawn with replacement; the task must have some."""
    index = jax.random.randint(key, (num_rows,), 0, jnp.maximum(replay.size[task], 1))
    return jax.tree.map(lambda x: x[task, index], replay.rows)
