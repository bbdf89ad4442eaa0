"""Problems: what a batch holds after an episode's end, and the diagnostics against formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from agents.parts.acting import by_gradients
from agents.parts.networks import policy
from agents.parts.problems import policy_gradient
from envs.families.navigation import Goal
from metarl.interfaces import Experience, MetaState
from metarl.rules import sgd
from metarl.surrogates import loaded_dice, reinforce
from tests.agents.probe import Guess


def build(family, std=0.5):
    actor = policy(family.observation_space, family.action_space, hidden_sizes=(4,), activation="tanh", initial_std=std)
    problem = policy_gradient(
        family, actor, num_episodes=30, inner_surrogate=loaded_dice(), outer_surrogate=reinforce, gamma=0.9
    )
    jitted = [jax.jit(part) for part in (problem.sample_batch, problem.outer_loss, problem.step_losses)]
    names = ("sample_batch", "outer_loss", "step_losses")
    params = jax.jit(actor.network.init)(jax.random.key(0))
    return actor, problem._replace(**dict(zip(names, jitted, strict=True))), params


def test_nothing_counts_after_the_end():
    """Episodes around a goal one step away end early; from then on reward, log-prob and advantage are zero."""
    family = envs.make("metarl/Navigation2D-v0", horizon=60)
    _, problem, params = build(family, std=1.0)
    batch = problem.sample_batch(params, Goal(jnp.array([0.1, 0.0])), jax.random.key(0))
    ended = np.asarray(batch.trajectory.mask) == 0
    assert ended.any() and not ended.all()
    for values in (batch.advantage, batch.trajectory.reward, batch.trajectory.log_prob):
        assert not np.any(np.asarray(values)[ended]) and np.any(np.asarray(values)[~ended])
    kept = np.asarray(batch.advantage)[~ended]
    np.testing.assert_allclose([kept.mean(), kept.std()], [0, 1], atol=1e-4)
    np.testing.assert_allclose(batch.episode_return, np.asarray(batch.trajectory.reward).sum(axis=1), rtol=1e-5)


def test_entropy_kl_and_scores_against_formulas():
    family = Guess()
    _, problem, before = build(family)
    after = before | {"log_std": before["log_std"] + 0.4}
    task, keys = family.default_params, jax.random.split(jax.random.key(1))
    support = jax.tree.map(lambda x: x[None], problem.sample_batch(before, task, keys[0]))
    query = problem.sample_batch(after, task, keys[1])
    path = jax.tree.map(lambda a, b: jnp.stack([a, b]), before, after)
    _, metrics = problem.outer_loss(path, Experience(support, query))
    std0, std1 = 0.5, 0.5 * np.exp(0.4)
    np.testing.assert_allclose(metrics["policy/entropy"], 0.5 * np.log(2 * np.pi * np.e * std1**2), rtol=1e-5)
    # Equal means: KL(before || after) of two Gaussians depends on their spread alone, and not symmetrically.
    np.testing.assert_allclose(metrics["policy/kl"], np.log(std1 / std0) + std0**2 / (2 * std1**2) - 0.5, rtol=1e-4)
    expected = [np.mean(support.episode_return), np.mean(query.episode_return)]
    np.testing.assert_allclose(metrics["score"], expected, rtol=1e-6)
    assert metrics["num_samples"] == 2 * 30 * family.horizon


def test_learning_from_recorded_episodes_needs_a_batch_of_them():
    """Agents with a problem of their own are built without one."""
    family = Guess()
    actor, problem, params = build(family)
    trajectory = problem.sample_batch(params, family.default_params, jax.random.key(0)).trajectory
    state = MetaState(params, (), jnp.int32(0))
    given = by_gradients(actor.network, actor.distribution, problem._replace(batch_of=None), sgd(0.1))
    with pytest.raises(ValueError, match=r"adapting to recorded episodes needs .*, but this problem has no batch_of"):
        given.learn(state, (trajectory,))
    once = by_gradients(actor.network, actor.distribution, problem, sgd(0.1), 3)
    with pytest.raises(ValueError, match="learn: 2 batches are given, but this agent takes all its steps on one; give one"):
        once.learn(state, (trajectory, trajectory))


def test_steps_on_one_batch_make_the_batch_once():
    family, made = Guess(), []
    actor, problem, params = build(family)
    trajectory = problem.sample_batch(params, family.default_params, jax.random.key(0)).trajectory

    def batch_of(trajectory):
        made.append(1)
        return problem.batch_of(trajectory)

    state = MetaState(params, (), jnp.int32(0))
    once, each = (
        by_gradients(actor.network, actor.distribution, problem._replace(batch_of=batch_of), sgd(0.1), steps)
        for steps in (3, None)
    )
    found, _ = once.learn(state, (trajectory,))
    assert len(made) == 1
    expected, _ = each.learn(state, (trajectory,) * 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def test_step_losses_judge_each_step_by_the_batch_it_led_to():
    family = Guess()
    _, problem, params = build(family)
    task, keys = family.default_params, jax.random.split(jax.random.key(1), 3)
    batches = [problem.sample_batch(params, task, key) for key in keys]
    support = jax.tree.map(lambda a, b: jnp.stack([a, b]), batches[0], batches[1])
    path = jax.tree.map(lambda x: jnp.stack([x, x + 0.1, x + 0.2]), params)
    losses, _ = problem.step_losses(path, Experience(support, batches[2]))
    for k in (1, 2):
        at_k = jax.tree.map(lambda x, k=k: x[k : k + 1], path)
        one, _ = problem.outer_loss(jax.tree.map(lambda x: jnp.concatenate([x, x]), at_k), Experience(support, batches[k]))
        np.testing.assert_allclose(losses[k - 1], one, rtol=1e-5)
