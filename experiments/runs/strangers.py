"""A run folder may be a stranger's: what its config.json may say, and which modules may be imported because it names them."""

import re
import sys
from collections.abc import Collection
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from experiments.cli.errors import UserError

OURS = ("metarl", "envs", "agents", "experiments")
OF_RUNS = ("env", "agent", "network", "problem")
NAMING = (*OF_RUNS, "memory")  # settings that may say "module:name"; the last is an agent's, and may be a number of another's
HOW = "give --trust {module}; in Python, trust=({module!r},)"
MAX_REKEYED = 16  # times that a run may go on with other random numbers
_told: set[str] = set()
WORD = re.compile(r"[\w.-]{1,64}", re.ASCII)
TYPES: dict[str, type | tuple[type, ...]] = {
    "script": str,
    "settings": dict,
    "wandb_id": str,
    "experiment": str,
    "wandb_sweep": (str, type(None)),
    "wandb_project": str,
    "rekeyed": list,
}


def refuse_crafted(path: Path, config: dict[str, Any]) -> None:
    """Refuse a config.json whose parts are of other types, or whose names could lead out of its folder.

    Raises:
        UserError: one line.
    """
    for name, kind in TYPES.items():
        if name in config and not isinstance(config[name], kind):
            raise UserError(f"{path}: {name} is {_shown(config[name])}, which no run of metarl has.")
    settings = config["settings"]
    for name in OF_RUNS:
        if not isinstance(settings.get(name), str | None):
            raise UserError(f"{path}: {name} is {_shown(settings[name])}, but must be a name.")
    for name in ("script", "wandb_id", "wandb_sweep"):  # they become parts of file names
        value = config.get(name)
        if value is not None and not (WORD.fullmatch(value) and value.strip(".")):
            raise UserError(f"{path}: {name} is {_shown(value)}, which no run of metarl has.")
    rekeyed = config.get("rekeyed", [])
    if len(rekeyed) > MAX_REKEYED or not all(type(each) is int and 0 <= each < 2**31 for each in rekeyed):
        raise UserError(f"{path}: rekeyed is {_shown(rekeyed)}, but must be at most {MAX_REKEYED} iterations.")


def refuse_links(run_dir: Path, names: Collection[str]) -> None:
    """Refuse a folder in which files that a run writes are links: what is written would change something else.

    Raises:
        UserError: one line.
    """
    for name in names:
        for path in (run_dir / name, run_dir / f"{name}.partial"):
            if path.is_symlink():
                raise UserError(f"{path} is a link to {path.readlink()}; put the file itself there, or remove it.")


def modules_of(config: dict[str, Any]) -> dict[str, str]:
    """Module -> the part of a config.json that names it, but for modules of metarl."""
    parts = {"experiment": config.get("experiment"), **{name: config["settings"].get(name) for name in NAMING}}
    found = {}
    for name, value in parts.items():
        value = value if isinstance(value, str) else ""
        module, colon, _ = value.rpartition(":") if name != "experiment" else value.partition(":")
        if colon and module.partition(".")[0] not in OURS:
            found[module] = name
    return found


def admit(run_dir: Path, config: dict[str, Any], trusted: Collection[str] = (), how: str = HOW) -> None:
    """Say which modules a run's config.json will have imported; refuse those that the user has not chosen.

    Chosen are: modules that the user named, or a package that they lie in; those that are imported already; and those in the
    folder where the command was started, or deeper, unless there is a run, or a package index's library, in between.

    Args:
        run_dir: the run's folder.
        config: its config.json.
        trusted: modules that the user named.
        how: they are named, for the message, with the fields module, name and value.

    Raises:
        UserError: one line with the module, its file, and what to do if it is to be trusted.
    """
    for module, name in modules_of(config).items():
        if module in sys.modules:
            continue
        where = location(module)
        packages = {module} | {module.rsplit(".", i)[0] for i in range(1, module.count(".") + 1)}
        if not packages & set(trusted) and (where is None or not _lies_here(where, run_dir)):
            file = f" ({where})" if where else ""
            said = how.format(module=module, name=name, value=config.get(name) or config["settings"].get(name))
            why = "importing it can do anything"
            raise UserError(f"{run_dir} names the module {module}{file} as its {name}; {why}. If you trust it, {said}.")
        line = f"importing {module} ({where or 'wherever Python finds it'}), the {name} of {run_dir}"
        if line not in _told:
            _told.add(line)
            print(line, file=sys.stderr, flush=True)


def location(module: str) -> Path | None:
    """The file or folder of a module that is not imported, found without importing anything; None if it cannot be said."""
    first, *rest = module.split(".")
    if first in sys.stdlib_module_names:
        return None
    spec = PathFinder.find_spec(first, [str(Path.cwd()), *sys.path])
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    found = Path(spec.origin) if spec.origin else next(iter(folders), None)
    for part in rest:
        inside = [path for folder in folders for path in (folder / part, folder / f"{part}.py") if path.exists()]
        if not inside:
            return None
        found, folders = inside[0], [inside[0]]
    return found


def _lies_here(path: Path, run_dir: Path) -> bool:
    here, path = Path.cwd().resolve(), path.resolve()
    if not path.is_relative_to(here) or path.is_relative_to(run_dir.resolve()):
        return False
    between = [parent for parent in path.parents if parent != here and parent.is_relative_to(here)]
    return not any(parent.name in ("site-packages", "dist-packages") or (parent / "config.json").exists() for parent in between)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
