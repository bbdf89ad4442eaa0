"""The credit of e-maml against an enumeration of every batch that a small world can give.

Two steps: the first state is the same always, the second says what was done in the first; so four trajectories, and 16 batches
of two episodes per inner step. The truth is the derivative of a sum over batches of probability times what is earned after
them, held fixed: it knows of no log-probability, credit or baseline.
"""

import itertools
from types import SimpleNamespace

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
from agents.e_maml import Returns, against_episodes, mean_of_others, sampling_term, unit_of
from agents.parts.problems import Episodes, policy_gradient
from metarl import advantages, rules
from metarl.inner_loop import adapt
from metarl.interfaces import Trajectory
from metarl.surrogates import loaded_dice, reinforce
from tests.agents.probe import Guess

GAMMA, RATE, N, T = 0.8, 0.6, 2, 2
ACTION = np.array(list(itertools.product((0, 1), repeat=T)))  # [4, T]
STATE = np.stack([np.zeros(4, int), 1 + ACTION[:, 0]], axis=1)
REWARD = np.array([[1.0, -0.5], [0.3, 2.0], [-1.0, 0.4]])[STATE, ACTION]
RETURN = REWARD @ GAMMA ** np.arange(T)
TO_GO = np.stack([RETURN, REWARD[:, 1]], axis=1)
THETA = np.array([[0.2, -0.4], [0.5, 0.1], [-0.3, 0.6]])  # logits [state, action]
BATCHES = np.array(list(itertools.product(range(4), repeat=N)))  # [16, N]
OTHER = {"before": np.array([[0.7, -1.3], [0.9, 2.1]]), "after": 1.7}  # another task's, which any numbers may be


def log_probs(theta):
    return jax.nn.log_softmax(theta)[STATE, ACTION]  # [4, T]


def chances(theta):
    return jnp.exp(jnp.sum(log_probs(theta), axis=1))


def by_hand(theta, drawn):
    """Parameters after 0..K inner steps on batches [K, N] of trajectories, as the product's inner loss has them."""
    path = [jnp.asarray(theta)]
    for batch in drawn:
        up = jax.grad(lambda p, batch=batch: jnp.mean(log_probs(p)[batch] * jnp.asarray(TO_GO)[batch]))(path[-1])
        path.append(path[-1] + RATE * up)
    return path


def probability(theta, drawn):
    """Of these batches, each drawn with the parameters that the ones before led to."""
    factors = [jnp.prod(chances(p)[batch]) for p, batch in zip(by_hand(theta, drawn), drawn, strict=False)]
    return jnp.prod(jnp.stack(factors))


def found_and_truth(credit_of, num_steps):
    """What the product expects to add to the meta-gradient, times T, and the derivative of the probabilities alone."""
    start = jnp.asarray(THETA)
    policy = SimpleNamespace(
        network=SimpleNamespace(apply=lambda theta, state: theta[state]), distribution=lambda x: distrax.Categorical(logits=x)
    )
    problem = policy_gradient(None, policy, num_episodes=N, inner_surrogate=reinforce, outer_surrogate=reinforce, gamma=GAMMA)
    every = jnp.asarray(np.array(list(itertools.product(BATCHES, repeat=num_steps))))  # [16^K, K, N]

    def earned(theta, drawn):
        return chances(by_hand(theta, drawn)[-1]) @ RETURN

    def product_s(theta, drawn):
        mask = jnp.ones((num_steps, N, T))
        state, action = jnp.asarray(STATE)[drawn], jnp.asarray(ACTION)[drawn]
        trajectory = Trajectory(state, action, mask, None, None, mask, None, None)
        support = Episodes(trajectory, jnp.asarray(TO_GO)[drawn], mask[..., 0], mask[..., 0])
        path = adapt(rules.sgd(RATE), problem.inner_loss, theta, support)
        before = jnp.stack([jnp.asarray(RETURN)[drawn], OTHER["before"][:num_steps]])
        after = jnp.stack([earned(start, drawn), jnp.asarray(OTHER["after"])])
        return sampling_term(problem, path, support, credit_of(Returns(before, after, jnp.ones(2)))[0])

    fixed = jax.vmap(lambda drawn: earned(start, drawn))(every)
    chance_of = lambda theta: jax.vmap(lambda drawn: probability(theta, drawn))(every)
    weight = chance_of(start)
    np.testing.assert_allclose(weight.sum(), 1.0)
    truth = jax.grad(lambda theta: chance_of(theta) @ fixed)(start)
    found = jax.vmap(jax.grad(product_s), (None, 0))(start, every)
    return T * jnp.einsum("b,bij->ij", weight, found), truth


def with_its_own(returns):
    """The negative case: an episode's own return among what it is compared with."""
    gained = returns.after[:, None, None] - jnp.mean(returns.before, axis=2, keepdims=True)
    return N * jnp.broadcast_to(gained, returns.before.shape)


