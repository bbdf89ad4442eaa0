"""Tasks from files in training and evaluation: drawn from them, told in config.json, refused when they have changed."""

import json

import jax
import numpy as np
import pytest

import envs
from envs.family import task_by_names
from experiments import evaluate, train
from experiments.evaluation import load
from tests.experiments.conftest import SMALL, read_lines, small_run

GOALS = [[0.1, 0.2], [-0.3, 0.4], [0.5, -0.5]]


def table(path, goals=GOALS):
    path.write_text("position.0,position.1\n" + "".join(f"{x},{y}\n" for x, y in goals))
    return str(path)


def entries(path, goals=GOALS, **more):
    path.write_text(json.dumps([{"position": goal, **more} for goal in goals]))
    return str(path)


@pytest.fixture(scope="module")
def listed_run(tmp_path_factory):
    """A run on files, and the folder that holds both."""
    folder = tmp_path_factory.mktemp("listed")
    train_tasks = entries(folder / "train.json", weight=1)
    files = ["--train-tasks", train_tasks, "--distinct-tasks", "--held-out-tasks", table(folder / "test.csv", GOALS[1:])]
    return small_run(folder / "run", *files), folder


def test_a_run_trains_and_is_evaluated_on_the_files(listed_run, tmp_path):
    run, folder = listed_run
    agent = load(run)
    assert envs.held_out_tasks(agent.family, 2).position.tolist() == np.float32(GOALS[1:]).tolist()
    assert agent.family.train_list.distinct and agent.family.train_list.weights.tolist() == [1, 1, 1]
    config = json.loads((run / "config.json").read_text())
    assert config["settings"]["train_tasks"] == str(folder / "train.json")
    assert set(config["task_lists"]) == {"train", "held_out"}
    result = json.loads((run / "evaluation.json").read_text())
    assert result["of_task"] == [0, 1] and result["num_tasks"] == 2, "3 are asked for, each of 2 as often as the other"
    other = table(tmp_path / "other.csv", GOALS[:1])
    evaluate.main(["--run-dir", str(run), "--num-tasks", "2", "--held-out-tasks", other])
    assert json.loads((run / "evaluation.json").read_text())["of_task"] == [0, 0]


def test_a_run_is_not_resumed_on_other_tasks(listed_run, error_of):
    run, folder = listed_run
    resume = ["--run-dir", run, "--resume", "--num-iterations", "5", "--eval-tasks", "0"]
    entries(folder / "train.json", [*GOALS[:2], [0.0, 0.0]], weight=1)
    assert "the list of training tasks is not the one that" in error_of(train.main, *resume)
    entries(folder / "train.json", weight=1)
    table(folder / "test.csv", GOALS)
    assert "the list of held-out tasks is not the one that" in error_of(train.main, *resume)
    table(folder / "test.csv", GOALS[1:])
    assert len(read_lines(run)) == 4
    train.main([str(word) for word in resume])
    assert len(read_lines(run)) == 5


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--distinct-tasks"], "--distinct-tasks is given, but there is no --train-tasks"),
        (["--train-tasks", "FILE", "--distinct-tasks", "--num-tasks", "4"], "num_tasks is 4, but the list has 3 tasks"),
        (["--train-tasks", "none.csv"], "none.csv cannot be read: No such file"),
        (["--held-out-tasks", "FILE"], "held-out tasks have no weights"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(flags, said, tmp_path, error_of, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [entries(tmp_path / "a.json", weight=2) if word == "FILE" else word for word in flags]
    assert said in error_of(train.main, "--run-dir", tmp_path / "run", *SMALL, *flags)
    assert not (tmp_path / "run").exists()


def test_a_curriculum_goes_on_where_it_was_stopped(tmp_path):
    """Exactly: what it had seen is in the checkpoint."""
    runs = {}
    for name, stops in (("whole", [4]), ("parts", [2, 4])):
        run = tmp_path / name
        flags = [
            "--run-dir",
            str(run),
            "--env",
            "experiments.examples.curriculum:examples/Goals-v0",
            *SMALL,
            "--eval-tasks",
            "0",
        ]
        for number, stop in enumerate(stops):
            resume = ["--run-dir", str(run), "--resume"] if number else [*flags, "--checkpoint-every", "2"]
            train.main([*resume, "--num-iterations", str(stop)])
        runs[name] = load(run).state
    jax.tree.map(np.testing.assert_array_equal, runs["whole"], runs["parts"])
    visits = runs["whole"].opt_state.progress[2]
    assert int(visits.sum()) == 8 and int(visits.max()) <= 2, "2 tasks in each of 4 iterations, new ones first"
    assert set(task_by_names(envs.make("metarl/Navigation2D-v0").default_params)) == {"position"}
