"""The plan of the house: who may import whom, and habits that a reader relies on."""

import ast
import itertools
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent
ROOMS = ("metarl", "envs", "agents", "experiments")
FORBIDDEN = {
    "metarl": {"envs", "agents", "experiments", "gymnasium", "flax", "distrax", "wandb"},
    "envs": {"metarl", "agents", "experiments", "flax", "distrax", "wandb"},
    "agents": {"envs", "experiments", "wandb"},
    "experiments": {"distrax"},
}
FILES = [path for room in ROOMS for path in sorted((HOME / room).rglob("*.py"))]


def imports(source):
    """Top-level names of everything imported in a file, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def test_the_rooms_are_found():
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_import_arrows(path):
    room = path.relative_to(HOME).parts[0]
    assert not set(imports(path.read_text())) & FORBIDDEN[room]


def test_the_arrow_test_sees_every_form_of_import():
    source = "import envs.x\nfrom agents import y\ndef f():\n    from experiments.z import w\n"
    assert set(imports(source)) == {"envs", "agents", "experiments"}


def test_one_file_imports_distrax():
    assert [path.name for path in FILES if "distrax" in set(imports(path.read_text()))] == ["networks.py"]


def test_the_library_never_jits():
    assert not [
        path for path in FILES if path.relative_to(HOME).parts[0] in ("metarl", "agents") and "jit(" in path.read_text()
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_every_stop_gradient_says_what_it_removes(path):
    lines = path.read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if "stop_gradient(" in line:
            assert "# Removes" in before, f"{path}: {line.strip()}"


def test_files_are_short():
    assert not [path for path in FILES if len(path.read_text().splitlines()) > 300]


def test_constraints_hold_no_addresses():
    for line in (HOME / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or "==" in line
        assert "://" not in line and "@" not in line
