"""The tutorial's pictures: a plain fit, one task against four, and sin(x)."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from experiments import sinusoid
from experiments.runs.folder import TUTORIAL_FILES
from experiments.sinusoid import sinusoid_config
from experiments.supervised import tutorial
from experiments.supervised.protocols import PROTOCOLS


def test_plain_fit_learns_the_sine():
    x = jnp.linspace(-5, 5, 100)
    prediction, losses = tutorial.plain_fit(x)
    assert losses.shape == (100,) and losses[0] > 0.3 > 0.05 > losses[-1]
    assert np.mean((prediction - np.sin(x)) ** 2) < 0.05


def test_tasks_are_the_tutorial_s():
    """amplitude * sin(x + phase): amplitude U[0.1, 0.5], phase U[0, pi], twenty points."""
    protocol = PROTOCOLS["jang"]
    family = sinusoid.build(sinusoid.resolve(sinusoid_config(run_dir=".", protocol="jang")), 20).family
    tasks = jax.vmap(family.sample_task)(jax.random.split(jax.random.key(0), 2000))
    assert 0.1 <= tasks.amplitude.min() < 0.11 and 0.49 < tasks.amplitude.max() <= 0.5
    shift = -tasks.phase
    assert 0 <= shift.min() < 0.05 and 3.1 < shift.max() <= np.pi + 1e-6
    assert (protocol.train_shots, protocol.inner_lr, protocol.num_tasks) == (20, 0.1, 4)


def test_batching_tasks_trains_faster_with_less_variance(tmp_path):
    """The tutorial's claim, at a tenth of its length; held-out errors do not depend on how many losses are averaged."""
    config = sinusoid.resolve(sinusoid_config(run_dir=tmp_path, protocol="jang", num_iterations=2000))
    arms = tutorial.batching(config, sinusoid.build)
    assert all(arm.losses.shape == (3, 2000) and arm.held_out.shape == (3,) for arm in arms.values())
    one, more_points, four = arms.values()
    assert four.held_out.mean() < more_points.held_out.mean() < one.held_out.mean()
    assert four.held_out.max() < one.held_out.max() and four.held_out.std() < one.held_out.std()
    summaries = [tutorial.summary(arm) for arm in (four, more_points, one)]
    spread = [found["final_std"] for found in summaries]
    assert spread == sorted(spread)


def test_summary_by_hand():
    losses = np.full((1, 1000), 1.0)
    losses[0, 500:] = 0.0
    found = tutorial.summary(tutorial.Arm(losses, np.array([0.5])))
    assert found["final_loss"] == 0.0 and found["final_std"] == 0.0 and found["held_out_error"] == [0.5]
    # A window of 200 holds less than 2 % of ones once 197 of its iterations lie behind the drop at 500.
    assert found["iterations_to_target"] == 500 + 197
    assert tutorial.summary(tutorial.Arm(np.ones((2, 50)), np.ones(2)))["iterations_to_target"] is None


def test_a_run_without_iterations_has_nothing_to_compare(tmp_path):
    flags = ["--protocol", "jang", "--num-iterations", "0", "--hidden-sizes", "8", "--eval-tasks", "3"]
    sinusoid.main(["--run-dir", str(tmp_path / "run"), *flags])
    assert (tmp_path / "run/deployment.png").is_file() and not (tmp_path / "run/batching.png").exists()


def test_the_protocol_draws_its_pictures_for_any_agent(tmp_path):
    flags = ["--protocol", "jang", "--agent", "mann", "--num-iterations", "10", "--log-every", "5", "--checkpoint-every", "5"]
    sinusoid.main(["--run-dir", str(tmp_path / "run"), *flags, "--eval-tasks", "3"])
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names >= set(TUTORIAL_FILES)
    assert len(json.loads((tmp_path / "run/batching.json").read_text())) == 3


def test_single_task_run_with_one_query_point(tmp_path):
    """The tutorial's first part as a run of its own: one task of 20 support points and 1 query point per update."""
    flags = ["--protocol", "maml", "--num-tasks", "1", "--train-shots", "20", "--query-shots", "1", "--num-iterations", "4"]
    sinusoid.main(
        ["--run-dir", str(tmp_path / "run"), *flags, "--log-every", "2", "--checkpoint-every", "2", "--eval-tasks", "3"]
    )
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["time/env_steps"] == 4 * (20 + 1)
