"""Optional dependencies: packages that only some families need. The error about a missing one says how to install it."""

import importlib
import importlib.util
from types import ModuleType

EXTRAS = {  # see pyproject.toml
    "mujoco": ("mujoco", "mujoco.mjx"),
    "box2d": ("Box2D", "pygame"),
    "minigrid": ("minigrid",),
    "peers": ("torch",),  # of experiments/peers, not of a family
}

# How ids, or the places that Gymnasium's own environments come from, begin -> the extra that brings them.
BROUGHT = {
    "MiniGrid-": "minigrid",
    "BabyAI-": "minigrid",
    "gymnasium.envs.box2d": "box2d",
    "gymnasium.envs.mujoco": "mujoco",
}


def extra_of(name: str) -> str | None:
    """The extra that brings an environment, by its id or entry point; None if it is not one of ours."""
    return next((extra for start, extra in BROUGHT.items() if name.startswith(start)), None)


def install(extra: str) -> str:
    """The command that installs an extra."""
    if __package__ != "envs":  # in the wheel's form
        return f"pip install 'metarl-jax[{extra}]'"
    return f"pip install --constraint constraints.txt --editable '.[{extra}]'"


def require(extra: str) -> ModuleType:
    """The main module of an optional dependency, once all modules of it are known to be there.

    Raises:
        ImportError: one line with the command that installs what is missing.
    """
    modules = EXTRAS[extra]
    missing = [name for name in modules if not _installed(name)]
    if missing:
        raise ImportError(f"{missing[0]} is not installed: {install(extra)}", name=missing[0])
    return importlib.import_module(modules[0])


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:  # its parent package is missing
        return False
