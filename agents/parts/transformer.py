"""A causal transformer with gates (GTrXL, Parisotto et al. 2020) and a cache of keys and values for acting."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

BASE = 10_000.0  # Su et al. 2021, of the rotation's frequencies
GATE_BIAS = 2.0  # Parisotto et al. 2020, Section 3.2: gates begin nearly closed, and a block near the identity


class Cache(NamedTuple):
    """What a transformer remembers: keys and values of the newest steps, of which older ones make room for newer ones.

    Attributes:
        key: [layers, context, heads, size / heads], turned by their places.
        value: the same shape.
        steps: int32, steps taken so far. The step at place p, counted from 0, lies at p modulo context.
    """

    key: jax.Array
    value: jax.Array
    steps: jax.Array


class Transformer(nn.Module):
    """Blocks of attention and a small network, each behind layer normalisation and a gate.

    A step sees itself and the ``context`` steps before it, among those that were taken. Places are relative: queries and keys
    are turned by them (RoPE, Su et al. 2021; the paper has the encoding of Transformer-XL). The rest is as in Parisotto et al.
    2020, Section 3: normalisation of the inputs of each part, a rectifier behind it, and a gate like a GRU's.

    Attributes:
        size: of each step's vector, and of the output.
        layers: number of blocks.
        heads: of attention; ``size`` is a multiple of twice their number.
        context: steps that are remembered.
    """

    size: int
    layers: int = 1
    heads: int = 4
    context: int = 100

    def setup(self):
        """Name the parts."""
        self.encode = nn.Dense(self.size)
        self.blocks = [_Block(self.size, self.heads) for _ in range(self.layers)]

    def __post_init__(self):
        """Raise ValueError where heads do not divide the size."""
        if self.size % (2 * self.heads):
            raise ValueError(f"{self.size} is no multiple of twice the {self.heads} heads")
        super().__post_init__()

    @nn.nowrap
    def start(self):
        """An empty cache."""
        blank = jnp.zeros((self.layers, self.context, self.heads, self.size // self.heads), jnp.float32)
        return Cache(blank, blank, jnp.zeros((), jnp.int32))

    def act(self, memory, x):
        """One step: x [F] -> [size]."""
        memory, y = self.replay(memory, x[None], jnp.ones(1))
        return memory, y[0]

    def replay(self, memory, x, taken):
        """S steps at once: x [S, F] -> [S, size]."""
        taken, size = taken > 0, self.context
        number = jnp.cumsum(taken.astype(jnp.int32))
        place, end = memory.steps + number - taken, memory.steps + number[-1]
        # The newest step that a slot can hold; negative where it holds none.
        held = memory.steps - 1 - (memory.steps - 1 - jnp.arange(size)) % size
        seen = jnp.concatenate([held, place])
        step = jnp.arange(len(taken))
        past = jnp.concatenate([jnp.ones((len(taken), size), bool), step[None] < step[:, None]], axis=1)
        there = jnp.concatenate([held >= 0, taken])
        near = place[:, None] - seen[None] <= size
        itself = jnp.concatenate([jnp.zeros((len(taken), size), bool), step[None] == step[:, None]], axis=1)
        allowed = (past & there[None] & near) | itself
        # Those that newer ones would overwrite, and those not taken, are written nowhere.
        slot = jnp.where(taken & (place >= end - size), place % size, size)
        x, kept = self.encode(x), []
        for block, key, value in zip(self.blocks, memory.key, memory.value, strict=True):
            x, new = block(x, key, value, place, allowed)
            kept.append([_written(old, slot, one) for old, one in zip((key, value), new, strict=True)])
        keys, values = (jnp.stack(each) for each in zip(*kept, strict=True))
        return Cache(keys, values, end), x


def _written(old: jax.Array, slot: jax.Array, new: jax.Array) -> jax.Array:
    """New rows [S, ...] in their slots of the cache [C, ...]; slot C is none."""
    return old.astype(new.dtype).at[slot].set(new, mode="drop")


class _Block(nn.Module):
    size: int
    heads: int

    @nn.compact
    def __call__(self, x, key, value, place, allowed):
        """X [S, size]; cached key and value [C, heads, D]; place [S]; allowed [S, C + S] -> x, (its keys, its values)."""
        shape = (self.heads, self.size // self.heads)
        query, new_key, new_value = (nn.DenseGeneral(shape)(y) for y in [nn.LayerNorm()(x)] * 3)
        query, new_key = turned(query, place), turned(new_key, place)
        keys, values = jnp.concatenate([key, new_key]), jnp.concatenate([value, new_value])
        attended = nn.dot_product_attention(query, keys, values, mask=allowed[None])
        x = _Gate(self.size)(x, nn.relu(nn.DenseGeneral(self.size, axis=(-2, -1))(attended)))
        y = nn.relu(nn.Dense(4 * self.size)(nn.LayerNorm()(x)))
        return _Gate(self.size)(x, nn.relu(nn.Dense(self.size)(y))), (new_key, new_value)


class _Gate(nn.Module):
    """Parisotto et al. 2020, Section 3.2, Gated-Recurrent-Unit-type gating."""

    size: int

    @nn.compact
    def __call__(self, x, y):
        """X, what went around the part, and y, what came out of it: [S, size] each."""
        of_y = jnp.split(nn.Dense(3 * self.size, use_bias=False)(y), 3, axis=-1)
        of_x = jnp.split(nn.Dense(2 * self.size, use_bias=False)(x), 2, axis=-1)
        bias = self.param("closed", nn.initializers.constant(GATE_BIAS), (self.size,))
        reset, update = nn.sigmoid(of_y[0] + of_x[0]), nn.sigmoid(of_y[1] + of_x[1] - bias)
        new = nn.tanh(of_y[2] + nn.Dense(self.size, use_bias=False)(reset * x))
        return (1 - update) * x + update * new


def turned(x: jax.Array, place: jax.Array) -> jax.Array:
    """Pairs of numbers of x [S, heads, D] turned by angles in proportion to place [S] (Su et al. 2021, Section 3.2.2)."""
    first, second = jnp.split(x, 2, axis=-1)
    frequency = BASE ** (-jnp.arange(first.shape[-1]) / first.shape[-1])
    angle = (place[:, None] * frequency)[:, None]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
