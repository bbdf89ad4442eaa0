"""Run folders that version 0.1.0 made, before agents declared themselves, are evaluated, resumed, compared and loaded.

The archive holds one run per kind of agent: two iterations of ``experiments.train`` on two tasks, two episodes of four steps, a
policy of four units; four iterations of ``experiments.sinusoid`` and ``experiments.step_function``; without pictures.
"""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from experiments import compare, evaluate, sinusoid, train
from experiments.evaluation import load
from tests.experiments.conftest import read_lines
from tests.few import few

ARCHIVE = Path(__file__).parents[1] / "data" / "runs_of_0_1.tar.xz"
ACTING = ("maml", "imaml", "rl2", "oracle", "pretrained", "cavia", "promp", "two-seeds/seed-1")
SUPERVISED = ("sinusoid", "sinusoid-mann", "step-function")


@pytest.fixture
def old_runs(tmp_path):
    """The folders, as they were."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def result_of(run):
    return json.loads((run / "evaluation.json").read_text())


@pytest.mark.parametrize("name", few(ACTING, "maml", "imaml", "rl2", "oracle"))
def test_what_they_learned_still_returns_the_same(name, old_runs):
    run = old_runs / name
    before = result_of(run)
    evaluate.main(["--run-dir", str(run), "--num-tasks", "3", "--num-steps", "2"])
    after = result_of(run)
    np.testing.assert_allclose(after["returns"], before["returns"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(after["greedy_mean"], before["mean_action_mean"], rtol=1e-3, atol=1e-3)
    for same in ("episodes", "adapts_by", "task_hash", "iteration", "step_scale", "num_episodes"):
        assert after[same] == before[same], same


@pytest.mark.parametrize("name", few(SUPERVISED, "sinusoid", "step-function"))
def test_supervised_ones_too(name, old_runs):
    run = old_runs / name
    before = result_of(run)
    evaluate.main(["--run-dir", str(run)])
    after = result_of(run)
    for measured in {"mse_mean", "objective_mean"} & set(before):
        for key, curve in before[measured].items() if measured == "mse_mean" else [(None, before[measured])]:
            np.testing.assert_allclose(after[measured][key] if key else after[measured], curve, rtol=1e-3, atol=1e-3)


GO_ON = [("pretrained", train.main), ("rl2", train.main), ("sinusoid", sinusoid.main)]


@pytest.mark.parametrize(("name", "main"), few(GO_ON, GO_ON[0], GO_ON[2]))
def test_they_go_on(name, main, old_runs):
    run = old_runs / name
    kept = (run / "metrics.jsonl").read_bytes()
    main(["--run-dir", str(run), "--resume", "--num-iterations", "6"])
    assert (run / "metrics.jsonl").read_bytes().startswith(kept)
    assert read_lines(run)[-1]["iteration"] == 6 == result_of(run)["iteration"]


def test_a_parent_of_several_seeds_goes_on(old_runs):
    train.main(["--run-dir", str(old_runs / "two-seeds"), "--resume", "--num-iterations", "3"])
    for seed in (0, 1):
        assert len(read_lines(old_runs / f"two-seeds/seed-{seed}")) == 3


def test_what_was_taken_and_ignored_does_not_stand_in_the_way(tmp_path):
    """Version 0.1 took --outer-lr for agents without an outer optimiser, and wrote it down."""
    run = tmp_path / "run"
    flags = "--agent random --num-iterations 1 --num-tasks 2 --num-episodes 2 --horizon 4 --hidden-sizes 4 --eval-tasks 0"
    train.main(["--run-dir", str(run), *flags.split()])
    config = json.loads((run / "config.json").read_text())
    assert not {"outer_lr", "outer_schedule", "remat"} & set(config["settings"])
    config["settings"] |= {"outer_lr": 0.005, "outer_schedule": "linear", "remat": True, "clip": None}
    (run / "config.json").write_text(json.dumps(config))
    train.main(["--run-dir", str(run), "--resume", "--num-iterations", "2"])
    assert len(read_lines(run)) == 2


def test_they_are_compared_with_one_another_and_with_new_ones(old_runs, capsys):
    compare.main([str(old_runs / "maml"), str(old_runs / "promp"), "--out", str(old_runs / "old")])
    assert "promp" in (old_runs / "old/table.md").read_text()
    flags = "--num-iterations 2 --num-tasks 2 --num-episodes 2 --horizon 4 --hidden-sizes 4 --eval-tasks 3 --eval-steps 2"
    train.main(["--run-dir", str(old_runs / "new"), "--seed", "1", *flags.split()])
    compare.main([str(old_runs / "maml"), str(old_runs / "new"), "--out", str(old_runs / "both")])
    assert "2 seeds" in capsys.readouterr().out or "| maml | 2 |" in (old_runs / "both/table.md").read_text()


def test_they_are_loaded(old_runs):
    agent = load(old_runs / "cavia")
    assert agent.config.own.context_size == 5 and agent.config.own.inner_lr == 1.0
    assert agent.act(agent.adapt(agent.family.default_params), [0.0, 0.0]).shape == (2,)
