"""Typed random keys, and other types that NumPy lacks, in states and in tasks: everything that plain arrays can do."""

import pickle

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

import agents
import envs
from envs.check import findings
from envs.family import task_by_names
from envs.keys import numbers
from experiments import compare, evaluate, train
from experiments.reporting.intervals import task_hash
from tests.envs.keyed import Wind, Windy
from tests.few import few

SMALL = ["--num-tasks", "2", "--num-episodes", "3", "--horizon", "6", "--hidden-sizes", "4", "--eval-tasks", "3"]


def test_every_check_passes():
    failures = [f"{finding.check}: {finding.failure}" for finding in findings(Windy()) if finding.failure is not None]
    assert not failures, failures


def test_a_state_without_a_key_stream_is_still_found():
    """The checks see keys: a family whose first key comes from Python is refused."""

    class Loose(Windy):
        drawn = 0

        def sample_task(self, key):
            self.drawn += 1
            return super().sample_task(key)._replace(wind=jax.random.key(self.drawn))

    assert any("for the same key" in (finding.failure or "") for finding in findings(Loose()))


def test_environments_step_pickle_and_go_through_json():
    task = jax.tree.map(lambda x: x[0], envs.held_out_tasks(Windy(), 1))
    env = gymnasium.make("keyed/Windy-v0", task=task, disable_env_checker=True)
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()), disable_env_checker=True)
    copy = pickle.loads(pickle.dumps(env))
    seen = []
    for one in (env, again, copy):
        one.reset(seed=1)
        seen.append(one.step([0.5, 0.5])[0])
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])
    three = envs.held_out_tasks(Windy(), 3)
    for given in (three, task_by_names(three), task, task_by_names(task)):
        many = envs.TaskVectorEnv(Windy, 3, task=given)
        assert many.task.wind.shape == (3,)
        np.testing.assert_array_equal(numbers(many.task).wind[0], numbers(three).wind[0])
        many.reset(seed=1)
        many.step(np.zeros((3, 2)))


@pytest.mark.parametrize("wind", [3, [1.5], [[1, 2], [3, 4]], jax.random.split(jax.random.key(0), 2)])
def test_a_task_with_something_else_in_the_place_of_a_key(wind):
    task = Windy().default_params._replace(wind=wind)
    with pytest.raises(ValueError, match=r"task\.wind is .*, but must be random keys \(key<fry>\) of shape \(\)") as error:
        envs.check_task(Windy(), task)
    assert "\n" not in str(error.value)


def test_the_words_of_a_key_are_welcome():
    task = Windy().default_params
    words = envs.check_task(Windy(), task._replace(wind=np.asarray(jax.random.key_data(task.wind))))
    np.testing.assert_array_equal(numbers(words).wind, numbers(task).wind)


def test_hashes_of_tasks_see_their_keys():
    one, other = (Wind(*[jnp.zeros(2)] * 4, on=jax.random.split(jax.random.key(seed), 2)) for seed in (0, 1))
    assert task_hash(one) == task_hash(jax.tree.map(jnp.copy, one)) != task_hash(other)


@pytest.mark.parametrize("agent", few(["maml", "rl2"], "maml"))
def test_training_evaluation_and_comparison(agent, tmp_path):
    run, flags = str(tmp_path / "run"), ["--env", "tests.envs.keyed:keyed/Windy-v0", "--agent", agent]
    train.main([*flags, "--num-iterations", "1", "--run-dir", run, *SMALL])
    evaluate.main(["--run-dir", run, "--num-tasks", "2"])
    compare.main([run, "--out", str(tmp_path / "out")])
    assert (tmp_path / "run" / "rollout.gif").is_file()


def test_the_oracle_refuses_what_it_cannot_read():
    with pytest.raises(ValueError, match=r"oracle reads the task as numbers, but task\.wind is of random keys"):
        agents.make("oracle", Windy())
