"""The worst tasks, and how often one agent is better than another: against counting and against rliable's definition."""

import json

import numpy as np
import pytest
from scipy import integrate

from experiments import compare
from experiments.reporting.tails import cvar, improvement, tails
from tests.experiments.reporting.comparable import write_run


@pytest.mark.parametrize("share", [0.05, 0.2, 0.37, 1.0])
def test_cvar_is_the_integral_of_quantiles(share):
    """Rockafellar and Uryasev 2000: the mean of the quantile function below ``share``, here of the empirical distribution."""
    values = np.random.default_rng(0).normal(size=23)
    steps = np.sort(values)
    edges = [edge for edge in np.arange(1, 23) / 23 if edge < share]
    quantile = lambda p: steps[min(int(p * 23), 22)]
    found, _ = integrate.quad(quantile, 0, share, points=edges, limit=200)
    np.testing.assert_allclose(cvar(values, share), found / share, rtol=1e-6)


def test_tails_are_of_each_seed_s_tasks():
    """Not of all pooled: the worst seed is not the worst task."""
    good, bad = np.arange(20.0)[:, None], np.arange(20.0)[::-1, None] - 100
    found = tails([good, bad])
    assert found["return_worst"] == [-50.0] and found["return_cvar05"] == [-50.0]
    np.testing.assert_allclose(found["return_cvar20"], [(1.5 - 98.5) / 2])
    np.testing.assert_allclose(found["return_p20"], [np.percentile(good, 20) - 50])


def test_repeats_of_a_task_are_one_task():
    """Two directions, each evaluated twenty times: the worst of them, not its worst repeat."""
    rng, of_task = np.random.default_rng(3), np.arange(40) % 2
    returns = np.where(of_task == 0, 200.0, 280.0)[:, None] + 30 * rng.normal(size=(40, 2))
    found = tails([returns], of_task)
    np.testing.assert_allclose(found["return_worst"], returns[of_task == 0].mean(axis=0))
    np.testing.assert_allclose(found["return_cvar05"], found["return_worst"])
    assert tails([returns])["return_worst"][0] < found["return_worst"][0] - 20


def test_improvement_by_counting():
    rng = np.random.default_rng(1)
    ours, theirs = rng.integers(0, 4, (3, 15)).astype(float), rng.integers(0, 4, (2, 15)).astype(float)
    wins = 0.0
    for m in range(15):
        for x in ours[:, m]:
            for y in theirs[:, m]:
                wins += 1.0 if x > y else 0.5 if x == y else 0.0
    found = improvement(list(ours), list(theirs))
    assert found["probability"] == pytest.approx(wins / (15 * 6))
    back = improvement(list(theirs), list(ours))
    assert found["probability"] + back["probability"] == pytest.approx(1.0)
    np.testing.assert_allclose(found["ci95"], 1 - np.array(back["ci95"])[::-1], atol=0.02)
    assert found["ci95"][0] < found["probability"] < found["ci95"][1]


def test_tasks_are_paired():
    """Better by a hair on every task, though tasks differ far more: always better."""
    difficulty = np.random.default_rng(2).normal(size=30) * 100
    assert improvement([difficulty + 0.1], [difficulty]) == {"probability": 1.0, "ci95": [1.0, 1.0]}


def test_compare_shows_both(tmp_path, capsys):
    for agent, seeds in (("maml", 2), ("rl2", 1)):
        for seed in range(seeds):
            write_run(tmp_path / f"runs/{agent}-{seed}", agent, seed, adapts_by="gradient" if agent == "maml" else "memory")
    compare.main([str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--html"])
    table = json.loads((tmp_path / "out/table.json").read_text())
    there = table["improvement"]["maml"]["rl2"]["probability"]
    assert 0 <= there <= 1 and there + table["improvement"]["rl2"]["maml"]["probability"] == pytest.approx(1.0)
    assert len(table["agents"]["maml"]["return_cvar20"]) == 3
    for text in ((tmp_path / "out/table.md").read_text(), (tmp_path / "out/comparison.html").read_text()):
        assert "CVaR 20 %" in text and "better than" in text and "probability of improvement" in text
    assert "better than" in capsys.readouterr().out
