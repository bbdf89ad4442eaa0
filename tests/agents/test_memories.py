"""The memories of `rl2`: acting equals replay, what is remembered and for how long, gradients in chunks, hypernetworks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import agents
from agents.check import check_agent
from agents.parts.hypernetwork import generated
from agents.parts.linear_recurrence import LRU
from agents.parts.memory import in_chunks, memory_of
from agents.parts.networks import policy
from agents.parts.transformer import Transformer
from agents.parts.trials import play_trials
from tests.agents.probe import Guess, GuessDiscrete
from tests.agents.test_rl2 import BOX, DISCRETE, OPTIONS, world_of


class Fading(nn.Module):
    """A user's own memory: a running mean of features, without a replay of its own."""

    size: int

    def setup(self):
        self.dense = nn.Dense(self.size)

    @nn.nowrap
    def start(self):
        return {"mean": jnp.zeros(self.size)}

    def act(self, memory, x):
        mean = 0.8 * memory["mean"] + 0.2 * jnp.tanh(self.dense(x))
        return {"mean": mean}, mean


agents.register_memory("tests/fading", Fading)
MODULES = {
    "gru": nn.GRUCell(8),
    "lstm": nn.OptimizedLSTMCell(8),
    "lru": LRU(8),
    "transformer": Transformer(8, heads=2, context=30),
    "short transformer": Transformer(8, layers=2, heads=2, context=4),
    "own": Fading(8),
}
SMALL = {"num_tasks": 2, "num_episodes": 2, "hidden_sizes": (4,), "memory_size": 8}
STEPS = 12


@functools.cache
def functions(name):
    """A memory, its parameters and its functions, compiled in float64."""
    memory = memory_of(MODULES[name], 3, name)
    return memory, jax.jit(memory.init)(jax.random.key(0)), jax.jit(memory.act), jax.jit(memory.replay)


def trial(seed=0):
    """Inputs [S, 3], and which steps were taken: two episodes of a trial end early."""
    x = jax.random.normal(jax.random.key(seed), (STEPS, 3))
    return x, jnp.array([1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1.0])


def one_by_one(name, x, taken):
    """Outputs of steps taken, by hand, and the memory after the last."""
    memory, params, act, _ = functions(name)
    carry, found = memory.start, []
    for one, on in zip(x, taken, strict=True):
        if on:
            carry, y = act(params, carry, one)
            found.append(y)
    return carry, np.stack(found)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", MODULES)
def test_replay_gives_what_acting_gives(name):
    """All at once, from the middle on, and in chunks; steps that were not taken leave no trace."""
    memory, params, _, replay = functions(name)
    x, taken = trial()
    carry, found = one_by_one(name, x, taken)
    assert found.dtype == np.float64
    after, y = replay(params, memory.start, x, taken)
    np.testing.assert_allclose(np.asarray(y)[taken > 0], found, rtol=1e-9, atol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), after, carry)
    half, first = replay(params, memory.start, x[:6], taken[:6])
    _, second = replay(params, half, x[6:], taken[6:])
    np.testing.assert_allclose(np.concatenate([first, second])[taken > 0], found, rtol=1e-9, atol=1e-12)
    chunked = jax.jit(in_chunks(memory, 5).replay)(params, memory.start, x, taken)
    np.testing.assert_allclose(np.asarray(chunked[1])[taken > 0], found, rtol=1e-9, atol=1e-12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), chunked[0], carry)
    elsewhere = replay(params, memory.start, jnp.where(taken[:, None] > 0, x, 9.0), taken)
    np.testing.assert_array_equal(np.asarray(elsewhere[1])[taken > 0], np.asarray(y)[taken > 0])
    _, all_taken = replay(params, memory.start, x, jnp.ones(STEPS))
    assert np.abs(all_taken - y)[5:].max() > 1e-3, "whether a step was taken counts"


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", MODULES)
def test_how_far_back_a_memory_reaches(name):
    """The first step still counts at the last one, but for a transformer of a short context: layers * context steps."""
    memory, params, _, _ = functions(name)
    x, _ = trial()
    reached = jax.jit(jax.jacrev(lambda x: jnp.sum(memory.replay(params, memory.start, x, jnp.ones(STEPS))[1][-1])))(x)
    counts = np.abs(reached).max(axis=1) > 0
    assert counts.tolist() == [name != "short transformer" or STEPS - 1 - s <= 2 * 4 for s in range(STEPS)]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["own", "transformer"])
