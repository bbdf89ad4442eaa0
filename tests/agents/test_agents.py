"""Every agent of the table: traces once, finite metrics, learns what it should, and differs from the others."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import agents
from agents.parts.world import policy_gradient_world, regression_world
from envs.families.regression import sinusoid
from metarl.surrogates import loaded_dice, reinforce
from tests.agents.probe import Guess, GuessDiscrete

STEPS = {"reptile": 3, "maml++": 2, "imaml": 5}  # inner steps, where not 1: with 1 Reptile is multi-task training
UNTRAINED = {"random"}
METRICS = {
    "meta/pre",
    "meta/post",
    "meta/gain",
    "meta/hurt",
    "inner/step_0",
    "outer/loss",
    "outer/grad_norm",
    "time/env_steps",
}
POLICY_METRICS = {"policy/entropy", "policy/kl", "baseline/explained_variance_pre", "baseline/explained_variance_post"}
BY_PPO = {"rl2", "oracle"}  # in reinforcement learning; their minibatches mix tasks
OWN_METRICS = {
    "maml-trpo": {"outer/kl", "outer/line_search_failed"},
    "imaml": {"implicit/residual", "implicit/inner_gradient"},
}


def build_rl(name, family=None, num_inner_steps=None):
    family = family or Guess()
    options = {"hidden_sizes": (16,), "activation": "tanh", "initial_std": 1.0}
    world = policy_gradient_world(
        family, options, num_episodes=20, inner_surrogate=loaded_dice(), outer_surrogate=reinforce, gamma=0.9
    )
    settings = agents.Settings(
        10, num_inner_steps or STEPS.get(name, 1), inner_lr=0.03, outer_lr=0.01, num_iterations=80, context_size=2
    )
    return agents.agent(name)(world, settings)


def build_regression(name):
    network = {"hidden_sizes": (20,), "activation": "relu", "init": nn.initializers.lecun_normal()}
    world = regression_world(sinusoid(), network, num_shots=10)
    inner_lr = {"cavia": 0.5, "reptile": 0.005}.get(name, 0.01)
    # Without damping iMAML's curvature is not positive in this network, and rounding errors decide what is learned.
    implicit = {"cg_steps": 3, "cg_damping": 1.0}
    settings = agents.Settings(5, STEPS.get(name, 1), inner_lr=inner_lr, outer_lr=0.003, num_iterations=1500, **implicit)
    return agents.agent(name)(world, settings)


RL = [name for name in agents.AGENTS if name not in agents.REGRESSION_ONLY]
REGRESSION = [name for name in agents.AGENTS if name not in agents.REINFORCEMENT_ONLY]
BUILDS = [(build_rl, name) for name in RL] + [(build_regression, name) for name in REGRESSION]
NO_INNER_LOOP = {"pretrained", "multitask", "oracle"}  # trained without inner steps
BUDGET = {build_rl: 80, build_regression: 1000}  # meta-iterations
OTHER_BUDGET = {"multitask": 5 * 10}  # points drawn in a meta-iteration, where not 5 tasks x (10 support + 10 query)


def train(learner, num_iterations, seed=0):
    """Final state and metrics [I]."""
    state = jax.jit(learner.init)(jax.random.key(seed))
    keys = jax.random.split(jax.random.key(seed + 1), num_iterations)
    return jax.jit(lambda state, keys: jax.lax.scan(learner.step, state, keys))(state, keys)


def stepper(learner):
    """One compiled meta-iteration that may be traced once; the same program wherever it is used, so compiled once for all."""
    chex.clear_trace_counter()
    return jax.jit(chex.assert_max_traces(learner.step, n=1))


@pytest.mark.parametrize(("build", "name"), BUILDS)
def test_three_iterations(name, build):
    """Traces once, finite metrics under the fixed names, the budget it says, and a gradient in every parameter group."""
    learner = build(name)
    step = stepper(learner)
    start = state = jax.jit(learner.init)(jax.random.key(0))
    for i in range(3):
        state, metrics = step(state, jax.random.key(i))
        expected = METRICS | (POLICY_METRICS if build is build_rl else set())
        expected |= {f"inner/step_{STEPS.get(name, 1)}"} if name not in NO_INNER_LOOP else set()
        expected |= OWN_METRICS.get(name, set())
        expected |= set() if build is build_rl and name in BY_PPO else {"outer/grad_cosine"}
        assert expected <= set(metrics) and all(key in expected or key.startswith("inner/") for key in metrics), set(metrics)
        for key, value in metrics.items():
            assert value.shape == () and np.isfinite(value), key
        np.testing.assert_allclose(metrics["meta/gain"], metrics["meta/post"] - metrics["meta/pre"], atol=1e-5)
    num_batches = 1 if name in NO_INNER_LOOP else 1 + (1 if name in agents.REUSE else STEPS.get(name, 1))
    budget = 10 * 20 * 2 * num_batches if build is build_rl else OTHER_BUDGET.get(name, 5 * 20)
    assert metrics["time/env_steps"] == budget
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), start.theta, state.theta)
    for path, largest in jax.tree_util.tree_leaves_with_path(moved):
        assert (largest == 0) == (name in UNTRAINED), jax.tree_util.keystr(path)


def end_of(learner, num_iterations, metric="meta/post"):
    """Mean of a metric over the last tenth of training."""
    _, metrics = train(learner, num_iterations)
    return float(np.mean(metrics[metric][-num_iterations // 10 :]))


@pytest.fixture(scope="module")
def untrained():
    """What an untrained start reaches on the same tasks, before and after inner steps."""
    runs = {(b, m): end_of(b("random"), BUDGET[b], m) for b in BUDGET for m in ("meta/pre", "meta/post")}
    return lambda build, name: runs[build, "meta/pre" if name in NO_INNER_LOOP else "meta/post"]


@pytest.mark.parametrize(("build", "name"), [pair for pair in BUILDS if pair[1] not in UNTRAINED])
def test_training_beats_an_untrained_start(name, build, untrained):
    reached, start = end_of(build(name), BUDGET[build]), untrained(build, name)
    assert reached > start + (0.1 if name in ("pretrained", "imaml") else 0.3), (reached, start)


def test_training_with_discrete_actions():
    assert end_of(build_rl("maml", GuessDiscrete()), 80) > end_of(build_rl("random", GuessDiscrete()), 80) + 0.3


def three_steps(learner):
    """What the parameters are after three iterations."""
    step, state = stepper(learner), jax.jit(learner.init)(jax.random.key(0))
    for i in range(3):
        state, _ = step(state, jax.random.key(i))
    return state.theta


def test_any_two_agents_differ_after_three_iterations():
    ends = {name: three_steps(build_rl(name)) for name in RL}
    names = list(ends)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            leaves = [[np.asarray(leaf) for leaf in jax.tree.leaves(ends[name])] for name in (a, b)]
            same_shapes = [x.shape for x in leaves[0]] == [y.shape for y in leaves[1]]
            assert not same_shapes or any(np.any(x != y) for x, y in zip(*leaves, strict=True)), (a, b)


@pytest.mark.parametrize("num_steps", [0, 1, 4])
def test_adapt_takes_any_number_of_steps(num_steps):
    learner = build_rl("maml")
    state = learner.init(jax.random.key(0))
    curve = jax.jit(learner.adapt, static_argnums=3)(state, Guess().default_params, jax.random.key(1), num_steps)
    assert curve.score.shape == (num_steps + 1,)
    assert all(leaf.shape[0] == num_steps + 1 for leaf in jax.tree.leaves(curve.path))
    returns = curve.experience.query.episode_return
    np.testing.assert_allclose(curve.score[-1], jnp.mean(returns), rtol=1e-6)


def test_unknown_agent_names_the_closest():
    with pytest.raises(ValueError, match="Did you mean 'maml'"):
        agents.agent("mamll")
    with pytest.raises(ValueError, match="Known: maml"):
        agents.agent("xyz")
