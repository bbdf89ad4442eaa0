"""What every command does with its flags: a dataclass from the command line, checked against limits."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from experiments.cli.errors import UserError

Config = TypeVar("Config")
MAX_SEED = 2**32 - 1


def parse(config: type[Config], args: Sequence[str] | None, prog: str) -> Config:
    """Flags -> the dataclass, whose docstrings are the help. ``args`` are those of this process if None."""
    return tyro.cli(config, args=args, prog=prog, description=config.__doc__)


def at_least(config: Any, **minimum: int) -> None:
    """Refuse counts below their minimum, naming the flag."""
    for name, least in minimum.items():
        values = getattr(config, name)
        for value in values if isinstance(values, tuple) else (values,):
            if value is not None and value < least:
                raise UserError(f"{flag(name)} is {value}, but must be at least {least}.")


def between(config: Any, **limits: tuple[float, float]) -> None:
    """Refuse numbers that are not finite or lie outside [low, high], naming the flag."""
    for name, (low, high) in limits.items():
        values = getattr(config, name)
        for value in values if isinstance(values, tuple) else (values,):
            if value is not None and not (low <= value <= high and math.isfinite(value)):
                upper = f" and at most {high}" if math.isfinite(high) else ""
                raise UserError(f"{flag(name)} is {value}, but must be at least {low}{upper}.")


def multiple(config: Any, name: str, of: str) -> None:
    """Refuse a count that is no multiple of another, naming both flags."""
    if getattr(config, name) % getattr(config, of):
        raise UserError(f"{flag(name)} is {getattr(config, name)}, but must be a multiple of {flag(of)} {getattr(config, of)}.")


def flag(name: str) -> str:
    """The command-line spelling of a field."""
    return "--" + name.replace("_", "-")
