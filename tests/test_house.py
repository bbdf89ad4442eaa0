"""The plan of the house: who may import whom, what is a command, and habits that a reader relies on.

Every check is a function of a folder that holds the rooms, so that it is tried on small trees that break it, too.
"""

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
# Names that are only spoken or compared, never imported as they are.
SPOKEN = ("agents.register", "agents.register_network", "agents.register_memory", "experiments.host_families")
FORBIDDEN = {
    "metarl": {"envs", "agents", "experiments", "gymnasium", "flax", "distrax", "wandb"},
    "envs": {"metarl", "agents", "experiments", "flax", "distrax", "wandb"},
    "agents": {"envs", "experiments", "wandb"},
    "experiments": {"distrax"},
}
# Inside a room: layers from the top down. A file imports from its own part and from the parts of lower layers, never from a
# neighbour in its layer. A part is a folder with all in it or a file without its ".py"; "*" is every file that no layer names.
LAYERS = {
    "metarl": [
        {"__init__"},
        {"trust_region", "ppo", "trial"},
        {"outer", "advantages"},
        {"meta", "tasks", "sampler", "surrogates", "gains"},
        {"inner_loop", "rules", "gaussians", "replay"},
        {"interfaces"},
    ],
    "envs": [
        {"__init__", "check/__main__"},
        {"check"},
        {"meta_world"},
        {"to_gymnasium", "families", "few_shot", "from_jax"},
        {"from_gymnasium", "mujoco", "registration", "drawing"},
        {"contract", "scales", "task_files", "task_lists"},
        {"stepping"},
        {"family"},
        {"forks", "keys", "measures", "options", "optional", "processors", "task_spaces", "values"},
    ],
    "agents": [{"__init__"}, {"check"}, {"build"}, {"*"}, {"parts"}, {"registration"}, {"agent"}],
    "experiments": [
        {"examples"},
        {"benchmark"},
        {"studies"},
        {"*"},  # the commands
        {"evaluation", "supervised"},
        {"training", "reporting"},
        {"runs", "distributed"},
        {"cli"},
        {"__init__"},
    ],
}
NEIGHBOURS_ALLOWED = {"*"}  # commands call one another, and an agent may be made of another's parts
EXCEPTIONS: dict[str, str] = {}  # file -> the one that it imports against the arrows, until it is mended


def files_of(home):
    """Paths of the files in all rooms, relative to ``home``."""
    return [path.relative_to(home) for room in ROOMS for path in sorted((home / room).rglob("*.py"))]


def import_nodes(source):
    """(module, name or None) of everything imported in a file, at any depth, but under ``if TYPE_CHECKING``."""
    todo = [ast.parse(source)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports say where from, in full"
            yield from ((node.module, alias.name) for alias in node.names)
        todo += ast.iter_child_nodes(node)


def imports(source):
    """Top-level names of everything imported in a file."""
    return {module.split(".")[0] for module, _ in import_nodes(source)}


def links(home, path):
    """Which files of ours a file imports."""
    found = set()
    for module, name in import_nodes((home / path).read_text()):
        for dotted in ([f"{module}.{name}"] if name else []) + [module]:
            base = Path(*dotted.split("."))
            there = [file for file in (base.with_suffix(".py"), base / "__init__.py") if (home / file).is_file()]
            if there:
                found.add(there[0])
                break
    return found


def layer_and_part(path):
    """Of a file of ours: which layer of its room it is in, and which part."""
    room, inside = path.parts[0], path.with_suffix("").parts[1:]
    layers = LAYERS[room]
    for part in ("/".join(inside), inside[0]):
        for number, parts in enumerate(layers):
            if part in parts:
                return number, part
    for number, parts in enumerate(layers):
        if "*" in parts and len(inside) == 1:
            return number, "*"
    raise AssertionError(f"{path} is in no layer of {room}: say in LAYERS where it belongs")


def against_the_arrows(home):
    """Imports inside a room that go up, or to a neighbour."""
    found = {}
    for path in files_of(home):
        layer, part = layer_and_part(path)
        for other in links(home, path):
            if other.parts[0] == path.parts[0]:
                other_layer, other_part = layer_and_part(other)
                at_home = part == other_part and (part in NEIGHBOURS_ALLOWED or (home / path.parts[0] / part).is_dir())
                if other_layer <= layer and not (other_layer == layer and at_home):
                    found[str(path)] = str(other)
    return found


def circle(home):
    """Files that import one another in a circle, in order; empty if none do."""
    graph = {path: sorted(links(home, path)) for path in files_of(home)}
    done, way = set(), []

    def visit(path):
        if path in way:
            return [*way[way.index(path) :], path]
        if path in done:
            return []
        way.append(path)
        found = next((inner for other in graph.get(path, ()) if (inner := visit(other))), [])
        way.pop()
        done.add(path)
        return found

    found = next((found for path in graph if (found := visit(path))), [])
    return [str(path) for path in found]


def shadows(home):
    """Modules and packages with a name of the standard library: run from their folder, they would hide it."""
    return [str(path) for path in files_of(home) if {*path.with_suffix("").parts} & sys.stdlib_module_names]


def no_commands(home):
    """What should be a command but lacks ``main`` or the guard that calls it, and files besides that have a guard without main.

    Commands are the files directly in experiments/ and in its studies/, and the ``__main__`` of every folder in studies/ and of
    benchmark/.
    """
    room = home / "experiments"
    wanted = {*room.glob("*.py"), *(room / "studies").glob("*.py")} - {*room.glob("**/__init__.py")}
    folders = [path for path in (room / "studies").glob("*/") if list(path.glob("*.py"))]
    wanted |= {path / "__main__.py" for path in [*folders, room / "benchmark"]} | {*room.rglob("__main__.py")}
    guarded = {path for path in room.rglob("*.py") if has_guard(path)}
    return sorted(
        str(path.relative_to(home)) for path in wanted | guarded if not (path.is_file() and has_guard(path) and has_main(path))
    )


def has_guard(path):
    return any(
        isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
        for node in ast.parse((HOME / path).read_text()).body
    )


def has_main(path):
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in ast.parse((HOME / path).read_text()).body)


