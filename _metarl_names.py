"""One set of modules under two names, and the start of the command ``metarl``. Imports nothing but the standard library.

In a checkout the packages are ``envs``, ``agents`` and ``experiments``, and ``metarl.envs`` is another name of ``envs``. In an
installed wheel they are ``metarl.envs`` and so on, and ``envs`` is another name of ``metarl.envs`` as long as nobody else on
the path has it. Either way both names give the same module object, which is loaded once.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from types import CodeType, ModuleType
from typing import Any

DISTRIBUTION = "metarl-jax"
ROOMS = ("envs", "agents", "experiments")
HOME = os.path.dirname(os.path.abspath(__file__))


def installed(home: str = HOME) -> bool:
    """Whether this is the form of the wheel, with all packages inside ``metarl``."""
    return os.path.isdir(os.path.join(home, "metarl", "envs"))


def activate(package: str | None = None) -> None:
    """Let both names work.

    Args:
        package: the folder of ``metarl``, if not the one beside this file.
    """
    home = os.path.dirname(os.path.abspath(package)) if package else HOME
    if any(isinstance(finder, _Finder) and finder.home == home for finder in sys.meta_path):
        return
    if installed(home):
        sys.meta_path.insert(0, _Inside(home))
        sys.meta_path += [_Unclaimed(home), _Taken(home)]
    else:
        sys.meta_path.insert(0, _Finder(home))
        sys.meta_path.append(_Taken(home))


class _Finder:
    """In a checkout: ``metarl.envs`` and what is in it are ``envs`` and what is in it."""

    def __init__(self, home: str):
        self.home = home

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As of any finder in `sys.meta_path`."""
        first, _, real = name.partition(".")
        if first == "metarl" and real.split(".")[0] in ROOMS:
            return _another_name(name, real, self.home)
        return None


class _Inside(_Finder):
    """In the wheel's form, for what is in ``envs``: ours, if that ``envs`` is ours."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As of any finder in `sys.meta_path`."""
        first, _, rest = name.partition(".")
        if rest and first in ROOMS:
            ours = sys.modules.get(f"metarl.{first}")
            if ours is not None and sys.modules.get(first) is ours:
                return _another_name(name, f"metarl.{name}", self.home)
        return None


class _Unclaimed(_Finder):
    """In the wheel's form, for ``envs`` itself: ours, if no other finder knows one."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As of any finder in `sys.meta_path`."""
        if name not in ROOMS:
            return None
        for later in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = later.find_spec(name, path, target)
            if spec is not None:
                return spec
        return _another_name(name, f"metarl.{name}", self.home)


class _Taken(_Finder):
    """For what ours has and a user's package of the same name lacks, after all other finders: says who has the name."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As of any finder in `sys.meta_path`.

        Raises:
            ModuleNotFoundError: the package is somebody else's, and its name is why ours is not found.
        """
        first, _, rest = name.partition(".")
        theirs = sys.modules.get(first)
        if not rest or first not in ROOMS or theirs is None:
            return None
        inside = os.path.join(self.home, "metarl") if installed(self.home) else self.home
        there = [os.path.abspath(folder) for folder in getattr(theirs, "__path__", ())]
        ours = os.path.join(inside, *name.split("."))
        if os.path.join(inside, first) in there or not (os.path.isdir(ours) or os.path.isfile(f"{ours}.py")):
            return None
        where = next(iter(there), first)
        inner = ".COMMAND" if os.path.isdir(ours) and not os.path.isfile(os.path.join(ours, "__main__.py")) else ""
        command = f"start it as metarl {rest.replace('_', '-')}{inner}" if first == "experiments" else f"write metarl.{name}"
        who = f"{where} comes first under the name {first!r}"
        raise ModuleNotFoundError(f"No module named {name!r}: {who}. To have metarl's, {command}, or rename yours", name=name)


def _another_name(name: str, real: str, home: str) -> ModuleSpec | None:
    """How to find the module ``real`` under ``name``; imports nothing."""
    path = [home]
    for part in real.split(".")[:-1]:
        path = [os.path.join(folder, part) for folder in path]
    found = PathFinder.find_spec(real, path)
    if found is None:
        return None
    loader: Any = _Same(real, found)
    spec = ModuleSpec(name, loader, origin=found.origin, is_package=found.submodule_search_locations is not None)
    if found.submodule_search_locations is not None:
        spec.submodule_search_locations = list(found.submodule_search_locations)
    spec.has_location = found.has_location
    return spec


