"""Surrogates against exact enumeration of every trajectory of a tiny MDP with state-dependent termination.

The truth comes from the expected return as a function of the policy (a product of matrices); the surrogates are averaged over
all trajectories with their exact probabilities. Neither route uses the other's formula.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.surrogates import loaded_dice, reinforce

pytestmark = pytest.mark.usefixtures("float64")

HORIZON = 3
MOVE = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.4, 0.6], [0.7, 0.3]]])  # [state, action, next state]
REWARD = np.array([[1.0, -0.5], [0.3, 2.0]])  # [state, action]
END = np.array([0.0, 1.0])  # the episode ends on entering state 1 when the variant says so
THETA = np.array([[0.2, -0.4], [0.5, 0.1]])  # logits [state, action]


def expected_return(theta, ends):
    """Exact, by pushing the distribution over states through time."""
    probs = jax.nn.softmax(theta)
    alive, total = jnp.array([0.8, 0.2]), 0.0
    for _ in range(HORIZON):
        total += jnp.sum(alive[:, None] * probs * REWARD)
        alive = jnp.einsum("s,sa,san->n", alive, probs, MOVE) * (1.0 - ends * END)
    return total / HORIZON


def trajectories(ends):
    """Every trajectory: states, actions, rewards, mask [B, T] and probability [B]."""
    probs = np.asarray(jax.nn.softmax(THETA))
    rows = []
    for states in itertools.product((0, 1), repeat=HORIZON):
        for actions in itertools.product((0, 1), repeat=HORIZON):
            p, mask, alive = [0.8, 0.2][states[0]], [], 1.0
            for t in range(HORIZON):
                mask.append(alive)
                # After the end anything may follow; give the copies equal weight so that they sum to one.
                p *= probs[states[t], actions[t]] if alive else 0.5
                if t + 1 < HORIZON:
                    p *= MOVE[states[t], actions[t], states[t + 1]] if alive else 0.5
                    alive *= 1.0 - ends * END[states[t + 1]]
            rows.append((states, actions, [REWARD[s, a] for s, a in zip(states, actions, strict=True)], mask, p))
    return [np.array(column) for column in zip(*rows, strict=True)]


def expected_derivatives(surrogate, ends, advantage_of):
    """Gradient and Hessian of the surrogate, averaged over all trajectories, each on its own as a batch of one."""
    states, actions, rewards, mask, probability = trajectories(ends)
    advantage = advantage_of(states, rewards * mask)

    def average(theta):
        log_prob = jax.nn.log_softmax(theta)[states, actions]

        def one(*row):
            log_prob, advantage, mask = (x[None] for x in row)
            return surrogate(log_prob, jax.lax.stop_gradient(log_prob), advantage, mask)

        return jnp.sum(probability * jax.vmap(one)(log_prob, advantage, mask))

    return jax.grad(average)(jnp.asarray(THETA)), jax.hessian(average)(jnp.asarray(THETA))


def returns_to_go(states, rewards):
    return rewards[:, ::-1].cumsum(axis=1)[:, ::-1]


def minus_baseline(states, rewards):
    return returns_to_go(states, rewards) - np.array([0.7, -1.3])[states]


def errors(surrogate, ends, advantage_of):
    """Largest error of gradient and Hessian, relative to the largest entry of the true one."""
    truth = [f(expected_return)(jnp.asarray(THETA), ends) for f in (jax.grad, jax.hessian)]
    found = expected_derivatives(surrogate, ends, advantage_of)
    return [float(jnp.abs(a - b).max() / jnp.abs(b).max()) for a, b in zip(found, truth, strict=True)]


SURROGATES = {"reinforce": reinforce} | {f"lam={lam}": loaded_dice(lam) for lam in (0.0, 0.5, 1.0)}


def test_trajectories_are_a_distribution():
    for ends in (0.0, 1.0):
        np.testing.assert_allclose(trajectories(ends)[-1].sum(), 1.0)


@pytest.mark.parametrize("ends", [0.0, 1.0], ids=["full length", "with ends"])
@pytest.mark.parametrize("advantage_of", [returns_to_go, minus_baseline])
@pytest.mark.parametrize("name", SURROGATES)
def test_every_surrogate_has_the_right_gradient(name, advantage_of, ends):
    assert errors(SURROGATES[name], ends, advantage_of)[0] < 1e-12


@pytest.mark.parametrize("ends", [0.0, 1.0], ids=["full length", "with ends"])
@pytest.mark.parametrize("advantage_of", [returns_to_go, minus_baseline])
def test_dice_has_the_right_hessian(advantage_of, ends):
    assert errors(loaded_dice(1.0), ends, advantage_of)[1] < 1e-12


@pytest.mark.parametrize("ends", [0.0, 1.0], ids=["full length", "with ends"])
def test_others_have_a_wrong_hessian(ends):
    """The negative case: plain log-prob times advantage is far off; lam between 0 and 1 closes the gap step by step."""
    hessian = {name: errors(surrogate, ends, returns_to_go)[1] for name, surrogate in SURROGATES.items()}
    assert hessian["reinforce"] > 0.3
    assert hessian["lam=0.0"] > hessian["lam=0.5"] > 0.01 > hessian["lam=1.0"]


def test_trap_returns_to_go_in_a_cumulative_box():
    """DiCE as usually written sums box(w_t) * reward_t; fed returns-to-go, which ours takes, even its gradient is wrong."""

    def cumulative(log_prob, behaviour_log_prob, advantage, mask):
        w = jnp.cumsum(mask * log_prob, axis=1)
        return jnp.mean(mask * jnp.exp(w - jax.lax.stop_gradient(w)) * advantage)

    def rewards_alone(states, rewards):
        return rewards

    assert max(errors(cumulative, 0.0, rewards_alone)) < 1e-12
    assert errors(cumulative, 0.0, returns_to_go)[0] > 0.1


def test_masked_steps_have_no_effect():
    key = jax.random.key(0)
    log_prob, advantage, other = jax.random.normal(key, (3, 2, 4))
    mask = jnp.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    for surrogate in SURROGATES.values():

        def derivative(log_prob, advantage, surrogate=surrogate):
            return jax.hessian(lambda x: surrogate(x, log_prob, advantage, mask))(log_prob)

        masked = jnp.where(mask > 0, log_prob, other)
        found = derivative(masked, jnp.where(mask > 0, advantage, other))
        np.testing.assert_allclose(found, derivative(log_prob, advantage), atol=1e-14)


def test_lam_outside_the_unit_interval_is_refused():
    with pytest.raises(ValueError, match=r"lam is 1.5"):
        loaded_dice(1.5)
