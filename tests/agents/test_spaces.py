"""Every kind of Gymnasium space: what policies read, what they write, and every agent in between."""

import itertools

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, OneOf, Sequence, Text, Tuple
from jax.test_util import check_grads
from scipy import stats

import agents
import envs
from agents.parts.action_units import policy_space, to_action
from agents.parts.encoding import read_space, reader, row_of, trunk_of
from agents.parts.networks import NOT_THERE, action_distribution, pixels, policy
from envs.contract import check_family
from envs.from_gymnasium.family import seed_of
from envs.from_gymnasium.spaces import action_rows, read_actions
from experiments.evaluation import evaluate
from experiments.evaluation.trained import trained
from tests.agents.spaces_probe import LINE, NESTED, SPACES, Anything, Demanding, family
from tests.few import few

AGENTS = (
    "maml",
    "promp",
    "maml-trpo",
    "e-maml",
    "imaml",
    "cavia",
    "rl2",
    "oracle",
    "pretrained",
    "multitask",
    "task-embedding",
)
ACTIONS = {name: spaces[1] for name, spaces in SPACES.items()}
OBSERVATIONS = {name: spaces[0] for name, spaces in SPACES.items()}
SMALL = {"num_tasks": 2, "num_episodes": 2, "hidden_sizes": (3,)}
OPTIONS = {"hidden_sizes": (3,), "activation": "tanh", "initial_std": 0.5}
TEXT = Text(3)
REFUSED = {
    "text": TEXT,
    "graph": Graph(Discrete(2), None),
    "sequence": Sequence(Discrete(2)),
    "one of": OneOf([Discrete(2), Discrete(3)]),
    "text inside": Dict(say=Tuple([Discrete(2), TEXT])),
    "endless": Discrete(2**40),
    "nothing": Dict(),
}


# Every space with one agent and every kind of agent where it is hardest; the other pairs are slow.
FAST = {("maml", space) for space in SPACES} | {("promp", "nested"), ("rl2", "nested"), ("rl2", "image"), ("oracle", "nested")}


@pytest.mark.parametrize(("name", "space"), few(itertools.product(AGENTS, SPACES), *FAST))
def test_every_agent_takes_every_space(name, space):
    """Traced, not compiled: spaces, shapes and types fit together all the way."""
    world = family(space)
    learner, key, task = agents.make(name, world, **SMALL), jax.random.key(0), world.sample_task(jax.random.key(1))
    state = jax.eval_shape(learner.init, key)
    after, metrics = jax.eval_shape(learner.step, state, key)
    assert jax.tree.structure(after) == jax.tree.structure(state) and "policy/kl" in metrics
    curve = jax.eval_shape(lambda state: learner.adapt(state, task, key, 1), state)
    trajectory = curve.experience.query.trajectory
    assert trajectory.observation.shape == (2, 2, *read_space(world.observation_space).shape)
    params, memory = jax.eval_shape(lambda path: learner.acting.after(path, 0), curve.path)
    seen = jax.eval_shape(lambda: learner.read(world.observation(0, key, task)))
    _, parameters = jax.eval_shape(learner.acting.respond, params, memory, seen)
    action = jax.eval_shape(lambda p: learner.to_action(learner.acting.distribution(p).mode()), parameters)
    expected = envs.values.shapes_of(world.action_space)
    assert jax.tree.map(jnp.shape, action) == jax.tree.map(jnp.shape, expected)


PAIRS = [(name, "nested") for name in AGENTS] + [("maml", space) for space in SPACES if space != "nested"] + [("rl2", "image")]


@pytest.mark.parametrize(("name", "space"), few(PAIRS, ("maml", "image")))
def test_it_trains_adapts_and_acts(name, space):
    world = family(space)
    learner = agents.make(name, world, **SMALL)
    state, metrics = jax.jit(lambda key: learner.step(learner.init(key), key))(jax.random.key(0))
    assert all(np.isfinite(value) for value in metrics.values()), metrics
    agent, task = trained(world, learner, state), world.sample_task(jax.random.key(1))
    curve = agent.adapt(task, num_steps=1)
    assert np.all(np.isfinite(curve.score))
    actor, observation = agent.actor(curve, greedy=False), world.shown[1]
    actor.reset()
    for _ in range(2):
        action = actor.act(observation)
        assert world.action_space.contains(action), action
        actor.observe(0.0, False)


