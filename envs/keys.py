"""Typed random keys among other arrays. NumPy does not know them: what compares, counts or stores arrays sees their words."""

from typing import Any

import jax
import jax.numpy as jnp


def is_key(leaf: Any) -> bool:
    """Whether an array is of typed keys, as `jax.random.key` makes them."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def numbers(tree: Any) -> Any:
    """The same tree with the words of typed keys [...] in their place: uint32 [..., W]."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


def as_key(value: Any, like: jax.Array) -> jax.Array:
    """Keys of the kind of ``like``: typed ones as they are, others made of their words.

    Raises:
        ValueError, TypeError: typed keys of another kind, or no words of one.
    """
    if not is_key(value):
        return jax.random.wrap_key_data(jnp.asarray(value, jnp.uint32), impl=jax.random.key_impl(like))
    if value.dtype != like.dtype:
        raise TypeError(f"keys of {value.dtype}")
    return value
