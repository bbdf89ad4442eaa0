"""Numbers of a page as JSON: arrays as base64 of little-endian float32, which a browser reads as they are."""

import base64
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def pack(values: Any) -> dict[str, Any]:
    """An array as {"shape": [...], "data": base64}."""
    array = np.ascontiguousarray(values, "<f4")
    return {"shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """What was packed.

    >>> unpack(pack([[1.0, 2.5]]))
    array([[1. , 2.5]], dtype=float32)
    """
    return np.frombuffer(base64.b64decode(packed["data"]), "<f4").reshape(packed["shape"]).astype(np.float32)


def flat_mlp(params: Any) -> np.ndarray:
    """The weights of an MLP in one row, layer by layer: kernel [inputs, outputs] by rows, then bias."""
    layers = params["params"]
    names = sorted(layers, key=lambda name: int(name.rpartition("_")[2]))
    return np.concatenate([np.ravel(layers[name][part]) for name in names for part in ("kernel", "bias")])


def sizes_of(params: Any) -> list[int]:
    """Inputs, hidden units and outputs of an MLP."""
    layers = params["params"]
    names = sorted(layers, key=lambda name: int(name.rpartition("_")[2]))
    return [int(layers[names[0]]["kernel"].shape[0]), *(int(layers[name]["bias"].shape[0]) for name in names)]


def mlp_of(flat: np.ndarray, sizes: list[int]) -> Any:
    """The parameters that `flat_mlp` put into a row.

    >>> sizes_of(mlp_of(np.arange(13.0), [2, 3, 1]))
    [2, 3, 1]
    """
    layers, start = {}, 0
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        kernel = flat[start : start + inputs * outputs].reshape(inputs, outputs)
        start += inputs * outputs
        layers[f"Dense_{index}"] = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(flat[start : start + outputs])}
        start += outputs
    return {"params": layers}


GATES = ("ir", "iz", "in", "hr", "hz", "hn")  # of flax's GRU; those of the inputs have a bias, and so has hn


def flat_gru(params: Any) -> np.ndarray:
    """The weights of a GRU in one row: for each gate of `GATES` its kernel by rows, then its bias if it has one."""
    gates = params["params"]
    return np.concatenate([np.ravel(gates[name][part]) for name in GATES for part in ("kernel", "bias") if part in gates[name]])


def gru_of(flat: np.ndarray, inputs: int, size: int) -> Any:
    """The parameters that `flat_gru` put into a row."""
    gates, start = {}, 0
    for name in GATES:
        shape = (inputs if name[0] == "i" else size, size)
        gates[name] = {"kernel": jnp.asarray(flat[start : start + shape[0] * size].reshape(shape))}
        start += shape[0] * size
        if name[0] == "i" or name == "hn":
            gates[name]["bias"] = jnp.asarray(flat[start : start + size])
            start += size
    return {"params": gates}


def first_of(states: Any) -> Any:
    """The state of the only seed, leaves [1, ...]."""
    return jax.tree.map(lambda leaf: leaf[0], states)
