"""Validation of the arguments of `from_jax`, before anything is compiled."""

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from gymnasium import spaces

from envs.contract import NEEDS_VALUES, explain
from envs.family import TaskFamily, check_task_space
from envs.keys import is_key
from envs.options import whole_number
from envs.values import fits, refuse_actions, refuse_unknown, shapes_of

# Of each function its arguments, as an error names them.
TAKES = {
    "reset": ("key", "task"),
    "step": ("key", "state", "action", "task"),
    "sample_task": ("key",),
    "sample_held_out_task": ("key",),
    "params_of": ("task",),
}
GIVES = {"reset": "(state, observation)", "step": "(state, observation, reward, terminated)"}


def check_functions(reset: Any, step: Any, sample_task: Any, sample_held_out_task: Any, params_of: Any) -> None:
    """Functions with the arguments that they will get."""
    given = {"reset": reset, "step": step, "sample_task": sample_task}
    optional = {"sample_held_out_task": sample_held_out_task, "params_of": params_of}
    for name, function in {**given, **{name: each for name, each in optional.items() if each is not None}}.items():
        call = f"{name}({', '.join(TAKES[name])})"
        if not callable(function):
            raise ValueError(f"from_jax: {name} is {_line(function)}, but must be a function {call}.")
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # some written in C have none
            continue
        try:
            signature.bind(*TAKES[name])
        except TypeError as error:
            raise ValueError(f"from_jax: {name} takes {signature}, but is called as {call}: {error}.") from error


def check_values(horizon: Any, observation_space: Any, action_space: Any) -> None:
    """A number of steps, and spaces that policies read and act in."""
    whole_number("from_jax", "horizon", horizon, 1)
    refuse_unknown("from_jax: observation_space", observation_space)
    refuse_actions("from_jax: action_space", action_space)


def check_results(
    reset: Callable[..., Any],
    step: Callable[..., Any],
    sample_task: Callable[..., Any],
    sample_held_out_task: Callable[..., Any] | None,
    params_of: Callable[..., Any] | None,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    measures: Mapping[str, str],
) -> None:
    """Trace all functions: what they return, shapes and dtypes."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    task = traced("sample_task", sample_task, key)
    _check_task("sample_task", task)
    if sample_held_out_task is not None:
        held_out = traced("sample_held_out_task", sample_held_out_task, key)
        _agree("sample_held_out_task returns a task", held_out, "sample_task one", task)
    if params_of is not None:
        traced("params_of", lambda task: (params_of(task), None)[1], task)
    params = params_of or (lambda task: task)

    def reset_it(key: Any, task: Any) -> Any:
        return _several("reset", reset(key, params(task)), 2, GIVES["reset"])

    state, first = traced("reset", reset_it, key, task)
    _check_state("reset", state)
    _check_observation("reset", first, observation_space)
    count, gives = (5, GIVES["step"][:-1] + ", info), for measures") if measures else (4, GIVES["step"])

    def step_it(key: Any, state: Any, action: Any, task: Any) -> Any:
        return _several("step", step(key, state, action, params(task)), count, gives)

    action = shapes_of(action_space)
    after, observation, reward, terminated, *info = traced("step", step_it, key, state, action, task)
    _agree("step returns a state", after, "reset one", state)
    _check_observation("step", observation, observation_space)
    _agree("step returns an observation", observation, "reset one", first)
    if not _is_scalar(reward, jnp.floating):
        raise ValueError(
            f"from_jax: step returns a reward of {_shown(reward)}, but it must be one float; make it a scalar, with "
            ".astype(jnp.float32)."
        )
    if not _is_scalar(terminated, jnp.bool_):
        raise ValueError(
            f"from_jax: step returns terminated as {_shown(terminated)}, but it must be one bool; make it a scalar, with "
            ".astype(bool)."
        )
    if measures:
        _check_info(info[0], measures)


def check_task_spaces(family: TaskFamily) -> None:
    """Where there is a ``task_space``, it looks like a task, and drawn tasks lie in it."""
    if family.task_space is None:
        return
    for name in ("sample_task", "sample_held_out_task"):
        task = jax.jit(getattr(family, name))(jax.random.key(0))
        try:
            check_task_space(family, task)
        except ValueError as error:
            raise ValueError(f"from_jax: {name} and task_space do not agree: {error}") from error


def traced(name: str, function: Callable[..., Any], *args: Any) -> Any:
    """The shapes and dtypes that a user's function gives; ValueError in one line if JAX cannot compile it."""
    try:
        with warnings.catch_warnings():
            # float64 that is asked for and silently not given
            warnings.filterwarnings("error", message="Explicitly requested dtype")
            return jax.eval_shape(function, *args)
    except _SaidError as error:
        raise ValueError(str(error)) from None  # without the lines that JAX adds to what passes through it
    except Exception as error:  # whatever a user's function raises becomes one line
        advice = ""
        if isinstance(error, NEEDS_VALUES):
            advice = " Write it in jax.numpy, with jnp.where or jax.lax.cond in the place of if, and no float() or NumPy."
        raise ValueError(f"from_jax: {name} fails under jax.jit: {explain(error)}.{advice}") from error


