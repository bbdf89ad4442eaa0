"""MuJoCo's step as a custom call: the same bits as through Python, fallbacks, and programs that another process can load."""

import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.mujoco import compiled

ROBOTS = ("HalfCheetahDir", "AntDir", "AntGoal", "HumanoidDir", "HopperRandParams", "WalkerRandParams")
here = pytest.mark.skipif(compiled.library() is None, reason="no C++ compiler, or turned off")


def played(name, threads, batch=9, horizon=12):
    """Observations, rewards and hidden states of random episodes on random tasks."""
    family = envs.make(f"metarl/{name}-v0", threads=threads)
    tasks = jax.vmap(family.sample_task)(jax.random.split(jax.random.key(3), batch))

    def episode(key, task):
        def step(state, key):
            action = jax.random.uniform(key, family.action_space.shape, minval=-1.0)
            after = family.transition(state, action, key, task)
            seen = family.observation(after, key, task), family.reward(state, action, after, key, task)
            return after, (*seen, after.hidden)

        return jax.lax.scan(step, family.initial(key, task), jax.random.split(key, horizon))[1]

    return jax.device_get(jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), batch), tasks))


@here
@pytest.mark.parametrize("name", ROBOTS)
def test_it_is_what_python_gives(name, monkeypatch):
    by_threads = [played(name, threads) for threads in (1, 2)]
    monkeypatch.setattr(compiled, "register", lambda *made: None)
    expected = played(name, 1)
    for found in by_threads:
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
        whole = [np.asarray(parts, np.float64).sum(axis=-2) for parts in (found[2], expected[2])]
        np.testing.assert_allclose(*whole, rtol=0, atol=1e-12)
    assert np.all(np.isfinite(expected[0])) and np.ptp(expected[0]) > 0.1


@here
def test_a_name_that_nobody_loaded_is_an_error():
    given, result = jnp.zeros(60), jax.ShapeDtypeStruct((62,), jnp.float32)
    with pytest.raises(Exception, match="the physics nobody is not loaded; make its task family first"):
        jax.jit(lambda x: compiled.call(compiled.STEP, "nobody", result, x))(given).block_until_ready()


@here
def test_arrays_of_another_robot_are_an_error():
    family = envs.make("metarl/HalfCheetahDir-v0", threads=1)
    model = family.physics.model
    name = compiled.register(model, model, "root", 5, 1, 10)
    with pytest.raises(Exception, match="arrays of another robot"):
        compiled.call(compiled.STEP, name, jax.ShapeDtypeStruct((62,), jnp.float32), jnp.zeros(61)).block_until_ready()


@here
def test_the_name_is_that_of_the_model_as_it_is():
    model = envs.make("metarl/HalfCheetahDir-v0", threads=1).physics.model
    other = envs.make("metarl/HalfCheetahDir-v0", threads=1).physics.model
    names = [compiled.register(one, one, "root", 5, 1, 10) for one in (model, other)]
    assert names[0] == names[1] != compiled.register(model, model, "root", 4, 1, 10)
    other.body_mass[2] *= 2
    assert compiled.register(other, other, "root", 5, 1, 10) != names[0]


PROGRAM = """
import jax, envs
from envs.mujoco import compiled
family = envs.make("metarl/HalfCheetahDir-v0", threads=1, horizon=3)
task = family.default_params
step = jax.jit(lambda key: family.transition(family.initial(key, task), 0.1 * jax.numpy.ones(6), key, task).qpos)
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name.endswith("cache_hits")))
print(compiled.library() is not None, step(jax.random.key(0)).tolist(), sum(hits))
"""


def run(**environment):
    words = [sys.executable, "-c", PROGRAM]
    given = os.environ | {"PYTHONPATH": os.getcwd(), "JAX_PLATFORMS": "cpu"} | environment
    done = subprocess.run(words, env=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    built, _, rest = done.stdout.strip().partition(" ")
    numbers, _, hits = rest.rpartition(" ")
    return built == "True", numbers, int(hits)


@here
def test_another_process_loads_the_program(tmp_path):
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    first, second = run(**cache), run(**cache)
    assert first[0] and first[1] == second[1] and second[2] > first[2]


def test_without_a_compiler_a_home_or_when_turned_off_python_calls_mujoco(tmp_path):
    built, expected, _ = run()
    assert run(METARL_COMPILED_MUJOCO="0")[:2] == (False, expected)
    assert run(CXX=str(tmp_path / "nothing"), XDG_CACHE_HOME=str(tmp_path / "a"))[:2] == (False, expected)
    assert run(CXX=shutil.which("false"), XDG_CACHE_HOME=str(tmp_path / "b"))[:2] == (False, expected)
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    assert run(XDG_CACHE_HOME=str(nowhere))[:2] == (built, expected)
