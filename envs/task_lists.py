"""Tasks from a list: training on given tasks, evaluation on given others, and finite sets of tasks in general."""

import copy
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from envs.family import Task, TaskFamily, check_task, pick

MOST = 1000  # combinations of Discrete fields that still count as a list


def with_tasks(family: Any, train: Sequence[Task] | None = None, held_out: Sequence[Task] | None = None) -> Any:
    """A family whose tasks are those of lists.

    Args:
        family: any `TaskFamily`, also one of `from_gymnasium`.
        train: training tasks, drawn uniformly with replacement; the family's own distribution if None.
        held_out: tasks of evaluation, which goes through them in order; the family's own if None.

    Returns:
        A copy of ``family`` that shares all else with it.

    Raises:
        ValueError: an empty list, or a task that does not look like the family's or lies outside its ``task_space``.

    >>> import envs
    >>> family = envs.make("metarl/HalfCheetahVel-v0")
    >>> lists = with_tasks(family, held_out=[family.default_params._replace(velocity=v) for v in (0.5, 1.5)])
    >>> envs.held_out_tasks(lists, 3).velocity.tolist()
    [0.5, 1.5, 0.5]
    """
    listed = copy.copy(family)
    if train is not None:
        rows = stacked(family, "train", train)
        listed.sample_task = functools.partial(pick, rows)
        listed.__dict__["default_params"] = jax.tree.map(lambda leaf: leaf[0], rows)
        if held_out is None:  # which by default would be drawn from the training tasks
            listed.sample_held_out_task = family.sample_held_out_task
    if held_out is not None:
        listed.held_out_list = stacked(family, "held_out", held_out)
        listed.sample_held_out_task = functools.partial(pick, listed.held_out_list)  # the family may draw its own
    return listed


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
    """Every task of a space of Discrete fields, leaves [L]; None for other fields, and above `MOST` tasks.

    >>> {name: values.tolist() for name, values in all_of(spaces.Dict({"row": spaces.Discrete(2, start=6)})).items()}
    {'row': [6, 7]}
    """
    fields = dict(space.spaces)
    ranges = [range(int(part.start), int(part.start + part.n)) for part in fields.values() if isinstance(part, spaces.Discrete)]
    if len(ranges) < len(fields) or np.prod([len(values) for values in ranges], dtype=float) > MOST:
        return None
    columns = zip(*itertools.product(*ranges), strict=True)
    return {name: np.array(column, np.int32) for name, column in zip(fields, columns, strict=True)}