def test_chunks_cut_gradients_and_nothing_else(name):
    """Against a loop over chunks of which each is given the memory that the one before left, as a constant."""
    memory, params, _, replay = functions(name)
    x, taken = trial()
    weight = jax.random.normal(jax.random.key(2), (STEPS, 8))
    carries = [memory.start]
    for first in range(0, STEPS, 5):
        carries.append(replay(params, carries[-1], x[first : first + 5], taken[first : first + 5])[0])

    def by_hand(params, x):
        parts = [
            memory.replay(params, carry, x[first : first + 5], taken[first : first + 5])[1]
            for carry, first in zip(carries[:-1], range(0, STEPS, 5), strict=True)
        ]
        return jnp.sum(weight * jnp.concatenate(parts))

    def cut(size):
        chunked = in_chunks(memory, size)
        return lambda params, x: jnp.sum(weight * chunked.replay(params, memory.start, x, taken)[1])

    wanted, found, whole = (jax.jit(jax.grad(f, (0, 1)))(params, x) for f in (by_hand, cut(5), cut(STEPS)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10), found, wanted)
    assert np.abs(found[1] - whole[1])[:5].max() > 1e-4, "the last chunk has no step after it to hear of"
    np.testing.assert_allclose(found[1][10:], whole[1][10:], rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_the_linear_recurrence_is_one():
    """States of a block against powers of lambda summed by hand in NumPy."""
    memory, params, _, _ = functions("lru")
    x, _ = trial()
    p = jax.tree.map(np.asarray, params["params"])
    block = p["blocks_0"]
    u = np.asarray(x) @ p["encode"]["kernel"] + p["encode"]["bias"]
    u = (u - u.mean(axis=1, keepdims=True)) / np.sqrt(u.var(axis=1, keepdims=True) + 1e-6)
    decay = np.exp(-np.exp(block["nu"]) + 1j * np.exp(block["theta"]))
    assert np.all(np.abs(decay) < 1) and np.allclose(np.exp(2 * block["gamma"]), 1 - np.abs(decay) ** 2, atol=1e-5)
    driven = np.exp(block["gamma"]) * (u @ (block["into"][0] + 1j * block["into"][1]))
    state = sum(decay ** (STEPS - 1 - k) * driven[k] for k in range(STEPS))
    after, _ = memory.replay(params, memory.start, x, jnp.ones(STEPS))
    np.testing.assert_allclose(after[0], np.stack([state.real, state.imag]), rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("float64")
def test_attention_knows_how_long_ago_and_not_when():
    """The same steps after others that are out of sight give the same outputs; in another order they do not."""
    memory, params, _, replay = functions("short transformer")
    x, _ = trial()
    far = 8  # layers * context
    _, late = replay(params, memory.start, jnp.concatenate([x[::-1], x]), jnp.ones(2 * STEPS))
    _, early = replay(params, memory.start, jnp.concatenate([x[3:6], x]), jnp.ones(3 + STEPS))
    np.testing.assert_allclose(late[-(STEPS - far) :], early[-(STEPS - far) :], rtol=1e-7)
    swapped = x.at[jnp.array([3, 4])].set(x[jnp.array([4, 3])])
    memory, params, _, replay = functions("transformer")
    other, same = (replay(params, memory.start, each, jnp.ones(STEPS))[1] for each in (swapped, x))
    assert np.abs(other - same)[-1].max() > 1e-6


def test_gates_begin_near_the_identity():
    """Parisotto et al. 2020: at first each block passes on most of what it is given."""
    memory = memory_of(Transformer(64, layers=4, context=8), 3, "transformer")
    params, (x, _) = memory.init(jax.random.key(0)), trial()
    encoded = x @ params["params"]["encode"]["kernel"] + params["params"]["encode"]["bias"]
    _, y = memory.replay(params, memory.start, x, jnp.ones(STEPS))
    correlation = np.corrcoef(np.ravel(y), np.ravel(encoded))[0, 1]
    assert correlation > 0.8, correlation


# Of the agent.

CASES = [*((name, {}) for name in ("lstm", "lru", "transformer", "tests/fading")), ("gru", {"hypernetwork": True})]
CASES += [("transformer", {"hypernetwork": True, "memory_chunk": 4}), ("lstm", {"memory_chunk": 4})]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "settings"), CASES, ids=lambda x: x if isinstance(x, str) else "-".join(x))
@pytest.mark.parametrize("family", [BOX, DISCRETE], ids=["box", "discrete"])
def test_trials_are_replayed_as_they_were_played(name, settings, family):
    """Over episodes that end early: what PPO sees before its first update is what played."""
    if family is DISCRETE and name != "transformer":
        pytest.skip("one memory on discrete actions is enough")
    seen = {}
    keep = agents.find("rl2").make.__globals__
    real = keep["recurrent"]
    keep["recurrent"] = lambda *given, **named: seen.setdefault("it", real(*given, **named))
    try:
        training = agents.Training(2, outer_lr=0.01)
        agents.build("rl2", world_of(family), training, memory=name, memory_size=8, trial_episodes=3, **settings)
    finally:
        keep["recurrent"] = real
    actor_critic = seen["it"]

    @jax.jit
    def run(key):
        key_init, key_task, key_play = jax.random.split(key, 3)
        theta, task = actor_critic.init(key_init), family.sample_task(key_task)
        # A hypernetwork begins with weights that its memory does not move.
        theta = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(key_task, leaf.shape, leaf.dtype), theta)
        trials, value = play_trials(world_of(family).rollouts, actor_critic, theta, task, key_play, 3)
        recorded = (trials.trajectory.observation, trials.feedback, trials.trajectory.action, trials.trajectory.mask)
        observation, feedback, action, mask = jax.tree.map(lambda x: x.reshape(6, 15, *x.shape[3:]), recorded)
        replay = jax.vmap(actor_critic.replay, (None, None, 0, 0, 0))
        parameters, values = replay(theta, actor_critic.start(task), observation, feedback, mask)
        log_prob = actor_critic.distribution(parameters).log_prob(action)
        return mask, log_prob, trials.trajectory.log_prob.reshape(6, 15), values, value.reshape(6, 15)

    mask, log_prob, played, values, value = run(jax.random.key(0))
    assert 0.2 < mask.mean() < 0.9 and log_prob.dtype == np.float64
    np.testing.assert_allclose(mask * log_prob, played, rtol=1e-6, atol=1e-6)  # actions and observations are float32
    np.testing.assert_allclose(mask * values, mask * value, rtol=1e-6, atol=1e-6)
    assert np.ptp(values[mask > 0]) > 1e-3
