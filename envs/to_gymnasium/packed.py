"""Several arrays in one row of bytes: each array that enters or leaves a compiled program takes microseconds of its own."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Place(NamedTuple):
    """Where an array stands in the row: bytes ``first`` to ``last``, to be read as ``dtype`` of ``shape``.

    Typed keys stand there as their data; ``key`` names what makes keys of them, and is None for all else.
    """

    first: int
    last: int
    dtype: np.dtype
    shape: tuple[int, ...]
    key: str | None


class Packing(NamedTuple):
    """How a tree of arrays stands in a row.

    Attributes:
        structure: of the tree.
        places: of its leaves.
    """

    structure: Any
    places: tuple[Place, ...]


def packing_of(like: Any) -> Packing:
    """How a tree of this look is packed: of arrays, typed keys among them, traced ones too, and Python's own numbers."""
    leaves, structure = jax.tree.flatten(like)
    places, end = [], 0
    for leaf in leaves:
        key = str(jax.random.key_impl(leaf)) if _is_key(leaf) else None
        data = jax.eval_shape(_data, leaf)
        first, end = end, end + math.prod(data.shape) * data.dtype.itemsize
        places.append(Place(first, end, np.dtype(data.dtype), data.shape, key))
    return Packing(structure, tuple(places))


def pack(tree: Any) -> jax.Array:
    """The bytes of all arrays [S], in JAX."""
    rows = [_bytes(_data(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.concatenate(rows) if rows else jnp.zeros(0, jnp.uint8)


def spread(packing: Packing, row: jax.Array) -> Any:
    """The tree of what `pack` gave, in JAX."""
    leaves = [_read(place, row[place.first : place.last]) for place in packing.places]
    return jax.tree.unflatten(packing.structure, leaves)


def unpack(packing: Packing, row: np.ndarray) -> Any:
    """The tree of what `pack` gave, as NumPy arrays that share nothing with the row; keys as their data."""
    whole = bytearray(row)
    arrays = [np.ndarray(shape, dtype, whole, first) for first, _, dtype, shape, _ in packing.places]
    return jax.tree.unflatten(packing.structure, arrays)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _data(leaf: Any) -> jax.Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else jnp.asarray(leaf)


def _bytes(array: jax.Array) -> jax.Array:
    if array.dtype == bool:
        return array.astype(jnp.uint8).ravel()
    if jnp.iscomplexobj(array):
        array = jnp.stack([array.real, array.imag], axis=-1)
    narrow = _narrow(array.dtype)
    bits = array if narrow is None else jax.lax.bitcast_convert_type(array, narrow).astype(jnp.uint8)
    return jax.lax.bitcast_convert_type(bits, jnp.uint8).ravel()


def _narrow(dtype: Any) -> Any:
    """The whole numbers of as few bits, where a number has less than a byte of them; None where it has more."""
    integer = jnp.issubdtype(dtype, jnp.integer)
    bits = (jnp.iinfo(dtype) if integer else jnp.finfo(dtype)).bits
    return {2: jnp.uint2, 4: jnp.uint4}.get(bits)


def _read(place: Place, row: jax.Array) -> jax.Array:
    dtype, shape = place.dtype, place.shape
    if dtype.kind == "b":
        return row.reshape(shape).astype(bool)
    if dtype.kind == "c":
        real, imaginary = jnp.moveaxis(_bits(row, np.dtype(f"f{dtype.itemsize // 2}"), (*shape, 2)), -1, 0)
        return jax.lax.complex(real, imaginary)
    found = _bits(row, dtype, shape)
    return found if place.key is None else jax.random.wrap_key_data(found, impl=place.key)


def _bits(row: jax.Array, dtype: np.dtype, shape: tuple[int, ...]) -> jax.Array:
    narrow = _narrow(dtype)
    if narrow is not None:
        return jax.lax.bitcast_convert_type(row.reshape(shape).astype(narrow), dtype)
    size = () if dtype.itemsize == 1 else (dtype.itemsize,)
    return jax.lax.bitcast_convert_type(row.reshape((*shape, *size)), dtype)
