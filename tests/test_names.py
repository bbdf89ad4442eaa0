"""In a checkout: `metarl.envs` is another name of `envs`, and so on. The wheel's form: tests/test_wheel.py."""

import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import _metarl_names
import agents
import envs
import experiments
import metarl
from envs.families import navigation

HOME = Path(__file__).parent.parent


def python(folder, *arguments):
    environ = os.environ | {"PYTHONPATH": str(HOME)}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environ, capture_output=True, text=True)


def test_both_names_are_one_module():
    from metarl.envs import families

    from metarl import agents as second

    assert importlib.import_module("metarl.envs") is envs and second is agents
    assert importlib.import_module("metarl.envs.families.navigation") is navigation and families.navigation is navigation
    assert importlib.import_module("metarl.experiments") is metarl.experiments is experiments
    assert navigation.__spec__.name == navigation.__name__ == "envs.families.navigation", "its own name stays"


def test_what_is_not_there_is_not_found():
    assert importlib.util.find_spec("metarl.envs.families.no_such_family") is None
    assert importlib.util.find_spec("metarl.no_such_module") is None
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'metarl.envs.no_such_module'"):
        importlib.import_module("metarl.envs.no_such_module")


def test_pickles_of_an_installed_copy_are_read():
    ours = pickle.dumps(navigation.Goal, protocol=0)
    assert pickle.loads(ours.replace(b"envs.families", b"metarl.envs.families")) is navigation.Goal


def test_activating_again_changes_nothing():
    before = list(sys.meta_path)
    _metarl_names.activate()
    _metarl_names.activate(metarl.__path__[0])
    assert sys.meta_path == before


def test_threads_that_import_at_once_get_one_module():
    """Both names of a module that nobody has loaded yet."""
    for name in ("envs.families.tabular", "metarl.envs.families.tabular"):
        sys.modules.pop(name, None)
    found, names = [], ["envs.families.tabular", "metarl.envs.families.tabular"] * 4
    threads = [threading.Thread(target=lambda name=name: found.append(importlib.import_module(name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(found) == len(names) and len(set(map(id, found))) == 1


def test_python_m_takes_either_name(tmp_path):
    for name in ("experiments.compare", "metarl.experiments.compare"):
        done = python(tmp_path, "-m", name, "--help")
        assert done.returncode == 0 and done.stdout.startswith(f"usage: python -m {name}"), done.stderr


def test_a_stranger_s_package_is_not_taken_for_ours(tmp_path):
    """A script's own folder comes first on its path."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/__init__.py").write_text("")
    (tmp_path / "script.py").write_text("from metarl import envs\n")
    done = python(tmp_path, "script.py")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last.startswith(f"ImportError: metarl.envs: {tmp_path / 'envs'} comes first")
    assert "install metarl as a package" in last


def test_our_own_copy_is_not_overwritten():
    assert _metarl_names.overwritten() is None


TAKEN = {
    "experiments.train": "start it as metarl train",
    "experiments.step_function": "start it as metarl step-function",
    "experiments.benchmark": "start it as metarl benchmark,",
    "experiments.studies": "start it as metarl studies.COMMAND,",  # a folder of commands, and none itself
    "envs.registration": "write metarl.envs.registration",
}


@pytest.mark.parametrize("module", TAKEN)
def test_a_user_s_package_that_lacks_ours_is_named(module, tmp_path):
    """As from ``python -m``: by the finder that an installation starts with."""
    room = module.partition(".")[0]
    (tmp_path / room).mkdir()
    (tmp_path / room / "__init__.py").write_text("")
    start = "import _metarl_names; _metarl_names.activate(); import sys; sys.path.insert(0, ''); "
    done = python(tmp_path, "-c", f"{start}import importlib; importlib.import_module({module!r})")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ModuleNotFoundError: No module named '{module}': {tmp_path / room} comes first"), done.stderr
    assert TAKEN[module] in last
    done = python(tmp_path, "-c", f"{start}import importlib; importlib.import_module({room + '.no_such_module'!r})")
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: No module named '{room}.no_such_module'"
