"""Tasks hurt: what adaptation made clearly worse, and not half of all tasks where it does nothing."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from experiments.evaluation import evaluate, trained
from experiments.evaluation.held_out import summarise, table_of
from experiments.reporting.comparison import gather, over_seeds
from experiments.reporting.comparison_table import cells
from experiments.reporting.intervals import hurt_over_seeds, share_by_chance
from metarl import gains
from tests.experiments.reporting.comparable import write_run
from tests.few import few

NUM_TASKS = 300


def result_of(name, inner_lr, num_episodes=20, num_tasks=NUM_TASKS):
    family = envs.make("metarl/Navigation2D-v0", horizon=5)
    numbers = {"num_tasks": NUM_TASKS, "num_episodes": num_episodes, "hidden_sizes": (4,), "initial_std": 0.1}
    learner = agents.make(name, family, inner_lr=inner_lr, **numbers)
    state = learner.init(jax.random.key(0))
    return evaluate(trained(family, learner, state), num_tasks=num_tasks, num_steps=1), learner, state


@pytest.mark.parametrize("name", few(["maml", "imaml"], "maml"))
def test_adaptation_that_does_nothing_hurts_no_more_tasks_than_chance_does(name):
    result, learner, state = result_of(name, inner_lr=0.0)
    returns = np.asarray(result["returns"])
    assert np.mean(returns[:, -1] < returns[:, 0]) > 0.4, "means of a few episodes fall below one another"
    assert result["hurt"] < 0.07 and result["hurt_by_chance"] == pytest.approx(0.0287, abs=1e-4)
    assert result["hurt_ci95"][0] < result["hurt_by_chance"]
    _, metrics = jax.jit(learner.step)(state, jax.random.key(1))
    assert metrics["meta/hurt"] < 0.07


def test_adaptation_that_harms_is_seen():
    """Steps far too long; and every standard error is that of two means, taken here from what the family paid."""
    result, learner, state = result_of("maml", inner_lr=30.0)
    assert result["hurt"] > 0.15 and result["hurt_ci95"][0] > 0.1
    task = envs.make("metarl/Navigation2D-v0", horizon=5).sample_task(jax.random.key(2))
    curve = learner.adapt(state, task, jax.random.key(3), 1)
    before, after = (np.asarray(batch.episode_return) for batch in (curve.experience.support, curve.experience.query))
    expected = np.sqrt(np.var(before[0], ddof=1) / 20 + np.var(after, ddof=1) / 20)
    np.testing.assert_allclose(curve.gain_error, [0, expected], rtol=1e-5)


def test_episodes_of_one_trial_are_compared_with_one_another():
    """Trials differ by far more than their episodes: taken as independent, the loss of 1 in all of them would not be seen."""
    rng = np.random.default_rng(0)
    trial = rng.normal(size=(1, 20)) * 10
    returns = jnp.asarray(trial - np.array([[0.0], [1.0]]) + 0.1 * rng.normal(size=(2, 20)))
    gain = jnp.mean(returns[1] - returns[0])
    assert gains.clearly_worse(gain, gains.error_of_trials(returns)[1])
    assert not gains.clearly_worse(gain, gains.error_of_batches(returns)[1])


@pytest.mark.parametrize("error_of", [gains.error_of_batches, gains.error_of_trials])
def test_by_chance_is_what_chance_gives(error_of):
    returns = jnp.asarray(np.random.default_rng(1).normal(size=(20_000, 2, 100)))
    worse = gains.clearly_worse(returns[:, 1].mean(-1) - returns[:, 0].mean(-1), jax.vmap(error_of)(returns)[:, 1])
    assert float(jnp.mean(worse)) == pytest.approx(gains.BY_CHANCE, abs=0.004)


@pytest.mark.parametrize("num_episodes", [2, 3, 20])
@pytest.mark.parametrize("error_of", [gains.error_of_batches, gains.error_of_trials])
def test_with_few_episodes_chance_gives_more(error_of, num_episodes):
    """Their spread is not known well: of two episodes on either side four times as many tasks are worse as of many."""
    returns = jnp.asarray(np.random.default_rng(2).normal(size=(20_000, 2, num_episodes)))
    worse = gains.clearly_worse(returns[:, 1].mean(-1) - returns[:, 0].mean(-1), jax.vmap(error_of)(returns)[:, 1])
    freedom = gains.freedom_of_batches(num_episodes) if error_of is gains.error_of_batches else num_episodes - 1
    assert float(jnp.mean(worse)) == pytest.approx(share_by_chance(freedom), abs=0.007)


def test_the_chance_that_is_reported_is_that_of_the_episodes_played():
    result, _, _ = result_of("maml", inner_lr=0.0, num_episodes=2)
    assert result["hurt_by_chance"] == pytest.approx(0.0945, abs=1e-4)
    low, high = result["hurt_ci95"]
    assert low < result["hurt_by_chance"] < high and low > gains.BY_CHANCE, "which it would not be told apart from"
    named = result | {"adapts_by": "gradient", "agent": "maml", "env": "x"}
    assert "9.5% by chance alone" in table_of(named).caption
    assert over_seeds([result | {"seed": 0}])["hurt_by_chance"] == result["hurt_by_chance"]


def test_one_episode_per_task_tells_nothing():
    result, _, _ = result_of("maml", inner_lr=0.1, num_episodes=1, num_tasks=3)
    assert result["hurt"] is result["hurt_ci95"] is result["gain_se"] is None
    json.dumps(result, allow_nan=False)
    named = result | {"adapts_by": "gradient", "agent": "maml", "env": "x"}
    assert "cannot be told from one episode" in table_of(named).caption


def test_the_table_says_what_chance_gives():
    returns = np.zeros((8, 2))
    returns[0, 1] = -3.0
    result = summarise(returns, returns, np.ones((8, 2)))
    named = result | {"adapts_by": "gradient", "agent": "maml", "env": "x", "episodes": [0, 1], "num_tasks": 8}
    assert result["hurt"] == 1 / 8 and "12.5% of tasks [0%, 53%]; 2.5% by chance alone" in table_of(named).caption


def test_old_evaluations_hold_too_little_to_say(tmp_path):
    """evaluation.json of before: means alone, and a share that compared them."""
    write_run(tmp_path / "old", "maml", 0)
    path = tmp_path / "old/evaluation.json"
    old = json.loads(path.read_text()) | {"hurt": 0.49, "hurt_ci95": [0.4, 0.6]}
    del old["gain_se"]
    path.write_text(json.dumps(old))
    assert over_seeds([old])["hurt"] is None
    found = cells(gather((tmp_path,)))
    column = found.headings.index("hurt")
    assert {row[column] for row in found.groups["maml"]} == {"-"} and "2.5% by chance" in found.notes["hurt"]


def test_repeats_of_a_task_are_one_task_with_its_mean_gain():
    """Of two tasks one gains 1 +- 0.5 twice; the other loses 0.9 +- 0.5 twice, which shows only in the mean of both."""
    returns = np.array([[0, 1.0], [0, -0.9], [0, 1.0], [0, -0.9]])
    error = np.array([[0, 0.5]] * 4)
    assert hurt_over_seeds([returns], [error])["hurt"] == 0
    found = hurt_over_seeds([returns], [error], [0, 1, 0, 1])
    assert found["hurt"] == 0.5 and found["hurt_by_step"] == [0, 0.5]
    assert summarise(returns, returns, error, np.array([0, 1, 0, 1]), freedom=2)["hurt_by_chance"] == share_by_chance(4)
    np.testing.assert_allclose(found["hurt_ci95"], [0.0126, 0.9874], atol=1e-4, err_msg="exact, of one among two")
