"""Observations with many numbers: the baseline that suits them, what is said of it, and advice where memory is short."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box

import envs
from experiments import train
from experiments.training import memory, memory_terms
from experiments.training.config import chosen, family_of, resolve, train_config
from metarl import advantages
from tests.agents.probe import Guess
from tests.experiments.conftest import small_run

SIDE = 20


class Pictures(Guess):
    """A picture of 1,200 numbers."""

    observation_space = Box(0, 255, (SIDE, SIDE, 3), np.uint8)
    observation = lambda self, state, rng, params: jnp.full((SIDE, SIDE, 3), 7, jnp.uint8)


envs.register("test/Pictures-v0", Pictures)
LARGE = ("--env", "test/Pictures-v0", "--eval-tasks", "0")


def settings(run):
    return json.loads((run / "config.json").read_text())["settings"]


def test_the_baseline_fits_the_observation_and_says_so(tmp_path, capsys):
    run = small_run(tmp_path / "run", *LARGE)
    assert settings(run)["baseline"] == "time" and settings(run)["trunk"] == "conv"
    said = "--baseline is time, since observations have 1,200 numbers; the linear one reads up to 1,000 unless asked for."
    assert said in capsys.readouterr().out.splitlines()
    assert settings(small_run(tmp_path / "small", "--eval-tasks", "0"))["baseline"] == "linear"
    assert "--baseline" not in capsys.readouterr().out


def test_what_is_asked_for_is_taken(tmp_path, capsys):
    run = small_run(tmp_path / "run", *LARGE, "--baseline", "linear", "--num-iterations", "1")
    assert settings(run)["baseline"] == "linear" and "--baseline" not in capsys.readouterr().out


class FewPixels(Pictures):
    """A picture of 192 numbers, for which the linear baseline has 388 unknowns."""

    observation_space = Box(0, 255, (8, 8, 3), np.uint8)
    observation = lambda self, state, rng, params: jnp.full((8, 8, 3), 7, jnp.uint8)


envs.register("test/FewPixels-v0", FewPixels)


@pytest.mark.parametrize(("num_episodes", "baseline"), [(4, "time"), (200, "linear")])
def test_steps_of_a_batch_count_too(num_episodes, baseline, tmp_path):
    given = train_config(run_dir=tmp_path, env="test/FewPixels-v0", num_episodes=num_episodes)
    resolved = resolve(given)
    assert resolved.own.baseline == baseline
    said = "observations have 192 numbers; the linear one would have 388 unknowns for the 8 steps of a batch unless asked for."
    assert chosen(given, resolved) == (f"--baseline is time, since {said}" if baseline == "time" else None)


@pytest.mark.parametrize(("size", "steps"), [(3, 3), (100, 3), (101, 3), (101, 103), (1001, 3)])
def test_from_python_the_choice_is_the_same(size, steps):
    target, mask = jnp.arange(2.0 * steps).reshape(2, steps), jnp.ones((2, steps))
    observation = jnp.zeros((2, steps, size))
    timely = (size, steps) in ((101, 3), (1001, 3))  # 206 unknowns of 6 steps, and of 206
    expected = advantages.time_baseline if timely else advantages.linear_baseline
    found = jax.jit(advantages.auto_baseline)(observation, target, mask)
    np.testing.assert_allclose(found, expected(observation, target, mask), rtol=1e-4)


def test_where_large_begins():
    assert not advantages.is_large((10, 100), 2004) and advantages.is_large((10, 100), 2003)
    assert not advantages.is_large((100,), 1) and advantages.is_large((7, 11, 13), 10**9)


def test_more_unknowns_than_steps_leave_no_advantage():
    """Why: the linear baseline repeats returns that are chance alone."""
    keys = jax.random.split(jax.random.key(0))
    observation, target = jax.random.normal(keys[0], (4, 5, 100)), jax.random.normal(keys[1], (4, 5))
    left = target - advantages.linear_baseline(observation, target, jnp.ones((4, 5)))
    assert jnp.std(left) < 0.1 * jnp.std(target)


def test_short_of_memory_the_flag_that_helps_comes_first(tmp_path, error_of, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    flags = ("--run-dir", tmp_path / "run", *LARGE, "--num-tasks", "2", "--num-episodes", "2", "--horizon", "3")
    said = error_of(train.main, *flags, "--baseline", "linear")
    assert "try --baseline time first, since the linear baseline's systems of 2,404 unknowns take most of it; else" in said
    said = error_of(train.main, *flags, "--overwrite")
    assert "--baseline time" not in said and " first, since " in said


@pytest.mark.parametrize(
    ("changes", "largest"),
    [
        ({"num_tasks": 200, "num_episodes": 50, "hidden_sizes": (8,)}, "observations of 1,200 numbers"),
        ({"num_tasks": 2, "num_episodes": 1, "horizon": 1, "hidden_sizes": (512, 512)}, "weights per task and step"),
        ({"num_tasks": 2, "baseline": "linear"}, "the linear baseline's systems"),
    ],
)
def test_the_largest_part(changes, largest, tmp_path):
    config = resolve(train_config(run_dir=tmp_path, env="test/Pictures-v0", **changes))
    config = dataclasses.replace(config, task_batch=1)
    assert largest in memory_terms.advice(config, family_of(config), "others")
