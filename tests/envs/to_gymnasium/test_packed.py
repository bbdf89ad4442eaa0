"""Rows of bytes give back what was put in, bit for bit and of its own type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.to_gymnasium.packed import pack, packing_of, spread, unpack

TREES = {
    "floats": {"a": np.array([[0.1, -0.0], [np.inf, np.nan]], np.float32), "b": np.float32(3)},
    "kinds": (np.array([True, False]), np.array([-1, 2**31 - 1], np.int32), np.uint8(255), np.array([1 + 2j], np.complex64)),
    "narrow": [jnp.arange(-8, 8).astype(jnp.int4), jnp.uint4(15), jnp.arange(-2, 2).astype(jnp.int2), jnp.float8_e5m2(1.5)],
    "half": [np.arange(3).astype(jnp.bfloat16), np.float16(0.5)],
    "empty": {"nothing": np.zeros((0, 3), np.float32), "one": np.int8(-3)},
}


@pytest.mark.parametrize("name", TREES)
def test_what_goes_in_comes_out(name):
    tree = jax.tree.map(jnp.asarray, TREES[name])
    found = unpack(packing_of(tree), np.asarray(jax.jit(pack)(tree)))
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for there, given in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        assert there.dtype == given.dtype and there.shape == given.shape
        assert there.tobytes() == np.asarray(given).tobytes()
        assert there.flags.writeable


def test_python_s_own_numbers_are_those_jax_makes_of_them():
    found = unpack(packing_of((1.5, True, 7)), np.asarray(pack((1.5, True, 7))))
    assert [(value.item(), value.dtype) for value in found] == [(1.5, np.float32), (True, bool), (7, np.int32)]


def test_wide_numbers_lose_nothing():
    with jax.enable_x64():
        tree = {"x": jnp.array([np.pi, 1e-300]), "i": jnp.array(2**62)}
        found = unpack(packing_of(tree), np.asarray(pack(tree)))
    assert found["x"].tolist() == [np.pi, 1e-300] and found["i"] == 2**62


@pytest.mark.parametrize("name", TREES)
def test_a_compiled_function_reads_what_went_in(name):
    tree = jax.tree.map(jnp.asarray, TREES[name])
    found = jax.jit(lambda row: spread(packing_of(tree), row))(pack(tree))
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for there, given in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        assert there.dtype == given.dtype and np.asarray(there).tobytes() == np.asarray(given).tobytes()


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_typed_keys_stay_keys(impl):
    keys = jax.random.split(jax.random.key(3, impl=impl), 2)
    found = spread(packing_of({"k": keys}), pack({"k": keys}))["k"]
    np.testing.assert_array_equal(jax.random.normal(found[1], 3), jax.random.normal(keys[1], 3))


def test_a_tree_of_nothing():
    assert spread(packing_of(()), pack(())) == unpack(packing_of(()), np.asarray(pack(()))) == ()
