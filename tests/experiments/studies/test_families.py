"""The table of families, with a tiny run; and that no family is forgotten."""

import json

import pytest

import envs
from experiments.reporting import run_rows
from experiments.studies.families import __main__ as families
from experiments.studies.families import table
from experiments.studies.families.family_settings import EVALUATION, PUBLISHED, SETTINGS
from experiments.training.config import train_config
from experiments.training.suggested import suggested

pytestmark = pytest.mark.usefixtures("settings_of_families")
TINY = {"agent": "maml", "num_tasks": 2, "num_episodes": 2, "horizon": 6, "hidden_sizes": (8,), "eval_steps": 1}


def test_every_family_has_settings_that_its_agent_uses():
    assert set(envs.FAMILIES) <= set(SETTINGS)
    assert set(PUBLISHED) <= set(SETTINGS)
    for id, settings in SETTINGS.items():
        train_config(run_dir="", env=id, **suggested(id, settings["agent"]) | EVALUATION | settings)


def test_the_table_of_a_tiny_run_going_on_and_of_a_run_made_elsewhere(tmp_path, monkeypatch, capsys, error_of, finished_run):
    monkeypatch.setattr(families, "SETTINGS", SETTINGS | {"metarl/CartPoleDynamics-v0": TINY})
    flags = ["--out", str(tmp_path), "--num-iterations", "1", "--eval-tasks", "3"]
    families.main([*flags, "--only", "CartPoleDynamics"])
    capsys.readouterr()
    families.main([*flags, "--only", "metarl/CartPoleDynamics-v0", "Navigation2D", "--runs", str(finished_run)])
    printed = capsys.readouterr().out
    assert "already has its 1 iterations" in printed and "Navigation2D" in printed
    rows = json.loads((tmp_path / "families.json").read_text())["rows"]
    assert [row["family"] for row in rows] == list(envs.FAMILIES)
    made = {row["family"]: row for row in rows if row["agent"]}
    assert set(made) == {"metarl/Navigation2D-v0", "metarl/CartPoleDynamics-v0"}
    cart = made["metarl/CartPoleDynamics-v0"]
    evaluation = json.loads((tmp_path / "CartPoleDynamics/evaluation.json").read_text())
    line = json.loads((tmp_path / "CartPoleDynamics/metrics.jsonl").read_text())
    assert cart["return_mean"] == pytest.approx(evaluation["return_mean"]) and len(cart["return_ci95"]) == 2
    assert cart["env_steps"] == line["time/env_steps"] and cart["minutes"] == line["time/seconds"] / 60
    assert cart["trained"] == pytest.approx([line["meta/post"]] * 2)
    assert cart["iterations"] == 1 and "cpu" in cart["device"] and cart["num_tasks"] == 3
    text = (tmp_path / "families.md").read_text()
    assert "| metarl/CartPoleDynamics-v0<br>horizon=6 | maml (1) | 1 |" in text and "1 step: " in text
    assert "-11.68" in text, "the published returns of navigation"
    assert "| metarl/PendulumDynamics-v0 | not run |" in text

    before = (tmp_path / "CartPoleDynamics/metrics.jsonl").read_bytes()
    families.main(["--out", str(tmp_path), "--no-train"])
    assert (tmp_path / "CartPoleDynamics/metrics.jsonl").read_bytes() == before
    assert "| metarl/Navigation2D-v0 | not run |" in (tmp_path / "families.md").read_text()
    assert "--only has 'CartPoel'; known: Navigation2D" in error_of(families.main, *flags, "--only", "CartPoel")
    assert "not a run and holds none" in error_of(families.main, *flags, "--runs", tmp_path / "nothing")


def row(family, agent="maml", adapts_by="gradient", **changes):
    same = {
        "iterations": 5,
        "env_steps": 2_000_000,
        "minutes": 1.25,
        "trained": [-9.0, -1.5],
        "device": "1 x cpu",
        "published": None,
        "seeds": [0],
        "options": [],
    }
    points = {"return_mean": [-3.0, -2.0, -1.0], "return_ci95": [[-4, -2], [-3, -1], [-2, 0]]}
    return {"family": family, "agent": agent, "adapts_by": adapts_by, **same, **points, **changes}


def test_rows_are_sorted_and_missing_families_named():
    rows = table.sort([row("b"), row("strange"), row("a", "rl2"), row("a")], ["a", "b", "c"])
    assert [(r["family"], r["agent"]) for r in rows] == [
        ("a", "rl2"),
        ("a", "maml"),
        ("b", "maml"),
        ("c", None),
        ("strange", "maml"),
    ]
    assert table.cells(rows[3])[:2] == ("c", "not run")


def test_cells_say_steps_or_episodes():
    by_steps, by_episodes = (table.cells(row("a", adapts_by=kind)) for kind in ("gradient", "memory"))
    assert by_steps[2:6] == ("5", "2.0 M", "1.2 min, 1 x cpu", "-9.00 to -1.50")
    assert by_steps[7] == "1 step: -2.00 [-3.00, -1.00]\n2 steps: -1.00 [-2.00, 0.00]"
    assert by_episodes[7].startswith("1 episode: -2.00")
    assert table.cells(row("a", options=["arms=10"]))[0] == "a\narms=10"


def test_a_supervised_run_is_no_row(monkeypatch, tmp_path):
    class Gathered:
        supervised = True

    monkeypatch.setattr(run_rows.comparison, "gather", lambda folders: Gathered)
    with pytest.raises(run_rows.UserError, match="supervised"):
        table.rows_of(tmp_path)
