"""A buffer of a fixed size in an agent's state: the newest rows, wherever the state goes, into checkpoints too."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl.interfaces import Key, Tree


class Ring(NamedTuple):
    """The newest rows, at most C of them.

    Attributes:
        rows: leaves [C, ...].
        position: int32, where the next row goes.
        filled: int32, how many rows there are.
    """

    rows: Tree
    position: jax.Array
    filled: jax.Array


def empty(row: Tree, capacity: int) -> Ring:
    """A ring without rows.

    Args:
        row: arrays, or their shapes, of one row.
        capacity: C.
    """
    rows = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), row)
    return Ring(rows, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def num_bytes(row: Tree, capacity: int) -> int:
    """What its rows take."""
    return capacity * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(row))


def added(ring: Ring, rows: Tree) -> Ring:
    """The ring with ``rows``, leaves [B, ...], B at most C, in the place of the oldest.

    >>> ring = added(added(empty(jnp.zeros(()), 3), jnp.array([1.0, 2.0])), jnp.array([3.0, 4.0]))
    >>> ring.rows.tolist(), int(ring.position), int(ring.filled)
    ([4.0, 2.0, 3.0], 1, 3)
    """
    capacity, number = (jax.tree.leaves(tree)[0].shape[0] for tree in (ring.rows, rows))
    place = (ring.position + jnp.arange(number, dtype=jnp.int32)) % capacity
    stored = jax.tree.map(lambda old, new: old.at[place].set(new, unique_indices=True), ring.rows, rows)
    return Ring(stored, (ring.position + number) % capacity, jnp.minimum(ring.filled + number, capacity))


def drawn(ring: Ring, key: Key, number: int) -> Tree:
    """Rows [number, ...] drawn alike, with replacement, of those that there are."""
    index = jax.random.randint(key, (number,), 0, ring.filled)
    return jax.tree.map(lambda leaf: leaf[index], ring.rows)
