"""Every agent of the table: traces once, finite metrics, learns what it should, and differs from the others."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import agents
from agents.networks import policy, regressor
from agents.problems import policy_gradient, regression
from envs.regression import sinusoid
from metarl.surrogates import loaded_dice, reinforce
from tests.agents.probe import Guess, GuessDiscrete

UNTRAINED = {"random"}
METRICS = {
    "meta/pre",
    "meta/post",
    "meta/gain",
    "inner/step_0",
    "inner/step_1",
    "outer/loss",
    "outer/grad_norm",
    "time/env_steps",
}
POLICY_METRICS = {"policy/entropy", "policy/kl"}


def build_rl(name, family=None, num_inner_steps=1):
    family = family or Guess()
    actor = policy(family.observation_space, family.action_space, hidden_sizes=(16,), activation="tanh", initial_std=0.5)
    problem = policy_gradient(
        family, actor, num_episodes=20, inner_surrogate=loaded_dice(), outer_surrogate=reinforce, gamma=0.9
    )
    sizes = {"num_tasks": 10, "num_inner_steps": num_inner_steps, "resample": True}
    return agents.agent(name)(problem, actor.init, family.sample_task, inner_lr=0.1, outer_lr=0.01, **sizes)


def build_regression(name):
    family = sinusoid()
    network = regressor((20,), "relu", nn.initializers.lecun_normal())
    sizes = {"num_tasks": 5, "num_inner_steps": 1, "resample": False}
    problem = regression(family, network, num_shots=10)
    return agents.agent(name)(problem, network.init, family.sample_task, inner_lr=0.01, outer_lr=0.003, **sizes)


def train(learner, num_iterations, seed=0):
    """Final state and metrics [I]."""
    state = learner.init(jax.random.key(seed))
    keys = jax.random.split(jax.random.key(seed + 1), num_iterations)
    return jax.jit(lambda state, keys: jax.lax.scan(learner.step, state, keys))(state, keys)


@pytest.mark.parametrize("build", [build_rl, build_regression])
@pytest.mark.parametrize("name", agents.AGENTS)
def test_traces_once_with_finite_metrics_under_the_fixed_names(name, build):
    learner = build(name)
    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(learner.step, n=1))
    state = learner.init(jax.random.key(0))
    for i in range(3):
        state, metrics = step(state, jax.random.key(i))
        assert set(metrics) == METRICS | (POLICY_METRICS if build is build_rl else set())
        for key, value in metrics.items():
            assert value.shape == () and np.isfinite(value), key
        np.testing.assert_allclose(metrics["meta/gain"], metrics["meta/post"] - metrics["meta/pre"], atol=1e-5)
    expected = 10 * 20 * 2 * 2 if build is build_rl else 5 * 10 * 2
    assert metrics["time/env_steps"] == expected


@pytest.mark.parametrize("build", [build_rl, build_regression])
@pytest.mark.parametrize("name", agents.AGENTS)
def test_the_meta_gradient_reaches_every_parameter_group(name, build):
    learner = build(name)
    before = learner.init(jax.random.key(0))
    after, _ = learner.step(before, jax.random.key(1))
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before.theta, after.theta)
    for path, largest in jax.tree_util.tree_leaves_with_path(moved):
        assert (largest == 0) == (name in UNTRAINED), jax.tree_util.keystr(path)


@pytest.mark.parametrize("family", [Guess(), GuessDiscrete()], ids=["box", "discrete"])
@pytest.mark.parametrize("name", agents.AGENTS)
def test_post_adaptation_return_improves_on_a_probe_task(name, family):
    _, metrics = train(build_rl(name, family), 80)
    first, last = (float(np.mean(metrics["meta/post"][part])) for part in (slice(0, 10), slice(-10, None)))
    if name in UNTRAINED:
        assert abs(last - first) < 0.5
    else:
        assert last > first + 0.3, (first, last)


@pytest.mark.parametrize("name", agents.AGENTS)
def test_regression_improves(name):
    _, metrics = train(build_regression(name), 1500)
    first, last = (float(np.mean(metrics["meta/post"][part])) for part in (slice(0, 50), slice(-50, None)))
    assert (last > first + 1.0) == (name not in UNTRAINED), (first, last)


def test_any_two_agents_differ_after_three_iterations():
    ends = {name: train(build_rl(name), 3)[0].theta for name in agents.AGENTS}
    names = list(ends)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            leaves = zip(jax.tree.leaves(ends[a]), jax.tree.leaves(ends[b]), strict=True)
            assert any(np.any(x != y) for x, y in leaves), (a, b)


@pytest.mark.parametrize("num_steps", [0, 1, 4])
def test_adapt_takes_any_number_of_steps(num_steps):
    learner = build_rl("maml")
    state = learner.init(jax.random.key(0))
    curve = learner.adapt(state, Guess().default_params, jax.random.key(1), num_steps)
    assert curve.score.shape == (num_steps + 1,)
    assert all(leaf.shape[0] == num_steps + 1 for leaf in jax.tree.leaves(curve.path))
    returns = curve.experience.query.episode_return
    np.testing.assert_allclose(curve.score[-1], jnp.mean(returns), rtol=1e-6)


def test_unknown_agent_names_the_closest():
    with pytest.raises(ValueError, match="Did you mean 'maml'"):
        agents.agent("mamll")
    with pytest.raises(ValueError, match="Known: maml"):
        agents.agent("xyz")
