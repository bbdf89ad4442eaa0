"""Few-shot runs on a user's own data: trained, resumed, evaluated and compared like all others."""

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from envs.few_shot import from_function, read
from experiments import compare, evaluate, few_shot
from tests.experiments.conftest import read_lines

SHARED = ("--num-iterations", "4", "--log-every", "2", "--checkpoint-every", "2", "--hidden-sizes", "8", "--eval-tasks", "6")
SMALL = (*SHARED, "--num-tasks", "2", "--query-shots", "3")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two files: classes as arrays, tasks as a table."""
    home, rng = tmp_path_factory.mktemp("few_shot"), np.random.default_rng(0)
    label = np.repeat(np.arange(8), 9)
    np.savez(home / "classes.npz", x=rng.normal(size=(8, 3))[label] + 0.1 * rng.normal(size=(72, 3)), label=label)
    lines = ["machine,a,b,y1,y2"]
    for machine in range(6):
        k = rng.normal(size=4)
        for a, b in rng.uniform(-1, 1, size=(12, 2)):
            lines.append(f"m{machine},{a},{b},{k[0] * a + k[1] * b},{k[2] * a + k[3] * b}")
    (home / "tasks.csv").write_text("\n".join(lines))
    return home


def trained(home, name, *flags):
    few_shot.main(["--run-dir", str(home / name), *SMALL, *flags])
    return home / name


@pytest.fixture(scope="module")
def classified(home):
    return trained(home, "maml", "--data", str(home / "classes.npz"), "--ways", "2", "--shots", "1", "--test-shots", "1", "2")


@pytest.fixture(scope="module")
def regressed(home):
    table = ("--data", str(home / "tasks.csv"), "--task-column", "machine", "--held-out", "m1", "m4")
    return trained(home, "regression", *table)


def test_a_run_of_classes_is_complete(classified):
    names = {path.name for path in classified.iterdir()}
    assert names >= {"config.json", "metrics.jsonl", "checkpoints", "evaluation.json", "adaptation.png"}
    rows, result = read_lines(classified), json.loads((classified / "evaluation.json").read_text())
    assert [row["time/env_steps"] for row in rows] == [2 * 2 * (1 + 3) * i for i in (2, 4)]
    assert 0 <= rows[-1]["measures/accuracy_post"] <= 1
    assert set(result["accuracy_mean"]) == {"1", "2"} and np.shape(result["accuracy"]["2"]) == (6, 11)
    for name in ("accuracy", "cross_entropy"):
        for shots, mean in result[f"{name}_mean"].items():
            np.testing.assert_allclose(np.mean(result[name][shots], axis=0), mean, atol=1e-5)
            low, high = np.array(result[f"{name}_ci95"][shots]).T
            assert np.all(low <= mean) and np.all(mean <= high)
    # Six query examples per task: accuracies are sixths.
    sixths = 6 * np.array(result["accuracy"]["1"])
    np.testing.assert_allclose(sixths, np.round(sixths), atol=1e-4)
    assert len(result["held_out"]) == 2 and "of_task" not in result


def test_a_run_of_a_table_is_complete(regressed):
    result = json.loads((regressed / "evaluation.json").read_text())
    assert result["held_out"] == ["m1", "m4"] and result["of_task"] == [1, 4] * 3 and result["num_tasks"] == 6
    assert set(result["mse_mean"]) == {"5"} and "accuracy" not in result
    stored = json.loads((regressed / "config.json").read_text())
    assert set(stored["task_lists"]) == {"train", "held_out"} and stored["experiment"].endswith("few_shot:REGRESSION")


@pytest.mark.parametrize("which", ["classified", "regressed"])
def test_resume_continues_exactly(which, request, tmp_path):
    """A run cut back to its middle checkpoint ends where the uninterrupted one did."""
    run, cut = request.getfixturevalue(which), tmp_path / "cut"
    shutil.copytree(run, cut)
    shutil.rmtree(cut / "checkpoints" / "4")
    (cut / "evaluation.json").unlink()
    few_shot.main(["--run-dir", str(cut), "--resume"])
    for name in ("metrics.jsonl", "evaluation.json"):
        assert (cut / name).read_bytes() == (run / name).read_bytes()


def test_evaluate_again_and_compare(home, classified, tmp_path, error_of):
    copy = tmp_path / "copy"
    shutil.copytree(classified, copy)
    (copy / "evaluation.json").unlink()
    evaluate.main(["--run-dir", str(copy)])
    assert (copy / "evaluation.json").read_bytes() == (classified / "evaluation.json").read_bytes()
    flags = (
        "--data",
        str(home / "classes.npz"),
        "--ways",
        "2",
        "--shots",
        "1",
        "--test-shots",
        "1",
        "2",
        "--agent",
        "protonet",
    )
    other = trained(tmp_path, "protonet", *flags)
    compare.main([str(classified), str(other), "--out", str(tmp_path / "out"), "--html"])
    table = json.loads((tmp_path / "out/table.json").read_text())
    assert table["title"] == "Accuracy on few-shot, 6 held-out tasks" and set(table["agents"]) == {"maml", "protonet"}
    assert "%" in (tmp_path / "out/table.md").read_text() and (tmp_path / "out/comparison.html").is_file()
    # The same rows of other examples are other tasks.
    with np.load(home / "classes.npz") as found:
        np.savez(tmp_path / "classes.npz", x=found["x"] + 1, label=found["label"])
    flags = ("--data", str(tmp_path / "classes.npz"), *flags[2:])
    third = trained(tmp_path, "third", *flags, "--num-iterations", "0")
    assert "held-out tasks (task_hash)" in error_of(compare.main, classified, third, "--out", tmp_path / "out")


def test_a_run_is_not_resumed_on_other_data(home, tmp_path, error_of):
    shutil.copy(home / "classes.npz", tmp_path / "mine.npz")
    flags = ("--data", str(tmp_path / "mine.npz"), "--ways", "2", "--shots", "1", "--num-iterations", "0")
    run = trained(tmp_path, "run", *flags)
    with np.load(home / "classes.npz") as found:
        np.savez(tmp_path / "mine.npz", x=found["x"] * 2, label=found["label"])
    said = error_of(few_shot.main, "--run-dir", run, "--resume", "--num-iterations", "6")
    assert "the list of training tasks is not the one" in said


MINE = """
import jax, jax.numpy as jnp

