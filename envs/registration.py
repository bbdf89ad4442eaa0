"""Families on Gymnasium's own registry: one id serves `gymnasium.make`, `gymnasium.make_vec` and `envs.make`."""

import difflib
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import gymnasium

from envs.check import check_family, explain
from envs.family import TaskFamily

ENTRY_POINT = "envs.task_env:TaskEnv"
VECTOR_ENTRY_POINT = "envs.task_vector_env:TaskVectorEnv"


def build_family(family: Any, **options: Any) -> TaskFamily:
    """A family from an instance, a class or function that makes one, or its "module:name"."""
    if isinstance(family, str):
        module, _, name = family.partition(":")
        family = getattr(importlib.import_module(module), name)
    if isinstance(family, TaskFamily):
        check_family(family)
        if options:
            raise ValueError(f"{type(family).__name__} is already built; give {sorted(options)} to its constructor.")
        return family
    try:
        inspect.signature(family).bind(**options)
    except TypeError as error:
        known = [name for name in inspect.signature(family).parameters]
        raise ValueError(
            f"{getattr(family, '__name__', family)}: {error}; its options: {', '.join(known) or 'none'}."
        ) from error
    try:
        built = family(**options)
    except TypeError as error:  # such as an option that a function with **options passes on
        raise ValueError(f"{getattr(family, '__name__', family)}: {explain(error)}") from error
    if not isinstance(built, TaskFamily):
        raise ValueError(f"{family!r} made a {type(built).__name__}, but a family must subclass envs.TaskFamily.")
    check_family(built)
    return built


def register(id: str, family: str | Callable[..., TaskFamily]) -> None:
    """Put a task family on Gymnasium's registry.

    Args:
        id: such as ``their/Env-v0``.
        family: the family's class, a function that makes one, or "module:name", which is imported when first used.
    """
    if id in gymnasium.registry and gymnasium.registry[id].kwargs.get("family") != family:
        raise ValueError(f"register: {id!r} is taken; choose another name or a new version.")
    if id not in gymnasium.registry:
        gymnasium.register(id=id, entry_point=ENTRY_POINT, vector_entry_point=VECTOR_ENTRY_POINT, kwargs={"family": family})


def registered() -> list[str]:
    """Ids of all registered task families, sorted."""
    return sorted(id for id, spec in gymnasium.registry.items() if spec.entry_point == ENTRY_POINT)


def make(id: str, **options: Any) -> TaskFamily:
    """The family registered under ``id``. ``module:id`` imports ``module`` first, as in Gymnasium.

    Raises:
        ValueError: no such module, or no such family; names the closest known ids.
    """
    module, _, name = id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever a user's module raises becomes one line
            hint = explain(error)
            if isinstance(error, ModuleNotFoundError) and error.name == module.split(".")[0]:
                hint = f"{error}. Run from the folder that holds {error.name}.py, or install it."
            raise ValueError(f"Env {id!r}: importing {module} fails: {hint}") from error
    if name not in registered():
        raise ValueError(_unknown(name))
    return build_family(gymnasium.registry[name].kwargs["family"], **options)


def _unknown(name: str) -> str:
    if name in gymnasium.registry:
        return f"{name!r} is an ordinary Gymnasium environment, not a task family; register an envs.TaskFamily instead."
    lower = {id.lower(): id for id in registered()}
    close = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
    hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Registered: {', '.join(registered())}."
    return f"No task family {name!r}. {hint}"
