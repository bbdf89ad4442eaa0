"""The order inside of envs: a file imports only from those before it."""

import ast
from pathlib import Path

import pytest

ROOM = Path(__file__).parent.parent.parent / "envs"
ORDER = [
    "processors optional options task_spaces drawing forks keys measures values",
    "family",
    "stepping",
    "contract task_lists task_files scales",
    "registration",
    "mujoco",
    "families",
    "few_shot",
    "from_gymnasium",
    "meta_world",
    "from_jax",
    "to_gymnasium",
    "check",
    "__init__",
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names.split()}
FILES = sorted(ROOM.rglob("*.py"))


def place(path):
    """The file, or the folder, of `ORDER` that a module belongs to."""
    return path.relative_to(ROOM).with_suffix("").parts[0]


def imported(path):
    """Names of `ORDER` that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "envs":
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


def test_the_order_names_all_there_is():
    assert {place(path) for path in FILES} == set(LEVEL)
    assert set(imported(ROOM / "families/navigation.py")) == {"families", "family"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOM)))
def test_imports_go_down(path):
    here = place(path)
    for name in imported(path):
        assert name == here or LEVEL[name] < LEVEL[here], f"{here} imports {name}"
