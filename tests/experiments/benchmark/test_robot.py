"""Where a robot's meta-iteration spends its time: the table adds up, and what it cannot time is refused."""

import json

from experiments.benchmark import robot


def test_parts_add_up(tmp_path, capsys):
    small = ["--num-tasks", "2", "--num-episodes", "2", "--horizon", "3", "--rounds", "2", "--out", str(tmp_path / "a.json")]
    robot.main(small)
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["env_steps"] == 24 and all(len(part["values"]) == 2 for part in found["seconds"].values())
    assert "MuJoCo's own rollout" in capsys.readouterr().out
    medians = {"physics": 2.0, "rollouts": 3.0, "meta-iteration": 4.0}
    table = robot.table_of(found | {"seconds": {name: robot.spread([value]) for name, value in medians.items()}})
    assert [line[1:] for line in table.rows] == [("2.00", "50%"), ("1.00", "25%"), ("1.00", "25%"), ("4.00", "")]


def test_refusals(error_of):
    assert "this times families on native MuJoCo" in error_of(robot.main, "--env", "metarl/Navigation2D-v0")
    assert "agents that take inner steps" in error_of(robot.main, "--agent", "rl2")
