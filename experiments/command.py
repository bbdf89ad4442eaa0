"""What every command does with its flags and with a user's mistake: one line, no traceback."""

import contextlib
import dataclasses
import functools
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

import envs
from experiments.seed_folders import seed_folders
from experiments.signals import Stopped, Terminated, ended_by_sigterm

Config = TypeVar("Config")
MAX_SEED = 2**32 - 1
OF_ONE_START = ("hosts", "hosts_wait")  # flags that a resumed run does not keep


class UserError(Exception):
    """A mistake the user can mend; the message says what is wrong and what to do."""


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Print a `UserError`, or what an ordinary environment failed with, as one line on stderr and exit with 2.

    Training that was asked to stop, and has saved itself, exits with 0. Elsewhere Ctrl-C exits with 130 and SIGTERM with 143.
    """

    @functools.wraps(main)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            with ended_by_sigterm(), host_errors():
                main(*args, **kwargs)
        except (UserError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except Stopped as stopped:
            print(stopped)
        except KeyboardInterrupt as interrupt:
            print(
                "interrupted; a training run goes on from its last checkpoint with --resume, other commands when given again",
                file=sys.stderr,
            )
            sys.exit(143 if isinstance(interrupt, Terminated) else 130)

    return wrapped


@contextlib.contextmanager
def host_errors() -> Iterator[None]:
    """Raise what an environment on the host failed with, in the middle of a compiled program, as a `UserError`."""
    try:
        yield
    except (ValueError, RuntimeError) as error:  # which of the two JAX chooses depends on how the program was called
        message = envs.host_error(error)
        if message is None:
            raise
        raise UserError(message) from error


def parse(config: type[Config], args: Sequence[str] | None, prog: str) -> Config:
    """Flags -> the dataclass. With ``--resume``, a run's own settings stand in for flags not given."""
    parsed = tyro.cli(config, args=args, prog=prog, description=config.__doc__)
    stored = _stored(Path(getattr(parsed, "run_dir", ""))) if getattr(parsed, "resume", False) else {}
    if not stored:
        return parsed
    names = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    settings = {name: value for name, value in stored.items() if name in names and name not in OF_ONE_START}
    default = from_settings(config, settings | {"resume": True, "overwrite": False})
    return tyro.cli(config, args=args, prog=prog, default=default, description=config.__doc__)


def _stored(run_dir: Path) -> dict[str, Any]:
    """The settings of a run, or of the runs of several seeds that lie in a folder; empty if there are none."""
    if (run_dir / "config.json").is_file():
        return load_json(run_dir / "config.json").get("settings", {}) | {"run_dir": run_dir}
    folders = seed_folders(run_dir)
    if not folders:
        return {}
    first, last = min(folders), max(folders)
    if len(folders) != last - first + 1:
        seeds = ", ".join(map(str, folders))
        raise UserError(f"--resume: the seeds in {run_dir} ({seeds}) leave gaps; resume the folder of each alone.")
    return _stored(folders[first]) | {"run_dir": run_dir, "seed": first, "seeds": len(folders)}


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
