"""What Gymnasium asks of its environments beside the functions of a family: actions, info, specifications, time limits."""

import contextlib
import copy
import dataclasses
import importlib
import inspect
import math
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.envs import registration
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from envs.family import TaskFamily, can_render, task_by_names
from envs.options import whole_number
from envs.registration import build_family, imported
from envs.values import SIMPLE, mapped


def read_action(space: Space, action: Any, leading: tuple[int, ...] = ()) -> Any:
    """An action, or one each with ``leading`` axes, as an array; lists are welcome. What lies outside a Box is clipped.

    Raises:
        ValueError: another shape, no numbers, NaN, or a discrete action that there is not.
    """
    return clip_action(np, space, checked_action(space, action, leading))


def clip_action(xp: Any, space: Space, action: Any) -> Any:
    """An action with what lies outside a Box clipped, by ``xp``: NumPy or jax.numpy."""
    # As many functions as clip, which takes six times as long for one action.
    clip = lambda part, array: xp.minimum(xp.maximum(array, part.low), part.high) if isinstance(part, Box) else array
    return mapped(clip, space, action)


def checked_action(space: Space, action: Any, leading: tuple[int, ...] = ()) -> Any:
    """As `read_action`, but what lies outside a Box stays there, for `clip_action` in a compiled function."""
    if isinstance(space, Discrete) and isinstance(action, int | np.integer) and not leading:  # the common cases, quickly
        if space.start <= action < space.start + space.n:
            return np.asarray(action, space.dtype)
    elif isinstance(space, Box) and isinstance(action, np.ndarray):
        alike = action.dtype == space.dtype and action.shape == (*leading, *space.shape)
        if alike and not _has_nan(action):
            return action
    if isinstance(space, Dict):
        if not isinstance(action, Mapping) or set(action) != set(space.spaces):
            raise ValueError(
                f"step: the action is {_shown(action)}, but must be a dict with {', '.join(map(str, space.spaces))}."
            )
        return {name: checked_action(part, action[name], leading) for name, part in space.spaces.items()}
    if isinstance(space, Tuple):
        if not isinstance(action, tuple | list) or len(action) != len(space.spaces):
            raise ValueError(f"step: the action is {_shown(action)}, but must be a tuple of {len(space.spaces)}, for {space}.")
        return tuple(checked_action(part, each, leading) for part, each in zip(space.spaces, action, strict=True))
    if not isinstance(space, SIMPLE):
        return action
    try:
        array = np.asarray(action)
    except ValueError:  # rows of different lengths
        array = np.empty(0, object)
    whole, shape = space.dtype.kind in "iu", (*leading, *(space.shape or ()))
    if array.dtype.kind not in ("iub" if whole else "iubf") or array.shape != shape:
        told = "whole numbers" if whole else "numbers"
        raise ValueError(f"step: the action is {_shown(action)}, but must be {told} of shape {shape}, for {space}.")
    if isinstance(space, Discrete) and np.any((array < space.start) | (array >= space.start + space.n)):
        last = space.start + space.n - 1
        raise ValueError(f"step: the action is {_shown(action)}, but actions are {space.start} to {last} ({space}).")
    if isinstance(space, MultiDiscrete) and np.any((array < space.start) | (array >= space.start + space.nvec)):
        raise ValueError(f"step: the action is {_shown(action)}, which is not in {space}.")
    if isinstance(space, MultiBinary) and np.any((array != 0) & (array != 1)):
        raise ValueError(f"step: the action is {_shown(action)}, but actions are of 0 and 1 ({space}).")
    if array.dtype.kind != "f":
        return array.astype(space.dtype)
    if _has_nan(array):
        raise ValueError(f"step: the action is {_shown(action)}, which is not a number ({space}).")
    return array


def _has_nan(array: np.ndarray) -> bool:
    return math.isnan(np.vdot(array, array))  # a sum of squares, which is NaN where one of them is: the quickest way to ask


def _shown(action: Any) -> str:
    return " ".join(repr(action).split())


def read_info(info: Mapping[str, Any]) -> dict[str, Any]:
    """Info of one environment as Gymnasium's have it: Python numbers, and NumPy arrays where there are axes."""
    return {name: np.asarray(value).item() if np.ndim(value) == 0 else np.asarray(value) for name, value in info.items()}