def private_imports(home):
    """Imports of names that begin with an underscore, and of a command's ``__main__``, which belong to their own files."""
    return [
        f"{path}: {module}.{name or ''}".rstrip(".")
        for path in files_of(home)
        for module, name in import_nodes((home / path).read_text())
        if module.split(".")[0] in ROOMS and any(part.startswith("_") for part in [*module.split("."), name or ""])
    ]


def tree(home, **sources):
    """A house with these files ("room__folder__file" -> source) and empty ``__init__`` files."""
    for name, source in sources.items():
        path = home / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return home


FILES = files_of(HOME)


def test_the_rooms_are_found():
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=str)
def test_arrows_between_rooms(path):
    assert not imports((HOME / path).read_text()) & FORBIDDEN[path.parts[0]]


def test_the_arrow_test_sees_every_form_of_import():
    source = "import envs.x\nfrom agents import y\ndef f():\n    from experiments.z import w\n"
    assert imports(source) == {"envs", "agents", "experiments"}
    assert not imports("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import envs\n") - {"typing"}
    with pytest.raises(AssertionError, match="in full"):
        imports("from . import x")


def test_arrows_inside_rooms():
    assert against_the_arrows(HOME) == EXCEPTIONS


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("experiments__runs__folder", "experiments.training.loop"),
        ("experiments__training__loop", "experiments.train"),
        ("experiments__training__loop", "experiments.reporting.tables"),
        ("experiments__train", "experiments.studies.navigation"),
        ("experiments__studies__navigation", "experiments.benchmark.timing"),
        ("experiments__cli__flags", "experiments.runs.folder"),
        ("envs__family", "envs.families.navigation"),
        ("envs__families__navigation", "envs"),
        ("envs__mujoco__physics", "envs.families.navigation"),
        ("envs__from_gymnasium__family", "envs.to_gymnasium.task_env"),
        ("envs__to_gymnasium__task_env", "envs.check.evidence"),
        ("metarl__interfaces", "metarl.meta"),
        ("metarl__rules", "metarl.outer"),
        ("agents__parts__world", "agents.maml"),
        ("agents__maml", "agents"),
    ],
)
def test_an_arrow_that_goes_up_is_found(tmp_path, source, target):
    room, *inside = target.split(".")
    there = "__".join([room, *inside]) if inside else f"{room}/__init__"
    if not inside:
        (tmp_path / room).mkdir(parents=True)
        (tmp_path / room / "__init__.py").write_text("")
    else:
        tree(tmp_path, **{there: ""})
    tree(tmp_path, **{source: f"def later():\n    import {target}\n"})
    assert list(against_the_arrows(tmp_path)) == [f"{source.replace('__', '/')}.py"]


def test_arrows_that_go_down_or_stay_at_home_are_none(tmp_path):
    tree(
        tmp_path,
        experiments__train="import experiments.evaluate\nfrom experiments.training import loop\n",
        experiments__evaluate="from experiments.cli import flags\n",
        experiments__training__loop="import experiments.training.rows\n",
        experiments__training__rows="",
        experiments__cli__flags="",
        agents__promp="import agents.maml\n",
        agents__maml="import agents.parts.world\n",
        agents__parts__world="",
    )
    assert not against_the_arrows(tmp_path)


