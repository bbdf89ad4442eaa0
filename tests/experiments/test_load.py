"""A trained agent from Python: the same curves as the evaluation's, in the run's family or one of the user's own."""

import json

import jax
import numpy as np
import pytest

import envs
from envs.navigation import Goal, Navigation2D
from experiments import checkpoint
from experiments.command import UserError
from experiments.load import load
from tests.agents.probe import Guess


class Windy(Navigation2D):
    """A user's own family: the same spaces, other dynamics."""

    def transition(self, state, action, rng, params):
        return super().transition(state, action, rng, params) + 0.05


@pytest.fixture(scope="module")
def trained(finished_run):
    return load(finished_run)


@pytest.fixture(scope="module")
def tasks(trained):
    return envs.held_out_tasks(trained.family, 3)


def first(tasks):
    return jax.tree.map(lambda x: x[0], tasks)


def test_the_curve_is_that_of_the_evaluation(trained, tasks, finished_run):
    result = json.loads((finished_run / "evaluation.json").read_text())
    key = jax.random.fold_in(jax.random.key(checkpoint.KEY_OF_EVALUATION), 0)
    curve = jax.jit(trained.learner.adapt, static_argnums=3)(trained.state, first(tasks), key, 3)
    np.testing.assert_allclose(curve.score, result["returns"][0], rtol=1e-5)
    np.testing.assert_array_equal(curve.used, result["episodes"])
    assert trained.iteration == 4 and trained.env_steps > 0


def test_adapt_and_act(trained, tasks):
    task = first(tasks)
    curve = trained.adapt(task, num_steps=2, seed=1)
    assert curve.score.shape == curve.mean_score.shape == (3,)
    action = trained.act(curve, np.zeros(2, np.float32))
    assert action.shape == (2,) and isinstance(action, np.ndarray)
    assert not np.allclose(action, trained.act(curve, np.zeros(2, np.float32), step=0)), "inner steps change the policy"
    again = trained.adapt(Goal([0.3, 0.2]), num_steps=2, seed=1)
    assert not np.allclose(again.score, curve.score), "another task"
    with pytest.raises(ValueError, match="a task leaf has shape"):
        trained.adapt(Goal([0.3]))


def test_another_family_of_the_same_spaces(finished_run, trained, tasks):
    windy = load(finished_run, family=Windy(horizon=6))
    curves = [agent.adapt(first(tasks)) for agent in (trained, windy)]
    assert not np.allclose(curves[0].score, curves[1].score)
    with pytest.raises(UserError, match="was trained with observation_space"):
        load(finished_run, family=Guess())


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a run"):
        load(tmp_path)
