"""Memories over a trial as pure functions: of recurrent cells, of flax modules that remember, and in chunks."""

import inspect
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from agents.parts.networks import one_line, remembers
from metarl.interfaces import Key, Params, Tree


class Memory(NamedTuple):
    """What lasts from step to step of a trial, and over its episodes: nothing is reset before the trial's end.

    Its size is that of ``start``, whatever the trial's length.

    Attributes:
        init: key -> params.
        start: the memory at the start of a trial.
        act: (params, memory, x [F]) -> (memory, y [H]), one step.
        replay: (params, memory, x [S, F], taken [S]) -> (memory, y [S, H]): what ``act`` gives along S steps in a row, all at
            once. Past a step that was not taken, after an episode's end, the memory is what it was before.
        num_outputs: H.
    """

    init: Callable[[Key], Params]
    start: Tree
    act: Callable[[Params, Tree, jax.Array], tuple[Tree, jax.Array]]
    replay: Callable[[Params, Tree, jax.Array, jax.Array], tuple[Tree, jax.Array]]
    num_outputs: int


class _Unfit(ValueError):
    """A memory that is none, already said in one line."""


def memory_of(module: nn.Module, num_inputs: int, called: str) -> Memory:
    """A flax module that remembers, as pure functions.

    It is a recurrent cell, or has methods ``start() -> memory``, without parameters, and ``act(memory, x [F]) -> (memory,
    y [H])``. Where it has ``replay(memory, x [S, F], taken [S]) -> (memory, y [S, H])`` too, training calls that; else it scans
    ``act``.

    Args:
        module: the memory.
        num_inputs: F.
        called: how messages call it.

    Raises:
        ValueError: in one line: it fails, keeps another state, or changes the shape of its memory from step to step.
    """
    cell = isinstance(module, nn.RNNCellBase)
    method = None if cell else "act"
    replays = not cell and callable(getattr(module, "replay", None))

    def init(key):
        return module.init(key, start, jnp.zeros(num_inputs), method=method)

    def act(params, memory, x):
        return module.apply(params, memory, x, method=method)

    def scan(params, memory, x, taken):
        def step(memory, inputs):
            x, taken = inputs
            after, y = act(params, memory, x)
            return jax.tree.map(lambda new, old: jnp.where(taken > 0, new, old), after, memory), y

        return jax.lax.scan(step, memory, (x, taken))

    def replay(params, memory, x, taken):
        return module.apply(params, memory, x, taken, method="replay")

    along = replay if replays else scan
    try:
        start: Any = module.initialize_carry(jax.random.key(0), (num_inputs,)) if cell else module.start()  # type: ignore[attr-defined, operator]
        params = jax.eval_shape(init, jax.random.key(0))
        if set(params) != {"params"}:
            kept = ", ".join(sorted(set(params) - {"params"})) or "no parameters"
            raise _Unfit(f"{called} keeps {kept}, but must have parameters, and no other state than its memory.")
        after, _ = jax.eval_shape(act, params, start, jnp.zeros(num_inputs))
        # Where jax computes in float64 a memory begins in float32, as parameters do, and goes on in float64.
        start = jax.tree.map(lambda old, new: jnp.asarray(old, jnp.promote_types(old.dtype, new.dtype)), start, after)
        after, y = jax.eval_shape(act, params, start, jnp.zeros(num_inputs))
        many = jax.eval_shape(along, params, start, jnp.zeros((2, num_inputs)), jnp.ones(2))
    except _Unfit:
        raise
    except Exception as error:  # whatever a user's module raises becomes one line
        raise ValueError(f"{called} fails on {num_inputs} inputs: {type(error).__name__}: {one_line(error)}") from error
    if len(y.shape) != 1:
        raise ValueError(f"{called}: act gives outputs of shape {y.shape}, but must give a vector.")
    for what, found, wanted in (
        ("act", _shapes(after), _shapes(start)),
        ("replay", _shapes(many), _shapes((start, jax.ShapeDtypeStruct((2, *y.shape), y.dtype)))),
    ):
        if found != wanted:
            raise ValueError(f"{called}: {what} gives {found}, but must give {wanted}: a memory keeps its shapes.")
    return Memory(init, start, act, along, y.shape[0])


def made(found: Any, called: str, options: dict[str, Any], given: Collection[str]) -> nn.Module:
    """A memory with those of the ``options`` that it takes.

    Args:
        found: a module that remembers, or a function that makes one: of its size, and of any other option by its name.
        called: how messages call it.
        options: memory_size, memory_layers and so on; a function takes them as size, layers and so on.
        given: those that the user has chosen, which must be taken.

    Raises:
        ValueError: in one line.
    """
    takes: Any = () if isinstance(found, nn.Module) else inspect.signature(found).parameters
    wanted = {name.removeprefix("memory_"): value for name, value in options.items()}
    size = wanted.pop("size")
    if isinstance(found, nn.Module) and "memory_size" in given:
        raise ValueError(f"memory_size is {size}, but {called} has a size of its own; leave one out.")
    for name, value in wanted.items():
        if f"memory_{name}" in given and name not in takes:
            raise ValueError(f"memory_{name} is {value}, but {called} has no {name} to choose; leave it out.")
    try:
        chosen = {name: value for name, value in wanted.items() if name in takes}
        module = found if isinstance(found, nn.Module) else found(size, **chosen)
    except Exception as error:  # whatever a user's function raises becomes one line
        raise ValueError(f"{called} cannot be made of size {size}: {type(error).__name__}: {one_line(error)}") from error
    if not remembers(module):
        raise ValueError(
            f"{called} is {type(module).__name__}, but must be a flax module that remembers: a recurrent cell, or one with "
            "start and act."
        )
    return module


def in_chunks(memory: Memory, size: int) -> Memory:
    """The same memory, whose replay cuts gradients every ``size`` steps: truncated backpropagation through time.

    No burn-in is needed: the trial is replayed from its start with the parameters that are being differentiated, so that a
    chunk begins with the memory that these parameters give. What is computed inside a chunk is computed again in the backward
    pass, not stored: memory is for one chunk at a time.
    """

    def replay(params, carry, x, taken):
        steps = x.shape[0]
        number = -(-steps // size)

        def split(leaf):  # steps after the last are not taken
            padded = jnp.pad(leaf, [(0, number * size - steps)] + [(0, 0)] * (leaf.ndim - 1))
            return padded.reshape(number, size, *leaf.shape[1:])

        def chunk(carry, inputs):
            # Removes the derivative of a chunk's outputs with respect to the memory that it begins with, and so to the past.
            carry = jax.lax.stop_gradient(carry)
            return memory.replay(params, carry, *inputs)

        carry, y = jax.lax.scan(jax.checkpoint(chunk, prevent_cse=False), carry, (split(x), split(taken)))
        return carry, y.reshape(number * size, *y.shape[2:])[:steps]

    return memory._replace(replay=replay)


def _shapes(tree: Tree) -> Any:
    return jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree)
