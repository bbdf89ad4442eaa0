"""Tasks from a list: training on given tasks, evaluation on given others, and finite sets of tasks in general."""

import copy
import functools
import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from envs.family import Task, TaskFamily, check_task, pick
from envs.keys import numbers

MOST = 1000  # combinations of whole numbers that still count as a list


class Progress(NamedTuple):
    """What training has seen of the L tasks of a list, as a curriculum reads it. A part of the state, so that runs resume.

    Attributes:
        before: [L], average return before adaptation, the newest visit counting 0.3; 0 where there was none.
        after: [L], the same after the last adaptation step.
        visits: [L] int32, meta-iterations that had the task.
        last: [L] int32, the newest of them; -1 where there was none.
    """

    before: Any
    after: Any
    visits: Any
    last: Any


Curriculum = Callable[[Any, Progress], Any]  # iteration, progress -> weights [L]; compiled with the training


class TaskList(NamedTuple):
    """Training tasks that are drawn from a list.

    Attributes:
        tasks: leaves [L, ...].
        weights: [L], how often each is drawn, relative to the others; None if alike.
        distinct: whether the tasks of a meta-iteration differ.
        curriculum: gives the weights of each meta-iteration; None if they stay as they are.
    """

    tasks: Task
    weights: np.ndarray | None = None
    distinct: bool = False
    curriculum: Curriculum | None = None

    @staticmethod
    def read(progress: Sequence[Any]) -> Progress:
        """What agents carry, in the order of `Progress`."""
        return Progress(*progress)


def with_tasks(
    family: Any,
    train: Sequence[Task] | None = None,
    held_out: Sequence[Task] | None = None,
    *,
    weights: Sequence[float] | None = None,
    distinct: bool = False,
    curriculum: Curriculum | None = None,
) -> Any:
    """A family whose tasks are those of lists.

    Args:
        family: any `TaskFamily`, also one of `from_gymnasium`.
        train: training tasks, drawn with replacement; the family's own distribution if None.
        held_out: tasks of evaluation, which goes through them in order; the family's own if None.
        weights: [L], of the training tasks: how often each is drawn, relative to the others; alike if None.
        distinct: draw the tasks of each meta-iteration without replacement, so that no two are the same entry of the list.
        curriculum: (iteration, `Progress`) -> weights [L] of the next meta-iteration, in JAX. Entries that are negative or not
            finite count as 0, and if none is above 0 all tasks count alike.

    Returns:
        A copy of ``family`` that shares all else with it.

    Raises:
        ValueError: an empty list, a task that does not look like the family's or lies outside its ``task_space``, or weights
            that do not fit.

    >>> import envs
    >>> family = envs.make("metarl/HalfCheetahVel-v0")
    >>> lists = with_tasks(family, held_out=[family.default_params._replace(velocity=v) for v in (0.5, 1.5)])
    >>> envs.held_out_tasks(lists, 3).velocity.tolist()
    [0.5, 1.5, 0.5]
    """
    listed = copy.copy(family)
    hashes = {}
    if train is not None:
        rows = stacked(family, "train", train)
        given = None if weights is None else checked_weights(weights, len(train))
        if curriculum is not None:
            _try_out(curriculum, len(train), given)
        listed.train_list = TaskList(rows, given, bool(distinct), curriculum)
        listed.sample_task = functools.partial(pick, rows) if given is None else functools.partial(pick_by, rows, given)
        listed.__dict__["default_params"] = jax.tree.map(lambda leaf: leaf[0], rows)
        hashes["train"] = digest(rows, given)
        if held_out is None:  # which by default would be drawn from the training tasks
            listed.sample_held_out_task = family.sample_held_out_task
    elif weights is not None or distinct or curriculum is not None:
        named = {"weights": weights is not None, "distinct": distinct, "curriculum": curriculum is not None}
        name = next(name for name, given in named.items() if given)
        raise ValueError(f"with_tasks: {name} is given, but there is no train list that it is about; leave it out.")
    if held_out is not None:
        listed.held_out_list = stacked(family, "held_out", held_out)
        listed.sample_held_out_task = functools.partial(pick, listed.held_out_list)  # the family may draw its own
        hashes["held_out"] = digest(listed.held_out_list)
    listed.list_hashes = {**family.list_hashes, **hashes}
    return listed


