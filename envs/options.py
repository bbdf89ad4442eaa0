"""What constructor options may be. Each error names the family, the option and the value."""

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

MAX = float(np.finfo(np.float32).max)


def whole_number(family: str, option: str, value: Any, least: int) -> int:
    """``value``, or ValueError if it is no int of at least ``least``."""
    if type(value) is not int or value < least:  # True is an int to isinstance
        raise ValueError(f"{family}: {option} is {value!r}, but must be a whole number of at least {least}.")
    return value


def one_of(family: str, option: str, value: Any, known: Sequence[str]) -> str:
    """``value``, or ValueError if it is not among ``known``."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{family}: {option} is {value!r}; known: {', '.join(known)}.")
    return value


def is_number(value: Any) -> bool:
    """Whether ``value`` is a real number that float32 holds: no bool, NaN or infinity."""
    number: Any = value  # Real's own type has no order for mypy
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and bool(abs(number) <= MAX)


def is_range(value: Any) -> bool:
    """Whether ``value`` is [low, high]: two such numbers, low <= high."""
    if not isinstance(value, Sequence) or len(value) != 2 or not all(map(is_number, value)):
        return False
    return bool(value[0] <= value[1])
