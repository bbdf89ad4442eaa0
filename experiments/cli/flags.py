"""What every command does with its flags: a dataclass from the command line, checked against limits."""

import contextlib
import dataclasses
import difflib
import io
import math
import re
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from experiments.cli.errors import UserError

Config = TypeVar("Config")
MAX_SEED = 2**32 - 1


def parse(config: type[Config], args: Sequence[str] | None, prog: str, description: str | None = None) -> Config:
    """Flags -> the dataclass, whose docstrings are the help.

    Args:
        config: the dataclass.
        args: the command line; that of this process if None.
        prog: how the command is called.
        description: what it does; the dataclass's docstring if None.

    Raises:
        UserError: no such flag, names the closest; a value that is no choice or of another type; a flag that is missing.
    """
    words = list(sys.argv[1:] if args is None else args)
    hints = typing.get_type_hints(config)
    if not {"-h", "--help"} & set(words):
        given = given_flags(words)
        for name, value in given.items():
            _refuse(name, value, hints)
        for name in _required(config):
            if name not in given:
                raise UserError(f"{flag(name)} is missing; {prog} --help says what it is.")
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(config, args=words, prog=prog, description=description or config.__doc__)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(_one_line(errors.getvalue())) from None


def with_paths(config: Any, *names: str) -> None:
    """Let a Python program give folders of a frozen dataclass as text too: for its ``__post_init__``."""
    for name in names:
        value = getattr(config, name)
        paths = tuple(map(Path, value)) if isinstance(value, tuple | list) else value
        object.__setattr__(config, name, Path(value) if isinstance(value, str) else paths)


def given_flags(args: Sequence[str]) -> dict[str, str]:
    """Flag -> the words after it, of a command line, under the names of fields."""
    given: dict[str, str] = {}
    name = ""
    for word in args:
        if word.startswith("--"):
            name, _, value = word.removeprefix("--").partition("=")
            name = name.replace("-", "_")
            given[name] = value
        elif name:
            given[name] = f"{given[name]} {word}".strip()
    return given


def _refuse(name: str, value: str, hints: dict[str, Any]) -> None:
    """Refuse what is no flag, and values that are no choice of theirs."""
    positive = name.removeprefix("no_")
    if name not in hints and not (positive in hints and hints[positive] is bool):
        close = difflib.get_close_matches(name, hints, n=1, cutoff=0.6)
        hint = f"did you mean {flag(close[0])}?" if close else "--help lists the flags."
        raise UserError(f"there is no flag {flag(name)}; {hint}")
    kind = hints.get(name)
    several = typing.get_origin(kind) is tuple
    kind = typing.get_args(kind)[0] if several else kind
    if typing.get_origin(kind) is typing.Literal:
        known = [str(choice) for choice in typing.get_args(kind)]
        for word in value.split() if several else [value]:
            if word not in known:
                raise UserError(f"{flag(name)} is {word!r}; known: {', '.join(known)}.")


def _one_line(box: str) -> str:
    """What the parser says in a box of several lines."""
    text = " ".join(re.sub("[\u2500-\u257f]", " ", box).split())
    text = text.partition("For full helptext")[0].partition(" Argument helptext")[0].strip(" -")
    # Its headings repeat what follows.
    return (
        re.sub(r"^(Parsing error|Value error|Missing argument|Unrecognized options)[ -]*", "", text)
        or "the flags cannot be read."
    )


def _required(config: Any) -> list[str]:
    """Fields without a default that are flags."""
    hints = typing.get_type_hints(config, include_extras=True)
    fields = [field for field in dataclasses.fields(config) if field.default is field.default_factory is dataclasses.MISSING]
    return [field.name for field in fields if "Positional" not in repr(getattr(hints[field.name], "__metadata__", ()))]


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