def pick_by(tasks: Task, weights: np.ndarray, key: Any) -> Task:
    """One of L tasks, leaves [L, ...], each as often as its weight [L] says."""
    index = jax.random.categorical(key, jnp.log(jnp.asarray(weights, jnp.float32)))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[index], tasks)


def checked_weights(weights: Any, length: int) -> np.ndarray:
    """Weights [L], or ValueError in one line."""
    try:
        found = np.asarray(weights, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"with_tasks: weights is {weights!r}, but must be {length} numbers.") from error
    if found.shape != (length,):
        raise ValueError(f"with_tasks: weights has shape {found.shape}, but there are {length} training tasks; give one each.")
    if not (np.isfinite(found) & (found >= 0)).all() or not found.any():
        raise ValueError(f"with_tasks: weights is {found.tolist()}, but must be finite, none below 0 and one above.")
    return found


def _try_out(curriculum: Curriculum, length: int, weights: Any) -> None:
    """Refuse in one line what fails, or gives no weights at the start."""
    if not callable(curriculum):
        raise ValueError(f"with_tasks: curriculum is {curriculum!r}, but must be a function of iteration and progress.")
    if weights is not None:
        raise ValueError("with_tasks: weights and curriculum are given, which gives weights itself; leave one out.")
    name = getattr(curriculum, "__name__", type(curriculum).__name__)
    try:
        given = jax.jit(curriculum)(jnp.asarray(0, jnp.int32), no_progress(length))
    except Exception as error:  # whatever a user's function raises becomes one line
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"with_tasks: curriculum {name} fails: {type(error).__name__}: {said}") from error
    try:
        checked_weights(given, length)
    except ValueError as error:
        raise ValueError(f"with_tasks: curriculum {name}: {str(error).removeprefix('with_tasks: ')}") from error


def no_progress(length: int) -> Progress:
    """Before the first meta-iteration."""
    nothing, never = jnp.zeros(length), jnp.full(length, -1, jnp.int32)
    return Progress(nothing, nothing, jnp.zeros(length, jnp.int32), never)


def digest(tasks: Task, weights: np.ndarray | None = None) -> str:
    """What tells a list of tasks, leaves [L, ...], and their weights from others.

    >>> digest(np.arange(3.0)) == digest(np.arange(3.0)) != digest(np.arange(3.0), np.ones(3))
    True
    """
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(numbers(tasks)) + ([] if weights is None else [weights]):
        array = np.asarray(leaf)
        found.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:16]


def stacked(family: TaskFamily, name: str, tasks: Sequence[Task]) -> Task:
    """Checked tasks as one: leaves [L, ...]."""
    if not isinstance(tasks, list | tuple) or hasattr(tasks, "_fields") or not tasks:
        raise ValueError(f"with_tasks: {name} is {tasks!r}, but must be a list of at least one task.")
    checked = []
    for index, task in enumerate(tasks):
        try:
            checked.append(check_task(family, task))
        except ValueError as error:
            raise ValueError(f"with_tasks: {name}[{index}]: {error}") from error
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *checked)


def all_of(space: spaces.Dict) -> dict[str, np.ndarray] | None:
    """Every task of a space of fields of whole numbers, leaves [L, ...]; None for other fields, and above `MOST` tasks.

    >>> {name: values.tolist() for name, values in all_of(spaces.Dict({"row": spaces.Discrete(2, start=6)})).items()}
    {'row': [6, 7]}
    """
    numbers_of = {name: _ranges(part) for name, part in space.spaces.items()}
    ranges = [each for found in numbers_of.values() for each in found or ()]
    if None in numbers_of.values() or np.prod([len(values) for values in ranges], dtype=float) > MOST:
        return None
    rows = np.array(list(itertools.product(*ranges)), np.int32)
    columns = np.split(rows, np.cumsum([len(found or ()) for found in numbers_of.values()])[:-1], axis=1)
    shapes = [part.shape or () for part in space.spaces.values()]
    return {name: column.reshape(-1, *shape) for name, column, shape in zip(numbers_of, columns, shapes, strict=True)}


def _ranges(space: spaces.Space) -> list[range] | None:
    """The numbers that each entry of a space of whole numbers may be; None for another space."""
    if isinstance(space, spaces.Discrete):
        return [range(int(space.start), int(space.start + space.n))]
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer):
        bounds = zip(np.ravel(space.low), np.ravel(space.high), strict=True)
        return [range(int(low), int(high) + 1) for low, high in bounds]
    return None
