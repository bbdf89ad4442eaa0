"""Evaluation on frozen tasks, and comparisons that refuse what cannot be compared."""

import json
import shutil

import numpy as np
import pytest

from experiments import compare, evaluate
from experiments.reporting.intervals import bootstrap_ci95, iqm, task_hash
from tests.experiments.conftest import small_run


@pytest.fixture(scope="module")
def two_runs(finished_run, tmp_path_factory):
    """MAML with two seeds and an untrained start."""
    folder = tmp_path_factory.mktemp("two")
    small_run(folder / "maml-1", "--seed", "1")
    small_run(folder / "random-0", "--agent", "random")
    return [finished_run, folder]


def test_compare_gives_one_table_and_one_picture(two_runs, tmp_path, capsys):
    out = tmp_path / "out"
    compare.main([*map(str, two_runs), "--out", str(out)])
    table = json.loads((out / "table.json").read_text())["agents"]
    assert table["maml"]["seeds"] == [0, 1] and table["random"]["seeds"] == [0]
    by_hand = [
        json.loads((run / "evaluation.json").read_text())["return_mean"] for run in (two_runs[0], two_runs[1] / "maml-1")
    ]
    np.testing.assert_allclose(table["maml"]["return_mean"], np.mean(by_hand, axis=0))
    assert "| maml | 2 |" in (out / "table.md").read_text()
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "random" in capsys.readouterr().out


def changed(run, copy, file, **values):
    """A copy of a run with other values in one of its files."""
    shutil.copytree(run, copy)
    content = json.loads((copy / file).read_text())
    (content["settings"] if file == "config.json" else content).update(values)
    (copy / file).write_text(json.dumps(content))
    return copy


