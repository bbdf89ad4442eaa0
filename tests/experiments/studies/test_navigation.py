"""The navigation table, with tiny runs; and its promises, on numbers made up for each."""

import json

import pytest

import agents
from experiments.studies import navigation

pytestmark = pytest.mark.usefixtures("settings_of_families")


def rows_of(**returns):
    """agent -> a pooled row with these returns and intervals one wide on either side."""
    kinds = {"rl2": "memory", "oracle": "nothing"}
    return {
        agent: {"return_mean": mean, "return_ci95": [[m - 1, m + 1] for m in mean], "adapts_by": kinds.get(agent, "gradient")}
        for agent, mean in returns.items()
    }


GOOD = {
    "maml": [-40.0, -11.0, -4.0, -3.5],
    "promp": [-40.0, -11.5, -4.0, -3.0],
    "rl2": [-5.0, -2.0, -2.0, -2.0],
    "pretrained": [-40.0, -24.0, -17.0, -10.0],
    "random": [-130.0, -120.0, -110.0, -100.0],
    "oracle": [-0.6, -0.6, -0.6, -0.6],
}


def verdicts(**changes):
    return [claim.kept for claim in navigation.promises(rows_of(**GOOD | changes))]


def test_promises_say_which_intervals_they_rest_on():
    """For these seeds where there is one, for the algorithms where there are several; then those decide."""
    rows = rows_of(**GOOD)
    assert "intervals for these seeds (over tasks) from -4.50 and up to -9.00" in navigation.promises(rows)[1].text
    for row in rows.values():
        row["algorithm_ci95"] = [[m - 9, m + 9] for m in row["return_mean"]]
    claim = navigation.promises(rows)[1]
    assert "for the algorithms (over seeds and tasks) from -12.50 and up to -1.00" in claim.text and not claim.kept


def test_promises_kept():
    found = navigation.promises(rows_of(**GOOD))
    assert len(found) == 6 and all(claim.kept for claim in found)
    assert any("promp -3.00" in claim.text for claim in found)
    assert any("rl2 -2.00 (one episode)" in claim.text for claim in found)


@pytest.mark.parametrize(
    ("missed", "changes"),
    [
        (0, {"maml": [-40.0, -11.7, -4.0, -3.5]}),
        (1, {"pretrained": [-40.0, -24.0, -17.0, -5.0]}),
        (2, {"random": [-4.0] * 4}),
        (3, {"promp": [-40.0, -11.5, -4.0, -3.3]}),
        (4, {"rl2": [-9.0, -8.7, -2.0, -2.0]}),
        (5, {"oracle": [-2.5] * 4}),
    ],
)
def test_promises_missed(missed, changes):
    assert [i for i, kept in enumerate(verdicts(**changes)) if not kept] == [missed]


def test_every_agent_has_settings():
    assert set(navigation.AGENTS) == {name for name in agents.AGENTS if "reinforcement" in agents.find(name).serves}


def test_a_small_table_and_going_on(tmp_path, monkeypatch, capsys, error_of):
    """Two agents of different kinds; the second time a seed and another agent join, and nothing is trained again."""
    small = {"num_tasks": 2, "num_episodes": 2, "horizon": 6, "hidden_sizes": (8,), "eval_episodes": 3}
    monkeypatch.setattr(navigation, "PROTOCOL", navigation.PROTOCOL | small)
    flags = ["--out", str(tmp_path / "out"), "--num-seeds", "2", "--num-iterations", "1", "--eval-tasks", "3"]
    fewer = [*flags, "--num-seeds", "1"]  # the last one counts
    navigation.main([*fewer, "--agents", "random"])
    before = (tmp_path / "out/random/seed-0/metrics.jsonl").read_bytes()
    navigation.main([*flags, "--agents", "random", "oracle"])
    assert (tmp_path / "out/random/seed-0/metrics.jsonl").read_bytes() == before
    assert "already has its 1 iterations" in capsys.readouterr().out
    text = (tmp_path / "out/navigation.md").read_text()
    assert "| oracle | 2 |" in text and "| random | 2 |" in text and "-11.68" in text and "- NOT KEPT: " in text
    evaluation = json.loads((tmp_path / "out/random/seed-1/evaluation.json").read_text())
    assert evaluation["episodes"] == [0, 3, 6, 9] and evaluation["step_scale"] == [1.0, 0.5]
    assert (tmp_path / "out/comparison.html").is_file()
    assert "--agents has 'mmal'" in error_of(navigation.main, *flags, "--agents", "mmal")
    assert "--num-seeds is 0" in error_of(navigation.main, *flags, "--num-seeds", "0")