class _Same:
    """Loads a module under another name by importing it under its own."""

    def __init__(self, real: str, found: ModuleSpec):
        self.real, self.found = real, found

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module itself.

        Raises:
            ImportError: somebody else has its name.
        """
        module = importlib.import_module(self.real)
        self.own = module.__spec__
        if self.own is None or self.own.origin != self.found.origin:
            where = _folder_of((self.own.origin if self.own else None) or "another folder")
            raise ImportError(
                f"{spec.name}: {where} comes first on sys.path under the name {self.real}. Rename it, or install metarl as a "
                "package of its own (pip install FOLDER, without -e).",
                name=spec.name,
            )
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing but to undo what the import system did: a module keeps the specification of its own name."""
        module.__spec__ = self.own

    def get_code(self, name: str) -> CodeType | None:
        """The module's code, for ``python -m``."""
        return self.found.loader.get_code(self.real)  # type: ignore[union-attr]


def main() -> None:
    """The command ``metarl``, unless another distribution has overwritten ours."""
    trouble = overwritten()
    if trouble:
        print(f"error: {trouble}", file=sys.stderr)
        sys.exit(2)
    sys.exit(importlib.import_module("metarl.experiments.cli.main").main())


def overwritten() -> str | None:
    """One line on who stands where our package ``metarl`` should, or on which of its files are gone; None if all is well."""
    ours = os.path.join(HOME, "metarl", "__init__.py")
    found = PathFinder.find_spec("metarl")
    if found is not None and found.origin is not None and os.path.abspath(found.origin) != ours:
        return f"{found.origin}{_by(found.origin)} hides {DISTRIBUTION}, which is in {HOME}; remove or rename it."
    again = f"pip install --force-reinstall --no-deps {DISTRIBUTION}"
    for path in _changed_files() if installed() else ():
        if not os.path.exists(path):
            return f"{path} of {DISTRIBUTION} is missing. Get it back: {again}"
        by = _by(path)
        if by:
            return f"{path} of {DISTRIBUTION} was overwritten{by}. Uninstall that, then: {again}"
    return None


def _changed_files() -> Iterator[str]:
    """Our files in the wheel's form that are missing or not those of the wheel, by the hashes that the installer wrote."""
    import base64
    import hashlib
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        files = distribution(DISTRIBUTION).files or []
    except PackageNotFoundError:
        return
    for file in files:
        if file.parts[0] == "metarl" and file.suffix == ".py" and file.hash is not None:
            path, digest = os.path.abspath(str(file.locate())), b""
            if os.path.exists(path):
                with open(path, "rb") as opened:
                    digest = hashlib.new(file.hash.mode, opened.read()).digest()
            if base64.urlsafe_b64encode(digest).decode().rstrip("=") != file.hash.value:
                yield path


def _by(path: str) -> str:
    """The distribution, other than ours, that lists a file as its own, for a message; empty if there is none."""
    from importlib.metadata import distributions

    for each in distributions():
        name = each.metadata["Name"]
        for file in each.files or [] if name != DISTRIBUTION else []:
            if file.name == os.path.basename(path) and os.path.abspath(str(file.locate())) == os.path.abspath(path):
                return f" by {name} {each.version}"
    return ""


def namesake(name: str) -> str:
    """What to do where a user's module wants a package of theirs that is called as one of ours is, and got ours."""
    ours = sys.modules.get(name)
    if name not in ("metarl", "envs", "agents", "experiments") or ours is None or not ours.__file__:
        return ""
    elsewhere = [path for path in sys.path if not _holds(path, ours.__file__)]
    theirs = next(filter(None, (PathFinder.find_spec(name, [path]) for path in elsewhere)), None)
    if theirs is None:
        return ""
    where = _folder_of(theirs.origin or next(iter(theirs.submodule_search_locations or ()), name))
    return (
        f". {where} is not seen: {name!r} here is metarl's own package. Rename yours, or install metarl (pip install FOLDER, "
        "without -e), whose packages are then metarl.envs and so on, and start it as metarl train"
    )


def _folder_of(origin: str) -> str:
    """What to rename: a module's file, or of a package its folder."""
    return os.path.dirname(origin) if os.path.basename(origin) == "__init__.py" else origin


def _holds(folder: str, file: str) -> bool:
    """Whether a folder of the path is one that a file lies in."""
    return os.path.realpath(file).startswith(os.path.join(os.path.realpath(folder or "."), ""))
