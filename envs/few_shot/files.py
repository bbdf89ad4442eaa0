"""Examples from a file: NPZ, or CSV with a header."""

import csv
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from envs.few_shot.examples import Arrays, arrays

IN_NPZ = ("x", "y", "task", "label", "held_out")


def read(path: str | Path, *, task_column: str = "task", label_column: str = "label", targets: Sequence[str] = ()) -> Arrays:
    """The examples in a file.

    An ``.npz`` holds `arrays`'s arguments by name: ``x`` and ``y``, with ``task`` unless they are [T, n, ...]; or ``x`` and
    ``label``; and maybe ``held_out``. A ``.csv`` has a line per example and a header: a column ``task`` and targets, columns
    named ``y`` or ``y1``, ``y2`` and so on; or a column ``label``; all other columns are inputs.

    Args:
        path: the file.
        task_column: what that column is called.
        label_column: the same of classes.
        targets: the columns of targets, where they have other names.

    Raises:
        ValueError: in one line, what cannot be used.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".csv"):
        raise ValueError(f"{path} is neither .npz nor .csv; save the arrays with numpy.savez.")
    try:
        return _npz(path) if path.suffix == ".npz" else _csv(path, task_column, label_column, tuple(targets))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from error


def _npz(path: Path) -> Arrays:
    try:
        with open(path, "rb") as opened:
            file = np.load(opened, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("it is a single array, as numpy.save writes; use numpy.savez")
            with file:
                found = {name: file[name] for name in file.files}
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # a zip may be encrypted
        raise ValueError(f"{path} is no sound .npz of plain arrays ({' '.join(str(error).split())[:80]}).") from error
    strange = [name for name in found if name not in IN_NPZ]
    if strange or "x" not in found:
        what = f"has an array {strange[0]!r}" if strange else "has no array 'x'"
        raise ValueError(f"{path} {what}; known: {', '.join(IN_NPZ)}.")
    return arrays(found.pop("x"), **found, source=str(path))


def _csv(path: Path, task_column: str, label_column: str, targets: tuple[str, ...]) -> Arrays:
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            read = csv.reader(file)
            numbered = [(read.line_num, line) for line in read if line]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no sound CSV ({error}).") from error
    at, lines = [number for number, _ in numbered], [line for _, line in numbered]
    header = [name.strip() for name in lines[0]] if lines else []
    twice = [name for name in header if header.count(name) > 1]
    if len(lines) < 2 or twice:
        what = f"has two columns called {twice[0]!r}" if twice else "has no lines below its header"
        raise ValueError(f"{path} {what}.")
    for number, line in numbered[1:]:
        if len(line) != len(header):
            raise ValueError(f"{path}, line {number}, has {len(line)} cells, but the header has {len(header)}.")
    columns = dict(zip(header, zip(*lines[1:], strict=True), strict=True))
    chosen = targets
    targets = targets or tuple(name for name in header if name == "y" or (name[:1] == "y" and name[1:].isdigit()))
    of_classes = label_column in columns and task_column not in columns
    for what, name, usual in (("task", task_column, "task"), ("label", label_column, "label")):
        if name != usual and name not in columns:
            raise ValueError(f"{path} has no column {name!r} of {what}s, but {', '.join(header)}; say how it is called.")
    if label_column in columns and task_column in columns:
        raise ValueError(f"{path} has columns {task_column!r} and {label_column!r}: tasks or classes; leave one out.")
    if of_classes and chosen:
        raise ValueError(f"{path} has classes in {label_column!r}, but targets are {', '.join(chosen)}; leave them out.")
    if task_column in chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"{path}: targets are {', '.join(chosen)}, but must be different columns beside {task_column!r}.")
    named = (label_column,) if of_classes else (task_column, *targets)
    for name in named:
        if name not in columns:
            raise ValueError(f"{path} has no column {name!r}, but {', '.join(header)}; say how it is called.")
    inputs = [name for name in header if name not in named]
    if not inputs or (not of_classes and not targets):
        what = "no inputs beside" if targets or of_classes else "no targets y or y1, y2, ... beside"
        raise ValueError(f"{path} has {what} {', '.join(header)}; say which columns are the targets.")
    x = _floats(path, columns, inputs, at[1:])
    of_row = np.array([cell.strip() for cell in columns[named[0]]])
    if of_classes:
        return arrays(x, label=of_row, source=str(path))
    return arrays(x, y=_floats(path, columns, targets, at[1:]), task=of_row, source=str(path))


def _floats(path: Path, columns: dict[str, tuple[str, ...]], names: Sequence[str], at: Sequence[int]) -> np.ndarray:
    """[R, len(names)]; ``at`` are the numbers of the rows' lines."""
    values = np.empty((len(columns[names[0]]), len(names)))
    for index, name in enumerate(names):
        for row, cell in enumerate(columns[name]):
            try:
                values[row, index] = float(cell)
            except ValueError as error:
                raise ValueError(f"{path}, line {at[row]}, column {name!r}: {cell!r} is no number.") from error
    return values
