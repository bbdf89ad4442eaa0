"""The command ``metarl``, of a checkout; of an installed copy: tests/test_wheel.py."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import metarl
from experiments.cli import command_line, main

HOME = Path(__file__).parents[3]


@pytest.fixture
def called_as_metarl(monkeypatch):
    monkeypatch.setattr(command_line, "_by_console", False)
    monkeypatch.setattr(sys, "path", list(sys.path))


def started_as_metarl(folder, *words, **more):
    """A process that begins as the installed script does."""
    program = "import sys, _metarl_names; sys.argv[0] = '/usr/bin/metarl'; _metarl_names.main()"
    environ = os.environ | {"PYTHONPATH": str(HOME)} | more
    return subprocess.run(
        [sys.executable, "-P", "-c", program, *words], cwd=folder, env=environ, capture_output=True, text=True
    )


def runnable():
    """Modules of experiments that can be started, as a user would write them."""
    for path in sorted((HOME / "experiments").rglob("*.py")):
        inside = path.relative_to(HOME / "experiments")
        if 'if __name__ == "__main__"' in path.read_text() and inside.parts[0] != "runs":
            yield ".".join(inside.with_suffix("").parts).removesuffix(".__main__")


def test_every_command_is_listed_and_there():
    assert {name.replace("-", "_") for name in main.COMMANDS} == {*runnable(), "check"}
    for name in main.COMMANDS:
        assert callable(main._main_of(name))


def test_help_has_a_line_for_each(capsys):
    for words in (["--help"], ["-h"], []):
        assert main.main(words) == 0
        said = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in said[2:]] == list(main.COMMANDS) and max(map(len, said)) < 110


def test_version(capsys):
    assert main.main(["--version"]) == 0 and capsys.readouterr().out == f"metarl {metarl.__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("trian", "Did you mean train?"),
        ("step_functoin", "Did you mean step-function?"),
        ("locomotoin", "Did you mean studies.locomotion?"),
        ("xyz", "metarl --help lists them."),
    ],
)
def test_an_unknown_command_names_the_closest(word, hint, capsys):
    assert main.main([word]) == 2
    assert capsys.readouterr().err == f"error: metarl has no command {word!r}. {hint}\n"


def test_messages_say_metarl_to_who_called_it_so(called_as_metarl, capsys, tmp_path):
    assert command_line.command_line("step_function") == "python -m experiments.step_function"
    assert command_line.command_line("check") == "python -m envs.check"
    with pytest.raises(SystemExit) as stop:
        main.main(["compare", "--help"])
    assert stop.value.code == 0 and capsys.readouterr().out.startswith("usage: metarl compare")
    assert command_line.command_line("step_function") == "metarl step-function"
    assert command_line.command_line("check") == "metarl check"


def test_check_is_the_command_of_envs(called_as_metarl, capsys):
    assert main.main(["check", "metarl/Navigatoin2D-v0"]) == 2
    assert "Did you mean 'metarl/Navigation2D-v0'" in capsys.readouterr().err


def test_a_user_s_folder_may_hold_packages_of_our_names(tmp_path):
    """In a checkout ours are taken; a module of the user's that wants its own is told what to do."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/mine.py").write_text("")
    (tmp_path / "families.py").write_text("import envs.mine\n")
    done = started_as_metarl(tmp_path, "check", "families:mine/Env-v0")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert f"{tmp_path / 'envs'} is not seen" in done.stderr


def test_a_bad_number_of_devices_is_one_line(tmp_path):
    done = started_as_metarl(tmp_path, "train", "--run-dir", "run", JAX_NUM_CPU_DEVICES="many")
    assert done.returncode == 2
    assert done.stderr == "error: JAX_NUM_CPU_DEVICES is 'many', but must be a whole number of devices.\n"


def test_a_bad_number_of_devices_is_one_line_under_python_m(tmp_path):
    environ = os.environ | {"PYTHONPATH": str(HOME), "JAX_NUM_CPU_DEVICES": "many"}
    command = [sys.executable, "-m", "experiments.train", "--run-dir", "run"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: JAX_NUM_CPU_DEVICES is 'many'"), done.stderr
    assert done.stderr.count("\n") == 1


def test_importing_experiments_changes_no_program_s_path():
    """Where it is imported and not started, only defaults of the environment are set."""
    program = (
        "import sys; before = list(sys.path); import experiments; assert sys.path == before and experiments.refused is None"
    )
    subprocess.run([sys.executable, "-c", program], cwd=HOME, check=True)


def test_modules_of_commands_are_relative_to_their_package():
    assert command_line.module_of("studies.mjx-iterations") == "experiments.studies.mjx_iterations"
    assert importlib.util.find_spec(command_line.module_of("check")) is not None
