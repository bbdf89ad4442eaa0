"""The wheel, installed into a clean environment and used from another folder, beside neighbours that want its names."""

import ast
import json
import zipfile

import pytest

import hatch_build
import metarl
from tests.installed import Environment, built, stranger

SMALL = ["--agent", "random", "--num-iterations", "2", "--num-tasks", "2", "--num-episodes", "2", "--horizon", "6"]
SMALL += ["--eval-tasks", "3", "--hidden-sizes", "8"]
ROOMS = ("envs", "agents", "experiments")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory):
    """An environment that tests may use but not change."""
    return Environment(tmp_path_factory.mktemp("clean") / "venv", wheel)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A user's folder, with packages of the user's own under all our names."""
    folder = tmp_path_factory.mktemp("project")
    for room in ROOMS:
        (folder / room).mkdir()
        (folder / room / "__init__.py").write_text("MINE = True\n")
    (folder / "envs/mine.py").write_text(
        "from metarl.envs.families.navigation import Navigation2D\n\n\nclass Mine(Navigation2D):\n    pass\n"
    )
    (folder / "families.py").write_text(
        "import agents\nfrom envs.mine import Mine\nfrom metarl import envs\n\n"
        "assert agents.MINE\nenvs.register('mine/Env-v0', Mine)\n"
    )
    return folder


def succeeds(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refusal(done):
    """The one line that a command refuses with."""
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_what_it_puts_into_site_packages(clean):
    info = f"metarl_jax-{metarl.__version__}.dist-info"
    assert clean.installed - {"__pycache__"} == {"metarl", "metarl-jax.pth", "_metarl_names.py", info}
    assert all((clean.site / "metarl" / room / "__init__.py").is_file() for room in ROOMS)
    assert (clean.site / "metarl/experiments/examples/sweep.yaml").is_file()
    assert (clean.site / "metarl/experiments/runs/folder.py").is_file()
    assert all((clean.site / "metarl" / room / "py.typed").is_file() for room in ("", *ROOMS))


def test_no_module_in_it_imports_ours_by_a_bare_name(wheel):
    with zipfile.ZipFile(wheel) as archive:
        sources = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")}
    for name, source in sources.items():
        for node in ast.walk(ast.parse(source)) if name.startswith("metarl/") else ():
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [module for module in modules if module.split(".")[0] in ROOMS], name


def test_every_form_of_import_is_renamed():
    before = (
        "import envs\nimport envs.family\nimport envs.family as f, os, agents as a  # why\n"
        "from envs import (\n    make,\n    register,\n)\nfrom agents.maml import maml; from . import envs\n"
        "from environments import envs\nx = 'import envs'\nif x: import experiments\n"
    )
    assert hatch_build.renamed(before) == (
        "from metarl import envs\nimport metarl.envs.family; from metarl import envs\n"
        "import metarl.envs.family as f; import os; from metarl import agents as a  # why\n"
        "from metarl.envs import (\n    make,\n    register,\n)\nfrom metarl.agents.maml import maml; from . import envs\n"
        "from environments import envs\nx = 'import envs'\nif x: from metarl import experiments\n"
    )


def test_both_commands_work_from_another_folder(clean, tmp_path):
    """``python -m experiments.train`` too, since nobody there has the name."""
    said = succeeds(clean.run(tmp_path, "-m", "experiments.train", "--run-dir", "run", *SMALL, "--eval-tasks", "0"))
    assert "iteration 2/2" in said
    succeeds(clean.run(tmp_path, "metarl", "evaluate", "--run-dir", "run", "--num-tasks", "3"))
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["versions"]["metarl"] == metarl.__version__ and config["git_commit"] is None
    assert (tmp_path / "run/evaluation.json").is_file()


BOTH_NAMES = """
import pickle, sys
import envs.families.navigation as bare
import agents, experiments
import metarl.envs.families.navigation as full
from metarl import agents as ours
import importlib.util

assert bare is full and agents is ours and sys.modules["envs"] is sys.modules["metarl.envs"]
assert sys.modules["experiments"] is sys.modules["metarl.experiments"]
assert full.__name__ == full.__spec__.name == bare.Navigation2D.__module__ == "metarl.envs.families.navigation"
assert importlib.util.find_spec("envs.check.tasks").origin.endswith("site-packages/metarl/envs/check/tasks.py")
assert pickle.loads(pickle.dumps(full.Navigation2D)) is full.Navigation2D
old = pickle.dumps(full.Navigation2D, protocol=0).replace(b"metarl.envs", b"envs")  # as a checkout writes it
assert pickle.loads(old) is full.Navigation2D

