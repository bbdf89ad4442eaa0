"""Observations and actions of Gymnasium spaces of any kind: dicts and tuples of arrays, JAX's and Gymnasium's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import Space, spaces

SIMPLE = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
COUNTED = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def parts(space: Space, path: str = "") -> Iterator[tuple[str, Space]]:
    """The spaces that a Dict or Tuple is made of, at any depth and in Gymnasium's own order, each with where it is.

    >>> list(parts(spaces.Dict(b=spaces.Discrete(2), a=spaces.Tuple([spaces.MultiBinary(3)]))))
    [("['b']", Discrete(2)), ("['a'][0]", MultiBinary(3))]
    """
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            yield from parts(part, f"{path}[{name!r}]")
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from parts(part, f"{path}[{index}]")
    else:
        yield path, space


def refuse_unknown(name: str, space: Any) -> None:
    """Raise ValueError, in one line, for a space, called ``name``, without a fixed number of numbers, or with none at all."""
    if not isinstance(space, Space):
        raise ValueError(f"{name} is {_line(space)}, but must be a space, such as a Box, of gymnasium.spaces.")
    if not list(parts(space)):
        raise ValueError(f"{name} is {_line(space)}, which has no parts; give it one.")
    for path, part in parts(space):
        if not isinstance(part, SIMPLE):
            raise ValueError(
                f"{name}{path} is {_line(part)}, but agents take Box, Discrete, MultiDiscrete and MultiBinary spaces, and Dict "
                "and Tuple of these; leave it out, or give it as one of them."
            )


def refuse_actions(name: str, space: Any) -> None:
    """The same, and Boxes of whole numbers, in which no policy acts."""
    refuse_unknown(name, space)
    for path, part in parts(space):
        if isinstance(part, spaces.Box) and not np.issubdtype(part.dtype, np.floating):
            raise ValueError(
                f"{name}{path} is {_line(part)}, but policies act in Discrete spaces or a Box of floats; make it one, or a "
                "MultiDiscrete."
            )


def is_image(space: Space) -> bool:
    """Whether agents read it by convolutions, which scale bytes themselves: [height, width, channels] of bytes."""
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or len(space.shape) != 3:
        return False
    return space.shape[2] <= min(space.shape[:2])


def mapped(function: Callable[..., Any], space: Space, *values: Any) -> Any:
    """The dict, tuple or else of ``function(part, *values of it)``."""
    if isinstance(space, spaces.Dict):
        return {name: mapped(function, part, *(value[name] for value in values)) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(mapped(function, part, *(value[i] for value in values)) for i, part in enumerate(space.spaces))
    return function(space, *values)


def arrays_of(space: Space, value: Any) -> list[Any]:
    """What stands in the place of each of the `parts`."""
    found: list[Any] = []
    mapped(lambda _, part: found.append(part), space, value)
    return found


def joined(space: Space, of_parts: Iterator[Any]) -> Any:
    """The value whose `parts` these are: the inverse of `arrays_of`."""
    return mapped(lambda _: next(of_parts), space)


def in_numpy(space: Space, value: Any) -> Any:
    """A value, or many with axes in front, as Gymnasium has them: NumPy, of the space's own type where entries are counted."""
    convert = lambda part, array: np.asarray(array, part.dtype)[()] if isinstance(part, COUNTED) else np.asarray(array)
    return mapped(convert, space, value)


def stacked(space: Space, values: Sequence[Any]) -> Any:
    """Several values of a space in one, with an axis in front of each part."""
    return mapped(lambda part, *arrays: np.stack(arrays), space, *values)


def shapes_of(space: Space) -> Any:
    """Shapes and types of a value in a compiled function."""
    like = lambda part: jax.ShapeDtypeStruct(part.shape or (), jax.dtypes.canonicalize_dtype(part.dtype))
    return mapped(like, space)


def row_of(space: Space, value: Any, leading: int = 0) -> Any:
    """The numbers of a value, or of many with ``leading`` axes in front, in a row: [..., O]. A Box as it is."""
    if isinstance(space, spaces.Box):
        return value
    rows = [array.reshape(*array.shape[:leading], -1).astype(np.float32) for array in map(jnp.asarray, arrays_of(space, value))]
    return jnp.concatenate(rows, axis=-1)


def fits(space: Space, value: Any) -> str | None:
    """What does not fit in the shapes and types of a value; None if all does."""
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or set(value) != set(space.spaces):
            return f"{_keys(value)}, but must return a dict with {', '.join(map(str, space.spaces))}"
    elif isinstance(space, spaces.Tuple) and (not isinstance(value, tuple | list) or len(value) != len(space.spaces)):
        return f"a {type(value).__name__}, but must return a tuple of {len(space.spaces)}"
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inside: Any = space.spaces
        names = inside if isinstance(space, spaces.Dict) else range(len(inside))
        return next((wrong for name in names if (wrong := fits(inside[name], value[name]))), None)
    if len(jax.tree.leaves(value)) != 1:
        return f"{len(jax.tree.leaves(value))} arrays, but must return one for {space}"
    shape, dtype = value.shape, str(value.dtype)
    counted = isinstance(space, COUNTED) and dtype.startswith(("int", "uint", "bool"))
    right = counted or (dtype == str(space.dtype) == str(jax.dtypes.canonicalize_dtype(space.dtype)))
    if shape == (space.shape or ()) and right:
        return None
    wanted = "whole numbers" if isinstance(space, COUNTED) else space.dtype
    return f"shape {shape} of {dtype}, but {space} has shape {space.shape or ()} of {wanted}"


def _line(value: Any) -> str:
    return " ".join(str(value).split())


def _keys(value: Any) -> str:
    return f"a dict with {', '.join(map(str, value))}" if isinstance(value, Mapping) else f"a {type(value).__name__}"