@pytest.mark.parametrize("name", few(["maml", "rl2"], "rl2"))
def test_evaluated_and_stepped_in_gymnasium_s_environments(name):
    world = family("nested")
    learner = agents.make(name, world, **SMALL)
    agent = trained(world, learner, jax.jit(learner.init)(jax.random.key(0)))
    assert np.isfinite(evaluate(agent, num_tasks=2, num_steps=1)["return_mean"]).all()
    env, actor = envs.TaskEnv(world), agent.actor(greedy=False, record=True)
    observation, _ = env.reset(seed=3)
    actor.reset(seed=3)
    for _ in range(world.horizon):
        assert world.observation_space.contains(observation), observation
        action = actor.act(observation)
        assert world.action_space.contains(action), action
        observation, reward, terminated, truncated, _ = env.step(action)
        actor.observe(reward, terminated, truncated)
    assert truncated and world.observation_space.contains(observation)
    (episode,) = actor.episodes()
    assert isinstance(episode.action, tuple) and episode.observation.shape == (2, *read_space(NESTED).shape)
    adapted = agent.adapt_from([episode])
    assert adapted.num_steps == 1
    vector, many = envs.TaskVectorEnv(world, 3), agent.actor(batch=3)
    observations, _ = vector.reset(seed=3)
    many.reset(seed=3)
    assert vector.observation_space.contains(observations), observations
    actions = many.act(observations)
    assert vector.single_action_space.contains(jax.tree.map(lambda leaf: leaf[0], actions))
    observations, *_ = vector.step(actions)
    assert vector.observation_space.contains(observations)


def test_a_memory_gives_the_weights_of_a_policy_with_parts():
    learner, key = agents.make("rl2", family("nested"), memory_size=4, hypernetwork=True, **SMALL), jax.random.key(0)
    state = jax.eval_shape(learner.init, key)
    actor = state.theta["readers"]["actor"]
    assert set(actor) == {"kernel", "bias", "log_std"} and actor["log_std"].shape == (4,)
    after, _ = jax.eval_shape(learner.step, state, key)
    assert jax.tree.structure(after) == jax.tree.structure(state)


# Against other computations: enumeration, scipy, Gymnasium's own functions.


def enumerated(space):
    """All actions of a policy in a space that is counted, as the tuple of its parts' rows."""
    if isinstance(space, Tuple):
        return list(itertools.product(*map(enumerated, space.spaces)))
    if isinstance(space, Discrete):
        return list(range(space.n))
    return [
        np.array(row)
        for row in itertools.product(*map(range, space.nvec if isinstance(space, MultiDiscrete) else [2] * space.n))
    ]


def log_probs_by_hand(space, parameters):
    """Of every action, from each entry's own softmax or sigmoid."""
    if isinstance(space, Tuple):
        rows = [log_probs_by_hand(part, p) for part, p in zip(space.spaces, parameters, strict=True)]
        return np.array([sum(row) for row in itertools.product(*rows)])
    logits, found = np.asarray(parameters, np.float64), []
    if isinstance(space, MultiBinary):
        entries = [np.log([1 / (1 + np.exp(x)), 1 / (1 + np.exp(-x))]) for x in logits]
    else:
        ends = np.cumsum([space.n] if isinstance(space, Discrete) else space.nvec)
        entries = [x - np.log(np.sum(np.exp(x))) for x in np.split(logits, ends[:-1])]
    for row in itertools.product(*entries):
        found.append(sum(row))
    return np.array(found)


