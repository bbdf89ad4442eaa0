"""Several seeds in one program: each as if it had run alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import sinusoid
from experiments.runs import checkpoint
from experiments.runs.writer import open_writer
from experiments.sinusoid import sinusoid_config
from experiments.training import loop, without_folders
from experiments.training.seeds import keys_of


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    config = sinusoid_config(
        run_dir=tmp_path_factory.mktemp("seeds") / "run", num_iterations=30, num_tasks=3, seed=7, log_every=5
    )
    return sinusoid.resolve(config)


@pytest.fixture(scope="module")
def learner(small):
    return sinusoid.build(small, small.train_shots).learner


def flat(state):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state.theta)])


def of_seed(states, index):
    return jax.tree.map(lambda x: x[index], states)


def test_equal_to_separate_runs(small, learner):
    """The runner trains seed 7 into a folder; the same seed, trained beside another, ends with the same parameters."""
    small.run_dir.mkdir()
    run_config = {"wandb_id": "alone", "settings": {"seed": 7}}
    with open_writer(small.run_dir, run_config, agent="maml", env="sinusoid") as out:
        [alone] = loop.run(learner, [out], loop.Schedule(30, 5, 10)).states
    states, scores = without_folders.train(learner, [7, 3], 30)
    np.testing.assert_allclose(flat(of_seed(states, 0)), flat(alone), atol=1e-5)
    assert np.abs(flat(of_seed(states, 1)) - flat(alone)).max() > 1e-2
    assert scores.shape == (2, 30) and np.all(scores < 0)
    assert checkpoint.newest(small.run_dir) == 30


def test_selection_keeps_each_seed_s_best(learner):
    """An error that is least at a known number of iterations, another one for each seed."""
    wanted = jnp.array([10, 20])
    targets = [flat(of_seed(without_folders.train(learner, [7, 3], int(stop))[0], i)) for i, stop in enumerate(wanted)]

    def distance(state):
        here = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(state.theta)])
        return jnp.min(jnp.stack([jnp.sum((here - target) ** 2) for target in targets]))

    states, _ = without_folders.train(learner, [7, 3], 30, select=distance, select_every=5)
    assert [int(i) for i in states.iteration] == [10, 20]
    last, _ = without_folders.train(learner, [7, 3], 30)
    assert [int(i) for i in last.iteration] == [30, 30]


def test_no_iterations_gives_the_initial_states(learner):
    states, scores = without_folders.train(learner, [7], 0, select=lambda state: jnp.zeros(()))
    key_init, _ = keys_of(7)
    np.testing.assert_allclose(flat(of_seed(states, 0)), flat(learner.init(key_init)), atol=1e-6)
    assert scores.shape == (1, 0)
