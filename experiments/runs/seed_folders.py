"""Where the runs of several seeds lie: a parent folder that holds seed-0, seed-1, ... and nothing else."""

import re
from pathlib import Path

NAME = re.compile(r"seed-(0|[1-9]\d*)")


def seed_folder(parent: Path, seed: int) -> Path:
    """The run folder of one seed."""
    return parent / f"seed-{seed}"


def seed_folders(parent: Path) -> dict[int, Path]:
    """The run folders in ``parent`` by seed, in order; none if it is no folder, or a run itself."""
    if not parent.is_dir() or (parent / "config.json").exists():
        return {}
    found = ((NAME.fullmatch(path.name), path) for path in parent.iterdir() if path.is_dir())
    return dict(sorted((int(match[1]), path) for match, path in found if match))
