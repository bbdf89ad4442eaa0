"""Agents train on ordinary environments unchanged, and what fails there ends a command in one line."""

import json

import numpy as np
import pytest

from experiments import train
from tests.experiments.conftest import SMALL, read_lines

FAILING = [
    "--env",
    "tests.envs.from_gymnasium.stranger:stranger/Odd-v0",
    "--agent",
    "random",
    "--num-iterations",
    "1",
    "--run-dir",
]


def test_an_environment_that_raises_ends_training_in_one_line(tmp_path, error_of):
    message = error_of(train.main, *FAILING, tmp_path / "run", *SMALL, "--env-options", "how=raise")
    assert "raises RuntimeError: the motor" in message


@pytest.mark.slow
def test_training_and_evaluation_on_an_ordinary_environment(tmp_path):
    run = tmp_path / "run"
    env = "experiments.examples.gymnasium_families:examples/PendulumGravity-v0"
    train.main(["--env", env, "--agent", "maml", "--num-iterations", "2", "--run-dir", str(run), *SMALL])
    assert [row["time/env_steps"] for row in read_lines(run)] == [72, 144], "2 tasks, 3 episodes, 6 steps, twice"
    assert np.isfinite(json.loads((run / "evaluation.json").read_text())["returns"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [[], ["--seeds", "2"]])
@pytest.mark.parametrize("options", [[], ["--env-options", "vectorization=async"]])
@pytest.mark.parametrize(
    ("env", "agent"),
    [("PendulumGravity", "maml"), ("PendulumGravity", "rl2"), ("LunarLanderWind", "maml"), ("MiniGridGoal", "maml")],
)
def test_examples_train(env, agent, options, seeds, tmp_path):
    env = f"experiments.examples.gymnasium_families:examples/{env}-v0"
    flags = ["--num-tasks", "3", "--num-episodes", "4", "--horizon", "40", "--num-iterations", "3", "--eval-tasks", "3"]
    train.main(["--env", env, "--agent", agent, "--run-dir", str(tmp_path / "run"), *flags, *options, *seeds])
    for run in [tmp_path / "run"] if not seeds else [tmp_path / "run" / f"seed-{seed}" for seed in range(2)]:
        assert len(read_lines(run)) == 3
        assert np.isfinite(json.loads((run / "evaluation.json").read_text())["returns"]).all()
