"""The few-shot tasks of a configuration: of a file, of scikit-learn's digits, or of a user's function."""

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from envs import few_shot
from experiments.cli.errors import UserError
from experiments.cli.flags import flag
from experiments.training.settings import find_users_modules

DIGITS = "digits"
QUERY_SHOTS = 15  # Vinyals et al. 2016, and most after them
OF_DATA = ("query_shots", "held_out")  # settings that a function decides by itself
OF_CSV = {"task_column": "task", "label_column": "label", "targets": ()}  # and their defaults


def refuse_sources(config: Any) -> None:
    """Refuse settings that name no source of tasks, or two, or that the source has no use for."""
    if (config.data is None) == (config.problem is None):
        what = "neither is given" if config.data is None else "both are given"
        raise UserError(f"--data and --problem: {what}; name a file (or digits) or a function (my_module:name).")
    given = [name for name, default in OF_CSV.items() if getattr(config, name) != default]
    if given and Path(config.data or "").suffix != ".csv":
        raise UserError(f"{flag(given[0])} is given, but {config.data or config.problem} is no .csv; leave it out.")
    given = [name for name in OF_DATA if getattr(config, name)]
    if given and config.problem is not None:
        raise UserError(f"{flag(given[0])} is given, but {config.problem} draws its tasks by itself; leave it out.")


def family_of(config: Any, shots: int) -> few_shot.FewShotFamily:
    """The tasks of a configuration, for up to ``shots`` support examples.

    Raises:
        UserError: one line.
    """
    try:
        if config.problem is not None:
            return few_shot.from_function(function_of(config.problem), shots=shots, ways=config.ways, called=config.problem)
        return few_shot.from_arrays(
            arrays_of(config), shots=shots, query_shots=config.query_shots, ways=config.ways, held_out=config.held_out
        )
    except (ValueError, ImportError) as error:
        raise UserError(str(error)) from error


def arrays_of(config: Any) -> few_shot.Arrays:
    """The examples of ``config.data``; read once, as long as the file stays the same."""
    if config.data == DIGITS:
        return _digits()
    path = Path(config.data)
    if not path.is_file():
        raise ValueError(f"{path} is no file; give an .npz or .csv, or digits.")
    told = path.stat()
    return _read(path, (told.st_mtime_ns, told.st_size), config.task_column, config.label_column, config.targets)


@functools.lru_cache(maxsize=1)
def _read(path: Path, version: tuple[int, int], task_column: str, label_column: str, targets: tuple[str, ...]) -> Any:
    del version  # it is there to read a file again that was changed
    return few_shot.read(path, task_column=task_column, label_column=label_column, targets=targets)


_digits = functools.lru_cache(maxsize=1)(few_shot.digits)


def function_of(name: str) -> Callable[..., Any]:
    """The function that ``my_module:name`` is."""
    module, _, attribute = name.rpartition(":")
    if not module or not attribute:
        raise UserError(f"--problem is {name!r}, but must be my_module:name.")
    find_users_modules()
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # whatever a user's module raises becomes one line
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"--problem {name}: importing {module} fails: {told}") from error
    if not callable(found):
        raise UserError(f"--problem {name}: {module} has no function {attribute!r}.")
    return found
