"""The memories of `rl2`: acting equals replay, what is remembered and for how long, gradients in chunks, hypernetworks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from gymnasium.spaces import Box

import agents
from agents import rl2
from agents.check import Check
from agents.parts.hypernetwork import generated
from agents.parts.linear_recurrence import LRU
from agents.parts.memory import in_chunks, memory_of
from agents.parts.networks import policy
from agents.parts.transformer import Transformer
from agents.parts.trials import play_trials
from tests.agents.probe import Guess
from tests.agents.test_rl2 import BOX, DISCRETE, world_of


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
    memory = memory_of(Transformer(32, layers=2, context=8), 3, "transformer")

    @jax.jit
    def run(key, x):
        params = memory.init(key)
        encoded = x @ params["params"]["encode"]["kernel"] + params["params"]["encode"]["bias"]
        return encoded, memory.replay(params, memory.start, x, jnp.ones(STEPS))[1]

    encoded, y = run(jax.random.key(0), trial()[0])
    assert np.corrcoef(np.ravel(y), np.ravel(encoded))[0, 1] > 0.8


def test_a_hypernetwork_begins_as_the_network_that_it_generates():
    """Bias-HyperInit: whatever the memory says. Once its matrix moves, the memory counts; the spread stays a parameter."""
    space = Box(-1, 1, (3,), np.float32)
    plain = policy(space, space, hidden_sizes=(5,), activation="tanh", initial_std=0.5).network
    network = generated(plain, 4)
    key, x, y = jax.random.key(0), jnp.arange(3.0), jnp.arange(4.0)
    params, wanted = network.init(key), plain.apply(plain.init(key), x)
    assert params["kernel"].shape == (4, 3 * 5 + 5 + 5 * 3 + 3) and not np.any(params["kernel"])
    for memory in (y, -y):
        jax.tree.map(np.testing.assert_array_equal, network.apply(params, x, memory), wanted)
    moved = params | {"kernel": params["kernel"].at[1].set(0.1)}
    by_hand = jax.tree.unflatten(
        jax.tree.structure(plain.init(key)["mean"]), [leaf + 0.1 * y[1] for leaf in jax.tree.leaves(plain.init(key)["mean"])]
    )
    found = network.apply(moved, x, y)
    np.testing.assert_allclose(found["mean"], plain.apply(plain.init(key) | {"mean": by_hand}, x)["mean"], rtol=1e-6)
    np.testing.assert_array_equal(found["log_std"], wanted["log_std"])


# Of the agent.

CASES = [
    ("lru", {}, BOX),
    ("transformer", {"hypernetwork": True, "memory_chunk": 4}, BOX),
    ("gru", {"hypernetwork": True}, DISCRETE),
    pytest.param("lstm", {"memory_chunk": 4}, BOX, marks=pytest.mark.slow),
    pytest.param("transformer", {}, DISCRETE, marks=pytest.mark.slow),
    pytest.param("tests/fading", {"hypernetwork": True}, BOX, marks=pytest.mark.slow),
]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "settings", "family"), CASES)
def test_trials_are_replayed_as_they_were_played(name, settings, family, monkeypatch):
    """Over episodes that end early: what PPO sees before its first update is what played."""
    made = []
    monkeypatch.setattr(rl2, "trial_learner", lambda world, training, own, actor_critic, *rest: made.append(actor_critic))
    agents.build("rl2", world_of(family), agents.Training(2, 0.01), memory=name, memory_size=8, trial_episodes=3, **settings)
    [actor_critic] = made

    @jax.jit
    def run(key):
        key_init, key_task, key_play = jax.random.split(key, 3)
        theta, task = actor_critic.init(key_init), family.sample_task(key_task)
        # A hypernetwork begins with weights that its memory does not move.
        theta = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(key_task, leaf.shape, float), theta)
        trials, value = play_trials(world_of(family).rollouts, actor_critic, theta, task, key_play, 3)
        recorded = (trials.trajectory.observation, trials.feedback, trials.trajectory.action, trials.trajectory.mask)
        observation, feedback, action, mask = jax.tree.map(lambda x: x.reshape(6, 15, *x.shape[3:]), recorded)
        replay = jax.vmap(actor_critic.replay, (None, None, 0, 0, 0))
        parameters, values = replay(theta, actor_critic.start(task), observation, feedback, mask)
        log_prob = actor_critic.distribution(parameters).log_prob(action)
        return mask, log_prob, trials.trajectory.log_prob.reshape(6, 15), values, value.reshape(6, 15)

    mask, log_prob, played, values, value = run(jax.random.key(0))
    assert 0.2 < mask.mean() < 0.9 and log_prob.dtype == np.float64
    np.testing.assert_allclose(mask * log_prob, played, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(mask * values, mask * value, rtol=1e-8, atol=1e-8)
    assert np.ptp(values[mask > 0]) > 1e-3


FAST = ("hypernetwork",)
SETTINGS = {name: {"memory": name} for name in ("lstm", "lru", "transformer", "tests/fading")}
SETTINGS |= {"hypernetwork": {"hypernetwork": True}, "both": {"memory": "transformer", "hypernetwork": True}}


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in SETTINGS])
def test_what_every_agent_must_do(name):
    """With each memory, too: it resumes, acts as it played, and learns what no policy without memory can."""
    check = Check("rl2", "reinforcement", 60, SETTINGS[name] | {"memory_size": 16})
    check.run(learns_by=0.3)
    assert np.mean(check.scores[-6:]) > -1.7, "without memory the best action is 0 and earns -2 less what never comes"


class Growing(nn.Module):
    """A memory that becomes longer with every step."""

    @nn.nowrap
    def start(self):
        return jnp.zeros((0, 3))

    @nn.compact
    def act(self, memory, x):
        return jnp.concatenate([memory, nn.Dense(3)(x)[None]]), x


class Normed(nn.Module):
    """A memory with a state besides."""

    @nn.nowrap
    def start(self):
        return jnp.zeros(3)

    @nn.compact
    def act(self, memory, x):
        return memory, nn.BatchNorm(use_running_average=False)(nn.Dense(3)(x[None]))[0]


class Scalar(Normed):
    @nn.compact
    def act(self, memory, x):
        return memory, nn.Dense(1)(x)[0]


class Forgetful(Fading):
    """Its replay gives another memory than its act."""

    def replay(self, memory, x, taken):
        return memory["mean"], self.dense(x)


def raising(size):
    raise RuntimeError("no\nmemory")


for _name, _memory in {
    "growing": Growing(),
    "normed": Normed(),
    "scalar": Scalar(),
    "forgetful": Forgetful,
    "raising": raising,
    "dense": nn.Dense,
    "fixed": Fading(5),
}.items():
    agents.register_memory(f"tests/{_name}", _memory)

REFUSED = [
    ({"memory": "lsmt"}, "No memory 'lsmt'. Did you mean 'lstm'?"),
    ({"memory": "no_such_module:mine/memory"}, "Memory 'no_such_module:mine/memory': importing no_such_module fails: "),
    ({"memory_layers": 2}, "memory_layers is 2, but memory gru has no layers to choose; leave it out."),
    ({"memory": "lstm", "memory_context": 50}, "memory_context is 50, but memory lstm has no context to choose"),
    ({"memory": "lru", "memory_heads": 2}, "memory_heads is 2, but memory lru has no heads to choose"),
    (
        {"memory": "transformer", "memory_heads": 3},
        "memory transformer cannot be made of size 64: ValueError: 64 is no multiple of twice the 3 heads",
    ),
    (
        {"memory": "transformer", "memory_context": 3},
        r"memory_context is 3, but a trial has 4 steps \(2 episodes of 2\) and must be remembered as a whole; give 4 or more",
    ),
    ({"memory_chunk": 4}, "memory_chunk is 4, but a trial has 4 steps: it cuts nothing; leave it out."),
    ({"memory": "lstm", "network": nn.GRUCell(4)}, "memory is lstm, but the network GRUCell is a memory too; leave one out."),
    ({"memory_layers": 2, "network": Fading(4)}, "memory_layers is 2, but the given memory has no layers to choose"),
    ({"memory": "tests/fixed", "memory_size": 6}, "memory_size is 6, but memory tests/fixed has a size of its own"),
    ({"memory": "tests/growing"}, r"memory tests/growing: act gives float32\[1, 3\], but must give float32\[0, 3\]: a memory"),
    ({"memory": "tests/normed"}, "memory tests/normed keeps batch_stats, but must have parameters, and no other state"),
    ({"memory": "tests/scalar"}, r"memory tests/scalar: act gives outputs of shape \(\), but must give a vector"),
    ({"memory": "tests/forgetful"}, "memory tests/forgetful: replay gives "),
    ({"memory": "tests/raising"}, "memory tests/raising cannot be made of size 64: RuntimeError: no memory"),
    ({"memory": "tests/dense"}, "memory tests/dense is Dense, but must be a flax module that remembers: a recurrent cell, or"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=lambda x: "-".join(map(str, x)) if isinstance(x, dict) else "")
def test_what_does_not_fit_is_refused_in_one_line(settings, message):
    """Before anything compiles."""
    with pytest.raises(ValueError, match=f"^{message}") as refusal:
        agents.make("rl2", Guess(), **settings)
    assert "\n" not in str(refusal.value)


def test_other_agents_have_no_use_for_what_remembers():
    with pytest.raises(ValueError, match=r"^network is Fading, which remembers, but this network has no memory; rl2 takes"):
        agents.make("maml", Guess(), network=Fading(4))


def test_registering():
    with pytest.raises(ValueError, match=r"^register_memory: 'lru' is taken; choose another name."):
        agents.register_memory("lru", Fading)
    with pytest.raises(ValueError, match=r"^register_memory: tests/three is 3, but must be a flax module or a function"):
        agents.register_memory("tests/three", 3)
    assert list(agents.MEMORIES) == ["gru", "lstm", "lru", "transformer"] and agents.find_memory("lru") is LRU
