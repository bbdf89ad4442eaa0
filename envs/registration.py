"""Families on Gymnasium's own registry: one id serves `gymnasium.make`, `gymnasium.make_vec` and `envs.make`."""

import difflib
import importlib
import inspect
import json
import weakref
from collections.abc import Callable
from typing import Any

import gymnasium
import jax

import _metarl_names
from envs.contract import check_attributes, check_functions, explain
from envs.family import TaskFamily
from envs.forks import refuse_fork

ENTRY_POINT = f"{__package__}.to_gymnasium.task_env:TaskEnv"
VECTOR_ENTRY_POINT = f"{__package__}.to_gymnasium.task_vector_env:TaskVectorEnv"

# What makes a family -> the options with which its functions passed their checks. Classes, functions and families can be keys.
_CHECKED: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


def build_family(family: Any, **options: Any) -> TaskFamily:
    """Build and check a family from an instance, a class or function that makes one, or its "module:name".

    Every call builds anew, since families hold threads, processes and whatever a user sets on them. Their functions, whose
    tracing takes most of the time, are checked once in a process for the same maker and options.

    Raises:
        ValueError: one line on what is wrong with the family, its options or its module.
    """
    refuse_fork()
    maker = imported(family)
    built = construct(maker, **options)
    check_attributes(built)
    try:
        known, spelled = _CHECKED.setdefault(maker, set()), json.dumps([options, jax.dtypes.canonicalize_dtype(float).name])
    except TypeError:  # a maker that cannot be a key, or options that JSON cannot spell: checked every time
        check_functions(built)
        vars(built)["checked"] = True
        return built
    if spelled not in known:
        check_functions(built)
        known.add(spelled)
    vars(built)["checked"] = True
    return built


def construct(family: Any, **options: Any) -> TaskFamily:
    """`build_family` without its checks of the family."""
    family = imported(family)
    if isinstance(family, TaskFamily):
        if options:
            raise ValueError(f"{type(family).__name__} is already built; give {sorted(options)} to its constructor.")
        return family
    name = getattr(family, "__name__", family)
    _refuse_unknown_options(family, name, options)
    try:
        built = family(**options)
    except (ValueError, ImportError) as error:  # the family's own words: a bad value, a missing dependency
        raise ValueError(_one_line(error)) from error
    except Exception as error:
        raise ValueError(f"{name}({_spelled(options)}) fails: {explain(error)}") from error
    if not isinstance(built, TaskFamily):
        raise ValueError(f"{family!r} made a {type(built).__name__}, but a family must subclass envs.TaskFamily.")
    return built


def _refuse_unknown_options(family: Any, name: str, options: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(family)
    except ValueError:  # classes written in C have none
        return
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ValueError(f"{name}: {error}; its options: {', '.join(signature.parameters) or 'none'}.") from error


def imported(family: Any) -> Any:
    """What makes a family, given it, its "module:name" or its id; ValueError in one line if there is no such thing."""
    if not isinstance(family, str):
        return family
    module, colon, name = family.partition(":")
    if not colon:
        known = gymnasium.registry.get(family)
        if known is None or known.kwargs.get("family") in (None, family):
            raise ValueError(f"no family is registered as {family!r} here; import what registers it, or give 'module:name'.")
        return imported(known.kwargs["family"])
    try:
        return getattr(importlib.import_module(module), name)
    except (AttributeError, ImportError) as error:  # such as an optional dependency that is not installed
        raise ValueError(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _spelled(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


def register(id: str, family: str | Callable[..., TaskFamily]) -> None:
    """Put a task family on Gymnasium's registry.

    Args:
        id: such as ``their/Env-v0``.
        family: the family's class, a function that makes one, or "module:name", which is imported when first used.

    >>> import envs
    >>> envs.register("example/Plane-v0", "envs.families.navigation:Navigation2D")
    >>> "example/Plane-v0" in envs.registered()
    True
    """
    spelled = isinstance(family, str) and all(family.partition(":"))
    if not (spelled or callable(family) or isinstance(family, TaskFamily)):
        raise ValueError(f"register: {id!r} is {family!r}, but must be a family's class, a function, or 'module:name'.")
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
        ValueError: no such module, no such family (names the closest known ids), or one that fails its checks.

    >>> import envs
    >>> family = envs.make("metarl/Navigation2D-v0", horizon=20)
    >>> family.horizon, family.action_space
    (20, Box(-1.0, 1.0, (2,), float32))
    """
    return build_family(find(id), **options)


def find(id: str) -> Any:
    """What ``id`` was registered with: a family's class, a function that makes one, or its "module:name"."""
    module, _, name = id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever a user's module raises becomes one line
            hint = explain(error)
            if isinstance(error, ModuleNotFoundError) and error.name == module.split(".")[0]:
                hint = f"{error}. Run from the folder that holds {error.name}.py, or install it."
            elif isinstance(error, ImportError) and error.name:
                hint += _metarl_names.namesake(error.name.partition(".")[0])
            raise ValueError(f"Env {id!r}: importing {module} fails: {hint}") from error
    if name not in registered():
        raise ValueError(_unknown(name))
    return gymnasium.registry[name].kwargs["family"]


def _unknown(name: str) -> str:
    if name in gymnasium.registry:
        return f"{name!r} is an ordinary Gymnasium environment, not a task family; envs.from_gymnasium makes one of it."
    lower = {id.lower(): id for id in registered()}
    close = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.75)]
    hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Registered: {', '.join(registered())}."
    return f"No task family {name!r}. {hint}"
