"""A linear recurrent unit (Orvieto et al. 2023): a parallel scan over recorded steps, a recurrence from step to step."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

INSIDE = 1e-4  # draws stay this far from 0 and 1, where logarithms are infinite; ours


class LRU(nn.Module):
    """Blocks of layer normalisation, a diagonal linear recurrence and a gated linear unit, with a skip connection each.

    Orvieto et al. 2023, Section 2 and Appendix A. The state of each block is ``size`` complex numbers, kept as [2, size]: real
    and imaginary parts.

    Attributes:
        size: of the state, and of the output.
        layers: number of blocks.
    """

    size: int
    layers: int = 1

    def setup(self):
        """Name the parts."""
        self.encode = nn.Dense(self.size)
        self.blocks = [_Block(self.size) for _ in range(self.layers)]

    @nn.nowrap
    def start(self):
        """Zeros [layers, 2, size]."""
        return jnp.zeros((self.layers, 2, self.size), jnp.float32)

    def act(self, memory, x):
        """One step of the recurrence: x [F] -> [size]."""
        return self._through(memory, x, lambda block, state, x: block.step(state, x))

    def replay(self, memory, x, taken):
        """All steps by a parallel scan: x [S, F] -> [S, size]."""
        return self._through(memory, x, lambda block, state, x: block.scan(state, x, taken))

    def _through(self, memory, x, along):
        x, states = self.encode(x), []
        for block, parts in zip(self.blocks, memory, strict=True):
            state, x = along(block, jax.lax.complex(*parts), x)
            states.append(jnp.stack([state.real, state.imag]))
        return jnp.stack(states), x


class _Block(nn.Module):
    """x -> x + GLU(gelu(C s + D u)), where u = LayerNorm(x) and s follows s' = lambda * s + gamma * B u."""

    size: int

    def setup(self):
        size, normal = self.size, nn.initializers.normal
        self.norm, self.value, self.gate = nn.LayerNorm(), nn.Dense(size), nn.Dense(size)
        # lambda = exp(-exp(nu) + i exp(theta)): in the unit disc, its modulus uniform on the disc's area, any phase.
        self.nu = self.param("nu", lambda key: jnp.log(-0.5 * jnp.log(_between(key, size))))
        self.theta = self.param("theta", lambda key: jnp.log(2 * math.pi * _between(key, size)))
        # gamma = sqrt(1 - |lambda|^2), so that states begin at one scale however long they last; then it is learned.
        self.gamma = self.param("gamma", lambda key: 0.5 * jnp.log(1 - jnp.exp(-2 * jnp.exp(self.nu))))
        into, out = normal(1 / math.sqrt(2 * size)), normal(1 / math.sqrt(size))
        self.into = self.param("into", into, (2, size, size)), self.param("out", out, (2, size, size))
        self.straight = self.param("straight", normal(1.0), (size,))

    def step(self, state, x):
        """State [size] complex, x [size]."""
        decay, driven, u = self._inputs(x)
        state = decay * state + driven
        return state, self._output(state, u, x)

    def scan(self, state, x, taken):
        """State [size] complex, x [S, size], taken [S]."""
        decay, driven, u = self._inputs(x)
        taken = taken[:, None] > 0
        steps = jnp.where(taken, decay, 1.0), jnp.where(taken, driven, 0.0)
        powers, summed = jax.lax.associative_scan(_then, steps)
        after = powers * state + summed
        # A step that is not taken leaves no trace, but has an output of its own, as in `step`.
        before = jnp.concatenate([state[None], after[:-1]])
        return after[-1], self._output(decay * before + driven, u, x)

    def _inputs(self, x) -> Any:
        u = self.norm(x)
        nu, theta, gamma = (p.astype(u.dtype) for p in (self.nu, self.theta, self.gamma))  # as exact as what they act on
        decay = jnp.exp(jax.lax.complex(-jnp.exp(nu), jnp.exp(theta)))
        return decay, jnp.exp(gamma) * (u @ jax.lax.complex(*self.into[0])), u

    def _output(self, state, u, x):
        out = jax.lax.complex(*self.into[1])
        y = nn.gelu((state @ out).real + self.straight * u)
        return x + self.value(y) * nn.sigmoid(self.gate(y))


def _then(first, second):
    """Of two linear maps s -> a s + b in a row."""
    (a, b), (c, d) = first, second
    return c * a, c * b + d


def _between(key, size):
    return jax.random.uniform(key, (size,), jnp.float32, INSIDE, 1 - INSIDE)
