"""Runs killed at any moment and resumed are what they would have been."""

import contextlib
import json
import os
import random
import signal
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.experiments.conftest import SMALL, read_lines
from tests.experiments.training.forker import Forker

ITERATIONS = 40
FLAGS = ["--num-iterations", ITERATIONS, "--checkpoint-every", 4, *SMALL]
CLOCK = ("time/seconds", "time/steps_per_second")
PATIENCE = 120.0  # seconds until a training that shows no sign of life fails the test


@pytest.fixture(scope="module")
def forker():
    forker = Forker()
    yield forker
    forker.close()


def without_clock(run):
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in read_lines(run)]


def arrays(run):
    """All that the newest checkpoint holds, read without the toolkit's own code."""
    with ocp.CheckpointManager(run / "checkpoints") as checkpoints:
        step = checkpoints.latest_step()
        content = checkpoints.restore(step, args=ocp.args.Composite(arrays=ocp.args.StandardRestore()))["arrays"]
    return step, content


def check_same(run, whole):
    assert without_clock(run) == without_clock(whole)
    assert [row["iteration"] for row in read_lines(run)] == list(range(1, ITERATIONS + 1))
    (step, found), (expected_step, expected) = arrays(run), arrays(whole)
    assert step == expected_step == ITERATIONS
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    evaluations = [json.loads((folder / "evaluation.json").read_text()) for folder in (run, whole)]
    assert evaluations[0] == evaluations[1]


def whole_lines(run):
    """The bytes of the lines written so far; none if there is no file."""
    path = run / "metrics.jsonl"
    written = path.read_bytes() if path.exists() else b""
    return written[: written.rfind(b"\n") + 1]


def half_written(run):
    """Checkpoints whose write has begun and not ended: (name, inode)."""
    found = set()
    for path in (run / "checkpoints").glob("*tmp*"):
        with contextlib.suppress(FileNotFoundError):  # ended just now
            found.add((path.name, path.stat().st_ino))
    return found


def wait_until(true):
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.001)


class Killing:
    """One run, started and killed again and again, of one or more seeds that each have a folder."""

    def __init__(self, forker, parent, flags, folders, label):
        self.forker, self.parent, self.flags, self.folders, self.label = forker, parent, flags, folders, label
        self.log = parent.with_suffix(".log")
        self.kept = {folder: b"" for folder in folders}
        self.first_iterations = []

    def start(self):
        resumable = all((folder / "config.json").exists() for folder in self.folders)
        steps = [{int(path.name) for path in (run / "checkpoints").glob("*") if path.name.isdigit()} for run in self.folders]
        self.last_checkpoint = max(set.intersection(*steps), default=0)
        args = ["--resume"] if resumable else [*self.flags, "--overwrite"]
        self.log.write_text("")
        return self.forker.start(self.log, "--run-dir", self.parent, *args)

    def check(self):
        """It went on from its last checkpoint, and lines written before kept their bytes."""
        if f"{self.label} " in self.log.read_text():
            assert f"{self.label} {self.last_checkpoint}/{ITERATIONS}  compiling" in self.log.read_text()
            self.first_iterations.append(self.last_checkpoint)
        for folder, before in self.kept.items():
            assert whole_lines(folder).startswith(before)
            self.kept[folder] = whole_lines(folder)

    def kill_when(self, ready, delay=0.0):
        pid = self.start()
        wait_until(ready)
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        assert self.forker.wait() == -signal.SIGKILL, self.log.read_text()
        self.check()

    def kill_after_lines(self, count, delay=0.0):
        self.kill_when(lambda: whole_lines(self.folders[-1]).count(b"\n") >= count, delay)

    def kill_while_writing_a_checkpoint(self):
        """Whether that was hit: the kill can come a moment too late."""
        folder = self.folders[0]
        leftovers = half_written(folder)
        self.kill_when(lambda: half_written(folder) - leftovers)
        return bool(half_written(folder) - leftovers)

    def finish(self):
        self.start()
        assert self.forker.wait() == 0, self.log.read_text()
        self.check()


def test_a_run_killed_again_and_again_is_the_run_left_alone(forker, tmp_path):
    """Three kills at random moments and one during the write of a checkpoint."""
    forker.start(tmp_path / "log", "--run-dir", tmp_path / "whole", *FLAGS)
    assert forker.wait() == 0, (tmp_path / "log").read_text()
    run = tmp_path / "run"
    killing, moments = Killing(forker, run, FLAGS, [run], "iteration"), random.Random(0)
    killing.kill_after_lines(moments.randint(1, 10), moments.uniform(0, 0.02))
    hit = False
    while not hit:
        assert len(whole_lines(run).splitlines()) < ITERATIONS, "no kill hit the write of a checkpoint"
        hit = killing.kill_while_writing_a_checkpoint()
    for most in (25, 33):
        done = len(whole_lines(run).splitlines())
        killing.kill_after_lines(moments.randint(min(done + 1, most), most), moments.uniform(0, 0.01))
    killing.finish()
    assert not half_written(run)
    assert killing.first_iterations[0] == 0 and min(killing.first_iterations[2:]) > 0
    check_same(run, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "agent"), [(1, "maml"), (2, "maml"), (1, "promp")])
def test_many_kills(seeds, agent, forker, tmp_path):
    """At any moment since the start of the process, imports apart, and some while a checkpoint is written."""
    flags = [*FLAGS, "--agent", agent, *(["--seeds", seeds] if seeds > 1 else [])]
    names = [f"seed-{seed}" for seed in range(seeds)] if seeds > 1 else ["."]
    forker.start(tmp_path / "log", "--run-dir", tmp_path / "whole", *flags)
    assert forker.wait() == 0, (tmp_path / "log").read_text()
    parent, label = tmp_path / "run", "iteration" if seeds == 1 else f"{seeds} seeds"
    folders = [parent / name for name in names]
    killing, moments = Killing(forker, parent, flags, folders, label), random.Random(seeds)
    for _ in range(6):
        killing.kill_when(lambda: True, moments.uniform(0, 2.0))
    for least in (2, 8, 14, 20, 26, 32):
        done = len(whole_lines(folders[-1]).splitlines())
        killing.kill_after_lines(max(done + 1, least), moments.uniform(0, 0.01))
        if least % 4:
            killing.kill_while_writing_a_checkpoint()
    killing.finish()
    for name in names:
        check_same(parent / name, tmp_path / "whole" / name)
