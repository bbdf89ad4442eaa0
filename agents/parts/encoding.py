"""How a policy reads observations of any Gymnasium space: as one array of numbers, or as an image."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import Space, spaces

from metarl.interfaces import unchanged

Trunk = Literal["auto", "mlp", "conv"]
TRUNKS = ("auto", "mlp", "conv")
MOST_CATEGORIES = 1_000_000  # of one Discrete: as many logits, or numbers of a one-hot
SIMPLE = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def parts(space: Space, path: str = "") -> Iterator[tuple[str, Space]]:
    """The spaces that a Dict or Tuple is made of, at any depth and in Gymnasium's own order, each with where it is.

    >>> inner = spaces.Dict(b=spaces.Discrete(2), a=spaces.MultiBinary(3))
    >>> list(parts(spaces.Tuple([inner, spaces.Discrete(4)])))
    [("[0]['b']", Discrete(2)), ("[0]['a']", MultiBinary(3)), ('[1]', Discrete(4))]
    """
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            yield from parts(part, f"{path}[{name!r}]")
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from parts(part, f"{path}[{index}]")
    else:
        yield path, space


def values(space: Space, value: Any) -> Iterator[Any]:
    """What stands in the place of each of the `parts` in a value of the space, or in many, with axes in front."""
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            yield from values(part, value[name])
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from values(part, value[index])
    else:
        yield value


def joined(space: Space, of_parts: Iterator[Any]) -> Any:
    """A value of the space from those of its `parts`: the inverse of `values`."""
    if isinstance(space, spaces.Dict):
        return {name: joined(part, of_parts) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(joined(part, of_parts) for part in space.spaces)
    return next(of_parts)


def refuse_unknown(name: str, space: Any) -> None:
    """Raise ValueError, in one line, for a space, called ``name``, with parts that are no fixed number of numbers."""
    found = list(parts(space))
    for path, part in found:
        if not isinstance(part, SIMPLE):
            raise ValueError(
                f"{name}{path} is {part}, but agents take Box, Discrete, MultiDiscrete and MultiBinary spaces, and Dict and "
                "Tuple of these; leave it out, or give it as one of them."
            )
        most = int(np.max(categories(part), initial=0))
        if most > MOST_CATEGORIES:
            raise ValueError(
                f"{name}{path} is {part}, of {most:,} values, but agents take up to {MOST_CATEGORIES:,}, each a number of its "
                "own; make it a Box, or several smaller ones."
            )
        if not math.prod(part.shape or ()):
            raise ValueError(f"{name}{path} is {part}, which is empty; leave it out.")
    if not found:
        raise ValueError(f"{name} is {space}, which has no parts; give it one.")


def categories(space: Space) -> np.ndarray:
    """How many values each entry of a space may have, [k]; none where entries are not counted."""
    if isinstance(space, spaces.Discrete):
        return np.asarray([space.n], np.int64)
    return np.ravel(space.nvec) if isinstance(space, spaces.MultiDiscrete) else np.zeros(0, np.int64)


def read_space(space: Space) -> spaces.Box:
    """The space of what a policy reads of observations of ``space``: itself where it is a Box, else [O] float32.

    Raises:
        ValueError: it cannot be read, such as text or a graph.

    >>> read_space(spaces.Dict(camera=spaces.Box(0, 255, (2, 2), np.uint8), door=spaces.Discrete(3)))
    Box(0.0, [255. 255. 255. 255.   1.   1.   1.], (7,), float32)
    """
    refuse_unknown("observation_space", space)
    if isinstance(space, spaces.Box):
        return space
    flat = spaces.utils.flatten_space(space)
    assert isinstance(flat, spaces.Box)
    return spaces.Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)


def reader(space: Space) -> Callable[[Any], jax.Array]:
    """Observations of ``space``, or many with axes in front, -> what a policy reads; itself where that is a Box.

    Others are the [..., O] of `gymnasium.spaces.utils.flatten`, in its order: numbers as they are, Discrete and every entry of
    a MultiDiscrete as one-hot.

    >>> read = reader(spaces.Tuple([spaces.Discrete(3, start=1), spaces.Box(-9, 9, (2,))]))
    >>> read((2, jnp.array([5.0, 6.0]))).tolist()
    [0.0, 1.0, 0.0, 5.0, 6.0]
    """
    if isinstance(space, spaces.Box):
        return unchanged

    def read(observation: Any) -> jax.Array:
        rows = [row_of(part, value) for (_, part), value in zip(parts(space), values(space, observation), strict=True)]
        return jnp.concatenate([row.astype(jnp.float32) for row in rows], axis=-1)

    return read


def row_of(space: Space, value: Any) -> jax.Array:
    """A value of a space without parts, [..., *shape], as numbers [..., O]. A value below the least one is all zeros."""
    value = jnp.asarray(value)
    shape = space.shape or ()
    if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return value.reshape(*value.shape[: value.ndim - len(shape)], -1)
    index = (value - np.asarray(space.start, value.dtype)).reshape(*value.shape[: value.ndim - len(shape)], -1)
    hot = [jax.nn.one_hot(index[..., i], int(n)) for i, n in enumerate(categories(space))]
    return jnp.concatenate(hot, axis=-1)


def num_read(space: Space) -> int:
    """How many numbers a policy reads of an observation."""
    return math.prod(read_space(space).shape)


def is_image(space: Space) -> bool:
    """Whether observations are images: bytes [height, width, channels], with fewer channels than pixels along an edge.

    >>> is_image(spaces.Box(0, 255, (64, 48, 3), np.uint8)), is_image(spaces.Box(0, 255, (3, 64, 64), np.uint8))
    (True, False)
    """
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or len(space.shape) != 3:
        return False
    return space.shape[2] <= min(space.shape[:2])


def trunk_of(space: Space, asked: Trunk) -> Literal["mlp", "conv"]:
    """What reads observations: what is asked for, or, on "auto", convolutions for images and dense layers for others.

    Raises:
        ValueError: observations without the three axes that convolutions need, or a trunk that there is not.
    """
    if asked not in TRUNKS:
        raise ValueError(f"trunk is {asked!r}; known: {', '.join(TRUNKS)}.")
    if asked == "auto":
        return "conv" if is_image(space) else "mlp"
    if asked == "conv" and not (isinstance(space, spaces.Box) and len(space.shape) == 3):
        raise ValueError(
            f"trunk is conv, but observation_space is {space}: convolutions read a Box [height, width, channels]; use mlp."
        )
    return asked
