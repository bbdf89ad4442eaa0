"""What a task family's functions give, by shapes alone, where an agent is built: what the sampler assumes of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from agents.parts.encoding import joined, parts, values

# What JAX raises where Python asks for the value of a traced array, or more.
NEEDS_VALUES = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)
IN_JAX = "it is called while JAX traces it: write it in jax.numpy, and make tables that it indexes arrays by jnp.asarray"


def told(error: Exception) -> str:
    """Whatever a user's function raises, in one line, with advice where it is not written in JAX."""
    lines = " ".join(str(error).split())
    if isinstance(error, NEEDS_VALUES):
        return f"{type(error).__name__}; {IN_JAX}"
    return f"{type(error).__name__}: {lines[:300]}"


def refuse_unfit(family: Any) -> None:
    """Trace the functions of a family that nobody has checked (`envs.make` does), and compare what they give.

    Raises:
        ValueError: one line that names the family, the function and the shape.
    """
    if getattr(family, "checked", False):
        return
    name, key = type(family).__name__, jax.eval_shape(lambda: jax.random.key(0))
    horizon = family.horizon
    if not isinstance(horizon, int | np.integer) or isinstance(horizon, bool) or horizon < 1:
        raise ValueError(f"{name}.horizon is {horizon!r}, but must be a whole number of at least 1.")

    def shapes(method: str, *args: Any) -> Any:
        return _traced(f"{name}.{method}", getattr(family, method), *args)

    task = shapes("sample_task", key)
    state = shapes("initial", key, task)
    action = _value_of(family.action_space)
    after = shapes("transition", state, action, key, task)
    if _layout(state) != _layout(after):
        raise ValueError(f"{name}.transition returns {_layout(after)}, but initial returns {_layout(state)}; they must agree.")
    observation, space = shapes("observation", state, key, task), family.observation_space
    seen = _seen(space, observation)
    if seen is None:
        raise ValueError(
            f"{name}.observation returns {_layout(observation)}, but observation_space is {space}; make them agree."
        )
    for (path, part), value in zip(parts(space), seen, strict=True):
        if value.shape != (part.shape or ()):
            raise ValueError(
                f"{name}.observation{path} has shape {value.shape}, but observation_space{path} has {part.shape or ()}; make "
                "them agree."
            )
    _refuse_other(f"{name}.reward", shapes("reward", state, action, after, key, task), "fiub", "one number")
    _refuse_other(f"{name}.terminal", shapes("terminal", state, key, task), "b", "one bool")
    measures = getattr(family, "measures", {})
    if measures:
        info = shapes("transition_info", state, action, after, task)
        for measure in measures:
            if not isinstance(info, dict) or measure not in info:
                raise ValueError(f"{name}.measures has {measure!r}, but transition_info gives {_layout(info)}; add it.")
            _refuse_other(f"{name}.transition_info, {measure!r},", info[measure], "fiub", "one number or bool")


def _seen(space: spaces.Space, observation: Any) -> list[Any] | None:
    """The arrays of an observation, in the order of the `parts` of its space; None where it is made of other parts."""
    try:
        found = list(values(space, observation))
    except (KeyError, IndexError, TypeError):
        return None
    return found if all(hasattr(value, "shape") for value in found) else None


def _traced(called: str, function: Callable[..., Any], *args: Any) -> Any:
    try:
        return jax.eval_shape(function, *args)
    except Exception as error:  # whatever a user's function raises becomes one line
        raise ValueError(f"{called} fails: {told(error)}") from error


def _refuse_other(called: str, result: Any, kinds: str, wanted: str) -> None:
    """Refuse what is not a single array without axes, of one of these kinds of types."""
    leaves = jax.tree.leaves(result)
    if len(leaves) != 1 or leaves[0].shape != () or not _is_kind(leaves[0].dtype, kinds):
        raise ValueError(f"{called} returns {_layout(result)}, but must return {wanted}, without axes.")


def _is_kind(dtype: Any, kinds: str) -> bool:
    return jnp.issubdtype(dtype, jnp.floating) if dtype.kind == "V" else dtype.kind in kinds  # bfloat16 has kind V


def _layout(tree: Any) -> str:
    return str(jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree))


def _value_of(space: spaces.Space) -> Any:
    """A value of a space, by shapes and types as JAX has them."""
    leaves = (
        jax.ShapeDtypeStruct(part.shape or (), jax.dtypes.canonicalize_dtype(part.dtype or np.int64))
        for _, part in parts(space)
    )
    return joined(space, leaves)
