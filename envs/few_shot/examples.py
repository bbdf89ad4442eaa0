"""Examples as arrays, checked where they come in: rows of inputs, and of each the task or class that it belongs to."""

from typing import Any, NamedTuple

import numpy as np


class Arrays(NamedTuple):
    """R examples in groups, which are tasks in regression and classes in classification.

    Attributes:
        x: [R, F] float32, inputs in a row.
        y: [R, O] float32, targets; None in classification.
        group: [R] int32, which of ``names`` an example belongs to.
        names: of the groups, in the order of numbers or of letters.
        input_shape: of one input before it was put in a row.
        held_out: names of the groups that the data itself holds out; empty if it says nothing.
        source: what messages call the data.
    """

    x: np.ndarray
    y: np.ndarray | None
    group: np.ndarray
    names: tuple[str, ...]
    input_shape: tuple[int, ...]
    held_out: tuple[str, ...]
    source: str

    @property
    def noun(self) -> str:
        """What a group is."""
        return "task" if self.y is not None else "class"


def arrays(
    x: Any,
    *,
    y: Any = None,
    task: Any = None,
    label: Any = None,
    held_out: Any = (),
    source: str = "data",
) -> Arrays:
    """Check arrays, and bring them into one form.

    Args:
        x: inputs [R, ...]; in regression without ``task`` [T, n, ...], n examples of each of T tasks.
        y: regression: targets [R] or [R, O], or [T, n] or [T, n, O].
        task: regression: [R], integers or text, the task of each example.
        label: classification: [R], integers or text, the class of each example; in the place of ``y`` and ``task``.
        held_out: names of tasks or classes that are not to be trained on.
        source: what messages call the data.

    Raises:
        ValueError: in one line, what cannot be used.

    >>> import numpy as np
    >>> arrays(np.ones((4, 2)), label=["cat", "dog", "cat", "dog"]).names
    ('cat', 'dog')
    >>> arrays(np.ones((3, 5)), y=np.ones((3, 5))).x.shape  # three tasks, five examples of one input
    (15, 1)
    """
    if (y is None) == (label is None):
        what = "neither" if y is None else "both"
        raise ValueError(f"{source} has {what} y (targets, regression) and label (classes); give one of them.")
    x, y = _numbers(source, "x", x), y if y is None else _array(source, "y", y)
    if label is not None:
        if task is not None:
            raise ValueError(f"{source} has both label and task, but tasks are drawn from classes; leave task out.")
        groups = _names(source, "label", label, _rows(source, x))
    elif task is not None:
        groups = _names(source, "task", task, _rows(source, x))
    elif x.ndim < 2 or np.shape(y)[:2] != x.shape[:2]:
        raise ValueError(
            f"{source} has x of shape {x.shape} and y of shape {np.shape(y)}, but without task they must be [T, n, ...], n "
            "examples of each of T tasks."
        )
    else:
        num_tasks, each = x.shape[:2]
        groups = np.repeat(np.arange(num_tasks), each)
        x, y = x.reshape(-1, *x.shape[2:]), _numbers(source, "y", y)
        y = y.reshape(-1, *y.shape[2:])
    input_shape = x.shape[1:] or (1,)
    x = x.reshape(len(x), -1)
    if x.size == 0:
        raise ValueError(f"{source} has x of shape {(len(x), *input_shape)}, without a number in it.")
    if y is not None:
        y = _numbers(source, "y", y)
        y = y[:, None] if y.ndim == 1 else y
        if y.ndim != 2 or len(y) != len(x) or not y.shape[1]:
            raise ValueError(f"{source} has y of shape {y.shape} for {len(x)} rows of x, but it must be [R] or [R, O].")
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        noun = "class" if y is None else "task"
        raise ValueError(f"{source} has one {noun} only, {str(names[0])!r}; some must be trained on and some held out.")
    chosen = np.ravel(_array(source, "held_out", held_out))
    held_out = tuple(dict.fromkeys(map(str, chosen.astype(np.int64) if _whole(chosen) else chosen)))
    return Arrays(x, y, group.astype(np.int32), tuple(map(str, names)), input_shape, held_out, source)


def _rows(source: str, x: np.ndarray) -> int:
    if x.ndim == 0:
        raise ValueError(f"{source} has one number as x, but it must be [R, ...].")
    return len(x)


def _array(source: str, name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{source} has rows of different lengths in {name}; give every example as many numbers.") from error


def _numbers(source: str, name: str, values: Any) -> np.ndarray:
    """Finite real numbers, as float32."""
    array = _array(source, name, values)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{source} has {name} of {array.dtype}, but it must hold real numbers.")
    with np.errstate(over="ignore"):  # what is too large is told below
        single = array.astype(np.float32)
    lost = np.argwhere(~np.isfinite(single))
    if len(lost):
        place = tuple(int(index) for index in lost[0])
        raise ValueError(f"{source} has {name}[{', '.join(map(str, place))}] = {array[place]}, but numbers must be finite.")
    return single


def _whole(array: np.ndarray) -> bool:
    """Whether floats are integers, and few enough to be told apart."""
    return array.dtype.kind == "f" and bool(np.all(np.abs(array) < 2**53)) and np.array_equal(array, np.round(array))


def _names(source: str, name: str, values: Any, count: int) -> np.ndarray:
    """[R] integers, also where they came as text, or text."""
    array = _array(source, name, values)
    if _whole(array):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iuU":
        example = array.reshape(-1)[:1].tolist()
        raise ValueError(f"{source} has {name} of {array.dtype}, such as {example}, but it must be integers or text.")
    if array.shape != (count,):
        raise ValueError(f"{source} has {name} of shape {array.shape}, but must have one entry for each of {count} rows of x.")
    if array.dtype.kind != "U":
        return array
    try:
        whole = array.astype(np.int64)
    except (ValueError, OverflowError):
        return array
    return whole if np.array_equal(whole.astype(str), array) else array
