"""Agents that play trials: their memory and its replay, what they are told, and what they learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from gymnasium.spaces import Box

import agents
from agents.parts.actor_critic import informed, recurrent
from agents.parts.trials import ReturnScale, act_greedily, play_trials, record
from metarl.trial import Feedback
from tests.agents.probe import Guess, GuessDiscrete
from tests.agents.test_agents import built, train

OPTIONS = {"hidden_sizes": (), "activation": "tanh", "initial_std": 1.0}


class Ending:
    """Each step ends the episode with probability 0.3, after at most 5."""

    horizon = 5

    def terminal(self, state, rng, params):
        return jax.random.bernoulli(rng, 0.3)


class GuessEnding(Ending, Guess):
    pass


class GuessDiscreteEnding(Ending, GuessDiscrete):
    pass


BOX, DISCRETE = GuessEnding(), GuessDiscreteEnding()


def remembering(family):
    return recurrent(family, OPTIONS, nn.GRUCell(8))


def told(family):
    return informed(family, family, OPTIONS)


def world_of(family):
    return agents.policy_gradient_world(family, agents.ReinforcementSettings(num_episodes=6, gamma=0.9, hidden_sizes=()))


@functools.cache
def played(make, family):
    """What plays, its parameters, a task, and 6 trials of 3 episodes with their values."""
    actor_critic = make(family)

    @jax.jit
    def run(key):
        key_init, key_task, key_play = jax.random.split(key, 3)
        theta, task = actor_critic.init(key_init), family.sample_task(key_task)
        return theta, task, *play_trials(world_of(family).rollouts, actor_critic, theta, task, key_play, 3)

    return actor_critic, *run(jax.random.key(0))


@pytest.mark.parametrize(
    ("make", "family"),
    [(remembering, BOX), (remembering, DISCRETE), (told, DISCRETE)],
    ids=["recurrent, box", "recurrent, discrete", "informed"],
)
def test_replay_gives_what_was_recorded(make, family):
    actor_critic, theta, task, trials, value = played(make, family)

    @jax.jit
    def replayed(mask):
        recorded = (trials.trajectory.observation, trials.feedback, trials.trajectory.action)
        observation, feedback, action = jax.tree.map(lambda x: x.reshape(6, 15, *x.shape[3:]), recorded)
        replay = jax.vmap(actor_critic.replay, (None, None, 0, 0, 0))
        parameters, values = replay(theta, actor_critic.start(task), observation, feedback, mask)
        return actor_critic.distribution(parameters).log_prob(action), values

    mask = trials.trajectory.mask.reshape(6, 15)
    assert 0.2 < mask.mean() < 0.9, "some episodes should end early"
    log_prob, values = replayed(mask)
    np.testing.assert_allclose(mask * log_prob, trials.trajectory.log_prob.reshape(6, 15), atol=1e-5)
    np.testing.assert_allclose(mask * values, mask * value.reshape(6, 15), atol=1e-5)
    running_on = replayed(jnp.ones_like(mask))[1]
    assert (np.abs(mask * (running_on - values)).max() > 1e-3) == (make is remembering), "memory stands still after an end"


def test_memory_lasts_for_a_trial_and_no_longer():
    actor_critic, theta, _, trials, _ = played(remembering, BOX)
    assert not np.any(trials.memory[:, 0]), "every trial starts blank"
    act = jax.jit(actor_critic.act)
    memory = jnp.zeros(8)
    for e in range(3):
        np.testing.assert_allclose(trials.memory[0, e], memory, atol=1e-5)
        for t in range(int(trials.trajectory.mask[0, e].sum())):
            feedback = jax.tree.map(lambda x, e=e, t=t: x[0, e, t], trials.feedback)
            memory, _, _ = act(theta, memory, trials.trajectory.observation[0, e, t], feedback)
    assert np.abs(memory).max() > 0.01


@pytest.mark.parametrize("family", [Guess(), GuessDiscrete()], ids=["box", "discrete"])
def test_every_part_of_the_feedback_is_read(family):
    actor_critic = remembering(family)
    theta = jax.jit(actor_critic.init)(jax.random.key(0))
    blank = Feedback(actor_critic.no_action, jnp.float32(0), jnp.asarray(False), jnp.asarray(False))
    look = jax.jit(lambda feedback: actor_critic.act(theta, jnp.zeros(8), jnp.ones(1), feedback)[0])
    action = actor_critic.no_action + 1
    changes = {"action": action, "reward": jnp.float32(1), "terminated": jnp.asarray(True), "first": jnp.asarray(True)}
    seen = [look(blank), *(look(blank._replace(**{name: value})) for name, value in changes.items())]
    for i, a in enumerate(seen):
        for b in seen[i + 1 :]:
            assert np.abs(a - b).max() > 1e-3


def test_data_for_ppo_against_a_loop():
    """Returns to go over steps that were taken give the scale; targets are the returns in its units where lambda is 1."""
    actor_critic, _, task, trials, value = played(remembering, BOX)
    one_task = jax.tree.map(lambda x: x[None], (actor_critic.start(task), trials, value))
    blank = ReturnScale(jnp.float32(0), jnp.float32(1))
    batch, scale = jax.jit(lambda *data: record(world_of(BOX).rollouts, *data))(*one_task, blank, jnp.int32(0))
    reward, mask = (np.asarray(x).reshape(6, 15) for x in (trials.trajectory.reward, trials.trajectory.mask))
    returns = np.zeros((6, 15))
    for n in range(6):
        future = 0.0
        for s in reversed(range(15)):
            if mask[n, s]:
                returns[n, s] = future = reward[n, s] + 0.9 * future
    taken = returns[mask > 0]
    np.testing.assert_allclose([scale.mean, scale.spread], [taken.mean(), taken.std()], rtol=1e-4)
    np.testing.assert_allclose(np.asarray(batch.target)[mask > 0], (taken - taken.mean()) / taken.std(), atol=1e-3)
    np.testing.assert_allclose(np.asarray(batch.advantage)[mask > 0].std(), 1.0, rtol=1e-4)
    assert batch.memory.shape == (6, 8)


@pytest.fixture(scope="module")
def trained():
    """Learners with discrete actions and their states after a short training."""
    learners = {name: built(name, GuessDiscrete()) for name in ("rl2", "oracle")}
    return {name: (learner, train(learner, 60)[0]) for name, learner in learners.items()}


def test_rl2_learns_what_no_policy_without_memory_can(trained):
    """Without memory every guess is right half of the time: -4 per episode. After one episode the number is known: 0."""
    learner, state = trained["rl2"]
    curve = jax.jit(learner.adapt, static_argnums=3)(state, Guess().default_params, jax.random.key(1), 3)
    assert np.all(curve.score[1:] > -0.8) and curve.score[0] < curve.score[-1] - 0.5, curve.score
    assert np.all(curve.greedy_score[1:] > -0.1), curve.greedy_score
    np.testing.assert_array_equal(curve.used, [0, 1, 2, 3])
    support, query = curve.experience
    assert support.trajectory.observation.shape == (3, 20, 2, 1) and query.trajectory.mask.shape == (20, 2)
    returns = [*np.asarray(support.episode_return).mean(axis=1), float(query.episode_return.mean())]
    np.testing.assert_allclose(curve.score, returns, rtol=1e-5)
    logits = learner.predict(curve.path, None, jnp.ones((5, 1)))
    assert logits.shape == (4, 5, 2)
    right = int(Guess().default_params.value > 0)
    assert np.all(np.argmax(logits[1:], axis=-1) == right)


def test_a_schedule_counts_meta_iterations():
    """Full rate in the first iteration, none from the second on."""
    first_only = agents.Training(4, outer_lr=lambda count: jnp.where(count < 1, 0.01, 0.0))
    always = first_only._replace(outer_lr=0.01)
    own = {"ppo_epochs": 3, "ppo_minibatches": 2, "memory_size": 8}
    learners = [agents.build("rl2", world_of(Guess()), training, **own) for training in (first_only, always)]
    states = [train(learner, num)[0].theta for learner, num in zip((*learners, learners[0]), (1, 1, 2), strict=True)]
    for annealed, constant, stopped in zip(*(jax.tree.leaves(state) for state in states), strict=True):
        np.testing.assert_array_equal(annealed, constant)
        np.testing.assert_array_equal(annealed, stopped)


def test_the_oracle_is_told(trained):
    learner, state = trained["oracle"]
    for key in range(4):
        task = Guess().sample_task(jax.random.key(key))
        curve = jax.jit(learner.adapt, static_argnums=3)(state, task, jax.random.key(1), 2)
        assert curve.greedy_score[0] == 0.0 and curve.score[0] > -0.8
        assert len(set(curve.score.tolist())) == 1 and not np.any(curve.used)
        assert curve.experience.support.trajectory.mask.shape == (2, 20, 2)
        assert jax.tree.leaves(curve.path)[0].shape[0] == 3


def test_the_oracle_sees_every_parameter_on_one_scale():
    class Wide(Guess):
        """A task of three numbers on different scales, one of which never varies."""

        observation_space = Box(0.0, 1.0, (1,), np.float32)

        def sample_task(self, key):
            x = jax.random.normal(key, (2,))
            return {"a": 5.0 + 100.0 * x, "b": jnp.float32(3.0)}

    start = told(Wide()).start
    seen = jax.jit(jax.vmap(lambda key: start(Wide().sample_task(key))))(jax.random.split(jax.random.key(3), 1000))
    np.testing.assert_allclose(seen.mean(axis=0), [0, 0, 0], atol=0.2)
    np.testing.assert_allclose(seen.std(axis=0), [1, 1, 0], atol=0.1)


def test_the_mode_is_the_likeliest_action():
    action, log_prob = act_greedily(remembering(GuessDiscrete()).distribution(jnp.array([0.0, 3.0])), jax.random.key(0))
    assert action == 1
    np.testing.assert_allclose(log_prob, -np.log1p(np.exp(-3.0)), rtol=1e-5)
