"""PEARL: what its losses are, what each part learns from, its belief on the way, and what it keeps."""

import functools

import distrax
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from agents.check import Check
from agents.parts.posterior_sampling import posterior_sampling
from agents.parts.soft_actor_critic import REGULARISED, Numbers, Transition, loss, networks, tracked
from agents.parts.squashed import Bounds, Squashed, bounds_of
from agents.parts.trials import play_trials
from agents.pearl import transitions_of
from metarl.interfaces import Trajectory
from tests.agents.probe import Guess, GuessDiscrete
from tests.agents.test_rl2 import GuessEnding

SMALL = {"num_tasks": 3, "num_episodes": 2, "hidden_sizes": (4,), "num_train_tasks": 5, "buffer_size": 24}
FEW = {"updates": 3, "update_tasks": 2, "batch_size": 4, "context_size": 3, "latent_size": 2}
OPTIONS = {"hidden_sizes": (), "activation": "tanh", "initial_std": 0.5, "trunk": "mlp"}
BOX = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
A, Z = 2, 2


def made(family=None, **settings):
    return agents.make("pearl", family or GuessEnding(), **(SMALL | FEW | settings))


def test_tanh_log_probabilities_are_those_of_distrax(float64):
    bounds = Bounds(np.array([0.5, -1.0]), np.array([2.0, 0.25]))
    mean, log_std = jnp.array([[0.3, -1.2], [2.5, 0.0]]), jnp.array([[-0.5, 0.1], [0.7, -2.0]])
    squash = distrax.Chain([distrax.ScalarAffine(jnp.asarray(bounds.middle), jnp.asarray(bounds.half)), distrax.Tanh()])
    theirs = distrax.Transformed(distrax.MultivariateNormalDiag(mean, jnp.exp(log_std)), distrax.Block(squash, 1))
    ours = Squashed(mean, log_std, bounds)
    action, log_prob = ours.sample_and_log_prob(seed=jax.random.key(3))
    np.testing.assert_allclose(log_prob, theirs.log_prob(action), rtol=1e-6)
    np.testing.assert_allclose(ours.log_prob(action), log_prob, rtol=1e-6)
    np.testing.assert_allclose(ours.mode(), bounds.middle + bounds.half * np.tanh(mean))
    border = ours.log_prob(jnp.array([[2.5, -0.75], [-1.5, -1.25]]))
    assert np.all(np.isfinite(border)), "where tanh has rounded to one"


@functools.cache
def small_loss():
    """Linear networks, data of 2 tasks, and the loss with its metrics, in float64."""
    rng, nets = np.random.default_rng(0), networks(BOX, A, Z, OPTIONS)
    params = jax.tree.map(lambda x: x + 0.1, nets.init(jax.random.key(0)))
    target = jax.tree.map(lambda x: 0.5 * x - 0.2, params["v"])

    def rows(number):
        draw = lambda *shape: jnp.asarray(rng.normal(size=(2, number, *shape)))
        return Transition(draw(3), jnp.tanh(draw(A)), draw(), draw(), draw(3), jnp.asarray(rng.random((2, number)) < 0.5))

    return nets, params, target, rows(4), rows(5)


NUMBERS = Numbers(gamma=0.9, reward_scale=3.0, kl_weight=0.7)


def linear(layer, *parts):
    dense = layer["params"]["Dense_0"]
    return np.concatenate([np.asarray(part) for part in parts], axis=-1) @ np.asarray(dense["kernel"]) + np.asarray(
        dense["bias"]
    )


