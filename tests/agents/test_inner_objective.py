"""What an inner step follows and how its derivative sees it, against the enumeration of a small world.

The world's chances are equal and the policy's one or two thirds, so that a batch which holds every trajectory as often as it is
likely is the expectation, exactly. The truth is a sum over trajectories of probability times return, which knows no surrogate.
"""

import itertools
from types import SimpleNamespace

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from agents.agent import OnPolicy
from agents.parts.gradient_learner import on_policy
from agents.parts.problems import Episodes, policy_gradient
from agents.parts.world import STEP_WEIGHTS
from metarl import advantages, rules
from metarl.inner_loop import adapt
from metarl.interfaces import Trajectory

pytestmark = pytest.mark.usefixtures("float64")
HORIZON, GAMMA, RATE, COMMON = 3, 0.8, 0.7, 2.5
REWARD = np.array([[1.0, -0.5], [0.3, 2.0]])  # [state, action]
TIMES = np.array([[1, 2], [2, 1]])  # [state, action], in thirds
EACH = np.array(list(itertools.product((0, 1), repeat=2 * HORIZON)))  # states, then actions
TABLE = np.repeat(EACH, TIMES[EACH[:, :HORIZON], EACH[:, HORIZON:]].prod(axis=1), axis=0)
STATE, ACTION = TABLE[:, :HORIZON], TABLE[:, HORIZON:]
THETA = jnp.log(TIMES / 3)


def log_prob(theta):
    return jax.nn.log_softmax(theta)[STATE, ACTION]


def returns_to_go():
    reward = REWARD[STATE, ACTION]
    return np.stack([sum(GAMMA ** (j - t) * reward[:, j] for j in range(t, HORIZON)) for t in range(HORIZON)], axis=1)


def adapted(step_weight, advantage_scale):
    """theta -> after one inner step of the product, on the batch of all trajectories."""
    own = OnPolicy(
        dice_lambda=1.0, advantage_scale=advantage_scale, common_scale=COMMON if advantage_scale == "common" else 1.0
    )
    chosen = on_policy(own)
    policy = SimpleNamespace(
        network=SimpleNamespace(apply=lambda theta, state: theta[state]), distribution=lambda x: distrax.Categorical(logits=x)
    )
    weigh = {"weigh_steps": STEP_WEIGHTS[step_weight], "gamma": GAMMA}
    problem = policy_gradient(None, policy, num_episodes=len(TABLE), outer_surrogate=None, **weigh, **chosen)
    mask = jnp.ones(STATE.shape)
    advantage = chosen["scale"](jnp.asarray(returns_to_go()), mask)
    trajectory = Trajectory(jnp.asarray(STATE), jnp.asarray(ACTION), log_prob(THETA), None, None, mask, None, None)
    support = jax.tree.map(lambda x: x[None], Episodes(trajectory, advantage, mask[:, 0], mask[:, 0]))
    return lambda theta: adapt(rules.sgd(RATE), problem.inner_loss, theta, support)[-1]


def expectation(theta, of_trajectory):
    drawn = jnp.exp(jnp.sum(log_prob(THETA), axis=1))
    probability = jnp.exp(jnp.sum(log_prob(theta), axis=1)) / drawn / len(TABLE)  # a row is as likely as any at THETA
    return jnp.sum(probability * of_trajectory)


def discounted(theta):
    return expectation(theta, REWARD[STATE, ACTION] @ GAMMA ** np.arange(HORIZON)) / HORIZON


def spread(theta):
    """Standard deviation of returns-to-go over all steps."""
    first, second = (expectation(theta, np.mean(returns_to_go() ** power, axis=1)) for power in (1, 2))
    return jnp.sqrt(second - first**2)


SCALES = {
    "task": lambda theta: spread(THETA),  # data, whatever theta
    "common": lambda theta: COMMON,
    "differentiated": spread,
}


@pytest.mark.parametrize("advantage_scale", SCALES)
def test_inner_steps_and_their_derivatives_are_exact(advantage_scale):
    """The step is that of the discounted return over the scale, and its Jacobian knows what it should of both."""

    def truth(theta):
        return theta + RATE * jax.grad(discounted)(theta) / SCALES[advantage_scale](theta)

    step = adapted("discounted", advantage_scale)
    np.testing.assert_allclose(step(THETA), truth(THETA), rtol=1e-6)  # the scale has 1e-8 added
    exact, found = jax.jacobian(truth)(THETA), jax.jacobian(step)(THETA)
    np.testing.assert_allclose(found, exact, atol=1e-7)
    others = [adapted("discounted", name) for name in SCALES if name != advantage_scale]
    others.append(adapted("equal", advantage_scale))
    assert all(np.max(np.abs(jax.jacobian(other)(THETA) - exact)) > 1e-3 for other in others), "and each choice has an effect"


def test_choices_without_effect_are_refused():
    family = envs.make("metarl/Navigation2D-v0")
    with pytest.raises(ValueError, match=r"dice_lambda is 0\.5, but surrogate is reinforce"):
        agents.make("maml", family, surrogate="reinforce", dice_lambda=0.5)
    with pytest.raises(ValueError, match=r"common_scale is 3\.0, but advantage_scale is task"):
        agents.make("maml", family, common_scale=3.0)
    assert agents.make("maml", family, surrogate="reinforce", advantage_scale="common", common_scale=3.0)


def test_a_task_counts_by_its_inverse_spread_unless_scales_are_common():
    """Rewards ten times as large: the same normalised advantages, so a tenth of the weight; and ten times those in common."""
    advantage, mask = jax.random.normal(jax.random.key(0), (4, 5)), jnp.ones((4, 5))
    np.testing.assert_allclose(*(advantages.normalize(x, mask) for x in (advantage, 10 * advantage)), rtol=1e-6)
    common = advantages.common_scale(3.0)
    np.testing.assert_allclose(10 * common(advantage, mask), common(10 * advantage, mask))
    assert float(jnp.mean(common(advantage, mask))) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match=r"scale is 0\.0"):
        advantages.common_scale(0.0)
