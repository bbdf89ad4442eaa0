"""A trained agent from Python: the same curves as the evaluation's, in the run's family or one of the user's own."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from gymnasium.spaces import Box

import envs
from envs.families.navigation import Goal, Navigation2D
from experiments.cli.errors import UserError
from experiments.evaluation.trained import load
from experiments.runs import checkpoint
from experiments.training.config import build, resolve, train_config
from tests.agents.probe import Guess
from tests.experiments.conftest import small_run
from tests.few import few


class Windy(Navigation2D):
    """A user's own family: the same spaces, other dynamics."""

    def transition(self, state, action, rng, params):
        return super().transition(state, action, rng, params) + 0.05


class Narrow(Navigation2D):
    """Actions of a tenth of the range."""

    action_space = Box(-0.1, 0.1, (2,))


class Lopsided(Navigation2D):
    """Bounds that do not show when the space is printed."""

    action_space = Box(np.array([-1.0, -0.5], np.float32), np.array([1.0, 0.5], np.float32))


class Far(Guess):
    """A stranger to navigation with spaces of its shapes."""

    action_space = Box(-1.0, 1.0, (2,))


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
    assert curve.score.shape == curve.greedy_score.shape == (3,)
    action = trained.act(curve, np.zeros(2, np.float32))
    assert action.shape == (2,) and isinstance(action, np.ndarray)
    assert not np.allclose(action, trained.act(curve, np.zeros(2, np.float32), step=0)), "inner steps change the policy"
    again = trained.adapt(Goal([0.3, 0.2]), num_steps=2, seed=1)
    assert not np.allclose(again.score, curve.score), "another task"
    with pytest.raises(ValueError, match=r"task.position has shape"):
        trained.adapt(Goal([0.3]))


def test_another_family_of_the_same_spaces(finished_run, trained, tasks):
    windy = load(finished_run, family=Windy(horizon=6))
    curves = [agent.adapt(first(tasks)) for agent in (trained, windy)]
    assert not np.allclose(curves[0].score, curves[1].score)
    with pytest.raises(UserError, match="was trained with observation_space"):
        load(finished_run, family=Guess())


class Stranger(Far):
    """Observations of the same shape, which may be of anything."""

    observation_space = Box(-300.0, 300.0, (2,))


class Units(Windy):
    """Its [-1, 1] is said to stand for a range."""

    unit_actions = True


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (Narrow(horizon=6), r"action_space Box\(-1.0, 1.0, .* but Narrow has Box\(-0.1, 0.1"),
        (Lopsided(horizon=6), r"action_space .* but Lopsided has Box\(\[-1.  -0.5\]"),
        (Stranger(), r"observation_space .* but Stranger has Box\(-300.0, 300.0"),
        (Units(horizon=6), "Units has .*unit_actions"),
    ],
)
def test_spaces_are_compared_by_their_bounds_and_meaning(family, message, finished_run):
    """A tenth of the range would be ten times the action, of the same shape."""
    with pytest.raises(UserError, match=message):
        load(finished_run, family=family)


def test_bounds_that_follow_from_the_horizon_are_no_difference(finished_run):
    assert Navigation2D(horizon=50).observation_space != load(finished_run).family.observation_space
    assert load(finished_run, family=Navigation2D(horizon=50)).family.horizon == 50


def test_what_is_no_run_is_refused(tmp_path, finished_run):
    with pytest.raises(UserError, match="is not a run"):
        load(tmp_path)
    (tmp_path / "seed-3").mkdir()
    (tmp_path / "seed-3" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"give one of them, such as .*seed-3"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_sizes": (9,)}, "hidden_sizes cannot differ from training"),
        ({"num_episodes": 0}, "--num-episodes is 0"),
        ({"test_step_scale": (0.0,)}, "--test-step-scale is 0.0"),
    ],
)
def test_changes_that_make_no_sense_are_refused(changes, message, finished_run):
    with pytest.raises(UserError, match=message):
        load(finished_run, **changes)


def test_negative_steps_are_refused(trained, tasks):
    with pytest.raises(UserError, match="num_steps is -1"):
        trained.adapt(first(tasks), num_steps=-1)


@pytest.mark.parametrize("agent", few(["rl2", "oracle"], "rl2"))
def test_agents_without_inner_steps_act_too(agent, tmp_path, tasks):
    run = small_run(tmp_path / "run", "--agent", agent, "--num-iterations", "1", "--eval-tasks", "0")
    loaded = load(run)
    actor = loaded.actor(loaded.adapt(first(tasks)))
    actor.reset()
    assert actor.act([0.1, 0.0]).shape == (2,)


class Wide(Navigation2D):
    """Goals ten times as far."""

    def sample_task(self, key):
        return Goal(10 * super().sample_task(key).position)


def test_the_oracle_sees_tasks_as_in_training_elsewhere_too(tasks):
    """The scale of its inputs is that of the family it was trained on."""
    config = resolve(train_config(run_dir=Path(), agent="oracle", horizon=6, hidden_sizes=(8,)))
    key = jax.random.key(0)
    at_home, elsewhere = build(config).learner, build(config, family=Wide(horizon=6)).learner
    curves = [learner.adapt(learner.init(key), first(tasks), key, 0) for learner in (at_home, elsewhere)]
    np.testing.assert_array_equal(curves[0].path["memory"], curves[1].path["memory"])