def test_losses_by_hand(float64):
    nets, params, target, context, batch = small_loss()
    key = jax.random.key(7)
    total, found = loss(nets, NUMBERS, params, target, context, batch, key)
    key_latent, key_action = jax.random.split(key)  # the same noise, as data
    noise_z, noise_a = jax.random.normal(key_latent, (2, Z)), np.asarray(jax.random.normal(key_action, (2, 5, A)))

    encoded = linear(params["encoder"], context.observation, context.action, context.reward[..., None])
    precision = 1 / np.log1p(np.exp(encoded[..., Z:]))
    variance = 1 / precision.sum(axis=1)
    mean = variance * (encoded[..., :Z] * precision).sum(axis=1)
    z = np.repeat((mean + np.sqrt(variance) * noise_z)[:, None], 5, axis=1)
    kl = 0.5 * (variance + mean**2 - 1 - np.log(variance)).sum(axis=1)

    next_value = linear(target, batch.next_observation, z)[..., 0]
    goal = 3.0 * batch.learned_reward + 0.9 * np.where(batch.terminated, 0.0, next_value)
    seen = [linear(params[q], batch.observation, batch.action, z)[..., 0] for q in ("q1", "q2")]
    critic = sum(np.mean((q - goal) ** 2) for q in seen)

    outputs = linear(params["policy"], batch.observation, z)
    middle, log_std = outputs[..., :A], np.log(0.5) + outputs[..., A:]
    u = middle + np.exp(log_std) * noise_a
    gaussian = np.exp(-0.5 * ((u - middle) / np.exp(log_std)) ** 2) / (np.exp(log_std) * np.sqrt(2 * np.pi))
    log_prob = np.log(gaussian / (1 - np.tanh(u) ** 2)).sum(axis=-1)
    least = np.minimum(*(linear(params[q], batch.observation, np.tanh(u), z)[..., 0] for q in ("q1", "q2")))
    value = np.mean((linear(params["v"], batch.observation, z)[..., 0] - (least - log_prob)) ** 2)
    policy = np.mean(log_prob - least) + REGULARISED * (np.mean(middle**2) + np.mean(log_std**2))

    expected = {"critic/loss": critic, "critic/value_loss": value, "policy/loss": policy, "encoder/kl": np.mean(kl)}
    for name, by_hand in expected.items():
        np.testing.assert_allclose(found[name], by_hand, rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(total, critic + value + policy + 0.7 * np.sum(kl), rtol=1e-9)


def test_each_part_learns_from_its_own_loss_alone(float64):
    nets, params, target, context, batch = small_loss()

    def part(of):
        def chosen(params):
            total, found = loss(nets, NUMBERS, params, target, context, batch, jax.random.key(7))
            return total if of is None else sum(weight * found[name] for name, weight in of.items())

        return jax.grad(chosen)(params)

    whole = part(None)
    kl = 0.7 * 2  # a sum over two tasks, where the metric is a mean
    of = {"q1": {"critic/loss": 1}, "q2": {"critic/loss": 1}, "v": {"critic/value_loss": 1}, "policy": {"policy/loss": 1}}
    for name, losses in (of | {"encoder": {"critic/loss": 1, "encoder/kl": kl}}).items():
        alone = part(losses)[name]
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), whole[name], alone)
        assert all(np.any(leaf) for leaf in jax.tree.leaves(alone)), name


def test_the_slow_copy_goes_a_part_of_the_way():
    moved = tracked({"w": jnp.array([0.0, 2.0])}, {"w": jnp.array([1.0, 0.0])}, 0.25)
    np.testing.assert_allclose(moved["w"], [0.25, 1.5])


@functools.cache
def trial_played():
    """A trial of 4 episodes that may end early, with the prior in the first two, and what it was played with."""
    family = GuessEnding()
    nets = networks(family.observation_space, 1, Z, OPTIONS | {"hidden_sizes": (4,)})
    bounds = bounds_of("pearl", family.action_space, None)
    actor_critic = posterior_sampling(family, nets, bounds, Z, prior_episodes=2, reward_scale=5.0, in_bytes=True)
    settings = agents.ReinforcementSettings(num_episodes=3, gamma=0.9)
    world = agents.policy_gradient_world(family, settings)
    theta = nets.init(jax.random.key(0))
    trials, _ = jax.jit(lambda key: play_trials(world.rollouts, actor_critic, theta, family.default_params, key, 4))(
        jax.random.key(2)
    )
    return nets, bounds, theta, trials


def test_the_belief_is_the_product_over_all_steps_before_whatever_their_order():
    nets, bounds, theta, trials = trial_played()
    rows = transitions_of(trials.trajectory, bounds, "")
    mean, variance = map(np.asarray, nets.encode(theta, rows.observation, rows.action, rows.reward))  # [N, E, T, Z]
    held = jax.tree.map(np.asarray, trials.memory.factors)  # [N, E, Z], at the start of each episode
    for n in range(3):
        for e in (1, 2, 3):
            there = np.asarray(trials.trajectory.mask[n, :e]) > 0
            m, v = mean[n, :e][there][::-1], variance[n, :e][there][::-1]
            # The last step is read as the next episode begins.
            precision, weighted = held.precision[n, e] + 1 / v[0], held.weighted[n, e] + m[0] / v[0]
            expected = 1 / np.sum(1 / v, axis=0)
            np.testing.assert_allclose(1 / precision, expected, rtol=1e-4)
            np.testing.assert_allclose(weighted / precision, expected * np.sum(m / v, axis=0), rtol=1e-4)


def test_a_sample_lasts_an_episode_and_trials_have_their_own():
    z = trial_played()[-1].memory.z  # [N, E, Z], of the episode before
    assert len({tuple(row) for row in np.asarray(z[:, 1:]).reshape(-1, Z).tolist()}) == 9
    parameters = trial_played()[-1].trajectory.distribution["mean"]
    mask = np.asarray(trial_played()[-1].trajectory.mask)
    for row, there in zip(np.asarray(parameters).reshape(-1, 5), mask.reshape(-1, 5), strict=True):
        assert np.ptp(row[there > 0]) < 1e-6, "observations are all alike here, so only the sample could differ"


