"""The units in which a policy acts, where they are not those of its task family."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from gymnasium.spaces import Discrete

from metarl.interfaces import unchanged

ToAction = Callable[[jax.Array], jax.Array]


def to_action(action_space: Any, scale: float) -> ToAction:
    """A policy's output -> the action that a family with ``action_space`` takes: ``output / scale``, clipped to the space.

    With scale 1 it is the output itself, which families clip as they see fit.

    A Gaussian policy moves in units of its standard deviation: an inner step moves its mean by ``inner_lr / sigma^2`` of them.
    With scale 10 a standard deviation of 1 shakes a robot by a tenth of its torques, and steps stay gentle; a standard
    deviation of 0.1 with scale 1 shakes it as little, but steps are a hundred times as large.

    Raises:
        ValueError: discrete actions, which have no scale.

    >>> from gymnasium.spaces import Box
    >>> convert = to_action(Box(-1.0, 1.0, (2,)), 10.0)
    >>> convert(jnp.array([5.0, -20.0])).tolist()
    [0.5, -1.0]
    """
    if scale == 1:
        return unchanged
    if isinstance(action_space, Discrete):
        raise ValueError(f"action_scale is {scale:g}, but actions are discrete: there is nothing to scale.")
    low, high = action_space.low, action_space.high
    return lambda output: jnp.clip(output / scale, low, high)


@dataclass(frozen=True)
class InPolicyUnits:
    """A family as a policy acts in it: its ``transition`` and ``reward`` take what the policy gives.

    All else is the family's own.
    """

    family: Any
    convert: ToAction

    def __getattr__(self, name: str) -> Any:
        """Spaces, horizon, tasks and the other functions."""
        return getattr(self.family, name)

    def transition(self, state, action, rng, params):
        """The state after the converted action."""
        return self.family.transition(state, self.convert(action), rng, params)

    def reward(self, state, action, next_state, rng, params):
        """The reward of the converted action."""
        return self.family.reward(state, self.convert(action), next_state, rng, params)
