"""Optional dependencies: packages that only some families need. The error about a missing one says how to install it."""

import importlib
import importlib.metadata
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import _metarl_names

HOME = Path(__file__).resolve().parent.parent  # of a clone
EXTRAS = {  # see pyproject.toml
    "mujoco": ("mujoco", "mujoco.mjx"),
    "box2d": ("Box2D", "pygame"),
    "minigrid": ("minigrid",),
    "xland": ("xminigrid",),
    "brax": ("brax",),
    "playground": ("mujoco_playground",),
    "jumanji": ("jumanji",),
    "navix": ("navix",),
    "metaworld": ("metaworld",),
    "digits": ("sklearn.datasets",),
    "export": ("flatbuffers",),  # of experiments/evaluation/export.py
    "peers": ("torch",),  # of experiments/benchmark/pytorch, not of a family
}

# An extra whose pins are not those of constraints.txt -> the versions that it is tested with, in an environment of its own.
APART = {"metaworld": "constraints-lowest.txt"}

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
    """The command that installs an extra, from wherever it is typed: metarl itself is on no package index."""
    if __package__ != "envs":  # in the wheel's form
        wanted = importlib.metadata.requires(_metarl_names.DISTRIBUTION) or []
        names = [each.partition(";")[0].strip() for each in wanted if re.search(rf"extra\s*==\s*['\"]{extra}['\"]", each)]
        return f"pip install {' '.join(map(repr, names))}"
    home = "" if Path.cwd() == HOME else f"{HOME}/"
    return f"pip install --constraint {home}{APART.get(extra, 'constraints.txt')} --editable '{home or '.'}[{extra}]'"


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
