"""Spaces for ``task_space``: finite numbers, positive numbers, and boxes with a constraint that Gymnasium's do not express."""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box

# Bounds, since Box(-inf, inf) holds inf, and since 0 divides where a mass does.
MAX = np.finfo(np.float32).max
TINY = np.finfo(np.float32).tiny
SHOWN_WHOLE = 9  # numbers of a wrong value that an error shows


def finite(*shape: int) -> Any:
    """All float32 arrays of this shape without NaN and infinities.

    >>> bool(finite(2).contains(np.array([0.5, -3.0], np.float32))), bool(finite().contains(np.array(np.inf, np.float32)))
    (True, False)
    """
    return Box(-MAX, MAX, shape, np.float32)


def positive(*shape: int) -> Any:
    """All finite float32 arrays of this shape whose entries are above 0."""
    return Box(TINY, MAX, shape, np.float32)


class Such(Space):
    """The values of ``box`` for which ``condition`` (one bool, or one per entry) is true. `sample` is not supported.

    >>> sign = Such(Box(-1.0, 1.0, (), np.float32), lambda x: np.abs(x) == 1.0, "either -1 or 1")
    >>> sign.contains(np.array(-1.0, np.float32)), sign.contains(np.array(0.5, np.float32))
    (True, False)
    """

    def __init__(self, box: Box, condition: Callable[[np.ndarray], Any], words: str):
        super().__init__(box.shape, box.dtype)
        self.box, self.condition, self.words = box, condition, words

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is one of them."""
        return self.box.contains(x) and bool(np.all(self.condition(x)))

    def __repr__(self) -> str:
        return f"{self.box}, {self.words}"


def first_outside(space: Space, value: np.ndarray) -> tuple[str, Any]:
    """What to show of a ``value`` outside ``space``: of a large one the first wrong part, such as ("[3, 1]", -0.5)."""
    if value.size <= SHOWN_WHOLE:
        return "", value
    box = space.box if isinstance(space, Such) else space
    right = (box.low <= value) & (value <= box.high) if isinstance(box, Box) else np.True_
    if np.all(right) and isinstance(space, Such):
        right = np.asarray(space.condition(value))
    index = tuple(int(i) for i in np.argwhere(~right)[0]) if np.ndim(right) and not np.all(right) else ()
    return (str(list(index)) if index else ""), value[index]
