"""A Gaussian squashed by tanh into a box: the policy of soft actor-critic (Haarnoja et al. 2018)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from agents.parts.action_units import ToBox

NEAR_ONE = 1e-6  # how near the border the inverse of tanh is taken
LOG_STD = (-20.0, 2.0)  # haarnoja/sac, and oyster after it


class Bounds(NamedTuple):
    """A box [A] of actions: ``middle + half * x`` for x in [-1, 1]."""

    middle: np.ndarray
    half: np.ndarray

    def from_unit(self, x: jax.Array) -> jax.Array:
        """An action [..., A] of x."""
        return jnp.asarray(self.middle, x.dtype) + jnp.asarray(self.half, x.dtype) * x

    def to_unit(self, action: jax.Array) -> jax.Array:
        """Its x [..., A]."""
        return (action - jnp.asarray(self.middle, action.dtype)) / jnp.asarray(self.half, action.dtype)


class Squashed(NamedTuple):
    """The distribution of ``bounds.from_unit(tanh(u))``, u of a Gaussian: what a `distrax.Distribution` is asked for here.

    Attributes:
        mean: [..., A], of u.
        log_std: [..., A].
        bounds: of actions.
    """

    mean: jax.Array
    log_std: jax.Array
    bounds: Bounds

    def sample_and_log_prob(self, *, seed: jax.Array) -> tuple[jax.Array, jax.Array]:
        """An action, differentiable in the parameters, and its log-probability."""
        u = self.mean + jnp.exp(self.log_std) * jax.random.normal(seed, self.mean.shape, self.mean.dtype)
        return self.bounds.from_unit(jnp.tanh(u)), self._log_prob(u)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """[...], of an action [..., A]; on the border that of one a little inside."""
        x = jnp.clip(self.bounds.to_unit(action), NEAR_ONE - 1.0, 1.0 - NEAR_ONE)
        return self._log_prob(jnp.arctanh(x))

    def mode(self) -> jax.Array:
        """What the Gaussian's mean becomes: the action of a policy without noise, as the papers evaluate it."""
        return self.bounds.from_unit(jnp.tanh(self.mean))

    def _log_prob(self, u: jax.Array) -> jax.Array:
        gaussian = -0.5 * ((u - self.mean) * jnp.exp(-self.log_std)) ** 2 - self.log_std - 0.5 * np.log(2.0 * np.pi)
        # log(1 - tanh(u)^2), without its rounding far from 0
        slope = 2.0 * (np.log(2.0) - u - jax.nn.softplus(-2.0 * u))
        return jnp.sum(gaussian - slope - jnp.log(jnp.asarray(self.bounds.half, u.dtype)), axis=-1)


def bounds_of(name: str, space: Any, to_action: Any) -> Bounds:
    """The box in which a squashed policy acts.

    Args:
        name: the agent's.
        space: in which a policy acts, see `agents.parts.action_units.policy_space`.
        to_action: from it to the family's actions.

    Raises:
        ValueError: discrete actions, actions with parts or without bounds, or scaled ones, in one line.
    """
    if not (isinstance(space, Box) and len(space.shape) == 1):
        raise ValueError(f"{name}: action_space is {space}, but its policy is a Gaussian squashed into a Box; use rl2, say.")
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
        raise ValueError(f"{name}: action_space is {space}, but tanh squashes actions between bounds; give it finite ones.")
    scale = to_action.scale if isinstance(to_action, ToBox) else 1.0
    if scale != 1.0:
        raise ValueError(f"{name}: action_scale is {scale:g}, but tanh fills the box of actions by itself; leave it out.")
    return Bounds((low + high) / 2.0, (high - low) / 2.0)
