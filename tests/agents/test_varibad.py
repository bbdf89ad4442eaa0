"""`varibad`: its bound against NumPy, what it remembers, its replay, its buffer, and what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from gymnasium.spaces import Box

import agents
import envs
from agents.parts.belief import Belief, elbo, inference, kl_divergence
from agents.parts.reward_decoders import Transition, by_heads, by_network
from agents.parts.trials import play_trials
from agents.varibad import REWARD_DECODERS, VariBad, believing, feedback_along
from envs.families.gridworld import Cell
from tests.agents.probe import Guess
from tests.agents.test_rl2 import BOX, DISCRETE, world_of

GRID = envs.make("metarl/GridNavigation-v0")
OWN = VariBad(latent_size=2, memory_size=6, decoder_sizes=(5,))
SMALL = {
    "num_tasks": 2,
    "num_episodes": 3,
    "hidden_sizes": (4,),
    "memory_size": 4,
    "latent_size": 2,
    "decoder_sizes": (4,),
    "belief_updates": 2,
    "belief_trials": 3,
    "buffer_trials": 10,
}


@functools.cache
def played(family):
    """The parts of the agent, their parameters, and 6 trials of 3 episodes of at most 5 steps, in a row each."""
    rollouts = world_of(family).rollouts
    inferring = inference(family, nn.GRUCell(6), 2, by_network(family, 2, (5,), from_action=True), (5,))
    actor_critic = believing(rollouts, inferring, OWN)

    @jax.jit
    def run(key):
        key_init, key_task, key_play = jax.random.split(key, 3)
        theta, task = actor_critic.init(key_init), family.sample_task(key_task)
        # Beliefs that differ from one another more than those of small heads do.
        theta["encoder"]["heads"] = jax.tree.map(lambda x: 30 * x, theta["encoder"]["heads"])
        return theta, *play_trials(rollouts, actor_critic, theta, task, key_play, 3)

    theta, trials, value = run(jax.random.key(0))
    flat = lambda x: x.reshape(6, 15, *x.shape[3:])
    steps = {name: flat(getattr(trials.trajectory, name)) for name in ("observation", "action", "reward", "terminated", "mask")}
    return inferring, actor_critic, theta, trials, steps, flat(value), jax.tree.map(flat, trials.feedback)


def test_divergence_of_gaussians_in_closed_form():
    """Against numerical integration in one dimension, and the sum over independent ones."""
    x = np.linspace(-30, 30, 200_001)
    normal = lambda mean, log_variance: (
        np.exp(-0.5 * (x - mean) ** 2 / np.exp(log_variance) - 0.5 * log_variance) / np.sqrt(2 * np.pi)
    )
    pairs = [((0.3, -0.5), (-1.0, 0.7)), ((2.0, 0.4), (1.5, -0.2))]
    expected = 0.0
    for one, other in pairs:
        p, q = normal(*one), normal(*other)
        there = p > 1e-300
        expected += np.trapezoid(np.where(there, p * (np.log(np.where(there, p, 1)) - np.log(np.where(q > 0, q, 1))), 0), x)
    with jax.enable_x64(True):
        posterior, prior = (Belief(*jnp.array([pair[i] for pair in pairs]).T) for i in (0, 1))
        np.testing.assert_allclose(kl_divergence(posterior, prior), expected, rtol=1e-9)
        assert kl_divergence(prior, prior) == 0.0


def by_hand(mean, log_variance, noise, mask, errors, kl_weight):
    """The bound of every belief that was taken, one after another; the mean, and of its parts."""
    bounds, likelihoods, divergences = [], [], []
    m, v = np.zeros(mean.shape[1]), np.ones(mean.shape[1])
    for t in np.flatnonzero(mask):
        mu, var = mean[t], np.exp(log_variance[t])
        divergence = sum(
            np.log(np.sqrt(v[j] / var[j])) + (var[j] + (mu[j] - m[j]) ** 2) / (2 * v[j]) - 0.5 for j in range(len(mu))
        )
        latent = mu + np.sqrt(var) * noise[t]
        likelihood = -sum(errors(latent, i) for i in np.flatnonzero(mask))
        bounds.append(likelihood - kl_weight * divergence)
        likelihoods.append(likelihood)
        divergences.append(divergence)
        m, v = mu, var
    return np.mean(bounds), np.mean(likelihoods), np.mean(divergences)


@pytest.mark.parametrize("mask", [[1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 0, 0]], ids=["whole", "early ends"])
def test_the_bound_by_hand(mask):
    rng, mask = np.random.default_rng(0), np.array(mask, float)
    mean, log_variance, noise = rng.normal(size=(3, 6, 2))
    reward, weight = rng.normal(size=6), rng.normal(size=(6, 2))
    expected = by_hand(mean, log_variance, noise, mask, lambda z, i: (np.tanh(weight[i] @ z) - reward[i]) ** 2, 0.3)
    with jax.enable_x64(True):
        belief, noise, reward, weight = jax.tree.map(jnp.asarray, (Belief(mean, log_variance), noise, reward, weight))
        decode = lambda z, i: -((jnp.tanh(weight[i] @ z) - reward[i]) ** 2)
        every = jnp.arange(6)
        found = elbo(belief, noise, jnp.asarray(mask), decode, 0.3, every, every)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        # Of some beliefs and some steps an unbiased estimate: its mean over all choices of three and of two.
        some = lambda terms, steps: elbo(belief, noise[terms], jnp.asarray(mask), decode, 0.3, terms, steps)
        threes, twos = (jnp.array([c for c in np.ndindex(*[6] * n) if sorted(set(c)) == list(c)]) for n in (3, 2))
        means = jax.jit(jax.vmap(jax.vmap(some, (None, 0)), (0, None)))(threes, twos)
        np.testing.assert_allclose([np.mean(x) for x in means], expected, rtol=1e-9)


@pytest.mark.parametrize("family", [BOX, DISCRETE], ids=["box", "discrete"])
def test_replay_gives_what_was_played_and_the_feedback_what_was_read(family):
    _, actor_critic, theta, trials, steps, value, read = played(family)
    assert 0.2 < steps["mask"].mean() < 0.9, "some episodes should end early"
    feedback = jax.vmap(feedback_along, (0, None, None))(steps, actor_critic.no_action, 5)
    taken = np.asarray(steps["mask"]) > 0
    for expected, found in zip(jax.tree.leaves(read), jax.tree.leaves(feedback), strict=True):
        np.testing.assert_array_equal(np.asarray(found)[taken], np.asarray(expected)[taken])
    replay = jax.jit(jax.vmap(actor_critic.replay, (None, None, 0, 0, 0)))
    parameters, values = replay(theta, actor_critic.start(None), steps["observation"], feedback, steps["mask"])
    log_prob = actor_critic.distribution(parameters).log_prob(steps["action"])
    np.testing.assert_allclose(
        np.asarray(log_prob)[taken], np.asarray(trials.trajectory.log_prob).reshape(6, 15)[taken], atol=1e-5
    )
    np.testing.assert_allclose(np.asarray(values)[taken], np.asarray(value)[taken], atol=1e-5)


def test_the_belief_lasts_over_the_episodes_of_a_trial_and_no_longer():
    inferring, _, theta, trials, steps, _, read = played(BOX)
    _, belief = trials.memory
    assert not np.any(belief.mean[:, 0]) and not np.any(belief.log_variance[:, 0]), "every trial begins with N(0, I)"
    act = jax.jit(inferring.act)
    memory, now = inferring.start
    for s in range(15):
        if s % 5 == 0:
            np.testing.assert_allclose(now.mean, belief.mean[0, s // 5], atol=1e-5)
        if steps["mask"][0, s]:
            memory, now = act(theta, memory, steps["observation"][0, s], jax.tree.map(lambda x, s=s: x[0, s], read))
    assert np.abs(now.mean).max() > 0.01


def test_the_policys_gradient_stops_at_the_belief_unless_told_otherwise():
    _, _, theta, _, steps, _, read = played(BOX)
    rollouts, inferring = world_of(BOX).rollouts, played(BOX)[0]
    for through in (False, True):
        actor_critic = believing(rollouts, inferring, VariBad(latent_size=2, encoder_by_ppo=through))

        def loss(theta, actor_critic=actor_critic):
            given = jax.tree.map(lambda x: x[0], (steps["observation"], read, steps["mask"]))
            return jnp.sum(actor_critic.replay(theta, actor_critic.start(None), *given)[1])

        grads = jax.grad(loss)(theta)
        assert any(np.any(leaf) for leaf in jax.tree.leaves(grads["encoder"])) == through
        assert any(np.any(leaf) for leaf in jax.tree.leaves(grads["readers"]))


def test_rewards_are_decoded_from_the_next_observation_alone_where_asked():
    step = Transition(jnp.zeros(1), jnp.zeros(1), jnp.zeros(()), jnp.ones(1))
    for from_action in (False, True):
        decoder = REWARD_DECODERS["transition" if from_action else "next"](BOX, 2, (5,))
        expected = functools.partial(decoder.expected, decoder.init(jax.random.key(1)), jnp.ones(2))
        assert (expected(step) != expected(step._replace(action=jnp.ones(1)))) == from_action
        assert expected(step) != expected(step._replace(next_observation=jnp.full(1, -1.0)))


def test_a_head_for_each_observation_gives_the_probability_of_the_higher_reward():
    grid = envs.make("metarl/GridNavigation-v0", size=3)
    decoder = by_heads(grid, 2, ())
    params = decoder.init(jax.random.key(0))
    dense = jax.tree.map(np.asarray, params["params"]["Dense_0"])
    latent = np.array([0.7, -1.2])
    share = 1 / (1 + np.exp(-(latent @ dense["kernel"] + dense["bias"])))
    assert len(share) == 9 and np.ptp(share) > 0.1
    low, high = grid.rewards
    expected, likelihood = (jax.jit(functools.partial(f, params, latent)) for f in (decoder.expected, decoder.log_likelihood))
    for k, cell in enumerate(np.ndindex(3, 3)):
        here, goal = jnp.asarray(cell), Cell(jnp.array([2, 1]))
        step = Transition(jnp.zeros(2), 0, grid.reward(None, 0, here, None, goal), grid.observation(here, None, goal))
        assert step.reward == np.float32(high if cell == (2, 1) else low)
        np.testing.assert_allclose(expected(step), low + (high - low) * share[k], rtol=1e-5)
        np.testing.assert_allclose(likelihood(step), np.log(share[k] if cell == (2, 1) else 1 - share[k]), rtol=1e-5)
        assert expected(step) == expected(step._replace(action=3, observation=jnp.ones(2)))


def test_the_buffer_holds_the_newest_trials_and_training_resumes_with_it_bit_for_bit():
    learner = agents.make("varibad", BOX, **SMALL)
    step, state = jax.jit(learner.step), jax.jit(learner.init)(jax.random.key(0))
    states = [state]
    for i in range(3):
        state, metrics = step(state, jax.random.key(i))
        states.append(state)
    buffer = state.opt_state[2][1]
    assert buffer.size.tolist() == [10] == [int(metrics["belief/buffer_trials"])] and buffer.place.tolist() == [18 % 10]
    assert buffer.rows["reward"].shape == (1, 10, 10) and np.any(np.asarray(buffer.rows["reward"]), axis=2).all()
    stored = jax.tree.map(np.asarray, states[2])
    again, _ = step(jax.tree.map(jnp.asarray, stored), jax.random.key(2))
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
    emptied = stored._replace(opt_state=(*stored.opt_state[:2], (stored.opt_state[2][0], states[0].opt_state[2][1])))
    other, _ = step(emptied, jax.random.key(2))
    assert np.any(
        other.theta["decoder"]["reward"]["params"]["Dense_0"]["kernel"]
        != state.theta["decoder"]["reward"]["params"]["Dense_0"]["kernel"]
    )


@pytest.mark.slow
def test_normalised_it_has_observations_and_rewards_in_the_same_units_everywhere():
    learner = agents.make("varibad", BOX, **SMALL, normalize_observations=True, normalize_rewards=True)
    state = jax.jit(learner.init)(jax.random.key(0))
    after, _ = jax.jit(learner.step)(state, jax.random.key(1))
    assert set(after.theta) == {"network", "seen", "paid"} and after.theta["paid"].variance != 1.0
    moved = [np.any(a != b) for a, b in zip(jax.tree.leaves(after.theta), jax.tree.leaves(state.theta), strict=True)]
    assert sum(moved) > len(moved) / 2


class Pictures(Guess):
    observation_space = Box(0, 255, (4, 4, 1), np.uint8)

    def observation(self, state, rng, params):
        return jnp.zeros((4, 4, 1), jnp.uint8)


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        (Pictures(), {}, r"^varibad decodes rewards from observations as rows of numbers, but these are images .*trunk mlp"),
        (Guess(), {"buffer_trials": 5}, "^buffer_trials is 5, but a meta-iteration plays 6 trials"),
        (Guess(), {"belief_terms": 5}, "^belief_terms is 5, but a trial has 4 steps; lower it"),
        (Guess(), {"memory": "gruu"}, "^No memory 'gruu'. Did you mean 'gru'"),
        (
            Guess(),
            {"decode_rewards": "heads"},
            "^decode_rewards is heads, which needs all observations and the two rewards",
        ),
        (
            GRID,
            {"decode_rewards": "heads", "normalize_rewards": True},
            "^decode_rewards is heads, .* normalize_rewards out",
        ),
        (
            GRID,
            {"decode_rewards": "heads", "normalize_observations": True},
            "^decode_rewards is heads, .* normalize_observations out",
        ),
        (Guess(), {"latent_size": 0}, "latent_size is 0, but must be at least 1"),
        (Guess(), {"network": nn.GRUCell(4)}, "memory_size is 4, but network: GRUCell has a size of its own"),
    ],
)
def test_what_it_cannot_take_is_refused_in_one_line(family, settings, message):
    with pytest.raises(ValueError, match=message) as error:
        agents.make("varibad", family, **SMALL | settings)
    assert "\n" not in str(error.value)
