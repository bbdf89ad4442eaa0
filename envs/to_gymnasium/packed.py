"""Several arrays in one row of bytes: each array that leaves a compiled program for NumPy takes microseconds of its own."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Place(NamedTuple):
    """Where an array stands in the row: bytes ``first`` to ``last``, to be read as ``dtype`` of ``shape``."""

    first: int
    last: int
    dtype: np.dtype
    shape: tuple[int, ...]


class Packing(NamedTuple):
    """How a tree of arrays stands in a row.

    Attributes:
        structure: of the tree.
        places: of its leaves.
    """

    structure: Any
    places: tuple[Place, ...]


def packing_of(like: Any) -> Packing:
    """How a tree of this look is packed: of arrays, traced ones too, and Python's own numbers."""
    leaves, structure = jax.tree.flatten(like)
    places, end = [], 0
    for leaf in leaves:
        shape, dtype = np.shape(leaf), np.dtype(jnp.result_type(leaf))
        first, end = end, end + math.prod(shape) * dtype.itemsize
        places.append(Place(first, end, dtype, shape))
    return Packing(structure, tuple(places))


def pack(tree: Any) -> jax.Array:
    """The bytes of all arrays [S], in JAX."""
    return jnp.concatenate([_bytes(jnp.asarray(leaf)) for leaf in jax.tree.leaves(tree)])


def unpack(packing: Packing, row: np.ndarray) -> Any:
    """The tree of what `pack` gave, as NumPy arrays that share nothing with the row."""
    whole = bytearray(row)
    read = [np.frombuffer(whole, dtype, (last - first) // dtype.itemsize, first) for first, last, dtype, _ in packing.places]
    arrays = [array.reshape(place.shape) for array, place in zip(read, packing.places, strict=True)]
    return jax.tree.unflatten(packing.structure, arrays)


def _bytes(array: jax.Array) -> jax.Array:
    if array.dtype == bool:
        return array.astype(jnp.uint8).ravel()
    if jnp.iscomplexobj(array):
        array = jnp.stack([array.real, array.imag], axis=-1)
    return jax.lax.bitcast_convert_type(array, jnp.uint8).ravel()
