"""Tasks from files: CSV and JSON."""

import csv
import difflib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.family import Task, TaskFamily, check_task, task_by_names

WEIGHT = "weight"  # the column, or entry, that is no part of the task


class TaskFile(NamedTuple):
    """What a file held: tasks, and their weights [L] if it had any."""

    tasks: list[Task]
    weights: list[float] | None


def read_tasks(path: str | Path, family: TaskFamily) -> TaskFile:
    """Read tasks of a family, for `envs.with_tasks`.

    A ``.csv`` has a column for each number of a task: ``velocity`` for a single one, ``position.0`` and ``position.1`` for the
    two of an array. A ``.json`` holds a list of objects, ``[{"position": [0.3, -0.2]}, ...]``. Both may say ``weight``, unless
    the task itself has something of that name.

    Raises:
        ValueError: the file cannot be read, or a task is none of the family's; one line that names the row and the column.
    """
    path = Path(path)
    like = task_by_names(family.default_params)
    readers = {".csv": _csv_rows, ".json": _json_rows}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: tasks are read from {' and '.join(readers)} files; give one of these.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    tasks, weights = [], []
    for where, row in readers[path.suffix.lower()](path, text, like):
        weight = 1.0
        if WEIGHT in row and WEIGHT not in like:
            weight = row.pop(WEIGHT)
            weights.append(weight)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not (np.isfinite(weight) and weight >= 0):
            raise ValueError(f"{where}, {WEIGHT}: {weight!r} is no weight, which is a number and not below 0.")
        try:
            tasks.append(check_task(family, row if set(like) != {""} else row[""]))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    if not tasks:
        raise ValueError(f"{path} holds no task.")
    if weights and len(weights) < len(tasks):
        raise ValueError(f"{path}: {len(weights)} of {len(tasks)} tasks have a {WEIGHT}; give it to all or none.")
    if weights and not any(weights):
        raise ValueError(f"{path}: every {WEIGHT} is 0; one must be above.")
    return TaskFile(tasks, weights or None)


def _columns(like: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Column -> the array it belongs to, and the place in it."""
    found = {}
    for name, value in like.items():
        for place in np.ndindex(np.shape(value)):
            found[".".join([name, *map(str, place)] if name else map(str, place or (0,)))] = name, place
    return found


def _csv_rows(path: Path, text: str, like: dict[str, Any]):
    """(where, arrays by name) of each row."""
    columns, lines = _columns(like), list(csv.reader(text.splitlines()))
    header = [name.strip() for name in lines[0]] if lines else []
    known = [*columns, WEIGHT]
    for name in header:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known[:8])}."
            raise ValueError(f"{path}, row 1: there is no column {name!r}; {hint}")
        if header.count(name) > 1:
            raise ValueError(f"{path}, row 1: column {name!r} is there twice; leave one out.")
    missing = [name for name in columns if name not in header]
    if missing:
        raise ValueError(f"{path}, row 1: column {missing[0]!r} is missing.")
    for number, line in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in line):
            continue
        where = f"{path}, row {number}"
        if len(line) != len(header):
            raise ValueError(f"{where} has {len(line)} entries, but row 1 has {len(header)}.")
        row: dict[str, Any] = {name: np.zeros(np.shape(value), object) for name, value in like.items()}
        for name, cell in zip(header, line, strict=True):
            value = _number(cell.strip())
            if value is None:
                raise ValueError(f"{where}, column {name!r}: {cell.strip()!r} is no number.")
            if name in columns:
                array, place = columns[name]
                row[array][place] = value
            else:
                row[WEIGHT] = value
        yield where, {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()}


def _number(text: str) -> bool | int | float | None:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _json_rows(path: Path, text: str, like: dict[str, Any]):
    """The same of each entry."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path} holds a {type(entries).__name__}, but must hold a list of tasks.")
    for number, entry in enumerate(entries, 1):
        where = f"{path}, task {number}"
        if set(like) == {""}:
            yield where, {"": entry}
            continue
        if not isinstance(entry, dict):
            raise ValueError(f"{where} is {str(entry)[:60]}, but must be an object with {', '.join(like)}.")
        for name in entry:
            if name not in like and name != WEIGHT:
                raise ValueError(f"{where}: there is no {name!r}; there are {', '.join(like)}.")
        for name in like:
            if name not in entry:
                raise ValueError(f"{where}: {name!r} is missing.")
        yield where, dict(entry)
