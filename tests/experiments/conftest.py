import json
from pathlib import Path

import pytest

from envs.families import training
from envs.families.navigation import Navigation2D
from experiments import train

SMALL = ["--num-tasks", "2", "--num-episodes", "3", "--horizon", "6", "--hidden-sizes", "8", "--eval-tasks", "3"]


def small_run(run_dir: Path, *flags: str) -> Path:
    """A complete run in a few seconds."""
    train.main(["--run-dir", str(run_dir), "--num-iterations", "4", "--checkpoint-every", "2", *SMALL, *flags])
    return run_dir


@pytest.fixture(scope="session", autouse=True)
def _plain_defaults():
    """Runs of these tests have the flags' own defaults, whatever the family would set: they are about the machinery."""
    Navigation2D.training_settings = {}
    yield
    Navigation2D.training_settings = training.NAVIGATION


@pytest.fixture(scope="module")
def settings_of_families():
    """For tests that are about what families set."""
    Navigation2D.training_settings = training.NAVIGATION
    yield
    Navigation2D.training_settings = {}


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A run that tests may read but not change."""
    return small_run(tmp_path_factory.mktemp("runs") / "finished")


def read_lines(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def error_of(capsys):
    """Run a command that must fail with one line; returns the line."""

    def run(main, *args):
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        assert stop.value.code == 2
        lines = capsys.readouterr().err.splitlines(keepends=True)
        captured = "".join(line for line in lines if not line.startswith("importing "))  # said once per process
        assert captured.startswith("error: ") and captured.count("\n") == 1, captured
        return captured

    return run
