"""Damaged files, full disks and checkpoints of something else: what was sound stays, and one line says what happened."""

import contextlib
import json
import os
import resource
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import train
from experiments.cli.errors import UserError
from experiments.evaluation.trained import load
from experiments.runs import checkpoint
from experiments.runs.folder import lock
from experiments.runs.metrics_file import JsonLines
from experiments.runs.writer import open_writer
from experiments.training import loop
from metarl.interfaces import MetaLearner, MetaState
from tests.experiments.conftest import read_lines

computed = []  # iterations that the learner below has computed, as it computes them


def counting(shape=(40, 50)):
    """A random walk that tells each of its iterations."""

    def init(key):
        return MetaState({"w": jax.random.normal(key, shape)}, (jnp.zeros(7),), jnp.int32(0))

    def step(state, key):
        jax.debug.callback(lambda iteration: computed.append(int(iteration)), state.iteration)
        w = state.theta["w"] + jax.random.normal(key, shape)
        metrics = {"meta/pre": w[0, 0], "meta/post": w[0, 1], "time/env_steps": jnp.int32(7)}
        return MetaState({"w": w}, state.opt_state, state.iteration + 1), metrics

    return MetaLearner(init, step, None, None)


LEARNER = counting()


def train_toy(folders, iterations, learner=LEARNER, *, seeds=(0, 1), agent="toy", wandb_id="id"):
    """Train one seed per folder, with a checkpoint every other iteration; returns the iterations that were computed."""
    computed.clear()
    with contextlib.ExitStack() as stack:
        outputs = []
        for folder, seed in zip(folders, seeds, strict=False):
            folder.mkdir(exist_ok=True)
            run_config = {"script": "toy", "wandb_id": wandb_id, "settings": {"seed": seed}}
            outputs.append(stack.enter_context(open_writer(folder, run_config, agent=agent, env="toy")))
        loop.run(learner, outputs, loop.Schedule(iterations, 1, 2))
    jax.effects_barrier()
    return sorted(set(computed))


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """Two toy runs of six iterations, trained together, that tests may read but not change."""
    parent = tmp_path_factory.mktemp("six")
    assert train_toy([parent / "a", parent / "b"], 6) == [0, 1, 2, 3, 4, 5]
    return parent


@pytest.fixture
def toys(six, tmp_path):
    shutil.copytree(six, tmp_path / "toys")
    return [tmp_path / "toys" / name for name in "ab"]


