"""A program that trains by itself gets what a run of the command gets."""

import jax
import numpy as np
import pytest

import agents
import envs
from experiments import train
from experiments.cli.errors import UserError
from experiments.evaluation import evaluate, load, restore, save, trained
from experiments.training import meta_train, nonfinite
from experiments.training.without_folders import train as train_seeds
from metarl.interfaces import MetaLearner, MetaState
from tests.experiments.conftest import SMALL, read_lines


@pytest.fixture(scope="module")
def family():
    return envs.make("metarl/Navigation2D-v0", horizon=6)


@pytest.fixture(scope="module")
def learner(family):
    return agents.make("maml", family, num_tasks=3, num_episodes=4, hidden_sizes=(8,))


def all_rows(reports):
    return [row for report in reports for row in report.rows]


def without_time(rows):
    return [{k: v for k, v in row.items() if not k.startswith("time/s")} for row in rows]


def test_it_is_the_run_of_the_command(tmp_path, family, learner):
    flags = "--num-iterations 5 --num-tasks 3 --num-episodes 4 --horizon 6 --hidden-sizes 8 --devices 1 --eval-tasks 5"
    train.main(["--run-dir", str(tmp_path / "run"), "--seed", "3", *flags.split()])
    *_, last = reports = list(meta_train(learner, 5, seed=3))
    written = without_time(read_lines(tmp_path / "run"))
    for ours, theirs in zip(without_time(all_rows(reports)), written, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    agent = load(tmp_path / "run")
    again = evaluate(trained(family, learner, last.state), num_tasks=5)
    np.testing.assert_allclose(again["returns"], evaluate(agent, num_tasks=5)["returns"], rtol=1e-3, atol=1e-3)


def test_broken_off_and_gone_on_it_is_the_same(learner):
    whole = list(meta_train(learner, 6))
    *_, half = first = list(meta_train(learner, 3))
    rest = list(meta_train(learner, 6, state=half.state, env_steps=half.metrics["time/env_steps"]))
    assert without_time(all_rows(first) + all_rows(rest)) == without_time(all_rows(whole))
    for a, b in zip(jax.tree.leaves(whole[-1].state), jax.tree.leaves(rest[-1].state), strict=True):
        np.testing.assert_array_equal(a, b)
    [done] = meta_train(learner, 6, state=whole[-1].state)
    assert done.iteration == 6 and done.rows == []


def test_it_reports_as_it_goes(learner):
    reports = meta_train(learner, 1000)
    first, second = next(reports), next(reports)
    assert first.iteration == 1 < second.iteration < 1000, "long before the end"
    assert first.metrics["iteration"] == 1 and second.rows[0]["iteration"] == 2


def test_saved_and_restored(tmp_path, family, learner):
    *_, last = meta_train(learner, 2)
    agent = trained(family, learner, last.state, env_steps=last.metrics["time/env_steps"])
    save(agent, tmp_path / "agent")
    save(agent, tmp_path / "agent")  # replaces it
    again = restore(tmp_path / "agent", family, learner)
    assert (again.iteration, again.env_steps) == (2, agent.env_steps)
    task = family.default_params
    np.testing.assert_array_equal(agent.adapt(task, 2).score, again.adapt(task, 2).score)
    other = agents.make("maml", family, num_tasks=3, num_episodes=4, hidden_sizes=(9,))
    with pytest.raises(UserError, match="does not fit"):
        restore(tmp_path / "agent", family, other)
    with pytest.raises(UserError, match="holds no checkpoint"):
        restore(tmp_path / "nothing", family, learner)


def test_a_run_is_not_mixed_up(tmp_path, family, learner):
    train.main(["--run-dir", str(tmp_path / "run"), *SMALL])
    with pytest.raises(UserError, match="is a run"):
        save(load(tmp_path / "run"), tmp_path / "run")


def diverging():
    """Its metric is 1, 2, 3, and NaN from the third iteration on."""

    def step(state, key):
        value = state.theta + 1
        score = jax.numpy.where(state.iteration < 2, value, jax.numpy.nan)
        metrics = {"meta/post": score, "time/env_steps": jax.numpy.int32(1)}
        return MetaState(value, (), state.iteration + 1), metrics

    return MetaLearner(lambda key: MetaState(jax.numpy.zeros(()), (), jax.numpy.int32(0)), step, None, None)


def test_numbers_that_are_not_finite_end_it():
    *_, last = meta_train(diverging(), 100)
    assert last.iteration == 3 and np.isnan(last.metrics["meta/post"])
    *_, skipped = meta_train(diverging(), 100, guard=nonfinite.skip_update)
    assert skipped.iteration == 100 and float(skipped.state.theta) == 2
    _, scores = train_seeds(diverging(), [0, 1], 4)
    assert scores.shape == (2, 4) and np.isnan(scores[:, 2:]).all() and np.isfinite(scores[:, :2]).all()


def test_bad_numbers(learner, family):
    with pytest.raises(ValueError, match="num_iterations is -1"):
        meta_train(learner, -1)
    *_, last = meta_train(learner, 0)
    agent = trained(family, learner, last.state)
    with pytest.raises(UserError, match="num_tasks is 0"):
        evaluate(agent, num_tasks=0)
    with pytest.raises(UserError, match="num_steps is -1"):
        evaluate(agent, num_steps=-1)
