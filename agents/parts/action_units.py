"""The units in which a policy acts, where they are not those of its task family."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from agents.parts.encoding import categories, joined, parts, refuse_unknown
from metarl.interfaces import known, unchanged

ToAction = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class ToBox:
    """A policy's output [..., A] -> action [..., *shape]: ``middle + half * output / scale``, clipped to [low, high].

    Attributes:
        scale: see `to_action`.
        middle: [A].
        half: [A], with ``middle`` 0 and 1 where the range of actions stands for itself.
        low: [A].
        high: [A].
        shape: of an action.
    """

    scale: float
    middle: np.ndarray
    half: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shape: tuple[int, ...]

    def __call__(self, output: jax.Array) -> jax.Array:
        """The action."""
        action = output if known(self.scale) and self.scale == 1 else output / self.scale
        if self.middle.any() or (self.half != 1).any():
            action = jnp.asarray(self.middle, action.dtype) + jnp.asarray(self.half, action.dtype) * action
        action = jnp.clip(action, jnp.asarray(self.low, action.dtype), jnp.asarray(self.high, action.dtype))
        return action if len(self.shape) == 1 else action.reshape(*action.shape[:-1], *self.shape)


def policy_space(action_space: Any, unit: bool = False) -> Any:
    """The space in which a policy acts for a family with ``action_space``.

    Discrete and MultiDiscrete from 0; Box, MultiDiscrete and MultiBinary of one axis; for a Dict or Tuple the Tuple of its
    parts, in Gymnasium's order.

    Args:
        action_space: the family's.
        unit: whether [-1, 1] stands for the range of each axis that has one; see ``TaskFamily.unit_actions``.

    >>> policy_space(Box(np.array([[0.0, 5.0]]), np.array([[2.0, np.inf]]), dtype=np.float64), unit=True)
    Box([-1.  5.], [ 1. inf], (2,), float32)
    >>> policy_space(Dict(jump=Discrete(3, start=1), keys=MultiBinary((2, 2))))
    Tuple(Discrete(3), MultiBinary(4))
    """
    if isinstance(action_space, Dict | Tuple):
        return Tuple([policy_space(part, unit) for _, part in parts(action_space)])
    if isinstance(action_space, Discrete):
        return Discrete(int(action_space.n))
    if isinstance(action_space, MultiDiscrete):
        return MultiDiscrete(categories(action_space))
    if isinstance(action_space, MultiBinary):
        return MultiBinary(int(np.prod(action_space.shape)))
    if not isinstance(action_space, Box) or not (unit or len(action_space.shape) != 1):
        return action_space
    low, high = (np.ravel(bound).astype(np.float32) for bound in (action_space.low, action_space.high))
    bounded = np.isfinite(low) & np.isfinite(high) & unit
    return Box(np.where(bounded, np.float32(-1), low), np.where(bounded, np.float32(1), high), dtype=np.float32)


def has_gaussian(action_space: Any) -> bool:
    """Whether a policy has a Gaussian for the actions, or for a part of them.

    >>> has_gaussian(Dict(jump=Discrete(3), steer=Box(-1, 1, (2,)))), has_gaussian(MultiBinary(3))
    (True, False)
    """
    return any(not isinstance(part, Discrete | MultiDiscrete | MultiBinary) for _, part in parts(action_space))


def to_action(action_space: Any, scale: float, unit: bool = False) -> ToAction:
    """A policy's output [..., A] -> the action [..., *shape] that a family with ``action_space`` takes, always within it.

    A Gaussian's is ``output / scale``, clipped to the space; where [-1, 1] stands for the range of an axis, it is brought to
    that range first. Of a discrete space it is the output, counted from the space's start. For a Dict or Tuple a policy gives
    a tuple with an output for each part.

    A Gaussian policy moves in units of its standard deviation: an inner step moves its mean by ``inner_lr / sigma^2`` of them.
    With scale 10 a standard deviation of 1 shakes a robot by a tenth of its torques, and steps stay gentle; a standard
    deviation of 0.1 with scale 1 shakes it as little, but steps are a hundred times as large.

    Args:
        action_space: the family's.
        scale: see above; of the Boxes in it.
        unit: see `policy_space`.

    Raises:
        ValueError: discrete actions, which have no scale, a Box of whole numbers, or a space without a policy.

    >>> convert = to_action(Box(-1.0, 1.0, (2,)), 10.0)
    >>> convert(jnp.array([5.0, -20.0])).tolist()
    [0.5, -1.0]
    >>> to_action(Box(2.0, 6.0, (1,)), 1.0, unit=True)(jnp.array([-0.5])).tolist()
    [3.0]
    >>> action = to_action(Dict(jump=Discrete(3, start=1), go=Box(-1, 1, ())), 1.0)((jnp.array(2), jnp.array([7.0])))
    >>> {name: value.item() for name, value in action.items()}
    {'jump': 3, 'go': 1.0}
    """
    refuse_unknown("action_space", action_space)
    for path, part in parts(action_space):
        if isinstance(part, Box) and not np.issubdtype(part.dtype, np.floating):
            raise ValueError(
                f"action_space{path} is {part}, but policies act in Discrete spaces or a Box of floats; make it one, or a "
                "MultiDiscrete."
            )
    if known(scale) and scale != 1 and not has_gaussian(action_space):
        raise ValueError(f"action_scale is {scale:g}, but actions are discrete: there is nothing to scale.")
    if not isinstance(action_space, Dict | Tuple):
        return _to_part(action_space, scale, unit)
    converters = [_to_part(part, scale, unit) for _, part in parts(action_space)]
    return lambda outputs: joined(action_space, (convert(output) for convert, output in zip(converters, outputs, strict=True)))


def _to_part(space: Any, scale: float, unit: bool) -> ToAction:
    """`to_action` of a space without parts."""
    shape = space.shape or ()
    if isinstance(space, Discrete):
        start = int(space.start)
        return unchanged if start == 0 else lambda output: output + start
    if isinstance(space, MultiDiscrete):
        if len(shape) == 1 and not np.any(space.start):
            return unchanged
        return lambda output: output.reshape(*output.shape[:-1], *shape) + np.asarray(space.start, np.int32)
    if isinstance(space, MultiBinary):
        return lambda output: output.reshape(*output.shape[:-1], *shape).astype(jnp.int8)
    low, high = (np.ravel(bound).astype(np.float64) for bound in (space.low, space.high))
    finite = np.isfinite(low) & np.isfinite(high)
    if known(scale) and scale == 1 and len(shape) == 1 and np.isneginf(low).all() and np.isposinf(high).all():
        return unchanged
    middle, half = np.zeros(low.shape), np.ones(low.shape)
    if unit:
        middle[finite], half[finite] = (low[finite] + high[finite]) / 2.0, (high[finite] - low[finite]) / 2.0
    return ToBox(scale, middle, half, low, high, shape)


@dataclass(frozen=True)
class InPolicyUnits:
    """A family as a policy acts in it: its ``transition``, ``reward`` and ``transition_info`` take what the policy
    gives, from ``action_space``, and its ``observation`` gives what the policy reads, in ``observation_space``.

    All else is the family's own.
    """

    family: Any
    convert: ToAction
    action_space: Any
    read: Callable[[Any], jax.Array]
    observation_space: Any

    def __getattr__(self, name: str) -> Any:
        """Horizon, tasks and the other functions."""
        return getattr(self.family, name)

    def observation(self, state, rng, params):
        """What the policy reads of the family's observation."""
        return self.read(self.family.observation(state, rng, params))

    def transition(self, state, action, rng, params):
        """The state after the converted action."""
        return self.family.transition(state, self.convert(action), rng, params)

    def reward(self, state, action, next_state, rng, params):
        """The reward of the converted action."""
        return self.family.reward(state, self.convert(action), next_state, rng, params)

    def transition_info(self, state, action, next_state, params):
        """What is told of the converted action."""
        return self.family.transition_info(state, self.convert(action), next_state, params)
