"""How far an agent has got between no adaptation and the oracle: by hand, by simulation, and in what compare writes."""

import json

import numpy as np
import pytest

from experiments import compare
from experiments.reporting.way import of_the_way, ways
from tests.experiments.reporting.comparable import write_run


def test_the_share_by_hand():
    """Ten times each from -10 and -30 to -6 and -24, where the best returns 0: 10 of 40 are gained."""
    start, best = np.tile([-10.0, -30.0], 10), np.zeros(20)
    found = of_the_way(np.tile([-6.0, -24.0], 10), start, best)
    assert found["share"] == pytest.approx(10 / 40)
    assert found["ci95"][0] < 10 / 40 < found["ci95"][1]
    worse, above = (of_the_way(np.tile(reached, 10), start, best) for reached in ([-12.0, -34.0], [1.0, 2.0]))
    assert worse["share"] == pytest.approx(-6 / 40) and above["share"] == pytest.approx(43 / 40), "neither is cut off"


def test_the_interval_holds_the_true_share():
    """Of 200 draws of 40 tasks, whose true share is 0.6: gains and distances vary together and by themselves."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        start = rng.normal(-40, 8, 40)
        distance = rng.gamma(4.0, 10.0, 40)
        gained = 0.6 * distance + rng.normal(0, 8, 40)
        low, high = of_the_way(start + gained, start, start + distance)["ci95"]
        held += low <= 0.6 <= high
    assert 0.91 <= held / 200 <= 0.99, held


def test_without_a_distance_there_is_no_share():
    rng = np.random.default_rng(0)
    start = rng.normal(size=40)
    assert of_the_way(start + 1, start, start + rng.normal(size=40)) is None, "the best is not clearly above"
    assert of_the_way(start + 1, start, start - 5) is None, "and here it is below"


def test_repeats_of_tasks_are_strata():
    """Two tasks, played twenty times each: how they differ from one another is no chance."""
    rng, of_task = np.random.default_rng(3), np.arange(40) % 2
    reached = np.where(of_task == 0, 20.0, 80.0) + rng.normal(size=40)
    as_tasks = of_the_way(reached, np.zeros(40), np.full(40, 100.0))
    as_repeats = of_the_way(reached, np.zeros(40), np.full(40, 100.0), of_task)
    assert as_repeats["share"] == as_tasks["share"] and np.ptp(as_repeats["ci95"]) < 0.2 * np.ptp(as_tasks["ci95"])


def test_seeds_of_every_agent_are_averaged_first():
    curves = {"oracle": [np.zeros((4, 1))], "pretrained": [np.full((4, 2), -20.0)]}
    curves["maml"] = [np.tile([-10.0, -6.0], (4, 1)), np.tile([-14.0, -2.0], (4, 1))]  # -12 to -4
    found = ways(curves)
    assert list(found) == ["pretrained", "maml"]
    assert found["maml"]["own"]["share"] == pytest.approx(8 / 12)
    assert found["maml"]["pretrained"]["share"] == pytest.approx(16 / 20)
    assert found["pretrained"]["pretrained"]["share"] == 0


def test_compare_shows_it_where_the_two_are_there_and_else_says_what_to_add(tmp_path, capsys):
    runs = tmp_path / "runs"
    returns = {agent: write_run(runs / agent, agent, seed) for seed, agent in enumerate(("maml", "pretrained"))}
    compare.main([str(runs), "--out", str(tmp_path / "a")])
    said = capsys.readouterr().out
    assert "Add runs of oracle to see how far agents are from the best." in said and "of the way to" not in said
    assert json.loads((tmp_path / "a" / "table.json").read_text())["way"] == {}

    write_run(runs / "oracle", "oracle", 2, adapts_by="nothing", raised=100.0)
    compare.main([str(runs), "--out", str(tmp_path / "b"), "--html"])
    said, text = capsys.readouterr().out, (tmp_path / "b" / "table.md").read_text()
    assert "Add runs" not in said + text and max(map(len, said.split("wrote ")[0].splitlines())) <= 80
    best = np.mean(json.loads((runs / "oracle" / "evaluation.json").read_text())["returns"], axis=0)[0]
    first, last = returns["maml"].mean(axis=0)[[0, -1]]
    without = returns["pretrained"].mean(axis=0)[0]
    own, other = (last - first) / (best - first), (last - without) / (best - without)
    (row,) = [line for line in text.splitlines() if line.startswith(f"| maml | {own:.0%} [")]
    assert f"| {other:.0%} [" in row and row in text
    page = (tmp_path / "b" / "comparison.html").read_text()
    assert "of the way to oracle" in page and f"{own:.0%} [" in page

    (runs / "pretrained").rename(tmp_path / "pretrained")
    compare.main([str(runs), "--out", str(tmp_path / "c"), "--html"])
    text, line = (tmp_path / "c" / "table.md").read_text(), "Add runs of pretrained to see how far above no adaptation."
    assert line in text and line in capsys.readouterr().out and line in (tmp_path / "c" / "comparison.html").read_text()
    assert "| of the way to oracle | from its own start |\n" in text
