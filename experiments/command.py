"""What every command does with its flags and with a user's mistake: one line, no traceback."""

import dataclasses
import functools
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

Config = TypeVar("Config")
MAX_SEED = 2**32 - 1


class UserError(Exception):
    """A mistake the user can mend; the message says what is wrong and what to do."""


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Print a `UserError` as one line on stderr and exit with 2; Ctrl-C exits with 130."""

    @functools.wraps(main)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            main(*args, **kwargs)
        except (UserError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print(
                "interrupted; training goes on from the last checkpoint with --resume, a table with the same command",
                file=sys.stderr,
            )
            sys.exit(130)

    return wrapped


def parse(config: type[Config], args: Sequence[str] | None, prog: str) -> Config:
    """Flags -> the dataclass. With ``--resume``, a run's own settings stand in for flags not given."""
    parsed = tyro.cli(config, args=args, prog=prog, description=config.__doc__)
    stored = Path(getattr(parsed, "run_dir", "")) / "config.json"
    if not getattr(parsed, "resume", False) or not stored.is_file():
        return parsed
    names = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    settings = {k: v for k, v in load_json(stored).get("settings", {}).items() if k in names}
    default = from_settings(config, settings | {"run_dir": stored.parent, "resume": True, "overwrite": False})
    return tyro.cli(config, args=args, prog=prog, default=default, description=config.__doc__)


def from_settings(config: type[Config], settings: dict[str, Any]) -> Config:
    """Rebuild a dataclass from JSON, where tuples have become lists."""
    return config(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()})


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object written by a run."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); is it a run of metarl?") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} does not hold a JSON object; is it a run of metarl?")
    return value


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