def with_later_steps(returns):
    """The other: compared with the batch drawn after the step that it was part of."""
    gained = returns.after[:, None, None] - jnp.mean(returns.before[:, -1:], axis=2, keepdims=True)
    return N * jnp.broadcast_to(gained, returns.before.shape)


def undone(returns):
    """No baseline at all, as the paper's equation has it."""
    return N * jnp.broadcast_to(returns.after[:, None, None], returns.before.shape)


@pytest.mark.parametrize("num_steps", [1, 2])
@pytest.mark.parametrize("credit_of", [against_episodes, undone])
def test_the_credit_is_the_exact_sampling_term(credit_of, num_steps, float64):
    found, truth = found_and_truth(credit_of, num_steps)
    assert jnp.abs(truth).max() > 0.01
    np.testing.assert_allclose(found, truth, atol=1e-12)


@pytest.mark.parametrize(("credit_of", "num_steps"), [(with_its_own, 1), (with_its_own, 2), (with_later_steps, 2)])
def test_a_baseline_that_the_episode_had_a_part_in_is_noticed(credit_of, num_steps, float64):
    found, truth = found_and_truth(credit_of, num_steps)
    assert jnp.abs(found - truth).max() > 0.01


def test_its_spread_is_less_than_without_a_baseline():
    """Tasks of very different difficulty, where adaptation gains the same: that is nothing to give credit for."""
    easy = jnp.array([0.0, -10.0, -50.0])
    before = easy[:, None, None] + jax.random.normal(jax.random.key(0), (3, 1, 20))
    credit = against_episodes(Returns(before, easy + 3.0, jnp.ones(3))) / 20
    assert jnp.abs(credit).max() < 1.0 < jnp.abs(easy - mean_of_others(easy)).min()


def test_a_batch_of_one_episode_is_compared_with_other_tasks():
    after = jnp.array([1.0, 2.0, 6.0])
    for task in range(3):
        mine = Returns(jnp.zeros((3, 1, 1)).at[task].set(9.0), after, jnp.ones(3))
        np.testing.assert_allclose(against_episodes(mine)[:, 0, 0], after - mean_of_others(after), rtol=1e-6)


@pytest.mark.parametrize("scale", [advantages.normalize, advantages.common_scale(2.5)])
def test_the_unit_is_what_advantages_were_divided_by(scale):
    """So that credit and outer loss are derivatives of the same return."""
    world = agents.policy_gradient_world(Guess(), agents.ReinforcementSettings(num_episodes=5, hidden_sizes=(3,)))
    network = world.make_network(0)
    problem, unscaled = (
        world.make_problem(network, baseline=advantages.time_baseline, scale=each)
        for each in (scale, advantages.common_scale(1.0))
    )
    query = problem.sample_batch(network.init(jax.random.key(0)), Guess().default_params, jax.random.key(1))
    unit = unit_of(unscaled, query)
    np.testing.assert_allclose(unit * query.advantage, unscaled.batch_of(query.trajectory).advantage, rtol=1e-4, atol=1e-5)
    nothing = query._replace(advantage=jnp.zeros_like(query.advantage))
    assert unit_of(unscaled, nothing) == 1.0


def test_dice_has_the_term_in_its_curvature(float64):
    """With reinforce inside the term is all that is missing; DiCE misses a tenth of it, and with the term it counts twice."""
    start, every = jnp.asarray(THETA), jnp.asarray(BATCHES)
    chance_of = lambda theta: jax.vmap(lambda batch: probability(theta, batch[None]))(every)

    def replayed(surrogate):
        def earned(theta, batch):
            given = jnp.asarray(TO_GO)[batch], jnp.ones((N, T))
            inside = lambda p: surrogate(log_probs(p)[batch], log_probs(start)[batch], *given)
            return chances(theta + RATE * jax.grad(inside)(theta)) @ RETURN

        return lambda theta: jax.vmap(lambda batch: earned(theta, batch))(every)

    plain = replayed(reinforce)
    truth = jax.grad(lambda theta: chance_of(theta) @ plain(theta))(start)
    term = jax.grad(lambda theta: chance_of(theta) @ plain(start))(start)
    size = jnp.linalg.norm(truth)

    def off(surrogate, credit):
        found = jax.grad(lambda theta: chance_of(start) @ replayed(surrogate)(theta))(start) + credit * term
        return jnp.linalg.norm(found - truth) / size

    np.testing.assert_allclose(off(reinforce, 1), 0, atol=1e-12)
    assert off(loaded_dice(1.0), 0) < 0.02 < 0.1 < off(reinforce, 0) < off(loaded_dice(1.0), 1) < 0.15
    assert 0.04 < off(loaded_dice(0.0), 0) < off(loaded_dice(0.0), 1) < 0.1
