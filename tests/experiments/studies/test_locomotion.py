"""The study of the legged robots: what it trains with, resuming, and the published row beside ours."""

import json

import pytest

import envs
from experiments.studies.locomotion import __main__ as study
from experiments.studies.locomotion import table
from experiments.studies.locomotion.__main__ import LocomotionConfig, run_of
from experiments.studies.locomotion.protocol import AGENTS, MAIN, PROTOCOL, ROBOTS, settings_of

TINY = ("--num-iterations", "1", "--eval-tasks", "2", "--horizon", "4", "--num-tasks", "2")


def test_settings_are_those_of_the_published_code(tmp_path):
    config = LocomotionConfig("half-cheetah", tmp_path)
    promp = run_of(config, "dir", "promp", 1)
    assert (promp.num_tasks, promp.num_episodes, promp.horizon, promp.action_scale, promp.initial_std) == (40, 20, 100, 10, 1)
    assert (promp.own.inner_lr, promp.own.outer_steps, promp.own.clip, promp.outer_lr) == (0.1, 5, 0.3, 1e-3)
    assert promp.own.inner_kl == 5e-4 and promp.hidden_sizes == (64, 64) and promp.seed == 1
    assert run_of(config, "dir", "maml-trpo", 0).own.max_kl == 0.05
    recurrent = run_of(config, "dir", "rl2", 0)
    assert recurrent.own.trial_episodes == 2 and not hasattr(recurrent.own, "inner_lr")
    longer = run_of(LocomotionConfig("half-cheetah", tmp_path, horizon=200), "dir", "promp", 0)
    assert longer.horizon == 200 and longer.run_dir == tmp_path / "dir-200" / "promp" / "seed-0"


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_can_be_trained_on_every_robot_as_its_family_scales_actions(robot, agent, tmp_path):
    for task, experiment in ROBOTS[robot].items():
        assert experiment.env in envs.FAMILIES
        assert run_of(LocomotionConfig(robot, tmp_path), task, agent, 0).action_scale == 10


def test_nothing_is_trained_of_random_and_trials_keep_their_many_tasks():
    heavy = ROBOTS["ant"]["dir"]
    assert settings_of(heavy, "random")["num_iterations"] == 1
    assert settings_of(heavy, "rl2")["num_tasks"] == 80 and settings_of(heavy, "promp")["num_tasks"] == 20


def test_a_tiny_run_is_written_kept_and_tabled(tmp_path, capsys):
    flags = [
        "--robot",
        "half-cheetah",
        "--out",
        str(tmp_path),
        "--agents",
        "random",
        "--num-seeds",
        "2",
        "--tasks",
        "dir",
        *TINY,
    ]
    study.main(flags)
    shown = (tmp_path / "returns.md").read_text()
    assert "| dir-4, horizon 4 | random (2) | 1 |" in shown and "| 1.47 |" in shown and "another task" in shown
    rows = json.loads((tmp_path / "returns.json").read_text())["rows"]
    assert len(rows[0]["return_mean"]) == PROTOCOL["eval_steps"] + 1 and rows[0]["seeds"] == [0, 1]
    capsys.readouterr()
    study.main(flags)
    assert capsys.readouterr().out.count("already has its 1 iterations") == 2
    (tmp_path / "dir-4" / "random" / "seed-1" / "evaluation.json").unlink()  # another machine is not done yet
    study.main([*flags[:4], "--no-train"])
    assert "| random (1) |" in (tmp_path / "returns.md").read_text()


def test_speed_is_told_of_directions_alone():
    row = {"task": "dir-200", "return_mean": [-3.0, 500.0, 510.0], "horizon": 200}
    assert table.speed("half-cheetah", row) == "2.50"
    assert table.speed("half-cheetah", row | {"task": "vel"}) == "" and table.speed("ant", row) == ""


def test_bad_names(tmp_path, error_of):
    flags = ["--out", tmp_path, "--robot"]
    assert "--tasks has 'goal'; known: dir, vel" in error_of(study.main, *flags, "half-cheetah", "--tasks", "goal")
    assert "--agents has 'mlam'" in error_of(study.main, *flags, "ant", "--agents", "mlam")
    assert "holds no finished run" in error_of(study.main, *flags, "ant", "--no-train")
    assert set(MAIN) <= set(AGENTS)
