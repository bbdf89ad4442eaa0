"""Validation of constructor options. Each error names the family, the option and the value."""

import json
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


def from_flags(horizon: int | None, env_options: Sequence[str]) -> dict[str, Any]:
    """Constructor options from the flags ``--horizon`` and ``--env-options NAME=VALUE``; values are JSON, or else text."""
    options: dict[str, Any] = {} if horizon is None else {"horizon": horizon}
    for option in env_options:
        name, equals, value = option.partition("=")
        if not (name.isidentifier() and equals):
            raise ValueError(f"--env-options has {option!r}, but options look like NAME=VALUE, such as arms=10.")
        if name in options:
            raise ValueError(f"--env-options gives {name} although it is given already; leave it out.")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options