def test_compare_refuses_other_tasks_budgets_and_repeats(two_runs, tmp_path, error_of):
    maml, random = two_runs[0], two_runs[1] / "random-0"
    for i, (values, expected) in enumerate(
        (
            ({"task_hash": "other"}, "task_hash"),
            ({"episodes": [0, 3]}, "episode budgets"),
            ({"episodes": [0, 1, 2, 3]}, "episode budgets"),
        )
    ):
        other = changed(random, tmp_path / f"other{i}", "evaluation.json", **values)
        assert expected in error_of(compare.main, maml, other, "--out", tmp_path / "out")
    less = changed(two_runs[1] / "maml-1", tmp_path / "less", "evaluation.json", iteration=2)
    assert "meta-iterations trained" in error_of(compare.main, maml, less, "--out", tmp_path / "out")
    rate = changed(two_runs[1] / "maml-1", tmp_path / "rate", "config.json", inner_lr=0.7)
    assert "differ in --inner-lr" in error_of(compare.main, maml, rate, "--out", tmp_path / "out")
    assert "are both maml with seed 0" in error_of(compare.main, maml, maml, "--out", tmp_path / "out")
    (tmp_path / "other0" / "evaluation.json").unlink()
    assert "has not been evaluated" in error_of(compare.main, tmp_path / "other0", "--out", tmp_path / "out")
    assert "is not a run" in error_of(compare.main, tmp_path / "nowhere", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_tasks_and_budgets_show_in_the_evaluation(finished_run, tmp_path):
    """What compare refuses by: fewer tasks change the hash, fewer steps or episodes the budget."""
    run = shutil.copytree(finished_run, tmp_path / "run")
    before = json.loads((run / "evaluation.json").read_text())
    evaluate.main(["--run-dir", str(run), "--num-tasks", "2", "--num-steps", "1", "--num-episodes", "2"])
    after = json.loads((run / "evaluation.json").read_text())
    assert after["task_hash"] != before["task_hash"] and after["episodes"] == [0, 2] and after["num_episodes"] == 2


def test_evaluate_again_gives_the_same_numbers(finished_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    before = json.loads((run / "evaluation.json").read_text())
    evaluate.main(["--run-dir", str(run), "--num-tasks", "3", "--env", "metarl/Navigation2D-v0"])
    assert json.loads((run / "evaluation.json").read_text()) == before


def test_evaluation_holds_what_its_returns_say(finished_run):
    """Every summary from the table of returns, by hand."""
    result = json.loads((finished_run / "evaluation.json").read_text())
    for name, values in (("return", "returns"), ("greedy", "greedy_returns")):
        returns = np.asarray(result[values])
        assert returns.shape == (3, 4)
        np.testing.assert_allclose(result[f"{name}_mean"], returns.mean(axis=0))
        low, high = np.asarray(result[f"{name}_ci95"]).T
        assert np.all(low <= returns.mean(axis=0)) and np.all(returns.mean(axis=0) <= high)
    returns = np.asarray(result["returns"])
    worse = (returns - returns[:, :1]) < -1.96 * np.asarray(result["gain_se"])
    assert result["hurt"] == np.mean(worse[:, -1])
    assert result["adapts_by"] == "gradient" and result["step_scale"] == [1.0] and result["episodes"] == [0, 3, 6, 9]
    assert not np.allclose(returns, result["greedy_returns"])


def test_step_sizes_at_test_are_a_setting(finished_run, tmp_path, error_of):
    """The first step is unscaled, so only what follows the second changes."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    evaluate.main(["--run-dir", str(run), "--num-tasks", "3", "--step-scale", "1", "0.5"])
    before, after = (json.loads((folder / "evaluation.json").read_text()) for folder in (finished_run, run))
    same = np.asarray(before["returns"]) == np.asarray(after["returns"])
    assert np.all(same[:, :2]) and not np.all(same[:, 2:]) and after["step_scale"] == [1.0, 0.5]
    assert "--step-scale is 0.0" in error_of(evaluate.main, "--run-dir", run, "--step-scale", 0)


def test_held_out_tasks_do_not_depend_on_the_seed(two_runs):
    hashes = {json.loads((run / "evaluation.json").read_text())["task_hash"] for run in (two_runs[0], two_runs[1] / "maml-1")}
    assert len(hashes) == 1


def test_evaluate_refuses(finished_run, tmp_path, error_of):
    assert "is not a run" in error_of(evaluate.main, "--run-dir", tmp_path)
    assert "was trained on metarl/Navigation2D-v0" in error_of(
        evaluate.main, "--run-dir", finished_run, "--env", "other/Env-v0"
    )
    assert "--num-tasks is 0" in error_of(evaluate.main, "--run-dir", finished_run, "--num-tasks", 0)
    broken = tmp_path / "broken"
    shutil.copytree(finished_run, broken)
    shutil.rmtree(broken / "checkpoints")
    assert "holds no checkpoint" in error_of(evaluate.main, "--run-dir", broken)
    (broken / "config.json").write_text("{")
    assert "cannot be read as JSON" in error_of(evaluate.main, "--run-dir", broken)


def test_bootstrap_covers_the_mean():
    """Of 200 intervals from 40 exponential samples, about 95 % hold the true mean."""
    rng = np.random.default_rng(0)
    samples = rng.exponential(size=(40, 200))
    low, high = bootstrap_ci95([samples]).T
    assert 0.88 <= np.mean((low < 1.0) & (high > 1.0)) <= 0.99


def test_stratified_bootstrap_ignores_the_spread_between_seeds():
    """Two seeds far apart, each without spread over tasks: nothing to resample within a seed."""
    interval = bootstrap_ci95([np.zeros((10, 2)), np.ones((10, 2))])
    np.testing.assert_allclose(interval, 0.5)
    np.testing.assert_allclose(bootstrap_ci95([np.full((1, 2), 3.0)]), 3.0)


def test_interquartile_mean():
    assert iqm(np.arange(8.0)) == 3.5
    assert iqm(np.array([-100.0, 1.0, 3.0, 900.0])) == 2.0


def test_task_hash_sees_values_and_structure():
    a = {"x": np.zeros(3, np.float32)}
    assert task_hash(a) == task_hash({"x": np.zeros(3, np.float32)})
    assert len({task_hash(t) for t in (a, {"y": a["x"]}, {"x": a["x"] + 1}, {"x": a["x"].astype(np.float64)})}) == 4
