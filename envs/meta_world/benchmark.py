"""The tasks of Meta-World's benchmarks, as the package itself draws them. NumPy only."""

import functools
import importlib.metadata
import itertools
import os
import pickle
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.optional import install, require

WIDTH = 6  # of the longest vector; shorter ones are followed by zeros
CACHE = "METARL_CACHE"  # the environment variable that names the folder


class Tasks(NamedTuple):
    """Tasks of one list.

    Attributes:
        environment: [L] int32, the class: its place in `names`.
        vector: [L, 6] float64, where the goal is, after where the object starts if that belongs to the task.
        size: [L] int32, how many numbers of the vector there are.
    """

    environment: np.ndarray
    vector: np.ndarray
    size: np.ndarray


def package(owner: str) -> Any:
    """The package `metaworld`.

    Raises:
        ImportError: it is missing.
        ValueError: MuJoCo has another version than it asks for: others fail, or are another benchmark.
    """
    require("metaworld")
    wanted = dict(each.split("==") for each in importlib.metadata.requires("metaworld") or () if each.count("==") == 1)
    there = importlib.metadata.version("mujoco")
    if there != wanted.get("mujoco", there):
        raise ValueError(
            f"{owner}: metaworld {importlib.metadata.version('metaworld')} needs mujoco {wanted['mujoco']}, but {there} is "
            f"installed; in an environment of its own: {install('metaworld')}"
        )
    return require("metaworld")


def names() -> tuple[str, ...]:
    """The 50 classes, in the package's order; ``reach-v3`` and so on."""
    return tuple(require("metaworld").ML1.ENV_NAMES)


@functools.cache
def lists(benchmark: str, name: str | None, seed: int) -> tuple[Tasks, Tasks]:
    """Training and test tasks of "ML1" of a class, "ML10" or "ML45": 50 per class, class by class.

    Drawing them takes the package seconds per class, so they are kept in a file: in the folder that `CACHE` names, or
    ``metarl`` in the user's cache.
    """
    version = importlib.metadata.version("metaworld")
    path = _folder() / f"metaworld-{version}-{'-'.join(filter(None, (benchmark, name)))}-{seed}.npz"
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as kept:
            return tuple(Tasks(*(kept[f"{which}-{field}"] for field in Tasks._fields)) for which in ("train", "test"))  # type: ignore[return-value]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # not there, or not whole
        pass
    made = getattr(require("metaworld"), benchmark)(*([] if name is None else [name]), seed=seed)
    found = read(made.train_tasks), read(made.test_tasks)
    arrays = {
        f"{which}-{field}": value
        for which, tasks in zip(("train", "test"), found, strict=True)
        for field, value in tasks._asdict().items()
    }
    _keep(path, arrays)
    return found


def read(tasks: Any) -> Tasks:
    """The package's own tasks as arrays."""
    place = {name: index for index, name in enumerate(names())}
    vectors = [pickle.loads(task.data)["rand_vec"] for task in tasks]
    return Tasks(
        np.array([place[task.env_name] for task in tasks], np.int32),
        np.array([np.pad(vector, (0, WIDTH - len(vector))) for vector in vectors], np.float64),
        np.array([len(vector) for vector in vectors], np.int32),
    )


def in_turn(tasks: Tasks) -> Tasks:
    """A task of every class, then the next of every class, and so on: the first of them are of all classes alike."""
    seen: Mapping[int, itertools.count] = {int(index): itertools.count() for index in np.unique(tasks.environment)}
    turn = np.array([next(seen[int(index)]) for index in tasks.environment])
    order = np.lexsort((tasks.environment, turn))
    return Tasks(*(values[order] for values in tasks))


def _folder() -> Path:
    named = os.environ.get(CACHE)
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metarl"


def _keep(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the file whole or not at all; a folder that cannot be written is no reason to stop."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
            np.savez(file, allow_pickle=False, **dict(arrays))
        Path(file.name).replace(path)
    except OSError:
        pass
