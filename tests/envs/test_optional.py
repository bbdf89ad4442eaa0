"""A missing optional package is met with the command that installs it, wherever a family asks for it."""

import subprocess
import sys

import gymnasium
import pytest

import envs
from envs import optional
from envs.check import __main__ as check
from experiments import train
from tests.agents.probe import Guess


class Simulated(Guess):
    def __init__(self, horizon=None):
        optional.require("mujoco")
        super().__init__(horizon)


envs.register("probe/Simulated-v0", Simulated)
ID = "tests.envs.test_optional:probe/Simulated-v0"
COMMAND = "pip install --constraint constraints.txt --editable '.[{}]'"


@pytest.mark.parametrize(
    ("extra", "module"), [("mujoco", "mujoco"), ("mujoco", "mujoco.mjx"), ("box2d", "Box2D"), ("minigrid", "minigrid")]
)
def test_a_missing_package_is_named_with_the_command(extra, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError) as failure:
        optional.require(extra)
    assert str(failure.value) == f"{module} is not installed: {COMMAND.format(extra)}"


@pytest.mark.parametrize("id", envs.META_WORLD)
def test_meta_world_has_versions_of_its_own(id, monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld", None)
    command = COMMAND.format("metaworld").replace("constraints.txt", "constraints-lowest.txt")
    with pytest.raises(ValueError) as failure:
        envs.make(id)
    assert str(failure.value) == f"metaworld is not installed: {command}"


def test_importing_envs_does_not_import_meta_world():
    code = "import sys, envs; assert 'envs.meta_world' not in sys.modules and 'metaworld' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_there_is_imported():
    assert optional.require("mujoco").__name__ == "mujoco"


def test_extras_are_those_of_the_project(request):
    extras = (request.config.rootpath / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in extras for extra in optional.EXTRAS)
    assert set(optional.BROUGHT.values()) <= set(optional.EXTRAS)


def test_every_way_in_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    expected = f"mujoco is not installed: {COMMAND.format('mujoco')}"
    for make in (lambda: envs.make(ID), lambda: gymnasium.make(ID), lambda: gymnasium.make_vec(ID)):
        with pytest.raises(ValueError) as failure:
            make()
        assert str(failure.value) == expected
    assert check.main([ID]) == 2 and capsys.readouterr().err == f"error: {expected}\n"
    with pytest.raises(SystemExit):
        train.main(["--env", ID, "--run-dir", str(tmp_path / "run")])
    assert capsys.readouterr().err == f"error: {expected}\n"


def test_a_family_s_module_that_cannot_be_imported():
    """Registered by name, as the families of this package are: the module asks when it is first used."""
    envs.register("probe/NoSuchModule-v0", "envs.no_such_module:Family")
    with pytest.raises(ValueError, match=r"^No module named 'envs.no_such_module'$"):
        envs.make("probe/NoSuchModule-v0")
    gymnasium.registry.pop("probe/NoSuchModule-v0")


def test_the_command_works_from_any_folder(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    home = request.config.rootpath
    assert optional.install("mujoco") == f"pip install --constraint {home}/constraints.txt --editable '{home}/[mujoco]'"


def test_an_installed_copy_names_the_packages(monkeypatch):
    """metarl is on no index."""
    monkeypatch.setattr(optional, "__package__", "metarl.envs")
    command = optional.install("mujoco")
    assert "metarl" not in command and "'mujoco>=" in command and "'mujoco-mjx>=" in command and "extra" not in command
