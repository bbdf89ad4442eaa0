"""The PyTorch peers do the same work as ours: same data in, same meta-gradient out; and the race counts what it says."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.parts.networks import policy
from agents.parts.world import RegressionSettings, ReinforcementSettings, policy_gradient_world, regression_world
from envs.families.navigation import Navigation2D
from envs.families.regression import sinusoid
from experiments.benchmark.pytorch.race import Entry, race
from metarl import meta, rules
from metarl.inner_loop import collect


def peer(name):
    pytest.importorskip("torch")
    import importlib

    return importlib.import_module(f"experiments.benchmark.pytorch.{name}")


def meta_gradients(world, network, rule, num_tasks):
    """Recorded experience [M, ...] and the mean of our meta-gradients on it, from the same start."""
    problem, theta = world.make_problem(network), network.init(jax.random.key(0))

    @jax.jit
    def both(key):
        keys = jax.random.split(key, num_tasks)
        tasks = jax.vmap(world.sample_task)(keys)
        draw = lambda task, key: collect(problem, rule, theta, task, key, 1, resample=world.resample)
        experience = jax.vmap(draw)(tasks, keys)
        grads, _ = jax.vmap(meta.through_adaptation(problem, rule), (None, 0))(theta, experience)
        return tasks, experience, jax.tree.map(lambda g: jnp.mean(g, axis=0), grads)

    return theta, *both(jax.random.key(1))


def close(ours, theirs, tolerance):
    for (weight, bias), layer in zip(theirs, (ours["params"][name] for name in sorted(ours["params"])), strict=True):
        np.testing.assert_allclose(weight.numpy(), layer["kernel"], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(bias.numpy(), layer["bias"], rtol=tolerance, atol=tolerance)


def test_sinusoid_meta_gradients_agree():
    torch_sinusoid, parts = peer("torch_sinusoid"), peer("parts")
    from torch.func import grad

    world = regression_world(sinusoid(), RegressionSettings(num_shots=10, hidden_sizes=(8, 8)))
    network, rule = world.make_network(0), rules.sgd(torch_sinusoid.INNER_LR)
    theta, _, experience, ours = meta_gradients(world, network, rule, 3)
    support, query = (
        [parts.tensor(leaf) for leaf in batch]
        for batch in (jax.tree.map(lambda x: x[:, 0], experience.support), experience.query)
    )
    theirs = grad(torch_sinusoid.meta_loss)(parts.layers_from(theta), support, query)
    close(ours, theirs, 1e-5)
    # The second derivative is there: without it the gradient differs.
    first_order = meta.through_adaptation(world.make_problem(network), rules.first_order(rule))
    grads, _ = jax.vmap(first_order, (None, 0))(theta, experience)
    with pytest.raises(AssertionError):
        close(jax.tree.map(lambda g: jnp.mean(g, axis=0), grads), theirs, 1e-5)


@pytest.fixture(scope="module")
def navigation():
    """Ours in float64: episodes of three tasks, some of which end early, and the meta-gradient on them."""
    torch_navigation, parts = peer("torch_navigation"), peer("parts")
    jax.config.update("jax_enable_x64", True)
    try:
        family, options = Navigation2D(horizon=12), {"hidden_sizes": (8, 8), "activation": "tanh", "initial_std": 0.2}
        world = policy_gradient_world(family, ReinforcementSettings(num_episodes=4, **options), unroll=1)
        near = lambda key: family.sample_task(key)._replace(position=jnp.array([0.02, 0.0], jnp.float32))
        network = policy(family.observation_space, family.action_space, **options).network
        wide = network._replace(init=lambda key: jax.tree.map(lambda x: x.astype(float), network.init(key)))
        found = meta_gradients(world._replace(sample_task=near), wide, rules.sgd(torch_navigation.INNER_LR), 3)
    finally:
        jax.config.update("jax_enable_x64", False)
    return torch_navigation, parts, *jax.device_get(found)


def to_params(parts, theta):
    return parts.layers_from(theta["mean"]), parts.tensor(theta["log_std"])


def noise_of(trajectory):
    """[T, M, N, 2]: the standard normal numbers that our actions came from."""
    drawn = (trajectory.action - trajectory.distribution["mean"]) / np.exp(trajectory.distribution["log_std"])
    return np.moveaxis(drawn, 2, 0)


def replay(module, parts, params, tasks, trajectory):
    """The peer's rollout on our random numbers: the noise, and its records."""
    import torch

    goal = parts.tensor(tasks.position)[:, None].double()
    noise = parts.tensor(noise_of(trajectory))
    position, alive = torch.zeros(*noise.shape[1:], dtype=torch.float64), torch.ones(noise.shape[1:3], dtype=torch.bool)
    return noise, module.play(params, goal, position, alive, noise)[2]


def test_navigation_rollouts_and_advantages_agree(navigation):
    module, parts, theta, tasks, experience, _ = navigation
    support = jax.tree.map(lambda x: x[:, 0], experience.support)
    assert 0 < support.trajectory.mask.mean() < 1  # some episodes have ended
    params = to_params(parts, theta)
    noise, records = replay(module, parts, params, tasks, support.trajectory)
    batch = module.batch_of(params, noise, records)
    mask = support.trajectory.mask
    np.testing.assert_array_equal(batch.mask.numpy(), mask)
    # Our positions and rewards are float32.
    np.testing.assert_allclose(records[2].movedim(0, 2).numpy(), support.trajectory.reward, atol=1e-6)
    np.testing.assert_allclose(batch.observation.numpy(), support.trajectory.observation, atol=1e-6)
    np.testing.assert_allclose(batch.log_prob.numpy(), support.trajectory.log_prob, atol=1e-6)
    ours = [parts.tensor(leaf).double() for leaf in (support.trajectory.observation, support.trajectory.reward, mask)]
    np.testing.assert_allclose(module.estimate(*ours).numpy(), support.advantage, atol=1e-5)


