"""Packages that only some families need: a missing one is met with the command that installs it."""

import importlib
import importlib.util
from types import ModuleType

EXTRAS = {"mujoco": ("mujoco", "mujoco.mjx"), "box2d": ("Box2D", "pygame"), "minigrid": ("minigrid",)}  # see pyproject.toml


def require(extra: str) -> ModuleType:
    """The main module of an optional dependency, once all modules of it are known to be there.

    Raises:
        ImportError: one line with the command that installs what is missing.
    """
    modules = EXTRAS[extra]
    missing = [name for name in modules if not _installed(name)]
    if missing:
        raise ImportError(
            f"{missing[0]} is not installed: pip install --constraint constraints.txt --editable '.[{extra}]'",
            name=missing[0],
        )
    return importlib.import_module(modules[0])


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # its parent package is missing
        return False
