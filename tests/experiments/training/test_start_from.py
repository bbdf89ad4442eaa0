"""Other settings: those of the evaluation whenever a run goes on, all others in a new run from another's parameters."""

import json
import shutil

import jax
import numpy as np
import pytest
from gymnasium.spaces import Box

import envs
from envs.families.navigation import Navigation2D
from experiments import train
from experiments.evaluation import load, shipped
from experiments.evaluation.source import settings_of, starts
from experiments.training.config import TrainConfig, build, resolve, train_config
from tests.experiments.conftest import read_lines, small_run

BRIEF = ["--num-iterations", "0", "--eval-tasks", "0"]


def config_of(run_dir):
    return json.loads((run_dir / "config.json").read_text())


def assert_equal(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def test_a_new_run_begins_from_the_parameters_of_another(finished_run, tmp_path):
    """Another family, rate and number of tasks; what is not said is as it was there."""
    run, source = tmp_path / "run", load(finished_run)
    other = ["--env", "metarl/NavigationCorner-v0", "--outer-lr", "0.05", "--num-tasks", "4", "--seed", "3", "--horizon", "5"]
    train.main(["--run-dir", str(run), "--start-from", str(finished_run), *other, *BRIEF])
    assert_equal(load(run).state.theta, source.state.theta)
    config = config_of(run)
    said = {"env": "metarl/NavigationCorner-v0", "outer_lr": 0.05, "num_tasks": 4, "hidden_sizes": [8], "seed": 3, "horizon": 5}
    assert said.items() <= config["settings"].items() and config["settings"]["start_from"] == str(finished_run)
    began = config["started_from"]
    assert began["iteration"] == 4 and began["env"] == "metarl/Navigation2D-v0" and began["run"] == str(finished_run)
    assert began["wandb_id"] == config_of(finished_run)["wandb_id"] != config["wandb_id"]
    train.main(["--run-dir", str(run), "--resume", "--num-iterations", "2"])
    again = load(run)
    assert again.iteration == 2 and [line["iteration"] for line in read_lines(run)][-1] == 2
    assert not np.array_equal(jax.tree.leaves(again.state.theta)[0], jax.tree.leaves(source.state.theta)[0])
    assert config_of(run)["started_from"] == began


def test_every_seed_begins_where_its_own_ended(tmp_path):
    parent = tmp_path / "both"
    for seed in (0, 1):
        small_run(parent / f"seed-{seed}", "--seed", str(seed), *BRIEF)
    run = tmp_path / "run"
    train.main(["--run-dir", str(run), "--start-from", str(parent), "--seeds", "2", *BRIEF])
    thetas = [load(run / f"seed-{seed}").state.theta for seed in (0, 1)]
    for seed in (0, 1):
        assert_equal(thetas[seed], load(parent / f"seed-{seed}").state.theta)
    pairs = zip(*map(jax.tree.leaves, thetas), strict=True)
    assert not all(np.array_equal(one, other) for one, other in pairs)


def test_an_agent_that_comes_with_the_repository_is_a_source():
    name = shipped.names()[0]
    config = resolve(train_config(run_dir="run", start_from=name, **settings_of(name, None)))
    learner = build(config).learner
    [start] = starts(config, learner, [0])
    assert jax.tree.structure(start.theta) == jax.tree.structure(jax.eval_shape(learner.init, jax.random.key(0)).theta)
    assert start.about["run"] == name and start.about["iteration"] > 0


class Bending(Navigation2D):
    """A family that has something to say about one agent."""

    training_settings = {"any": {"num_episodes": 5}, "promp": {"clip": 0.123}}  # noqa: RUF012


envs.register("start/Bending-v0", Bending)


def test_another_agent_learns_as_the_family_of_that_run_says(tmp_path, capsys):
    source, run = tmp_path / "source", tmp_path / "run"
    small_run(source, "--env", "start/Bending-v0", *BRIEF)
    capsys.readouterr()
    train.main(["--run-dir", str(run), "--start-from", str(source), "--agent", "promp", "--num-iterations", "0"])
    settings = config_of(run)["settings"]
    assert settings["env"] == "start/Bending-v0" and settings["clip"] == 0.123
    assert settings["num_episodes"] == 3, "those of that run go before the family's"
    assert settings["eval_tasks"] == TrainConfig.eval_tasks, "how that run was evaluated is not taken"
    said = capsys.readouterr().out
    assert "sets for promp, where you do not: --clip 0.123\n" in said and f"Settings not given are those of {source}" in said


class Narrow(Navigation2D):
    """The same shapes, other bounds."""

    action_space = Box(-0.01, 0.01, (2,), np.float32)


envs.register("start/Narrow-v0", Narrow)


def test_other_bounds_are_a_warning(finished_run, tmp_path, capsys):
    flags = ["--run-dir", str(tmp_path / "run"), "--start-from", str(finished_run), *BRIEF]
    train.main(flags)
    assert "warning" not in capsys.readouterr().err
    train.main([*flags, "--env", "start/Narrow-v0", "--overwrite"])
    (warned,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: --start-from")]
    assert "trained with action_space Box(-1.0, 1.0" in warned and "Narrow has Box(-0.01, 0.01" in warned


REFUSED = {
    "both": (["--resume", "--start-from", "RUN"], "--resume goes on with a run and --start-from begins another"),
    "missing": (["--start-from", "nowhere"], "--start-from is nowhere, but there is no such run; nor is it one of "),
    "no run": (["--start-from", "EMPTY"], "is not a run"),
    "other network": (["--start-from", "RUN", "--hidden-sizes", "9"], "does not fit: "),
    "other spaces": (["--start-from", "RUN", "--env", "metarl/TabularMDP-v0"], "does not fit: "),
    "other kind": (
        ["--start-from", "RUN", "--agent", "rl2"],
        "of --agent maml, which adapts by gradient, but rl2 adapts by memory",
    ),
    "itself": (["--start-from", "RUN", "--run-dir", "RUN", "--overwrite"], "the run that is to be made"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, finished_run, tmp_path, error_of):
    """In one line, before a folder is made."""
    flags, message = REFUSED[case]
    empty = tmp_path / "empty"
    empty.mkdir()
    words = [{"RUN": str(finished_run), "EMPTY": str(empty)}.get(word, word) for word in flags]
    assert message in error_of(train.main, "--run-dir", tmp_path / "run", *words)
    assert not (tmp_path / "run").exists() and (finished_run / "config.json").is_file()


def test_the_evaluation_may_change_when_a_run_goes_on(finished_run, tmp_path, error_of):
    """Of a finished run nothing else is done; without a change nothing at all."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    lines = (run / "metrics.jsonl").read_bytes()
    train.main(["--run-dir", str(run), "--resume", "--eval-tasks", "2", "--eval-steps", "1"])
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["num_tasks"] == 2 and len(evaluation["episodes"]) == 2 and evaluation["iteration"] == 4
    assert config_of(run)["settings"]["eval_tasks"] == 2 and "evaluation_outdated" not in config_of(run)
    assert (run / "metrics.jsonl").read_bytes() == lines
    written = (run / "evaluation.json").stat().st_mtime_ns
    train.main(["--run-dir", str(run), "--resume"])
    assert (run / "evaluation.json").stat().st_mtime_ns == written
    message = error_of(train.main, "--run-dir", run, "--resume", "--outer-lr", "0.05")
    assert (
        f"--outer-lr 0.001, not 0.05; leave the flag out to resume, or begin a new run from it, with --start-from {run}"
        in message
    )
