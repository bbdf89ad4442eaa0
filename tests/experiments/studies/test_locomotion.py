"""The study of the legged robots: what it trains with, resuming, and the published row beside ours."""

import json

import envs
from experiments.studies import locomotion
from experiments.studies.locomotion import PROTOCOL, ROBOTS, LocomotionConfig, settings_of

TINY = ("--short", "--num-iterations", "1", "--eval-tasks", "1")


def test_settings_are_the_papers_unless_short(tmp_path):
    config, cheetah = LocomotionConfig("half-cheetah", tmp_path, agents=("maml-trpo",)), ROBOTS["half-cheetah"]
    full = settings_of(config, "dir", cheetah["dir"], "maml-trpo")
    assert (full.num_tasks, full.num_episodes, full.horizon, full.own.max_kl, full.own.inner_lr) == (40, 20, 200, 0.01, 0.1)
    assert full.own.test_step_scale == (1.0, 0.5) and full.hidden_sizes == (100, 100)
    recurrent = settings_of(config, "dir", cheetah["dir"], "rl2")
    assert recurrent.own.trial_episodes == 2 and not hasattr(recurrent.own, "inner_lr") and recurrent.horizon == 200
    short = settings_of(LocomotionConfig("half-cheetah", tmp_path, short=True), "dir", cheetah["dir"], "promp")
    assert short.num_iterations == 100 and short.horizon == 100
    assert settings_of(config, "dir", ROBOTS["ant"]["dir"], "maml-trpo").num_episodes == 40


def test_a_tiny_run_is_written_and_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(locomotion.SHORT_OF, "random", {"num_tasks": 2, "num_episodes": 2, "horizon": 4, "hidden_sizes": (8,)})
    locomotion.main(["--robot", "half-cheetah", "--out", str(tmp_path), "--agents", "random", *TINY])
    shown = (tmp_path / "returns.md").read_text()
    assert "| dir | random | 1 iterations, horizon 4 |" in shown and "293" in shown and "Short runs" in shown
    rows = json.loads((tmp_path / "returns.json").read_text())["rows"]
    assert len(rows[0]["return_mean"]) == PROTOCOL["eval_steps"] + 1
    locomotion.main(["--robot", "half-cheetah", "--out", str(tmp_path), "--agents", "random", *TINY])
    assert "already has its 1 iterations" in capsys.readouterr().out


def test_every_experiment_is_on_a_registered_family():
    assert {experiment.env for tasks in ROBOTS.values() for experiment in tasks.values()} <= set(envs.FAMILIES)


def test_bad_names(tmp_path, error_of):
    flags = ["--out", tmp_path, "--robot"]
    assert "--tasks has 'goal'; known: dir, vel" in error_of(locomotion.main, *flags, "half-cheetah", "--tasks", "goal")
    assert "--agents has 'mlam'" in error_of(locomotion.main, *flags, "ant", "--agents", "mlam")
