"""Validation of the arguments of `from_gymnasium`, which would otherwise fail later, in a worker or a compiled program."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

WAYS = ("options", "set_task", "attributes")  # to apply a task, besides a function


def check_apply_task(apply_task: Any) -> None:
    """A function or one of `WAYS`."""
    if not callable(apply_task) and apply_task not in WAYS:
        raise ValueError(f"from_gymnasium: apply_task is {apply_task!r}, but must be a function or one of {', '.join(WAYS)}.")


def check_env_options(env_options: Any) -> None:
    """Names and values."""
    named = isinstance(env_options, Mapping) and all(isinstance(name, str) for name in env_options)
    if env_options is not None and not named:
        raise ValueError(f"from_gymnasium: env_options is {env_options!r}, but must be a dict of the constructor's arguments.")


def check_workers(vectorization: Any, num_workers: Any, timeout: Any) -> None:
    """Values may come from JSON on the command line, so types are looked at too."""
    if vectorization not in ("sync", "async"):
        raise ValueError(f"from_gymnasium: vectorization is {vectorization!r}, but must be 'sync' or 'async'.")
    if num_workers is not None and not _whole(num_workers):
        raise ValueError(f"from_gymnasium: num_workers is {num_workers!r}, but must be a whole number of at least 1, or None.")
    seconds = isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0 and math.isfinite(timeout)
    if timeout is not None and not seconds:
        raise ValueError(f"from_gymnasium: timeout is {timeout!r}, but must be a positive number of seconds.")
    if vectorization == "sync":
        for name, value in (("num_workers", num_workers), ("timeout", timeout)):
            if value is not None:
                raise ValueError(f"from_gymnasium: {name} is {value!r}, but 'sync' has no workers; take 'async'.")


def check_horizon(horizon: Any) -> None:
    """A number of steps."""
    if not _whole(horizon):
        raise ValueError(f"from_gymnasium: horizon is {horizon!r}, but must be a whole number of at least 1 step.")


def read_drop(drop: Any) -> tuple[str, ...]:
    """Names of fields; one name may stand alone."""
    names = (drop,) if isinstance(drop, str) else tuple(drop) if isinstance(drop, Iterable) else (drop,)
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"from_gymnasium: drop is {drop!r}, but must be names of observation fields.")
    return names


def check_images(images: Any) -> None:
    """True or False; a text from the command line, such as "no", would count as True."""
    if not isinstance(images, bool):
        raise ValueError(f"from_gymnasium: images is {images!r}, but must be True or False (true or false on a command line).")


def read_first_task(first_task: Any, tasks: spaces.Dict, held_out: spaces.Dict | None) -> dict[str, np.ndarray]:
    """The task to try out, as arrays of the spaces' types: the fields of ``task_space``, inside it or the held-out one."""
    if not isinstance(first_task, Mapping) or set(first_task) != set(tasks):
        raise ValueError(f"from_gymnasium: first_task is {first_task!r}, but must be a dict of {', '.join(tasks)}.")
    wheres = [tasks] if held_out is None else [tasks, held_out]
    try:
        found = {name: np.asarray(first_task[name]).astype(space.dtype) for name, space in tasks.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"from_gymnasium: first_task is {first_task!r}, but its fields must be numbers.") from error

    def lies_in(name: str, space: spaces.Space) -> bool:
        cut = np.issubdtype(found[name].dtype, np.integer) and not np.array_equal(found[name], first_task[name])
        return not cut and bool(space.contains(found[name]))

    if not any(all(lies_in(name, space) for name, space in where.items()) for where in wheres):
        name = next(name for name, space in tasks.items() if not lies_in(name, space))
        raise ValueError(f"from_gymnasium: first_task[{name!r}] is {first_task[name]!r}, outside its space {tasks[name]}.")
    return found


def check_held_out(held_out: spaces.Dict, tasks: spaces.Dict, owner: str = "from_gymnasium") -> None:
    """Held-out tasks must look like training tasks: the same fields, and each a space of the same kind and shape."""
    if set(held_out) != set(tasks):
        raise ValueError(
            f"{owner}: held_out_task_space has fields {', '.join(held_out)}, but task_space {', '.join(tasks)}; "
            "make them agree."
        )
    for name, space in held_out.items():
        if _kind(space) != _kind(tasks[name]):
            pair = f"held_out_task_space[{name!r}] is {space}, but task_space[{name!r}] is {tasks[name]}"
            raise ValueError(f"{owner}: {' '.join(pair.split())}; make both Box or both Discrete, of one shape and type.")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _kind(space: spaces.Space) -> tuple[Any, ...]:
    return isinstance(space, spaces.Discrete), space.shape, np.issubdtype(space.dtype, np.integer)
