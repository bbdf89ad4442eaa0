"""Tasks shared among devices, and seeds trained together: the same runs, and one line where it cannot be."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from experiments import train
from experiments.cli.errors import UserError
from experiments.training.config import build, resolve, train_config
from experiments.training.devices import calls_host, choose_batch, choose_devices, place, spread
from experiments.training.seeds import batch_seeds, of_seed

M = 4
SEEDS = (3, 7)


def config_of(agent, **options):
    sizes = {"num_tasks": M, "num_episodes": 3, "horizon": 10, "hidden_sizes": (8,)}
    return resolve(train_config(run_dir=Path("unused"), agent=agent, **sizes, **options))


def trained(agent, devices, batch=None, *, seeds=SEEDS[:1], iterations=10, **options):
    """States and metrics after each iteration, [iterations] of pytrees with leaves [S, ...], on the host."""
    task_map = spread(devices, batch)
    together_ = batch_seeds(build(config_of(agent, **options), task_map=task_map).learner, seeds)
    states, history = jax.tree.map(as_exact_as_jax_is, together_.init()), []
    step, states, streams = jax.jit(together_.step), place(states, task_map), place(together_.streams, task_map)
    for iteration in range(iterations):
        states, metrics = step(streams, states, iteration)
        history.append(jax.device_get((states, metrics)))
    return history


def as_exact_as_jax_is(leaf):
    """Parameters begin in float32; float64 must be asked for."""
    return leaf.astype(float) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def close(found, expected, tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), found, expected)


@pytest.mark.parametrize("agent", ["maml", pytest.param("rl2", marks=pytest.mark.slow)])
def test_devices_seeds_and_micro_batches_do_not_change_a_run(agent, float64):
    """Ten iterations in float64: 1, 2 and 4 devices, tasks in turn, and two seeds together against each alone."""
    alone = [trained(agent, 1, seeds=[seed]) for seed in SEEDS]
    for devices, batch in ((2, None), (4, 1)):
        close(trained(agent, devices, batch), alone[0], 1e-9)
    both = trained(agent, 2, 1, seeds=SEEDS)
    for i in range(len(SEEDS)):
        close([of_seed(each, i) for each in both], [of_seed(each, 0) for each in alone[i]], 1e-9)
    assert np.abs(alone[0][-1][1]["meta/post"] - alone[1][-1][1]["meta/post"]) > 1e-3


@pytest.mark.parametrize(
    "agent",
    [
        pytest.param(name, marks=() if name == "oracle" else pytest.mark.slow)
        for name in agents.AGENTS
        if "reinforcement" in agents.find(name).serves and name != "maml-trpo"
    ],
)
def test_the_first_iteration_of_every_agent_is_that_of_one_device(agent):
    """In float32, as users run it."""
    one, four = trained(agent, 1, iterations=1), trained(agent, 4, 1, iterations=1)
    close(four, one, 1e-5)
    moved = sum(np.abs(leaf).sum() for leaf in jax.tree.leaves(one[0][0].theta))
    assert np.isfinite(moved) and moved > 0


@pytest.mark.slow
def test_a_trust_region_over_devices(float64):
    """Ten steps of conjugate gradients on few data multiply rounding: float32 would leave three digits."""
    one, four = trained("maml-trpo", 1, iterations=1), trained("maml-trpo", 4, 1, iterations=1)
    close(four, one, 1e-5)


@pytest.mark.slow
def test_native_physics_over_devices(float64):
    """Each device's callback has threads of its own; one iteration, as contacts tell the last digits apart later."""
    options = {"env": "metarl/HalfCheetahVel-v0", "env_options": ("backend=native",)}
    alone = [trained("maml", 1, seeds=[seed], iterations=1, **options) for seed in SEEDS]
    both = trained("maml", 2, seeds=SEEDS, iterations=1, **options)
    for i in range(len(SEEDS)):
        close([of_seed(each, i) for each in both], [of_seed(each, 0) for each in alone[i]], 1e-5)


def test_unless_told_tasks_are_shared_by_as_many_devices_as_divide_them():
    assert jax.local_device_count() == 4
    assert [choose_devices(None, num_tasks) for num_tasks in (1, 2, 3, 4, 6, 20)] == [1, 2, 3, 4, 3, 4]
    native = envs.make("metarl/HalfCheetahVel-v0", backend="native")
    assert calls_host(native) and choose_devices(None, 4, native) == 1 and choose_batch(None, native) is None
    plain = envs.make("metarl/Navigation2D-v0")
    assert choose_devices(None, 4, plain) == 4 and choose_devices(None, 4, plain, mixes_tasks=True) == 1
    assert not calls_host(envs.make("metarl/BernoulliBandit-v0")), "whose actions are discrete"
    assert not calls_host(plain) and choose_batch(None, plain) == 1 and choose_batch(7, plain) == 7


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--devices", "5"], "--devices is 5, but JAX sees 4 cpu device(s)"),
        (["--devices", "3", "--num-tasks", "20"], "--num-tasks 20 cannot be shared equally by --devices 3"),
        (["--devices", "0"], "--devices is 0"),
        (["--task-batch", "0"], "--task-batch is 0"),
    ],
)
def test_devices_that_cannot_be_are_refused_in_one_line(flags, message, tmp_path, error_of):
    assert message in error_of(train.main, "--run-dir", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def test_environments_on_the_host_are_not_spread():
    family = envs.make("metarl/Navigation2D-v0")
    family.on_host = True
    with pytest.raises(UserError, match="live in one process"):
        choose_devices(2, 4, family)