def check_render_mode(family: TaskFamily, render_mode: Any) -> None:
    """None, or "rgb_array" of a family that draws itself."""
    if render_mode is not None and not (can_render(family) and render_mode == "rgb_array"):
        raise ValueError(
            f"{type(family).__name__}: render_mode is {render_mode!r}, but the family "
            + ("draws rgb_array only." if can_render(family) else "has no render_image; leave render_mode out.")
        )


def limited(family: Any, limit: int | None, options: dict[str, Any]) -> TaskFamily:
    """A family whose horizon is ``limit``, where there is one: what Gymnasium calls max_episode_steps; -1 is as none.

    It is made with that horizon where what makes it takes one. Else it can be cut short, but not prolonged.

    Raises:
        ValueError: as `build_family`; ``options`` have another horizon; or the family cannot be prolonged.
    """
    given = options.get("horizon")
    if limit is None or limit == -1 or limit == given:
        return build_family(family, **options)
    maker = imported(family)
    name = getattr(maker, "__name__", type(maker).__name__)
    if given is not None:
        raise ValueError(f"{name}: horizon is {given}, but max_episode_steps is {limit}; give one of them.")
    if _takes_horizon(maker):
        return build_family(maker, **options, horizon=limit)
    shorter = copy.copy(build_family(maker, **options))
    if limit > shorter.horizon:
        raise ValueError(
            f"{name}: max_episode_steps is {limit}, but an episode has {shorter.horizon} steps, and what makes the family "
            "takes no horizon; give it one."
        )
    shorter.horizon = whole_number(name, "max_episode_steps", limit, 1)
    return shorter


def _takes_horizon(maker: Any) -> bool:
    """Whether a class or function has an argument ``horizon``; an instance has none any more."""
    if isinstance(maker, TaskFamily):
        return False
    try:
        inspect.signature(maker).bind_partial(horizon=1)
    except TypeError:
        return False
    except ValueError:  # classes written in C have no signature; they say themselves what they do not take
        pass
    return True


def limit_of_make(env: Any) -> int | None:
    """``max_episode_steps`` of the `gymnasium.make` that is constructing ``env``; None without one.

    Gymnasium hands it to its own wrapper alone, which can shorten an episode but not prolong it, so it is read where it stands:
    in the first frame above the constructors of ``env``, its own and those of subclasses.
    """
    here = inspect.currentframe()
    maker = here and here.f_back
    while maker is not None and any(value is env for value in maker.f_locals.values()):
        maker = maker.f_back
    if maker is None or maker.f_code is not registration.make.__code__:
        return None
    given = maker.f_locals.get("max_episode_steps")
    return getattr(maker.f_locals.get("env_spec"), "max_episode_steps", None) if given is None else given


def told_spec(spec: EnvSpec | None, family: TaskFamily, task: Any) -> EnvSpec | None:
    """A specification that says how long episodes are, and that `EnvSpec.to_json` can write.

    A task stands there as plain lists by name, what makes the family as its "module:name", or else as its id.
    """
    if spec is None:
        return None
    kwargs = dict(spec.kwargs)
    if kwargs.get("task") is not None:
        kwargs["task"] = task_by_names(task)
    return dataclasses.replace(
        spec, max_episode_steps=family.horizon, kwargs=kwargs | {"family": _by_name(kwargs.get("family"), spec.id)}
    )


def _spec(env: Any) -> EnvSpec | None:
    return env._spec


def _set_spec(env: Any, value: EnvSpec | None) -> None:
    env._spec = told_spec(value, env.family, env.task)


# The ``spec`` of an environment, in the place of Gymnasium's plain attribute; its constructor sets ``_spec`` to None.
SPEC: Any = property(_spec, _set_spec, doc="As Gymnasium's; ``max_episode_steps`` is the horizon.")


def _by_name(maker: Any, id: str) -> Any:
    """The "module:name" of a class or function that can be found there, else the id it is registered under, else itself."""
    module, name = getattr(maker, "__module__", None), getattr(maker, "__qualname__", None)
    if module and name and module != "__main__":
        with contextlib.suppress(ImportError):
            if getattr(importlib.import_module(module), name, None) is maker:
                return f"{module}:{name}"
    known = gymnasium.registry[id].kwargs.get("family") if id in gymnasium.registry else None
    copied = isinstance(maker, TaskFamily) and type(known) is type(maker)  # as gymnasium.make does with arguments
    return id if copied or known is maker else maker
