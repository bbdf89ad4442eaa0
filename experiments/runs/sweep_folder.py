"""Where the runs of a sweep lie: a folder with sweep.json and a folder for each combination of settings, such as inner_lr=0.1.

A combination's folder is a run, or with several seeds the parent of their runs.
"""

from pathlib import Path
from typing import Any

from experiments.runs.seed_folders import seed_folders

SWEEP = "sweep.json"
WRITTEN = (SWEEP, f"{SWEEP}.partial", "sweep.md", "sweep.png")  # beside the combinations' folders


def folder_name(values: dict[str, Any]) -> str:
    """What a combination's folder is called.

    >>> folder_name({"inner_lr": 0.1, "outer_lr": 1e-5, "hidden_sizes": (8, 8), "memory": "mine:my/memory"})
    'inner_lr=0.1,outer_lr=1e-05,hidden_sizes=8x8,memory=mine:my-memory'
    """
    return ",".join(f"{name}={shown(value).replace('/', '-')}" for name, value in values.items())


def shown(value: Any) -> str:
    """A value in a folder's name and in tables.

    >>> shown(0.001), shown(1.0), shown((64, 64)), shown(False)
    ('0.001', '1', '64x64', 'False')
    """
    if isinstance(value, tuple | list):
        return "x".join(map(shown, value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def combination_of(run_dir: Path) -> str | None:
    """The name of the combination that a run belongs to; None if it is in no sweep."""
    for folder in (run_dir, run_dir.parent):  # alone, or one of several seeds
        if (folder.parent / SWEEP).is_file():
            return folder.name
    return None


def combination_folders(parent: Path) -> list[Path]:
    """The folders of a sweep's combinations, in order of their names; none if it is no sweep."""
    if not (parent / SWEEP).is_file():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and "=" in path.name)


def runs_in(folder: Path) -> list[Path]:
    """The runs of a sweep, or of several seeds, that lie in a folder; itself if it is neither."""
    inside = combination_folders(folder) or list(seed_folders(folder).values())
    return [run for each in inside for run in runs_in(each)] if inside else [folder]
