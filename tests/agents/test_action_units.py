"""`action_scale`: the same policy as on a family that divides by it, wherever it acts."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from agents.parts.action_units import to_action
from envs.families.navigation import Navigation2D
from experiments.evaluation.trained import trained
from tests.agents.probe import Guess, GuessDiscrete
from tests.few import few

SCALE = 10.0
# pearl refuses a scale: tanh fills the box of actions.
NAMES = [name for name in agents.registered() if "reinforcement" in agents.find(name).serves and name != "pearl"]


class Effort(Navigation2D):
    """Where actions cost, so that rewards too depend on their units, and start at a place of chance."""

    def initial(self, rng, params):
        return jax.random.uniform(rng, (2,), jnp.float32, -0.1, 0.1)

    def reward(self, state, action, next_state, rng, params):
        return super().reward(state, action, next_state, rng, params) - 0.05 * jnp.sum(jnp.clip(action, -1, 1) ** 2)


class Divides(Effort):
    """The same, a tenth of each action."""

    action_space = gymnasium.spaces.Box(-SCALE, SCALE, (2,), np.float32)

    def transition(self, state, action, rng, params):
        return super().transition(state, jnp.clip(action / SCALE, -1, 1), rng, params)

    def reward(self, state, action, next_state, rng, params):
        return super().reward(state, jnp.clip(action / SCALE, -1, 1), next_state, rng, params)


SMALL = {"num_tasks": 4, "num_episodes": 4, "hidden_sizes": (8,), "initial_std": 3.0}


def small(name, family, **settings):
    learner = agents.make(name, family, **SMALL, **settings)
    state = jax.jit(learner.init)(jax.random.key(0))
    step = jax.jit(learner.step)
    for index in range(2):
        state, metrics = step(state, jax.random.key(index))
    return learner, state, metrics


def adapted(learner, state, task, key, num_steps=2):
    return jax.jit(learner.adapt, static_argnums=3)(state, task, key, num_steps)


@pytest.mark.parametrize("name", few(NAMES, "maml", "rl2"))
def test_it_is_the_same_as_a_family_that_divides(name):
    family, divides = Effort(horizon=8), Divides(horizon=8)
    ours, state, metrics = small(name, family, action_scale=SCALE)
    theirs, other_state, other_metrics = small(name, divides)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), state.theta, other_state.theta)
    for key in ("meta/pre", "meta/post", "policy/entropy"):
        np.testing.assert_allclose(metrics[key], other_metrics[key], rtol=1e-4)
    task, key = family.default_params, jax.random.key(7)
    curve, other = (adapted(learner, state, task, key) for learner in (ours, theirs))
    np.testing.assert_allclose(curve.score, other.score, rtol=1e-4)
    np.testing.assert_allclose(curve.greedy_score, other.greedy_score, rtol=1e-4)
    unscaled = agents.make(name, family, **SMALL)
    assert not np.allclose(curve.score, adapted(unscaled, state, task, key).score, rtol=1e-3), "the scale matters here"


@pytest.mark.parametrize("name", few(["maml", "rl2", "oracle"], "maml", "oracle"))
def test_gymnasium_takes_what_an_actor_gives(name):
    """The first step through Gymnasium is the policy's mode, scaled and clipped."""
    family = Effort(horizon=4)
    learner, state, _ = small(name, family, action_scale=SCALE)
    agent, task = trained(family, learner, state), family.default_params
    curve = agent.adapt(task, num_steps=1)
    env = gymnasium.make("test/Effort-v0", horizon=4, task=task)
    observation, _ = env.reset(seed=3)
    actor = agent.actor(curve)
    actor.reset()
    action = actor.act(observation)
    parameters = jax.tree.map(lambda x: x[-1, 0], learner.predict(curve.path, task, jnp.asarray(observation)[None]))
    np.testing.assert_allclose(action, np.clip(parameters["mean"] / SCALE, -1, 1), rtol=1e-6)
    reached, reward, *_ = env.step(action)
    np.testing.assert_allclose(reached, observation + 0.1 * action, rtol=1e-5, atol=1e-6)
    assert np.isfinite(reward)


envs.register("test/Effort-v0", Effort)


def test_recorded_actions_are_those_of_the_policy_and_convert_to_those_of_the_family():
    family = Navigation2D(horizon=6)
    learner, state, _ = small("maml", family, action_scale=SCALE)
    trajectory = adapted(learner, state, family.default_params, jax.random.key(0), 1).experience.query.trajectory
    assert np.abs(trajectory.action).max() > 1, "a standard deviation of 3"
    moves = np.diff(trajectory.observation, axis=1)
    taken = learner.to_action(trajectory.action)[:, :-1]
    np.testing.assert_allclose(moves, 0.1 * taken, atol=1e-5)


def test_the_space_is_what_it_is_clipped_to():
    box = gymnasium.spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, np.inf], np.float32))
    np.testing.assert_allclose(to_action(box, 2.0)(jnp.array([-4.0, 4.0])), [-1.0, 2.0])
    np.testing.assert_allclose(to_action(box, 1.0)(jnp.array([-4.0, -4.0])), [-1.0, 0.0], err_msg="whatever the scale")
    endless = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    np.testing.assert_allclose(to_action(endless, 1.0)(jnp.array([-4.0, 4.0])), [-4.0, 4.0])


def test_a_range_as_wide_as_floats_has_a_middle():
    most = np.finfo(np.float32).max
    box = gymnasium.spaces.Box(np.array([-most, 0.0], np.float32), np.array([most, most], np.float32))
    found = to_action(box, 1.0, unit=True)(jnp.array([[0.0, 0.0], [1.0, -1.0]]))
    np.testing.assert_allclose(found, [[0.0, most / 2], [most, 0.0]], rtol=1e-6)


class Whole(Guess):
    action_space = gymnasium.spaces.Box(0, 5, (2,), np.int32)


@pytest.mark.parametrize(
    ("family", "scale", "message"),
    [
        (Guess(), 0.0, "action_scale is 0.0, but must be at least 1e-06"),
        (Guess(), float("nan"), "action_scale is nan, but must be at least 1e-06"),
        (GuessDiscrete(), 10.0, "action_scale is 10, but actions are discrete: there is nothing to scale."),
        (Whole(), 1.0, r"action_space is Box\(0, 5, \(2,\), int32\), but policies act in Discrete spaces or a Box of floats"),
    ],
)
def test_what_is_refused(family, scale, message):
    with pytest.raises(ValueError, match=message):
        agents.make("maml", family, action_scale=scale)
