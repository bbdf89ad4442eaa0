"""The plan of the house: who may import whom, and habits that a reader relies on."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_no_string_is_the_name_of_a_module(path):
    """In the wheel modules have other names: a string begins with ``__name__`` or ``__package__``, and goes on from there."""
    strings = {str(node.value) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    assert not [value for value in strings if re.fullmatch(r"(envs|agents|experiments)(\.\w+)+(:\w+)?", value)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOME)))
def test_no_import_ends_the_process(path):
    for node in ast.parse(path.read_text()).body:
        run_on_import = not isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.unparse(node).partition(":")[0]
        if run_on_import and run_on_import != "if __name__ == '__main__'":
            assert not {"exit", "SystemExit"} & {getattr(each, "attr", getattr(each, "id", "")) for each in ast.walk(node)}


def test_packages_are_packages_and_typed():
    """Without ``__init__.py`` a folder is nobody's, and without ``py.typed`` type checkers look away."""
    folders = {path.parent for path in FILES}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]
    assert not [room for room in ROOMS if not (HOME / room / "py.typed").is_file()]


def test_importing_the_mathematics_starts_nothing():
    """The commands set what jax reads when it is imported, after importing metarl, whose package they lie in once installed."""
    program = "import metarl, sys; assert not {'jax', 'envs', 'agents', 'experiments'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=HOME, check=True)


def test_lower_bounds_are_the_versions_tested():
    """What `make test-lowest` installs: no bound is tighter, and none untested."""
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *optional["mujoco"], *optional["box2d"], *optional["minigrid"]]
    bounds = {re.sub(r"\[.*?\]", "", name): version for name, version in (each.split(">=") for each in wanted)}
    lines = (HOME / "constraints-lowest.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert set(bounds) <= set(tested)
    for name, version in bounds.items():
        assert re.fullmatch(rf"{re.escape(version)}(\.0)*", tested[name]), name


def test_files_are_short():
    assert not [path for path in FILES if len(path.read_text().splitlines()) > 300]


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-lowest.txt"])
def test_constraints_hold_no_addresses(name):
    for line in (HOME / name).read_text().splitlines():
        assert line.startswith("#") or "==" in line
        assert "://" not in line and "@" not in line