def steps(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def damage(run, iteration, kind="flip"):
    """Change the largest file of a checkpoint, which holds the numbers."""
    files = [path for path in (run / "checkpoints" / str(iteration)).rglob("*") if path.is_file()]
    spoil(max(files, key=lambda path: path.stat().st_size), kind)


def spoil(path, kind):
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    if kind == "delete":
        path.unlink()
        return
    if kind == "cut":
        data = data[: 2 * third]
    elif kind == "zeros":
        data[third : 2 * third] = bytes(third)
    else:
        data[len(data) // 2] ^= 4
    path.write_bytes(data)


def theta(run):
    return np.asarray(checkpoint.load(run, LEARNER)[1].theta["w"])


@pytest.mark.parametrize("kind", ["cut", "zeros", "delete", "flip"])
def test_no_damage_to_any_file_goes_unnoticed(kind, six, tmp_path):
    """What is read is right to the last bit, or is called damaged; and nothing else is printed or raised."""
    run, whole = tmp_path / "run", six / "a" / "checkpoints" / "6"
    expected = theta(six / "a")
    files = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
    found = {}
    for file in files:
        shutil.copytree(whole, run / "checkpoints" / "6", dirs_exist_ok=True)
        spoil(run / "checkpoints" / "6" / file, kind)
        try:
            with checkpoint.manager(run) as checkpoints:
                iteration, state, env_steps = checkpoint.restore(checkpoints, LEARNER, 6)
            np.testing.assert_array_equal(state.theta["w"], expected)
            assert (iteration, env_steps) == (6, 42)
            found[file] = "sound"
        except checkpoint.Damaged:
            found[file] = "damaged"
    largest = max(files, key=lambda file: (whole / file).stat().st_size)
    assert found[largest] == "damaged" and found[Path("about") / "metadata"] == "damaged"


def test_readers_fall_back_and_change_nothing(finished_run, tmp_path, capfd):
    run = shutil.copytree(finished_run, tmp_path / "run")
    damage(run, 4)
    trained = load(run)
    said = capfd.readouterr().err
    assert trained.iteration == 2 and steps(run) == ["0", "2", "4"]
    assert said.startswith("warning: checkpoint 4 in ") and said.count("\n") == 1 and "using checkpoint 2 instead" in said


def test_a_damaged_newest_checkpoint_is_trained_again(finished_run, tmp_path, capfd):
    run = shutil.copytree(finished_run, tmp_path / "run")
    damage(run, 4)
    train.main(["--run-dir", str(run), "--resume"])
    said = capfd.readouterr().err
    assert said.startswith("warning: checkpoint 4 in ") and said.count("\n") == 1 and " is damaged (" in said
    assert said.endswith(") and now called 4.damaged; going on from checkpoint 2.\n")
    assert (run / "metrics.jsonl").read_bytes() == (finished_run / "metrics.jsonl").read_bytes()
    assert steps(run) == ["0", "2", "4", "4.damaged"]
    states = [load(folder).state for folder in (run, finished_run)]
    jax.tree.map(np.testing.assert_array_equal, *states)
    train.main(["--run-dir", str(run), "--resume"])
    captured = capfd.readouterr()
    assert "already has its 4 iterations" in captured.out and not captured.err


def test_resuming_computes_from_the_last_checkpoint_on(six, toys, tmp_path):
    assert train_toy([tmp_path / "whole"], 10) == list(range(10))
    shutil.rmtree(toys[0] / "checkpoints" / "6")
    assert train_toy(toys[:1], 10) == [4, 5, 6, 7, 8, 9]
    assert train_toy(toys[:1], 10) == []
    np.testing.assert_array_equal(theta(toys[0]), theta(tmp_path / "whole"))


def test_seeds_go_on_from_where_all_are_sound(six, toys, capfd):
    """Seed b's checkpoint 6 and a's 4 are damaged: both go on from 2. What is sound is kept, and not written again."""
    damage(toys[1], 6)
    damage(toys[0], 4)
    untouched = (toys[0] / "checkpoints" / "6").stat().st_mtime_ns
    assert train_toy(toys, 6) == [2, 3, 4, 5]
    said = capfd.readouterr().err.splitlines()
    assert [line.split(" is damaged")[0].split()[-3] for line in said] == ["4", "6"]
    assert all(line.endswith("going on from checkpoint 2.") for line in said)
    assert "4.damaged" in steps(toys[0]) and "6.damaged" in steps(toys[1])
    assert (toys[0] / "checkpoints" / "6").stat().st_mtime_ns == untouched
    for folder in toys:
        np.testing.assert_array_equal(theta(folder), theta(six / folder.name))
        assert (folder / "metrics.jsonl").read_bytes() == (six / folder.name / "metrics.jsonl").read_bytes()


def test_without_a_sound_checkpoint_nothing_is_changed(six, toys, capfd):
    for iteration in (2, 4, 6):
        damage(toys[0], iteration)
    for use in (lambda: train_toy(toys[:1], 8), lambda: checkpoint.load(toys[0], LEARNER)):
        with pytest.raises(UserError, match=r"^every checkpoint in \S+ is damaged \(6: .*--overwrite"):
            use()
    assert steps(toys[0]) == ["2", "4", "6"] and not computed and not capfd.readouterr().err
    shutil.copytree(six / "a" / "checkpoints" / "4", toys[0] / "checkpoints" / "4", dirs_exist_ok=True)
    for iteration in (4, 6):
        damage(toys[1], iteration)
    with pytest.raises(
        UserError, match="no iteration among 2, 4, 6 has a sound checkpoint of every seed; resume the folder of"
    ):
        train_toy(toys, 8)
    assert steps(toys[0]) == steps(toys[1]) == ["2", "4", "6"]


def test_a_checkpoint_of_something_else_says_what_differs(toys):
    run = toys[:1]
    cases = [
        ({"learner": counting((40, 60))}, r"state/theta/w is float32\[40, 50\] there and float32\[40, 60\] here"),
        ({"agent": "other"}, "it is of --agent toy, this run of other"),
        ({"wandb_id": "new"}, "is of another run: its wandb_id is id, this run's new"),
        ({"seeds": (5,)}, "is of another run: its seed is 0, this run's 5"),
    ]
    for changes, expected in cases:
        with pytest.raises(UserError, match=expected) as error:
            train_toy(run, 8, **changes)
        assert "checkpoint 6 in " in str(error.value) and "\n" not in str(error.value)
    fewer = MetaLearner(lambda key: LEARNER.init(key)._replace(opt_state=()), LEARNER.step, None, None)
    with pytest.raises(UserError, match=r"state/opt_state/0 float32\[7\] is only there\."):
        checkpoint.load(run[0], fewer)
    with jax.threefry_partitionable(False), pytest.raises(UserError, match="another random stream than --seed 0 gives here"):
        train_toy(run, 8)
    assert steps(run[0]) == ["2", "4", "6"] and not computed


def test_another_architecture_in_a_run_folder_is_one_line(finished_run, tmp_path, error_of):
    run = shutil.copytree(finished_run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["settings"]["hidden_sizes"] = [16]
    (run / "config.json").write_text(json.dumps(config))
    message = error_of(train.main, "--run-dir", run, "--resume")
    assert "kernel is float32[2, 8] there and float32[2, 16] here" in message and "more. Give the settings" in message
    config["settings"] |= {"hidden_sizes": [8], "agent": "fomaml"}
    (run / "config.json").write_text(json.dumps(config))
    assert "it is of --agent maml, this run of fomaml" in error_of(train.main, "--run-dir", run, "--resume")


def test_resuming_nothing_or_a_run_in_use_changes_nothing(finished_run, tmp_path, error_of):
    assert "holds no run; leave out --resume" in error_of(train.main, "--run-dir", tmp_path, "--resume")
    assert not list(tmp_path.iterdir())
    run = shutil.copytree(finished_run, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}
    with lock(run):
        assert "is in use by another process" in error_of(train.main, "--run-dir", run, "--resume", "--num-iterations", 6)
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}


@contextlib.contextmanager
def files_end_at(size):
    """A true error of the operating system on writing further than ``size`` bytes into any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("reserved", [True, False])
def test_a_disk_that_is_full_for_a_checkpoint(reserved, six, toys, tmp_path, capfd, monkeypatch):
    """Where it shows at once and where it shows in the middle of the write."""
    if not reserved:
        monkeypatch.setattr(checkpoint, "reserve", lambda folder, size: None)
    with files_end_at(6000), pytest.raises(UserError) as error:
        train_toy(toys[:1], 10)
    message = str(error.value)
    assert message.startswith(f"{toys[0] / 'checkpoints' / '8'} cannot be written: ") and "File too large" in message
    assert "the last good checkpoint, iteration 6, is intact. Free some space, then go on with --resume." in message
    assert "\n" not in message and not capfd.readouterr().err
    assert checkpoint.load(toys[0], LEARNER)[0] == 6
    assert train_toy(toys[:1], 10) == [6, 7, 8, 9]
    train_toy([tmp_path / "whole"], 10)
    np.testing.assert_array_equal(theta(toys[0]), theta(tmp_path / "whole"))
    assert [row["iteration"] for row in read_lines(toys[0])] == list(range(1, 11))


def test_a_disk_that_is_full_for_metrics(toys):
    before = (toys[0] / "metrics.jsonl").read_bytes()
    with files_end_at(len(before) + 10), pytest.raises(UserError, match=r"metrics.jsonl cannot be written: File too large"):
        train_toy(toys[:1], 10)
    assert (toys[0] / "metrics.jsonl").read_bytes() == before
    assert train_toy(toys[:1], 10) == [6, 7, 8, 9]
    assert (toys[0] / "metrics.jsonl").read_bytes().startswith(before)
    assert [row["iteration"] for row in read_lines(toys[0])] == list(range(1, 11))


@pytest.mark.parametrize("rest", [b'{"iteration": 3, "me', b"\0" * 4096, b"\xff\xfe" + b"\0" * 9, b"{}"])
def test_what_a_crash_leaves_at_the_end_of_metrics_is_dropped(rest, tmp_path, capfd):
    path = tmp_path / "metrics.jsonl"
    sound = b'{"iteration": 1, "time/seconds": 0.5}\n{"iteration": 2, "time/seconds": 1.5}\n'
    path.write_bytes(sound + rest)
    lines = JsonLines(path)
    assert (lines.last_iteration, lines.last_seconds) == (2, 1.5)
    written = lines.write([{"iteration": i, "time/seconds": 2.0} for i in (1, 2, 3)])
    lines.close()
    assert [row["iteration"] for row in written] == [3]
    assert path.read_bytes() == sound + b'{"iteration": 3, "time/seconds": 2.0}\n'
    assert not capfd.readouterr().err and not path.with_name("metrics.jsonl.damaged").exists()


def test_damage_in_the_middle_of_metrics_is_trained_again_and_kept_aside(six, toys, capfd):
    path = toys[0] / "metrics.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], b"\0" * 50 + b"\n", lines[5]]))
    assert train_toy(toys[:1], 6) == [4, 5]
    said = capfd.readouterr().err.splitlines()
    assert "metrics.jsonl is damaged after line 4; the rest of it is now in metrics.jsonl.damaged." in said[0]
    assert "ends with iteration 4, before checkpoint 6; going on from checkpoint 4, so that no line is missing." in said[1]
    assert path.with_name("metrics.jsonl.damaged").read_bytes().endswith(lines[5])
    times = ("time/seconds", "time/steps_per_second")
    for row, before in zip(read_lines(toys[0]), map(json.loads, lines), strict=True):
        assert {k: v for k, v in row.items() if k not in times} == {k: v for k, v in before.items() if k not in times}
    assert path.read_bytes().startswith(b"".join(lines[:4]))


def test_metrics_that_end_before_every_checkpoint_are_reported(toys, capfd):
    (toys[0] / "metrics.jsonl").unlink()
    assert train_toy(toys[:1], 8) == [6, 7]
    assert "ends with iteration 0, before every checkpoint; lines 1 to 6 are lost." in capfd.readouterr().err
    assert [row["iteration"] for row in read_lines(toys[0])] == [7, 8]


def test_a_checkpoint_holds_what_a_run_goes_on_with(six):
    about = json.loads((six / "b" / "checkpoints" / "6" / "about" / "metadata").read_text())
    assert {name: about[name] for name in ("agent", "env", "wandb_id", "seed")} == {
        "agent": "toy",
        "env": "toy",
        "wandb_id": "id",
        "seed": 1,
    }
    assert {"state/theta/w", "state/opt_state/0", "state/iteration", "iteration", "env_steps", "key"} == set(about["arrays"])


def test_lines_reach_the_disk_before_the_checkpoint_that_they_lead_to(tmp_path, monkeypatch):
    order, save = [], checkpoint.save

    def fsync(file):
        if os.readlink(f"/proc/self/fd/{file}").endswith("metrics.jsonl"):
            order.append("lines")

    monkeypatch.setattr("experiments.runs.metrics_file.os.fsync", fsync)
    monkeypatch.setattr(checkpoint, "save", lambda *args: (order.append("checkpoint"), save(*args)))
    train_toy([tmp_path / "run"], 4)
    assert order == ["lines", "checkpoint"] * 3
