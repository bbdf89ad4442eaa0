"""Pictures, films and wandb come when the numbers are safe, and what goes wrong with them costs a warning."""

import contextlib
import io
import json
import shutil
import sys

import jax
import pytest

from experiments import compare, evaluate, sinusoid, train
from experiments.cli import luxuries
from experiments.evaluation import held_out, rollout_video, wandb_evaluation
from experiments.reporting import figures
from experiments.runs import wandb_run
from experiments.training.profiler import profiled
from tests.experiments.conftest import read_lines, small_run


class NoOpenGL(RuntimeError):
    """What MuJoCo raises where no display can be opened."""


@pytest.fixture
def broken(monkeypatch):
    """Make functions fail, as they do on a machine without OpenGL, fonts or a disk for wandb."""
    luxuries._said.clear()

    def breaks(*functions):
        def fail(*args, **kwargs):
            raise NoOpenGL("an OpenGL platform library has not been loaded\nsecond line")

        for module, name in functions:
            monkeypatch.setattr(module, name, fail)

    return breaks


@pytest.fixture
def run(finished_run, tmp_path):
    copied = tmp_path / "run"
    shutil.copytree(finished_run, copied)
    for name in ("evaluation.json", "adaptation.png", "rollout.gif"):
        (copied / name).unlink(missing_ok=True)
    return copied


def test_without_opengl_an_evaluation_is_whole(run, broken, monkeypatch, capsys):
    logged = []
    broken((rollout_video, "replay"))
    monkeypatch.setattr(wandb_evaluation, "log", lambda *args: logged.append(args[2]))
    evaluate.main(["--run-dir", str(run), "--num-tasks", "3", "--num-steps", "1"])
    assert len(json.loads((run / "evaluation.json").read_text())["returns"]) == 3 and logged
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warned == [
        "warning: rollout.gif is left out (NoOpenGL: an OpenGL platform library has not been loaded); the numbers are safe."
    ]
    assert (run / "adaptation.png").is_file() and not (run / "rollout.gif").exists()


def test_nothing_but_the_numbers_can_be_had(run, broken, capsys):
    broken((held_out, "draw"), (rollout_video, "write"), (wandb_run, "start_wandb"))
    evaluate.main(["--run-dir", str(run), "--num-tasks", "3", "--num-steps", "1"])
    assert (run / "evaluation.json").is_file()
    captured = capsys.readouterr()
    assert captured.err.count("warning: ") == 3 and "inner step" in captured.out
    broken((figures, "comparison"), (compare, "write_page"))
    compare.main([str(run), "--out", str(run.parent / "out"), "--html"])
    assert sorted(path.name for path in (run.parent / "out").iterdir()) == ["table.json", "table.md"]
    assert capsys.readouterr().err.count("warning: ") == 2


def test_training_does_without_wandb(tmp_path, broken, capsys):
    broken((wandb_run, "start_wandb"))
    small_run(tmp_path / "run")
    assert capsys.readouterr().err.count("warning: wandb is left out (NoOpenGL") == 1
    assert (tmp_path / "run/evaluation.json").is_file() and len(read_lines(tmp_path / "run")) == 4


def test_a_mode_that_wandb_does_not_have_is_a_mistake_all_the_same(tmp_path, monkeypatch, error_of):
    monkeypatch.setenv("WANDB_MODE", "offlin")
    assert "WANDB_MODE is 'offlin'; known: offline" in error_of(train.main, "--run-dir", tmp_path / "run")


def test_the_tutorial_evaluates_before_it_draws(monkeypatch):
    order = []
    config = sinusoid.SinusoidConfig(run_dir=None, protocol="jang")
    monkeypatch.setattr(sinusoid, "evaluate", lambda *args: order.append("evaluate"))
    monkeypatch.setattr(sinusoid, "build", lambda *args: order.append("draw") or pytest.fail("enough"))
    with pytest.raises(pytest.fail.Exception, match="enough"):
        sinusoid.finish(config, {})
    assert order == ["evaluate", "draw"]


def test_what_is_half_written_is_removed_and_the_interrupt_is_none(tmp_path, capsys):
    path = tmp_path / "film.gif"
    with luxuries.luxury("film.gif", path):
        path.write_bytes(b"GIF")
        raise OSError(28, "No space left on device")
    assert not path.exists() and "No space left on device" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt), luxuries.luxury("film.gif"):
        raise KeyboardInterrupt


class Closed(io.StringIO):
    """The output of a command whose reader has gone, as in ``train | head -1``."""

    lines = 0

    def write(self, text):
        self.lines += text.count("\n")
        if self.lines > 1:
            raise BrokenPipeError(32, "Broken pipe")
        return len(text)


def test_nobody_needs_to_read_what_is_printed(tmp_path, monkeypatch):
    luxuries._said.clear()
    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(sys, "stderr", Closed())
    small_run(tmp_path / "run")
    assert len(read_lines(tmp_path / "run")) == 4 and (tmp_path / "run/adaptation.png").is_file()
    assert len(json.loads((tmp_path / "run/evaluation.json").read_text())["returns"]) > 1


@pytest.mark.parametrize("when", ["enters", "leaves"])
def test_a_trace_that_cannot_be_written_ends_no_training(when, tmp_path, monkeypatch, capsys):
    luxuries._said.clear()

    @contextlib.contextmanager
    def trace(folder, **options):
        if when == "enters":
            raise NoOpenGL("only one profile may be run at a time")
        yield
        raise NoOpenGL("No space left on device")

    monkeypatch.setattr(jax.profiler, "trace", trace)
    done = []
    with profiled(tmp_path / "profile"):
        done.append(True)
    assert done and "warning: the trace is left out (NoOpenGL" in capsys.readouterr().err
    monkeypatch.undo()
    with pytest.raises(ZeroDivisionError), profiled(tmp_path / "profile"):
        raise ZeroDivisionError  # of the training itself