def parameters_of(space, seed):
    rng = np.random.default_rng(seed)
    if isinstance(space, Tuple):
        return tuple(parameters_of(part, seed + i + 1) for i, part in enumerate(space.spaces))
    size = {Discrete: lambda: space.n, MultiDiscrete: lambda: space.nvec.sum(), MultiBinary: lambda: space.n}[type(space)]()
    return jnp.asarray(rng.normal(size=size) * 2.0)


COUNTED = [name for name, space in ACTIONS.items() if name in ("several discrete", "table of discrete", "bits", "tuple")]


@pytest.mark.parametrize("name", COUNTED)
def test_products_against_enumeration(name, float64):
    space = policy_space(ACTIONS[name])
    make, p, q = action_distribution(space), parameters_of(space, 0), parameters_of(space, 10)
    actions, log_p, log_q = enumerated(space), log_probs_by_hand(space, p), log_probs_by_hand(space, q)
    assert np.isclose(np.exp(log_p).sum(), 1.0)
    stacked = jax.tree.map(lambda *rows: jnp.stack(rows), *[jax.tree.map(jnp.asarray, action) for action in actions])
    repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(actions), *x.shape)), p)
    np.testing.assert_allclose(make(repeated).log_prob(stacked), log_p, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(make(p).entropy(), -np.sum(np.exp(log_p) * log_p), rtol=1e-10)
    np.testing.assert_allclose(make(p).kl_divergence(make(q)), np.sum(np.exp(log_p) * (log_p - log_q)), rtol=1e-10)
    mode, best = make(p).mode(), actions[int(np.argmax(log_p))]
    assert all(map(np.array_equal, jax.tree.leaves(mode), jax.tree.leaves(best)))
    drawn, log_prob = make(p).sample_and_log_prob(seed=jax.random.key(0), sample_shape=4000)
    shares = [
        np.mean(
            np.all(
                [np.all(np.reshape(a == b, (4000, -1)), 1) for a, b in zip(*map(jax.tree.leaves, (drawn, one)), strict=True)], 0
            )
        )
        for one in actions
    ]
    np.testing.assert_allclose(shares, np.exp(log_p), atol=0.03)
    np.testing.assert_allclose(log_prob, jax.vmap(make(p).log_prob)(drawn), rtol=1e-6, atol=1e-6)


def test_a_product_with_a_gaussian_against_scipy(float64):
    space = Tuple([Box(-1.0, 1.0, (2,)), Discrete(3)])
    mean, std, logits = np.array([0.3, -1.0]), np.array([0.5, 2.0]), np.array([0.1, 2.0, -1.0])
    make = action_distribution(space)
    distribution = make(({"mean": jnp.asarray(mean), "log_std": jnp.log(std)}, jnp.asarray(logits)))
    action, log_softmax = np.array([0.0, 0.7]), logits - np.log(np.exp(logits).sum())
    by_hand = stats.norm(mean, std).logpdf(action).sum() + log_softmax[1]
    np.testing.assert_allclose(distribution.log_prob((jnp.asarray(action), jnp.asarray(1))), by_hand, rtol=1e-10)
    entropy = stats.norm(mean, std).entropy().sum() + stats.entropy(np.exp(log_softmax))
    np.testing.assert_allclose(distribution.entropy(), entropy, rtol=1e-10)


def test_gradients_twice_through_a_product(float64):
    """Entries with fewer values than others are padded; nothing of that reaches a derivative."""
    space = policy_space(ACTIONS["several discrete"])
    make, p = action_distribution(space), parameters_of(space, 3)
    action = jnp.array([1, 2, 0])
    check_grads(lambda x: make(x).log_prob(action) + make(x).entropy() + make(p).kl_divergence(make(x)), (p,), order=2)
    assert NOT_THERE < -1e8


@pytest.mark.parametrize("name", SPACES)
def test_reading_is_gymnasium_s_flattening(name):
    space = OBSERVATIONS[name]
    read, flat = reader(space), gymnasium.spaces.utils.flatten
    space.seed(1)
    samples = [space.sample() for _ in range(3)]
    rows = [flat(space, sample) for sample in samples]
    if isinstance(space, Box):
        assert read(samples[0]) is samples[0] and read_space(space) is space
        return
    for sample, row in zip(samples, rows, strict=True):
        np.testing.assert_array_equal(read(sample), row)
        assert read_space(space).contains(np.asarray(read(sample)))
    many = jax.tree.map(lambda *leaves: np.stack(leaves)[None], *samples)
    np.testing.assert_array_equal(read(many), np.stack(rows)[None])


@pytest.mark.parametrize("name", SPACES)
def test_what_a_policy_gives_lies_in_the_space(name):
    space = ACTIONS[name]
    actor = policy(LINE, policy_space(space), **OPTIONS)
    convert = to_action(space, 1.0)
    parameters = actor.network.apply(actor.network.init(jax.random.key(0)), jnp.ones((5, 2)))
    action = envs.values.in_numpy(space, convert(actor.distribution(parameters).sample(seed=jax.random.key(1))))
    for i in range(5):
        one = envs.values.mapped(
            lambda part, leaf, i=i: np.asarray(leaf[i]) if isinstance(part, Box) else leaf[i], space, action
        )
        assert space.contains(one), one


def test_the_last_action_is_read_as_gymnasium_flattens_it():
    space = policy_space(ACTIONS["several discrete"])
    np.testing.assert_array_equal(
        row_of(space, jnp.array([1, 3, 0])), gymnasium.spaces.utils.flatten(space, np.array([1, 3, 0]))
    )
    assert not np.any(row_of(space, jnp.array([-1, -1, -1]))), "none"


# Images.


def test_bytes_are_scaled_once():
    image = OBSERVATIONS["image"]
    actor = policy(image, Discrete(2), **OPTIONS, trunk="conv")
    params, shown = actor.network.init(jax.random.key(0)), family("image").shown[0]
    once = actor.network.apply(params, jnp.asarray(shown, jnp.float32) / 255.0)
    np.testing.assert_allclose(actor.network.apply(params, shown), once, rtol=1e-4)
    np.testing.assert_array_equal(pixels(pixels(jnp.asarray(shown))), pixels(jnp.asarray(shown)))
    batch = actor.network.apply(params, jnp.asarray(family("image").shown[:2])[None])
    np.testing.assert_allclose(batch[0, 0], once, rtol=1e-4)


def test_normalised_images_are_not_scaled_again():
    plain, learner = (agents.make("maml", family("image"), normalize_observations=on, **SMALL) for on in (False, True))
    params, memory = learner.acting.begin(learner.init(jax.random.key(0)), None)
    shown, (_, mean, variance) = family("image").shown[0], params["seen"]
    output = lambda which, params, seen: which.acting.respond(params, memory, seen)[1]
    beside = output(plain, params["network"], shown)
    np.testing.assert_allclose(output(learner, params, shown), beside, rtol=1e-4, atol=1e-6)  # nothing has been seen
    params["seen"] = params["seen"]._replace(mean=mean + 100.0, variance=variance / 9.0)
    by_hand = (jnp.asarray(shown, jnp.float32) - 100.0) / 85.0
    beside = output(plain, params["network"], by_hand)
    np.testing.assert_allclose(output(learner, params, shown), beside, rtol=1e-4, atol=1e-6)


def test_what_reads_observations():
    image = OBSERVATIONS["image"]
    assert trunk_of(image, "auto") == "conv" and trunk_of(LINE, "auto") == trunk_of(image, "mlp") == "mlp"
    assert trunk_of(Box(-1.0, 1.0, (9, 8, 3), np.float32), "conv") == "conv"
    with pytest.raises(ValueError, match=r"trunk is conv, but observation_space is Box\(-1.0, 1.0, \(2,\)"):
        agents.make("maml", Anything(LINE, Discrete(2)), trunk="conv")
    layers = {
        name: jax.eval_shape(agents.make("maml", family("image"), trunk=name, **SMALL).init, jax.random.key(0))
        for name in ("mlp", "auto")
    }
    names = {trunk: set(state.theta["params"]) for trunk, state in layers.items()}
    assert names == {"mlp": {"Dense_0", "Dense_1"}, "auto": {"Conv_0", "Conv_1", "Conv_2", "Dense_0", "Dense_1"}}


# What is refused.


def test_a_memory_of_one_s_own_reads_images_as_the_gru_does():
    of = lambda **given: jax.eval_shape(agents.make("rl2", family("image"), **SMALL, **given).init, jax.random.key(0)).theta
    assert set(of(network=nn.GRUCell(64))) == set(of(memory="gru")) and "encoder" in of(network=nn.GRUCell(64), trunk="conv")
    with pytest.raises(ValueError, match="trunk is conv, but a network of your own is given, too"):
        of(network=nn.Dense(3), trunk="conv")


@pytest.mark.parametrize("which", ["observation_space", "action_space"])
@pytest.mark.parametrize("name", REFUSED)
def test_spaces_without_a_fixed_number_of_numbers_are_refused(name, which):
    world = Anything(LINE, LINE)
    setattr(world, which, REFUSED[name])
    refusals = [lambda: agents.make("maml", world)] + [lambda: check_family(world)] * (name != "endless")
    for refuse in refusals:
        with pytest.raises(ValueError, match=which) as error:
            refuse()
        assert "\n" not in str(error.value)


def test_an_observation_that_does_not_fit_is_refused_where_it_is_wrong():
    world = family("nested")
    learner = agents.make("maml", world, **SMALL)
    agent = trained(world, learner, jax.jit(learner.init)(jax.random.key(0)))
    actor, good = agent.actor(), world.shown[0]
    actor.reset()
    for wrong, message in (
        (good | {"word": 0}, r"observation\['word'\] is 0, which is not in Discrete\(3, start=1\)"),
        (good | {"word": 1.5}, r"observation\['word'\] is 1.5, but must be whole numbers of shape \(\)"),
        ({"word": 1}, "must be a dict with word, inner"),
        (good | {"inner": good["inner"][:1]}, r"observation\['inner'\] is .*, but must be a tuple of 2 items"),
        (np.zeros(3), "must be a dict with word, inner"),
    ):
        with pytest.raises(Exception, match=message):
            actor.act(wrong)


# Ordinary environments.


def test_ordinary_environments_may_show_images():
    image, how = OBSERVATIONS["image"], {"task_space": {"pull": Box(0.5, 1.5, ())}, "apply_task": "attributes", "horizon": 2}
    world = envs.from_gymnasium(lambda: Demanding(image, LINE), images=True, **how)
    assert world.observation_space == image
    env, theirs = envs.TaskEnv(world, task={"pull": 1.0}), Demanding(image, LINE)
    observation, _ = env.reset(seed=0)
    key = jax.random.split(jax.random.key(0), 3)[0]
    expected, _ = theirs.reset(seed=int(seed_of(key)))
    assert image.contains(observation)
    np.testing.assert_array_equal(observation, expected)
    world.close()
    with pytest.raises(ValueError, match=r"images is True, but .* has observation_space Box\(-1.0, 1.0, \(2,\)"):
        envs.from_gymnasium(lambda: Demanding(LINE, LINE), images=True, **how)


@pytest.mark.parametrize("name", ["several discrete", "bits", "nested"])
def test_ordinary_environments_get_actions_of_their_own_space(name):
    make = lambda: Demanding(LINE, ACTIONS[name])
    world = envs.from_gymnasium(make, task_space={"pull": Box(0.5, 1.5, ())}, apply_task="attributes", horizon=2)
    space = world.action_space
    space.seed(0)
    samples = [space.sample() for _ in range(2)]
    rows = action_rows(space, envs.values.stacked(space, samples), 2)
    for one, sample in zip(read_actions(space, rows), samples, strict=True):
        assert all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(sample)))
    env = envs.TaskEnv(world, task={"pull": 1.0})
    env.reset(seed=0)
    _, reward, *_ = env.step(samples[0])
    np.testing.assert_allclose(reward, np.sum(gymnasium.spaces.utils.flatten(space, samples[0])), rtol=1e-5)
    world.close()
