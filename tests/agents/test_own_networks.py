"""Networks of a user's own: trunks, whole networks, convolutions on images and recurrent cells, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from gymnasium.spaces import Box

import agents
from agents.parts.actor_critic import informed, recurrent
from agents.parts.networks import from_module, policy
from envs.families.regression import sinusoid
from metarl.trial import Feedback
from tests.agents.probe import Guess, GuessDiscrete
from tests.few import few

SINES = sinusoid()


class GuessImage(Guess):
    """The number is to be guessed from a picture that does not show it."""

    observation_space = Box(0, 255, (4, 5, 2), np.uint8)

    def observation(self, state, rng, params):
        return jax.random.randint(rng, (4, 5, 2), 0, 256).astype(jnp.uint8)


class Trunk(nn.Module):
    """Vectors to features."""

    size: int = 6

    @nn.compact
    def __call__(self, x):
        return nn.tanh(nn.Dense(self.size)(x))


class Convolution(nn.Module):
    """Pictures to features, not flattened."""

    @nn.compact
    def __call__(self, x):
        return nn.tanh(nn.Conv(3, (2, 2), strides=2)(x / 255.0))


class Whole(nn.Module):
    """A network of its own, the last layer called "head"."""

    num_outputs: int
    last: str = "head"

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_outputs, name=self.last)(nn.tanh(nn.Dense(5)(x.reshape(x.shape[0], -1))))


def headless(num_outputs):
    return Whole(num_outputs, last="end")


IMAGE = GuessImage()
SMALL = {"num_tasks": 2, "num_episodes": 2}


@functools.cache
def made(name, family=IMAGE, network=None, **settings):
    """A learner with small numbers, and its state at first."""
    sizes = {"num_tasks": 2, "num_shots": 4} if family is SINES else SMALL
    learner = agents.make(name, family, network=network, **sizes, **settings)
    return learner, jax.jit(learner.init)(jax.random.key(0))


def path_of(learner, state, family=IMAGE, num_steps=2):
    """The parameters along adaptation."""
    task = family.sample_task(jax.random.key(1))
    return jax.jit(learner.adapt, static_argnums=3)(state, task, jax.random.key(2), num_steps).path


def moved(path):
    """Which arrays are others after adaptation, by where they are."""
    leaves = jax.tree_util.tree_leaves_with_path(path)
    return {jax.tree_util.keystr(where): bool(np.any(np.asarray(leaf[0]) != np.asarray(leaf[-1]))) for where, leaf in leaves}


# The wrapper.


def test_a_trunk_gets_a_linear_head_and_any_leading_axes():
    network = from_module(Convolution(), (4, 5, 2), 3, 0)
    params = network.init(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (6, 7, 4, 5, 2), maxval=255)
    features = Convolution().apply({"params": params["params"]["trunk"]}, x[2])
    head = params["params"]["head"]
    expected = features.reshape(7, -1) @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(network.apply(params, x)[2], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(network.apply(params, x[2, 3]), expected[3], rtol=1e-5, atol=1e-6)
    part, body = network.split(params)
    assert part is head and set(body) == {"trunk"}
    jax.tree.map(np.testing.assert_array_equal, network.merge(part, body), params)


def test_further_inputs_join_vectors_at_the_input_and_pictures_before_the_head():
    extra = jnp.array([1.0, -2.0])
    early = from_module(Trunk(), (3,), 1, 2)
    params, x = early.init(jax.random.key(0)), jnp.arange(6.0).reshape(2, 3)
    assert params["params"]["trunk"]["Dense_0"]["kernel"].shape == (5, 6)
    by_hand = from_module(Trunk(), (5,), 1, 0).apply(params, jnp.concatenate([x, jnp.tile(extra, (2, 1))], axis=1))
    np.testing.assert_allclose(early.apply(params, x, extra), by_hand, rtol=1e-6)
    late = from_module(Convolution(), (4, 5, 2), 1, 2)
    params, x = late.init(jax.random.key(0)), jnp.ones((3, 4, 5, 2))
    kernel = params["params"]["head"]["kernel"]
    change = late.apply(params, x, extra) - late.apply(params, x, jnp.zeros(2))
    np.testing.assert_allclose(change, jnp.broadcast_to(extra @ kernel[-2:], (3, 1)), rtol=1e-4, atol=1e-5)
    rows = late.apply(params, x, jnp.stack([extra, 0 * extra, extra]))
    np.testing.assert_allclose(rows[0] - rows[1], extra @ kernel[-2:], rtol=1e-4, atol=1e-5)


def test_a_whole_network_is_used_as_it_is():
    for network in (Whole, lambda num_outputs: Whole(num_outputs)):
        wrapped = from_module(network, (3,), 2, 0)
        params, x = wrapped.init(jax.random.key(0)), jnp.arange(6.0).reshape(2, 3)
        np.testing.assert_array_equal(wrapped.apply(params, x), Whole(2).apply(params, x))
        assert set(wrapped.split(params)[0]) == {"kernel", "bias"}


# Agents with a whole network, in regression.


@pytest.mark.parametrize("name", few(["maml", "anil", "multitask", "mann", "oracle"], "maml", "mann"))
def test_a_whole_network_serves(name):
    learner, state = made(name, SINES, Whole)
    after, metrics = jax.jit(learner.step)(state, jax.random.key(1))
    assert np.isfinite(metrics["meta/post"])
    changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), state.theta, after.theta)
    assert all(jax.tree.leaves(changed)) or name == "multitask"  # whose heads of tasks not drawn stay
    moves = {"maml": "", "anil": "head", "multitask": "head"}
    if name in moves:
        for where, did in moved(path_of(learner, state, SINES)).items():
            assert did == (moves[name] in where), where


@pytest.mark.parametrize(
    ("name", "settings"),
    [("anil", {}), ("multitask", {}), ("pretrained", {"recipe": "frozen"}), ("pretrained", {"recipe": "new-head"})],
)
def test_without_a_head_there_is_none_to_adapt(name, settings):
    agents.make("maml", SINES, network=headless)
    with pytest.raises(ValueError, match=r"^network: headless has no layer called 'head', but Dense_0, end; name the last one"):
        agents.make(name, SINES, network=headless, **settings)


@pytest.mark.parametrize("recipe", ["lower-early", "gradual"])
def test_recipes_that_count_layers_refuse_a_network_whose_layers_they_do_not_know(recipe):
    with pytest.raises(ValueError, match=f"recipe '{recipe}' counts the layers of the built-in network"):
        agents.make("pretrained", SINES, network=Trunk(), recipe=recipe)
    agents.make("pretrained", SINES, recipe=recipe)


def test_fine_tuning_the_head_of_ones_own_network():
    learner, state = made("pretrained", SINES, Trunk(), recipe="frozen")
    assert {where for where, did in moved(path_of(learner, state, SINES)).items() if did} == {
        "['params']['head']['bias']",
        "['params']['head']['kernel']",
    }


# Pictures.


@pytest.mark.parametrize("name", few(["maml", "promp", "oracle", "rl2"], "maml", "rl2"))
def test_training_on_pictures_moves_every_parameter(name):
    learner, state = made(name, network=Convolution(), **({"memory_size": 4} if name == "rl2" else {}))
    after, _ = jax.jit(learner.step)(state, jax.random.key(1))
    kernels = 0
    for where, leaf in jax.tree_util.tree_leaves_with_path(jax.tree.map(jnp.subtract, state.theta, after.theta)):
        assert np.any(leaf != 0), jax.tree_util.keystr(where)
        kernels += "Conv_0" in jax.tree_util.keystr(where)
    assert kernels == (4 if name == "oracle" else 2), "policy and value have one each; a memory's encoder is shared"


def test_the_head_or_the_context_alone_adapts_to_pictures():
    path = moved(path_of(*made("anil", network=Convolution())))
    assert {where for where, did in path.items() if did} == {where for where in path if "head" in where or "log_std" in where}
    path = path_of(*made("cavia", network=Convolution(), context_size=3))
    assert {where for where, did in moved(path).items() if did} == {"['context']"}
    assert path["context"].shape == (3, 3) and path["network"]["mean"]["params"]["head"]["kernel"].shape[1:] == (
        2 * 3 * 3 + 3,
        1,
    )


def test_the_oracle_is_told_beside_pictures():
    options = {"hidden_sizes": (), "activation": "tanh", "initial_std": 1.0}
    told = informed(IMAGE, IMAGE, options, network=Convolution())
    params, picture = jax.jit(told.init)(jax.random.key(0)), jnp.full((4, 5, 2), 100, jnp.uint8)
    seen = (told.start(IMAGE.default_params._replace(value=value)) for value in (1.0, -1.0))
    means = [told.act(params, task, picture, None)[1]["mean"] for task in seen]
    assert np.abs(means[0] - means[1]).max() > 1e-3


# Recurrent cells.


class Ending:
    """Each step ends the episode with probability 0.3, after at most 5."""

    horizon = 5

    def terminal(self, state, rng, params):
        return jax.random.bernoulli(rng, 0.3)


class BoxEnding(Ending, Guess):
    pass


class DiscreteEnding(Ending, GuessDiscrete):
    pass


NETWORKS = {"lstm": nn.OptimizedLSTMCell(5), "encoder": Trunk()}
ENDING = {"box": BoxEnding(), "discrete": DiscreteEnding()}
REPLAYED = [(family, network) for family in ENDING for network in NETWORKS]


@pytest.mark.parametrize(("family", "network"), few(REPLAYED, ("box", "lstm"), ("discrete", "encoder")))
def test_replay_gives_what_was_acted(family, network):
    """Over trials of three episodes, some of which end early, from what `rl2` records for PPO."""
    family, network = ENDING[family], NETWORKS[network]
    learner, state = made("rl2", family, network)
    task = family.sample_task(jax.random.key(1))
    curve = jax.jit(learner.adapt, static_argnums=3)(state, task, jax.random.key(2), 2)
    trials = jax.tree.map(lambda s, q: jnp.concatenate([s, q[None]]), curve.experience.support, curve.experience.query)
    options = {"hidden_sizes": (64, 64), "activation": "tanh", "initial_std": 1.0}
    memory, encoder = (nn.GRUCell(64), network) if isinstance(network, Trunk) else (network, None)
    actor_critic = recurrent(family, options, memory, encoder)

    def acted(trial):
        """The loop by hand: one step after the other, the memory kept from episode to episode."""
        memory, last, found = actor_critic.start(task), (actor_critic.no_action, 0.0, False), []
        for e in range(3):
            for t in range(int(trial.mask[e].sum())):
                feedback = Feedback(jnp.asarray(last[0]), jnp.float32(last[1]), jnp.asarray(last[2]), jnp.asarray(t == 0))
                memory, parameters, _ = act(state.theta, memory, trial.observation[e, t], feedback)
                log_prob = actor_critic.distribution(parameters).log_prob(trial.action[e, t])
                found.append((e, t, float(log_prob), feedback))
                last = (trial.action[e, t], trial.reward[e, t], trial.terminated[e, t])
        return found

    act = jax.jit(actor_critic.act)
    assert 0.2 < trials.trajectory.mask.mean() < 0.95, "some episodes end early"
    trial = jax.tree.map(lambda x: x[:, 0], trials.trajectory)
    found = acted(trial)
    for e, t, log_prob, _ in found:
        np.testing.assert_allclose(log_prob, trial.log_prob[e, t], atol=1e-5)
    # And in one go, as PPO replays it.
    feedback = jax.tree.map(lambda *x: jnp.stack([jnp.asarray(one) for one in x]), *(entry[3] for entry in found))
    observation = jnp.stack([trial.observation[e, t] for e, t, *_ in found])
    parameters, _ = jax.jit(actor_critic.replay)(
        state.theta, actor_critic.start(task), observation, feedback, jnp.ones(len(found))
    )
    action = jnp.stack([trial.action[e, t] for e, t, *_ in found])
    replayed = actor_critic.distribution(parameters).log_prob(action)
    np.testing.assert_allclose(replayed, [log_prob for *_, log_prob, _ in found], atol=1e-5)


def test_a_cell_learns_and_remembers_in_all_its_parts():
    """Training moves the cell; the memory, of two parts, is no longer blank after an episode."""
    learner, state = made("rl2", BoxEnding(), nn.OptimizedLSTMCell(5))
    after, _ = jax.jit(learner.step)(state, jax.random.key(1))
    changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), state.theta["memory"], after.theta["memory"])
    assert all(jax.tree.leaves(changed))
    memory = path_of(learner, state, BoxEnding())["memory"]
    assert len(jax.tree.leaves(memory)) == 2
    for part in jax.tree.leaves(memory):
        assert part.shape == (3, 5) and not np.any(part[0]) and np.all(np.abs(part[1:]).max(axis=1) > 0.01)


# Refusals.


class Averaging(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=False)(nn.Dense(4)(x))


class Failing(nn.Module):
    @nn.compact
    def __call__(self, x):
        raise RuntimeError("it\nis broken")


class Blind(nn.Module):
    """Without parameters."""

    @nn.compact
    def __call__(self, x):
        return 2.0 * x


class Narrow(nn.Module):
    num_outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_outputs + 1)(x)


def no_module(num_outputs):
    return num_outputs


def broken(num_outputs):
    raise KeyError("no such width")


@pytest.mark.parametrize("name", ["maml", "oracle"])
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.OptimizedLSTMCell(5), "network is OptimizedLSTMCell, a recurrent cell, but this network has no memory; rl2 takes"),
        (nn.GRUCell, "network is GRUCell, a recurrent cell, but this network has no memory"),
        (Averaging(), "network: Averaging keeps batch_stats, a state that adaptation cannot carry; use layers without one."),
        (nn.Dropout(0.5), r"network: Dropout fails on inputs of shape \(2, [12]\) with 1 outputs: "),
        (Failing(), r"network: Failing fails on inputs of shape \(2, [12]\) with 1 outputs: RuntimeError: it is broken"),
        (Narrow, r"network: Narrow fails on inputs of shape \(2, \d\) with 1 outputs: TypeError: "),
        (no_module, r"network: no_module\(1\) made a int, but must make a flax module."),
        (broken, r"network: broken\(1\) fails: KeyError: 'no such width'"),
        (3, "network is 3, but must be a flax module or a function that makes one."),
    ],
    ids=lambda x: getattr(x, "__name__", type(x).__name__),
)
def test_other_networks_are_refused_in_one_line(name, network, message):
    with pytest.raises(ValueError, match=f"^{message}") as refusal:
        agents.make(name, Guess(), network=network)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Averaging(), "network: Averaging keeps batch_stats; use layers with parameters and without another state."),
        (Blind(), "network: Blind keeps no parameters; use layers with parameters"),
        (Failing(), r"network: Failing fails on observations of shape \(1,\): RuntimeError: it is broken"),
        (nn.ConvLSTMCell(3, (2, 2)), r"network: ConvLSTMCell fails on \d inputs: "),
        (Whole, "network is Whole, but must be a flax module: a cell, or what maps observations to features."),
        (nn.GRUCell, "network is GRUCell, but must be a flax module"),
        (3, "network is 3, but must be a flax module"),
    ],
    ids=lambda x: getattr(x, "__name__", type(x).__name__),
)
def test_other_networks_of_rl2_are_refused_in_one_line(network, message):
    with pytest.raises(ValueError, match=f"^{message}") as refusal:
        agents.make("rl2", Guess(), network=network)
    assert "\n" not in str(refusal.value)


def test_what_two_settings_say_of_one_thing_is_refused():
    with pytest.raises(ValueError, match="memory_size is 5, but the given cell has a size of its own; leave one out"):
        agents.make("rl2", Guess(), network=nn.GRUCell(5), memory_size=5)
    with pytest.raises(ValueError, match="mann has a GRU as its memory; give it a network that maps inputs to features"):
        agents.make("mann", SINES, network=nn.GRUCell(5))
    with pytest.raises(ValueError, match=r"Whole is a whole network of inputs of shape \(4, 5, 2\), which 5 further inputs"):
        agents.make("cavia", IMAGE, network=Whole)


def test_a_policy_with_ones_own_network_starts_like_the_built_in_one():
    """The Gaussian's spread is no part of the network; its head starts with Glorot weights."""
    box = Box(-1, 1, (2,), np.float32)
    options = {"hidden_sizes": (), "activation": "tanh", "initial_std": 0.5}
    actor = policy(Box(-1, 1, (3,), np.float32), box, **options, network=Trunk(200))
    params = actor.network.init(jax.random.key(0))
    np.testing.assert_allclose(actor.network.apply(params, jnp.zeros(3))["log_std"], np.log(0.5), rtol=1e-6)
    kernel = params["mean"]["params"]["head"]["kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (200 + 2)), rtol=0.1)
    assert np.abs(kernel).max() <= np.sqrt(6 / (200 + 2))