def test_a_file_without_a_place_is_refused(tmp_path):
    with pytest.raises(AssertionError, match="in no layer"):
        against_the_arrows(tree(tmp_path, envs__stranger=""))


def test_no_files_import_one_another_in_a_circle():
    assert not circle(HOME)


def test_a_circle_is_found(tmp_path):
    tree(tmp_path, metarl__a="from metarl import b\n", metarl__b="def f():\n    from metarl.c import x\n", metarl__c="x = 1\n")
    assert not circle(tmp_path)
    tree(tmp_path, metarl__c="import metarl.a\nx = 1\n")
    assert circle(tmp_path) == ["metarl/a.py", "metarl/b.py", "metarl/c.py", "metarl/a.py"]
    tree(tmp_path, metarl__c="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import metarl.a\nx = 1\n")
    assert not circle(tmp_path)


def test_no_name_of_the_standard_library():
    assert not shadows(HOME)


def test_a_name_of_the_standard_library_is_found(tmp_path):
    tree(tmp_path, experiments__cli__signal="", experiments__profile__loop="", metarl__meta="")
    assert shadows(tmp_path) == ["experiments/cli/signal.py", "experiments/profile/loop.py"]


def test_what_should_be_a_command_is_one():
    assert not no_commands(HOME)


def test_what_is_no_command_is_found(tmp_path):
    main, guard = "def main():\n    pass\n", 'if __name__ == "__main__":\n    main()\n'
    tree(
        tmp_path,
        experiments__train=main + guard,
        experiments__helpers="x = 1\n",
        experiments__studies__navigation=main,
        experiments__studies__bandits__table="",
        experiments__benchmark__timing=guard,
    )
    (tmp_path / "experiments/__init__.py").write_text("")
    (tmp_path / "experiments/benchmark/__main__.py").write_text(main + guard)
    assert no_commands(tmp_path) == [
        "experiments/benchmark/timing.py",
        "experiments/helpers.py",
        "experiments/studies/bandits/__main__.py",
        "experiments/studies/navigation.py",
    ]


def test_nobody_imports_what_is_private_to_another_file():
    assert not private_imports(HOME)


def test_a_private_import_is_found(tmp_path):
    tree(tmp_path, metarl__a="from metarl.b import _x\n", experiments__c="from experiments.studies.b import __main__ as b\n")
    tree(tmp_path, envs__d="from __future__ import annotations\nfrom envs.e import x\n")
    assert private_imports(tmp_path) == ["metarl/a.py: metarl.b._x", "experiments/c.py: experiments.studies.b.__main__"]


def test_one_file_imports_distrax():
    assert [path.name for path in FILES if "distrax" in imports((HOME / path).read_text())] == ["networks.py"]


def test_one_file_lays_out_tables():
    """All others give `experiments.reporting.tables` rows of text."""
    found = [str(path) for path in FILES if any(word in (HOME / path).read_text() for word in ("rich.table", '"|---', '"| "'))]
    assert found == ["experiments/reporting/tables.py"]


def test_the_library_never_jits():
    library = [path for path in FILES if path.parts[0] in ("metarl", "agents") and path != Path("agents/check.py")]
    assert not [path for path in library if "jit(" in (HOME / path).read_text()]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_stop_gradient_says_what_it_removes(path):
    lines = (HOME / path).read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if "stop_gradient(" in line:
            assert "# Removes" in before, f"{path}: {line.strip()}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_string_is_the_name_of_a_module(path):
    """In the wheel modules have other names: a string begins with ``__name__`` or ``__package__``, and goes on from there."""
    strings = {str(node.value) for node in ast.walk(ast.parse((HOME / path).read_text())) if isinstance(node, ast.Constant)}
    assert not [
        value for value in strings if re.fullmatch(r"(envs|agents|experiments)(\.\w+)+(:\w+)?", value) and value not in SPOKEN
    ]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_import_ends_the_process(path):
    for node in ast.parse((HOME / path).read_text()).body:
        run_on_import = not isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.unparse(node).partition(":")[0]
        if run_on_import and run_on_import != "if __name__ == '__main__'":
            assert not {"exit", "SystemExit"} & {getattr(each, "attr", getattr(each, "id", "")) for each in ast.walk(node)}


def test_packages_are_packages_and_typed():
    """Without ``__init__.py`` a folder is nobody's, and without ``py.typed`` type checkers look away."""
    folders = {path.parent for path in FILES}
    assert not [folder for folder in folders if not (HOME / folder / "__init__.py").is_file()]
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


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-lowest.txt"])
def test_constraints_hold_no_addresses(name):
    for line in (HOME / name).read_text().splitlines():
        assert line.startswith("#") or "==" in line
        assert "://" not in line and "@" not in line
