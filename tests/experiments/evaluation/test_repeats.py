"""Evaluations of families that list all held-out tasks there are: none counts for two."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from experiments import compare, evaluate
from experiments.evaluation.held_out import held_out, repeats
from experiments.reporting.intervals import bootstrap_ci95
from tests.agents.probe import Guess, Target
from tests.experiments.conftest import small_run

CORNERS = ("--env", "metarl/NavigationCorner-v0", "--eval-steps", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("corners") / "run", *CORNERS, "--eval-tasks", "10")


def test_every_task_is_evaluated_as_often_as_the_others(run, capsys):
    found = json.loads((run / "evaluation.json").read_text())
    assert found["num_tasks"] == 8 and found["of_task"] == [0, 1, 2, 3, 0, 1, 2, 3]
    evaluate.main(["--run-dir", str(run), "--num-tasks", "10", "--num-steps", "1"])
    said = " ".join(capsys.readouterr().out.split())
    assert "maml on 4 held-out tasks, each evaluated 2 times of metarl/NavigationCorner-v0" in said
    returns = np.array(found["returns"])
    np.testing.assert_allclose(found["return_ci95"], bootstrap_ci95([returns], found["of_task"]))
    assert not np.allclose(found["return_ci95"], bootstrap_ci95([returns])), "as if they were eight"


def test_compare_reads_them_the_same_way(run, tmp_path, capsys):
    compare.main([str(run), "--out", str(tmp_path / "out")])
    table = json.loads((tmp_path / "out/table.json").read_text())
    assert table["title"].endswith("4 held-out tasks, each evaluated 2 times")
    [row] = table["agents"].values()
    assert row["return_ci95"] == json.loads((run / "evaluation.json").read_text())["return_ci95"]


def test_no_more_than_there_are_is_each_once():
    corners, navigation = envs.make("metarl/NavigationCorner-v0"), envs.make("metarl/Navigation2D-v0")
    assert repeats(corners, 4) is None and repeats(corners, 3) is None and repeats(navigation, 500) is None
    assert repeats(corners, 9).tolist() == [0, 1, 2, 3] * 2


class Rooms(Guess):
    """Three held-out tasks, drawn and not listed."""

    def sample_task(self, key):
        return Target(jax.random.randint(key, (), 0, 3).astype(jnp.float32))


@pytest.mark.parametrize("num_tasks", [2, 3, 7, 30])
def test_draws_that_are_alike_are_one_task(num_tasks):
    tasks, of_task = held_out(Rooms(), num_tasks)
    values = np.asarray(tasks.value)
    drawn = np.asarray(envs.held_out_tasks(Rooms(), num_tasks).value)
    assert set(values.tolist()) == set(drawn.tolist())
    counts = np.unique(values, return_counts=True)[1]
    assert len(set(counts.tolist())) == 1 and num_tasks - len(counts) < len(values) <= num_tasks
    if of_task is not None:
        assert [values[of_task == i].tolist() for i in range(len(counts))] == [
            [value] * counts[0] for value in values[: len(counts)]
        ]
    assert of_task is None or len(of_task) == len(values)


def test_a_list_with_a_task_twice_has_it_once():
    listed = envs.with_tasks(Rooms(), held_out=[Target(1.0), Target(0.0), Target(1.0)])
    tasks, of_task = held_out(listed, 6)
    assert tasks.value.tolist() == [1.0, 0.0] * 3 and of_task.tolist() == [0, 1] * 3
    assert held_out(listed, 2)[1] is None and held_out(listed, 3)[0].value.tolist() == [1.0, 0.0]