def test_what_is_replayed_is_what_happened():
    _, bounds, _, trials = trial_played()
    rows = transitions_of(trials.trajectory, bounds, "")
    np.testing.assert_allclose(rows.action * 3.0, trials.trajectory.action, rtol=1e-6)
    np.testing.assert_array_equal(rows.next_observation[..., :-1, :], trials.trajectory.observation[..., 1:, :])
    np.testing.assert_array_equal(rows.next_observation[..., -1, :], trials.trajectory.last_observation)


@functools.cache
def checked():
    check = Check("pearl", "reinforcement", 3, {**FEW, "num_train_tasks": 12})
    return check, *check.three_iterations()


def test_it_keeps_to_what_every_agent_must_do_and_resumes_bit_for_bit():
    """What of `check_agent` needs no further program: the slow tests have the rest."""
    check, start, states, found = checked()
    check.metrics(found)
    check.parameters(start, states[-1])
    check.budget(found)
    check.resumes(states)


def test_buffers_hold_the_steps_that_were_counted():
    _, start, states, found = checked()
    assert int(start.opt_state.replay.size.sum()) == 0
    sizes = [state.opt_state.replay.size for state in states]
    assert int(sizes[0].sum()) == int(found[0]["time/env_steps"]) and int((sizes[0] > 0).sum()) == 10
    assert int(sizes[2].sum()) == sum(int(each["time/env_steps"]) for each in found)
    kept = states[0].opt_state
    assert np.all(kept.context.size[kept.replay.size > 0] < kept.replay.size[kept.replay.size > 0]), "the first episode's"


def test_critics_may_learn_from_a_measure_while_contexts_hold_the_reward():
    zeros, closeness = jnp.zeros((2, 4)), -jnp.arange(8.0).reshape(2, 4)
    trajectory = Trajectory(
        observation=jnp.zeros((2, 4, 3)),
        action=jnp.zeros((2, 4, A)),
        log_prob=zeros,
        distribution=(),
        reward=zeros + 5.0,
        mask=zeros + 1.0,
        terminated=zeros > 0,
        last_observation=jnp.zeros((2, 3)),
        info={"closeness": closeness},
    )
    rows = transitions_of(trajectory, Bounds(np.zeros(A), np.ones(A)), "closeness")
    np.testing.assert_array_equal(rows.learned_reward, closeness)
    np.testing.assert_array_equal(rows.reward, 5.0)
    family = envs.make("metarl/Navigation2DSparse-v0", horizon=4)
    learner = agents.make("pearl", family, **(SMALL | FEW | {"num_train_tasks": 0, "learned_reward": "closeness"}))
    assert jax.eval_shape(learner.init, jax.random.key(0)).opt_state.replay.size.shape == (80,), "the family's own list"


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        (GuessDiscrete, {}, r"action_space is Discrete\(2\), but its policy is a Gaussian squashed into a Box"),
        (Guess, {"action_scale": 10.0}, "action_scale is 10, but tanh fills the box of actions"),
        (Guess, {"gae_lambda": 0.5}, "gae_lambda is 0.5, but critics learn from single steps"),
        (Guess, {"num_tasks": 6}, "num_tasks is 6, but it trains on 5 fixed tasks; lower it, or raise num_train_tasks"),
        (Guess, {"buffer_size": 7}, "buffer_size is 7, but a meta-iteration draws up to 8 transitions of a task"),
        (
            Guess,
            {"learned_reward": "dense"},
            "learned_reward is 'dense', which is no measure of the family; the family has none",
        ),
        (Guess, {"target_rate": 2.0}, "target_rate is 2.0, but must be at least 1e-09 and at most 1"),
    ],
)
def test_mistakes_are_one_line(family, settings, message):
    with pytest.raises(ValueError, match=message) as error:
        made(family(), **settings)
    assert "\n" not in str(error.value)


def test_a_list_of_the_family_goes_before_a_number_of_tasks():
    listed = envs.with_tasks(Guess(), train=[Guess().default_params] * 4)
    with pytest.raises(ValueError, match="num_train_tasks is 5, but the family has a list of its own; leave one out"):
        made(listed)
    assert jax.eval_shape(made(listed, num_train_tasks=0).init, jax.random.key(0)).opt_state.replay.size.shape == (4,)


def test_an_unbounded_box_is_refused():
    space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    with pytest.raises(ValueError, match="tanh squashes actions between bounds; give it finite ones"):
        bounds_of("pearl", space, None)