def problem(key, shots, held_out):
    slope = jax.random.uniform(key, minval=-3.0, maxval=-1.0) if held_out else jax.random.uniform(key, minval=1.0, maxval=3.0)
    x = jax.random.uniform(key, (shots + 4, 1))
    return (x[:shots], slope * x[:shots]), (x[shots:], slope * x[shots:])

nothing = 3
"""


def test_a_function_of_ones_own(tmp_path, monkeypatch, error_of):
    (tmp_path / "my_tasks.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    flags = ("--run-dir", tmp_path / "run", *SHARED, "--num-tasks", "2", "--problem")
    few_shot.main([*map(str, flags), "my_tasks:problem"])
    result = json.loads((tmp_path / "run/evaluation.json").read_text())
    assert result["data"] == "my_tasks:problem" and np.shape(result["mse"]["5"]) == (6, 11)
    evaluate.main(["--run-dir", str(tmp_path / "run")])
    assert json.loads((tmp_path / "run/evaluation.json").read_text()) == result
    flags = ("--run-dir", tmp_path / "other", *flags[2:])
    for name, message in {
        "my_tasks": "must be my_module:name",
        "my_tasks:nothing": "has no function 'nothing'",
        "my_tasks:none": "has no function 'none'",
        "no_such_tasks:problem": "importing no_such_tasks fails: ModuleNotFoundError",
    }.items():
        assert message in error_of(few_shot.main, *flags, name)
    assert "--query-shots is given, but my_tasks:problem draws" in error_of(
        few_shot.main, *flags, "my_tasks:problem", "--query-shots", 2
    )
    assert "--test-shots has several" in error_of(few_shot.main, *flags, "my_tasks:problem", "--test-shots", 2, 3)


MISTAKES = {
    "": "--data and --problem: neither is given",
    "--data classes.npz --problem a:b": "--data and --problem: both are given",
    "--data nowhere.npz": "is no file; give an .npz or .csv, or digits",
    "--data classes.npz": "8 classes, but no number of ways",
    "--data classes.npz --ways 1": "--ways is 1, but must be at least 2",
    "--data classes.npz --ways 2 --shots 0": "--shots is 0, but must be at least 1",
    "--data classes.npz --ways 5": "8 classes, 5 of them held out: 3 to train on, but at least 5 must be",
    "--data classes.npz --ways 2 --shots 7": "has 9 examples, but 7 shots and 3 query shots need 10",
    "--data classes.npz --ways 2 --test-shots 1 7": "has 9 examples, but 7 shots and 3 query shots need 10",
    "--data classes.npz --ways 2 --held-out 0 x": "no class 'x' to hold out; there are 0, 1,",
    "--data classes.npz --ways 2 --task-column a": "--task-column is given, but",
    "--data classes.npz --ways 2 --agent oracle": "oracle serves reinforcement learning and regression only",
    "--data classes.npz --ways 2 --agent promp": "promp serves reinforcement learning only",
    "--data classes.npz --ways 2 --network conv": "conv reads images [height, width, channels]",
    "--data classes.npz --ways 2 --network convs": "Did you mean 'conv'",
    "--data classes.npz --ways 2 --eval-tasks 0": "--eval-tasks is 0",
    "--data classes.npz --ways two": "--ways",
    "--data tasks.csv": "has no column 'task', but machine, a, b, y1, y2; say how",
    "--data tasks.csv --task-column machine --ways 2": "has targets to regress, but ways is 2",
    "--data tasks.csv --task-column machine --agent protonet": "protonet serves classification only",
    "--data tasks.csv --task-column machine --targets z": "has no column 'z'",
    "--data tasks.csv --task-column machine --held-out m1 m2 m3 m4 m5 m0": "0 to train on",
}


@pytest.mark.parametrize("flags", MISTAKES)
def test_mistakes_are_one_line_and_leave_nothing(flags, home, tmp_path, monkeypatch, error_of):
    monkeypatch.chdir(home)
    small = ("--query-shots", "3", "--num-tasks", "2")
    assert MISTAKES[flags] in error_of(few_shot.main, "--run-dir", tmp_path / "run", *small, *flags.split())
    assert not (tmp_path / "run").exists()


def test_the_page_s_snippets_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[3] / "docs/few_shot.md").read_text()
    files, function, program = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(files, "few_shot.md", "exec"), {})
    arrays, table = read("tasks.npz"), read("tasks.csv")
    np.testing.assert_allclose(arrays.x, table.x)
    assert arrays.held_out == ("3", "7", "11") and len(files.splitlines()) < 11
    found: dict = {}
    exec(compile(function, "few_shot.md", "exec"), found)
    assert from_function(found["problem"], shots=3).sample_task(jax.random.key(0)).query[0].shape == (10, 1)
    exec(compile(program, "few_shot.md", "exec"), {})
