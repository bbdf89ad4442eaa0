"""Checks of a family's interface, before anything is compiled. Each error names the family, the function and what to change."""

import re
import traceback
import warnings
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box

from envs.family import TaskFamily, check_task
from envs.measures import read_measures
from envs.options import whole_number
from envs.values import fits, refuse_unknown, shapes_of

FRAME = re.compile(r'File "(.+?)", line (\d+)')
LIBRARIES = ("site-packages", "importlib")
NEEDS_VALUES = (  # what JAX raises where Python asks for the value of a traced array
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
METHODS = ("sample_task", "initial", "transition", "observation", "reward", "terminal")


def check_family(family: TaskFamily) -> None:
    """Check a family's attributes, and shapes and dtypes of what its functions return, without running an episode.

    Raises:
        ValueError: one line that names the family, the function and the value.
    """
    check_attributes(family)
    check_functions(family)


def check_attributes(family: TaskFamily) -> None:
    """The part of `check_family` that takes no time: spaces, horizon, and that all functions are there."""
    name = type(family).__name__
    for space in ("observation_space", "action_space"):
        if not isinstance(getattr(family, space, None), Space):
            raise ValueError(f"{name} has no {space}; set it to a gymnasium.spaces space.")
    whole_number(name, "horizon", getattr(family, "horizon", None), 1)
    read_measures(name, family.measures)
    for method in METHODS:
        if getattr(type(family), method) is getattr(TaskFamily, method):
            raise ValueError(f"{name} has no {method}; write it as envs.TaskFamily describes.")


def check_list(family: TaskFamily, task: Any) -> None:
    """``held_out_list``, where there is one: like a task, with an axis in front of each leaf, as long in all."""
    listed = family.held_out_list
    if listed is None:
        return
    name, lengths = type(family).__name__, {np.shape(leaf)[:1] for leaf in jax.tree.leaves(listed)}
    alike = jax.tree.structure(listed) == jax.tree.structure(task)  # type: ignore[operator]
    if not alike or len(lengths) != 1 or lengths <= {(), (0,)}:
        shown = " ".join(str(listed).split())
        raise ValueError(f"{name}.held_out_list is {shown}; make it a task whose leaves have an axis more, one entry per task.")
    try:
        check_task(family, listed, lengths.pop())
    except ValueError as error:
        raise ValueError(f"{name}.held_out_list: {error}") from error


def check_functions(family: TaskFamily) -> None:
    """The part of `check_family` that traces: shapes and dtypes of what the functions return."""
    name, key = type(family).__name__, jax.random.key(0)
    task = _call(name, "sample_task", family.sample_task, key)
    for path, leaf in jax.tree_util.tree_leaves_with_path(task):
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise ValueError(
                f"{name}.sample_task: task{jax.tree_util.keystr(path)} is {leaf!r}; make it an array (jnp.asarray)."
            )

    def shapes(method: str, *args: Any) -> Any:
        def checked(*inputs: Any) -> Any:
            return _no_float64(name, method, getattr(family, method)(*inputs))

        return _call(name, method, lambda *inputs: jax.eval_shape(checked, *inputs), *args)

    check_list(family, task)
    state = shapes("initial", key, task)
    refuse_unknown(f"{name}.action_space", family.action_space)
    refuse_unknown(f"{name}.observation_space", family.observation_space)
    action = shapes_of(family.action_space)
    after = shapes("transition", state, action, key, task)
    if _layout(state) != _layout(after):
        raise ValueError(f"{name}.transition returns {_layout(after)}, but initial returns {_layout(state)}; they must agree.")
    space = family.observation_space
    if not isinstance(space, Box):
        wrong = fits(space, shapes("observation", state, key, task))
        if wrong:
            raise ValueError(f"{name}.observation returns {wrong}; make them agree.")
    else:
        expected = (space.shape, str(jax.dtypes.canonicalize_dtype(space.dtype)))
        observation = _one(name, "observation", shapes("observation", state, key, task))
        if observation != expected or str(space.dtype) != expected[1]:
            raise ValueError(
                f"{name}.observation returns shape {observation[0]} of {observation[1]}, but observation_space has "
                f"shape {space.shape} of {space.dtype}; make them agree, in float32 if in doubt."
            )
    shape, dtype = _one(name, "reward", shapes("reward", state, action, after, key, task))
    if shape != () or not dtype.startswith("float"):
        raise ValueError(f"{name}.reward returns shape {shape} of {dtype}, but must return one float.")
    shape, dtype = _one(name, "terminal", shapes("terminal", state, key, task))
    if shape != () or dtype != "bool":
        raise ValueError(f"{name}.terminal returns shape {shape} of {dtype}, but must return one bool.")
    if family.measures:
        _check_measures(name, family.measures, shapes("transition_info", state, action, after, task))


def _check_measures(name: str, measures: Iterable[str], info: Any) -> None:
    """What a family measures is in its ``transition_info``, each a number or bool."""
    if not isinstance(info, dict):
        raise ValueError(f"{name}.transition_info returns a {type(info).__name__}, but must return a dict.")
    for measure in measures:
        if measure not in info:
            raise ValueError(f"{name}.measures has {measure!r}, but transition_info gives {', '.join(info) or 'nothing'}.")
        shape, dtype = _one(name, f"transition_info, {measure!r},", info[measure])
        if shape != () or not dtype.startswith(("float", "int", "uint", "bool")):
            raise ValueError(
                f"{name}.transition_info gives {measure!r} of shape {shape} and {dtype}; make it one number or bool."
            )


def explain(error: Exception) -> str:
    """An exception from a user's code in one line: what and where."""
    lines = str(error).strip().splitlines() or [""]
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    message = f"{type(error).__name__}: {lines[0]}"
    if "Traceback (most recent call last):" in str(error):  # a host callback's own error, told as text
        frames, message = FRAME.findall(str(error)), lines[-1]
    theirs = [(file, line) for file, line in frames if not any(name in file for name in LIBRARIES)]
    return message + (f" ({theirs[-1][0]}:{theirs[-1][1]})" if theirs else "")


def _call(name: str, method: str, function: Any, *args: Any) -> Any:
    try:
        with warnings.catch_warnings():
            # float64 that is asked for and silently not given
            warnings.filterwarnings("error", message="Explicitly requested dtype")
            return function(*args)
    except _FamilyError:
        raise
    except Exception as error:  # whatever a user's function raises becomes one line
        raise ValueError(f"{name}.{method} fails under jax: {explain(error)}") from error


class _FamilyError(ValueError):
    """Already says which function and what to change."""


def _no_float64(name: str, method: str, result: Any) -> Any:
    """Refuse NumPy's float64, which jax would make float32 without a word."""
    silently = jax.dtypes.canonicalize_dtype(np.float64) != np.float64
    for leaf in jax.tree.leaves(result):
        if silently and getattr(leaf, "dtype", None) == np.float64:
            raise _FamilyError(f"{name}.{method} returns float64, {leaf!r}; make it float32, with .astype(np.float32).")
    return result


def _layout(tree: Any) -> str:
    return str(jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree))


def _one(name: str, method: str, result: Any) -> tuple[tuple[int, ...], str]:
    leaves = jax.tree.leaves(result)
    if len(leaves) != 1:
        raise ValueError(f"{name}.{method} returns {len(leaves)} arrays, but must return one.")
    return leaves[0].shape, str(leaves[0].dtype)
