"""Observations of an environment that a user steps, checked, and actions as that environment takes them."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

import envs
from experiments.cli.errors import UserError, shown


def read_observation(
    family: envs.TaskFamily, observation: Any, lead: tuple[int, ...] = (), read: Callable[[Any], Any] | None = None
) -> np.ndarray:
    """An environment's observation as the network reads it, [*lead, ...]; `UserError` in one line if it does not fit.

    Args:
        family: the environments.
        observation: of one, or of many with axes in front.
        lead: those axes.
        read: see `Compiled`.
    """
    space: Any = family.observation_space
    if isinstance(space, gymnasium.spaces.Box):
        seen = _numbers(space, observation, lead, "", family.read_observation)
    else:
        seen = _of_parts(space, observation, lead, "")
    return seen if read is None else np.asarray(read(seen))


def _of_parts(space: Any, observation: Any, lead: tuple[int, ...], path: str) -> Any:
    """An observation, checked against a space of any kind: NumPy arrays in the place of its parts."""
    if isinstance(space, gymnasium.spaces.Dict):
        if not isinstance(observation, Mapping) or not set(space.spaces) <= set(observation):
            raise UserError(
                f"the observation{path} is {shown(observation)}, but must be a dict with {', '.join(map(str, space.spaces))}."
            )
        return {name: _of_parts(part, observation[name], lead, f"{path}[{name!r}]") for name, part in space.spaces.items()}
    if isinstance(space, gymnasium.spaces.Tuple):
        if not isinstance(observation, tuple | list) or len(observation) != len(space.spaces):
            raise UserError(f"the observation{path} is {shown(observation)}, but must be a tuple of {len(space.spaces)} items.")
        return tuple(_of_parts(part, observation[i], lead, f"{path}[{i}]") for i, part in enumerate(space.spaces))
    if isinstance(space, gymnasium.spaces.Box):
        return _numbers(space, observation, lead, path, np.asarray)
    seen = _numbers(space, observation, lead, path, np.asarray, whole=True)
    least: Any = 0 if isinstance(space, gymnasium.spaces.MultiBinary) else space.start
    count = {gymnasium.spaces.Discrete: "n", gymnasium.spaces.MultiDiscrete: "nvec"}.get(type(space))
    most = least + (getattr(space, count) if count else 2)
    if np.any((seen < least) | (seen >= most)):
        raise UserError(f"the observation{path} is {shown(observation)}, which is not in {space}.")
    return seen.astype(np.int32)


def _numbers(space: Any, observation: Any, lead: tuple[int, ...], path: str, read: Callable, whole: bool = False) -> np.ndarray:
    shape = lead + (space.shape or ())
    wanted = f"{'whole ' if whole else ''}numbers of shape {shape}"
    try:
        seen = np.asarray(observation) if lead or np.shape(observation) == shape else read(observation)
        if whole and np.asarray(seen).dtype.kind not in "biu":
            raise ValueError
        seen = np.asarray(seen, space.dtype)
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"the observation{path} is {shown(observation)}, but must be {wanted}.") from error
    if seen.shape != shape:
        raise UserError(f"the observation{path} has shape {seen.shape}, but must have {shape}, as in training.")
    if not np.isfinite(seen).all():
        place = np.argwhere(~np.isfinite(np.atleast_1d(seen)))[0].tolist()
        raise UserError(
            f"the observation{path} is {np.atleast_1d(seen)[tuple(place)]} at place {place}; the agent would act on it."
        )
    return seen


def in_space(space: gymnasium.Space, action: Any) -> Any:
    """An action as NumPy, of the space's own number type, whose rounding must not lead out of it."""
    if isinstance(space, gymnasium.spaces.Dict):
        return {name: in_space(part, action[name]) for name, part in space.spaces.items()}
    if isinstance(space, gymnasium.spaces.Tuple):
        return tuple(in_space(part, each) for part, each in zip(space.spaces, action, strict=True))
    if isinstance(space, gymnasium.spaces.Discrete):
        return np.asarray(action, np.int64)[()]
    action = np.asarray(action)
    if isinstance(space, gymnasium.spaces.MultiDiscrete | gymnasium.spaces.MultiBinary):
        return action.astype(space.dtype)
    if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return np.asarray(np.clip(action.astype(space.dtype), space.low, space.high))
    return action