from metarl.experiments.cli.command_line import command_line
from metarl.envs.optional import install
assert command_line("train") == "metarl train" and "'box2d" in install("box2d") and "metarl" not in install("box2d")
"""


def test_both_names_are_one_module(clean, tmp_path):
    succeeds(clean.run(tmp_path, "-c", BOTH_NAMES))


PROCESSES = """
import multiprocessing
import gymnasium
from metarl import envs
from metarl.experiments.examples import gymnasium_families
import jax

if __name__ == "__main__":
    many = gymnasium.make_vec("metarl/Navigation2D-v0", num_envs=2, vectorization_mode="async",
                              vector_kwargs={"context": "spawn"})
    observation, _ = many.reset(seed=0)
    assert observation.shape == (2, 2)
    many.close()
    family = envs.make("examples/PendulumGravity-v0", horizon=3, vectorization="async")
    print(jax.jit(family.initial)(jax.random.key(0), family.sample_task(jax.random.key(1))))
"""


def test_worker_processes_find_the_families(clean, project):
    """Gymnasium's, which are started afresh and import by name, and our own; in a folder whose envs are somebody else's."""
    (project / "processes.py").write_text(PROCESSES)
    succeeds(clean.run(project, "-m", "processes"))


def test_a_project_with_packages_of_our_names_keeps_them(clean, project):
    program = (
        "import envs, agents, experiments, envs.mine, metarl.envs\nfrom metarl import agents as ours\n"
        "assert envs.MINE and agents.MINE and experiments.MINE and ours.AGENTS and metarl.envs.FAMILIES"
    )
    succeeds(clean.run(project, "-c", program))
    succeeds(clean.run(project, "metarl", "train", "--env", "families:mine/Env-v0", "--run-dir", "run", *SMALL))
    assert (project / "run/evaluation.json").is_file()
    assert "0 failed" in succeeds(clean.run(project, "metarl", "check", "families:mine/Env-v0"))


def test_neighbours_that_want_our_names_do_no_harm(wheel, tmp_path):
    """One that installs a package ``agents``, as openai-agents does; before it, beside it, and after it has gone."""
    neighbour = stranger(tmp_path, "openai-agents", {"agents/__init__.py": "THEIRS = True\n"})
    environment = Environment(tmp_path / "venv", wheel, neighbour)
    beside = "import agents\nassert agents.THEIRS\nfrom metarl import agents\nassert agents.AGENTS"
    succeeds(environment.run(tmp_path, "-c", beside))
    assert "train" in succeeds(environment.run(tmp_path, "metarl"))
    environment.pip("uninstall", "--yes", "--quiet", "openai-agents")
    after = "import agents\nfrom metarl import agents as ours\nassert agents is ours and agents.AGENTS"
    succeeds(environment.run(tmp_path, "-c", after))


def test_a_neighbour_that_takes_metarl_itself_is_named_in_one_line(wheel, tmp_path):
    neighbour = stranger(tmp_path, "metarl", {"metarl/__init__.py": "import no_such_module\n"})
    environment = Environment(tmp_path / "venv", wheel, neighbour)
    for command in ("train", "--help"):
        line = refusal(environment.run(tmp_path, "metarl", command))
        assert "metarl/__init__.py of metarl-jax was overwritten by metarl 9.9" in line
        assert "pip install --force-reinstall --no-deps metarl-jax" in line
    environment.pip("uninstall", "--yes", "--quiet", "metarl")
    assert "of metarl-jax is missing" in refusal(environment.run(tmp_path, "metarl", "train"))
    environment.install(wheel)
    succeeds(environment.run(tmp_path, "metarl"))


def test_a_neighbour_that_comes_first_on_the_path_is_named(clean, tmp_path):
    (tmp_path / "metarl").mkdir()
    (tmp_path / "metarl/__init__.py").write_text("")
    line = refusal(clean.run(tmp_path, "metarl", "--help", PYTHONPATH=str(tmp_path)))
    assert str(tmp_path / "metarl/__init__.py") in line and "hides metarl-jax" in line
    succeeds(clean.run(tmp_path, "metarl", "--help"))


def test_help_is_quick_and_starts_nothing(clean, tmp_path):
    program = "import sys, _metarl_names\nsys.argv = ['metarl', '--help']\ntry: _metarl_names.main()\nexcept SystemExit: pass\n"
    said = succeeds(clean.run(tmp_path, "-c", program + "assert not {'jax', 'wandb', 'gymnasium'} & set(sys.modules)"))
    assert said.startswith("usage: metarl COMMAND") and "step-function" in said


def test_starting_python_costs_little(clean, tmp_path):
    """The line that every start of Python runs imports neither jax nor our package."""
    program = "import sys; assert '_metarl_names' in sys.modules and not {'metarl', 'jax', 'pathlib'} & set(sys.modules)"
    succeeds(clean.run(tmp_path, "-c", program))