def as_batch(module, parts, episodes):
    t = episodes.trajectory
    leaves = (t.observation, t.action, t.log_prob, episodes.advantage, t.mask)
    return module.Batch(*(parts.tensor(leaf).double() for leaf in leaves))


def test_navigation_meta_gradients_agree(navigation):
    from torch.func import grad

    module, parts, theta, _, experience, ours = navigation
    support = as_batch(module, parts, jax.tree.map(lambda x: x[:, 0], experience.support))
    query = as_batch(module, parts, experience.query)
    layers, log_std = grad(module.meta_loss)(to_params(parts, theta), support, query)
    close(ours["mean"], layers, 1e-10)
    np.testing.assert_allclose(log_std.numpy(), ours["log_std"], rtol=1e-10, atol=1e-12)
    assert np.abs(ours["log_std"]).max() > 1e-3


def test_settings_are_those_of_the_commands():
    from experiments.benchmark import workloads
    from experiments.supervised import protocols

    ours, theirs = workloads.settings("metarl/Navigation2D-v0"), peer("torch_navigation")
    assert (ours.gamma, ours.inner_lr, ours.outer_lr) == (theirs.GAMMA, theirs.INNER_LR, theirs.OUTER_LR)
    assert ours.num_inner_steps == 1 and not ours.dice_lambda and ours.gae_lambda == 1 and ours.activation == "tanh"
    maml, theirs = protocols.PROTOCOLS["maml"], peer("torch_sinusoid")
    assert (maml.num_tasks, maml.train_shots) == (theirs.NUM_TASKS, theirs.NUM_SHOTS)
    assert (maml.inner_lr, maml.outer_lr) == (theirs.INNER_LR, theirs.OUTER_LR)


def test_adam_agrees_with_optax():
    import optax

    parts = peer("parts")
    import torch

    params, rate = np.linspace(-1, 1, 5).astype(np.float32), 0.01
    optimizer = optax.adam(rate)
    ours, state = jnp.asarray(params), optimizer.init(jnp.asarray(params))
    theirs, their_state = torch.from_numpy(params), parts.adam_begin(torch.from_numpy(params))
    for step in range(3):
        updates, state = optimizer.update(ours * (step + 1), state)
        theirs, their_state = parts.adam(theirs, theirs * (step + 1), their_state, rate)
        ours = ours + updates
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-5)


@pytest.mark.parametrize(("steps_per_call", "asked", "taken"), [(1, 3, 3), (10, 1, 10), (10, 21, 30)])
def test_a_graph_of_several_iterations_runs_as_a_whole(steps_per_call, asked, taken, monkeypatch):
    torch_sinusoid = peer("torch_sinusoid")
    import torch

    count = 0

    def iteration(layers, state):
        nonlocal count
        count += 1
        return layers, state

    monkeypatch.setattr(torch, "compile", lambda function, options: function)
    monkeypatch.setattr(torch_sinusoid, "iteration", iteration)
    torch_sinusoid.make([(torch.zeros(1, 1), torch.zeros(1))], steps_per_call=steps_per_call)(asked)
    assert count == taken


def test_the_best_median_counts_as_pytorchs_best(monkeypatch, capsys):
    from experiments.benchmark.pytorch import __main__ as peers

    def found(*seconds):
        values = {"median": sorted(seconds)[1], "min": min(seconds), "max": max(seconds)}
        return {"first_call_seconds": 1.0, "seconds_per_iteration": values, "times_the_reference": values}

    raced = {"ours": found(1, 1, 4), "PyTorch, 1 thread": found(2, 5, 6), "PyTorch, 2 threads": found(3, 4, 5)}
    monkeypatch.setattr(peers, "race", lambda entries, **options: raced)
    monkeypatch.setattr(peers, "entries", lambda config, name: [])
    results = peers.compare(peers.PeersConfig(only=("sinusoid",)))
    assert results["sinusoid"]["best_peer"] == "PyTorch, 2 threads"
    assert results["sinusoid"]["ratio"]["median"] == 4
    assert results["sinusoid"]["ratio_of_minima"] == 3
    peers.show(results)
    shown = capsys.readouterr().out
    assert all(entry in shown for entry in raced) and "fastest turns alone: 3.00" in shown


def test_without_torch_and_with_bad_sizes_there_is_one_line(monkeypatch, tmp_path, error_of):
    from experiments.benchmark.pytorch.__main__ import main

    monkeypatch.setenv("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")
    assert "multiple of 10" in error_of(main, "--horizon", 25)
    assert "--rounds is 0" in error_of(main, "--rounds", 0)
    monkeypatch.setattr("envs.optional._installed", lambda name: name != "torch")
    assert "--editable '.[peers]'" in error_of(main, "--out", tmp_path / "peers.json")
    assert not list(tmp_path.iterdir())


def test_the_race_times_each_in_turn():
    turns = []

    def entry(name, seconds):
        def run(count):
            turns.append(name)
            time.sleep(seconds * count)

        return Entry(name, lambda: run)

    results = race([entry("fast", 0.002), entry("slow", 0.006)], rounds=3, seconds=0.02, say=lambda line: None)
    assert turns[-6:] == ["fast", "slow"] * 3
    assert 2 < results["slow"]["times_the_reference"]["median"] < 4
    assert results["fast"]["times_the_reference"]["values"] == [1.0] * 3
    assert results["slow"]["first_call_seconds"] >= 0.006
    assert results["slow"]["seconds_per_iteration"]["median"] == pytest.approx(0.006, rel=0.5)