class _SaidError(ValueError):
    """Already says which function and what to do."""


def _several(name: str, result: Any, count: int, gives: str) -> Any:
    if not isinstance(result, tuple | list) or len(result) != count:
        found = f"{len(result)} values" if isinstance(result, tuple | list) else f"a {type(result).__name__}"
        raise _SaidError(f"from_jax: {name} returns {found}, but must return {gives}.")
    for path, leaf in jax.tree_util.tree_leaves_with_path(result):
        try:
            jnp.result_type(leaf)
        except TypeError as error:
            part = jax.tree_util.keystr(path)
            raise _SaidError(
                f"from_jax: {name} returns {_line(repr(leaf))} at {part} of {gives}; make it an array, or leave it out."
            ) from error
    return tuple(result)


def _check_task(name: str, task: Any) -> None:
    if not jax.tree.leaves(task):
        raise ValueError(f"from_jax: {name} returns {_line(task)}, without arrays; return a pytree of arrays.")


def _check_state(name: str, state: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if leaf.dtype == jax.dtypes.float0:
            raise ValueError(f"from_jax: {name} returns a state of float0 at {jax.tree_util.keystr(path)}; leave it out.")


def _check_observation(name: str, observation: Any, space: spaces.Space) -> None:
    if not isinstance(space, spaces.Box):
        wrong = fits(space, observation)
        if wrong:
            raise ValueError(f"from_jax: {name} returns as observation {wrong}; make them agree.")
        return
    leaves = jax.tree.leaves(observation)
    if len(leaves) != 1:
        raise ValueError(
            f"from_jax: {name} returns an observation of {len(leaves)} arrays, {_layout(observation)}; put them into one, such "
            "as with jnp.concatenate, or make observation_space a Dict or Tuple."
        )
    (leaf,) = leaves
    if (leaf.shape, str(leaf.dtype)) != (space.shape, str(space.dtype)):
        raise ValueError(
            f"from_jax: {name} returns an observation of {_shown(leaf)}, but observation_space has shape {space.shape} of "
            f"{space.dtype}; make them agree, in float32 if in doubt."
        )


def _check_info(info: Any, measures: Mapping[str, str]) -> None:
    if not isinstance(info, Mapping):
        raise ValueError(f"from_jax: step returns a {type(info).__name__} as info, but measures need a dict.")
    for name in measures:
        if name not in info:
            raise ValueError(f"from_jax: measures has {name!r}, but step's info gives {', '.join(info) or 'nothing'}.")
        if not (_is_scalar(info[name], jnp.number) or _is_scalar(info[name], jnp.bool_)):
            raise ValueError(
                f"from_jax: step's info gives {name!r} as {_shown(info[name])}, but a measure is one number or bool."
            )


def _agree(one: str, first: Any, other: str, second: Any) -> None:
    """Two trees of the same structure, shapes and dtypes, or the first place where they differ."""
    named = [
        {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (first, second)
    ]
    for place in [*named[0], *named[1]]:
        shown = [_shown(tree[place]) if place in tree else "nothing" for tree in named]
        if shown[0] != shown[1]:
            at = f" at {place}" if place else ""
            raise ValueError(f"from_jax: {one} with {shown[0]}{at}, but {other} with {shown[1]} there; they must agree.")
    if jax.tree.structure(first) != jax.tree.structure(second):  # type: ignore[operator]
        structures = [_line(jax.tree.structure(tree)) for tree in (first, second)]
        raise ValueError(f"from_jax: {one} of structure {structures[0]}, but {other} of {structures[1]}; they must agree.")


def _is_scalar(value: Any, kind: Any) -> bool:
    return not is_key(value) and getattr(value, "shape", None) == () and jnp.issubdtype(value.dtype, kind)


def _shown(leaf: Any) -> str:
    return f"shape {leaf.shape} of {leaf.dtype}" if hasattr(leaf, "dtype") else _line(leaf)


def _layout(tree: Any) -> str:
    return _line(jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree))


def _line(value: Any) -> str:
    return " ".join(str(value).split())
