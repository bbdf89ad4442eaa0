"""Every agent of the table: what `check_agent` asks of any, and what is known of each: metrics, budget, that it differs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
from agents.agent import hyperparameters
from agents.check import ITERATIONS, Check
from agents.probes import END
from tests.agents.probe import Guess, GuessDiscrete
from tests.few import few

TABLE = [(name, kind) for name in agents.AGENTS for kind in agents.find(name).serves]
# Each agent in regression, where it serves there; in reinforcement learning one of each way to train, and to remember; of
# classes those whose way to them is their own.
FAST = [
    *[case for case in TABLE if case[1] == "regression"],
    *[(name, "reinforcement") for name in ("maml", "promp", "rl2")],
    *[(name, "classification") for name in ("maml", "mann", "protonet")],
]
LEARNS_BY = {"reinforcement": 0.3, "regression": 0.3, "classification": 0.1}
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
MIXING = {
    "rl2",
    "varibad",
    "pearl",
    "oracle",
    "multitask",
    "task-embedding",
}  # in reinforcement learning: their minibatches mix tasks
OWN_METRICS = {
    "pearl": {"critic/loss", "critic/value_loss", "encoder/kl", "policy/loss"},
    "maml-trpo": {"outer/kl", "outer/line_search_failed"},
    "imaml": {"implicit/residual", "implicit/inner_gradient"},
    "varibad": {"belief/elbo", "belief/log_likelihood", "belief/kl", "belief/buffer_trials"},
}
NO_INNER_LOOP = {"pretrained", "multitask", "task-embedding", "oracle"}  # trained without inner steps


def built(name, family):
    """The agent on a probe, with numbers that suit it."""
    own = {} if name in MIXING else {"inner_lr": 0.03}
    own |= {"outer_lr": 0.01} if "optimizer" in agents.find(name).uses else {}
    shared = {"num_episodes": 20, "gamma": 0.9, "hidden_sizes": (16,), "num_tasks": 10, "num_iterations": 80}
    return agents.make(name, family, **shared, **own)


def train(learner, num_iterations, seed=0):
    """Final state and metrics [I]."""
    state = jax.jit(learner.init)(jax.random.key(seed))
    keys = jax.random.split(jax.random.key(seed + 1), num_iterations)
    return jax.jit(lambda state, keys: jax.lax.scan(learner.step, state, keys))(state, keys)


def end_of(learner, num_iterations, metric="meta/post"):
    """Mean of a metric over the last tenth of training."""
    _, metrics = train(learner, num_iterations)
    return float(np.mean(metrics[metric][-num_iterations // 10 :]))


@functools.cache
def checked(name, kind):
    """`check_agent`, and what it saw."""
    check = Check(name, kind, ITERATIONS[kind] // 2, {})
    check.run(learns_by=LEARNS_BY[kind])
    return check


@pytest.mark.parametrize(("name", "kind"), few(TABLE, *FAST))
def test_what_every_agent_must_do(name, kind):
    checked(name, kind)


@pytest.mark.parametrize(("name", "kind"), few(TABLE, *FAST))
def test_metrics_and_budget(name, kind):
    """No other metrics than these; and as many batches as its algorithm says."""
    metrics, own = checked(name, kind).found[0], hyperparameters(agents.find(name), kind)
    expected = METRICS | (POLICY_METRICS if kind == "reinforcement" else set()) | OWN_METRICS.get(name, set())
    steps = own["num_inner_steps"].default if "num_inner_steps" in own else 0
    expected |= {f"inner/step_{steps or 1}"} if name not in NO_INNER_LOOP else set()  # those with a memory adapt once
    expected |= set() if kind == "reinforcement" and name in MIXING else {"outer/grad_cosine"}
    expected |= (
        {"measures/accuracy_pre", "measures/accuracy_post"} if kind == "classification" and name != "multitask" else set()
    )
    assert expected <= set(metrics) and all(key in expected or key.startswith("inner/") for key in metrics), set(metrics)
    # Without inner steps there is no support; in regression, and in iMAML, one batch serves all steps.
    shared = kind != "reinforcement" or agents.find(name).adapts_by == "one batch"
    num_batches = 1 if name in NO_INNER_LOOP else 1 + (1 if shared else steps or 1)
    # The probe's episodes have two steps, or one, with probability END.
    batch = 10 * 20 * (2 - END) if kind == "reinforcement" else 5 * 10
    np.testing.assert_allclose(metrics["time/env_steps"], num_batches * batch, rtol=0.05 if kind == "reinforcement" else 0)


@pytest.mark.parametrize("kind", few(["reinforcement", "regression"], "regression"))
def test_any_two_agents_differ_after_three_iterations(kind):
    names = [name for name, served in TABLE if served == kind]
    ends = {name: [np.asarray(leaf) for leaf in jax.tree.leaves(checked(name, kind).end.theta)] for name in names}
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            same_shapes = [x.shape for x in ends[a]] == [y.shape for y in ends[b]]
            assert not same_shapes or any(np.any(x != y) for x, y in zip(ends[a], ends[b], strict=True)), (a, b)


def test_rl2_finds_out_in_a_box_what_no_policy_without_memory_can():
    """Without memory the best action is 0 and earns -2."""
    assert np.mean(checked("rl2", "reinforcement").scores[-8:]) > -1.5


def test_training_with_discrete_actions():
    ends = {name: end_of(built(name, GuessDiscrete()), 80) for name in ("maml", "random")}
    assert ends["maml"] > ends["random"] + 0.3, ends


def test_the_last_score_of_a_curve_is_the_return_of_the_query():
    learner = built("maml", Guess())
    state = learner.init(jax.random.key(0))
    curve = jax.jit(learner.adapt, static_argnums=3)(state, Guess().default_params, jax.random.key(1), 4)
    returns = [*jnp.mean(curve.experience.support.episode_return, axis=1), jnp.mean(curve.experience.query.episode_return)]
    np.testing.assert_allclose(curve.score, returns, rtol=1e-6)
    np.testing.assert_array_equal(curve.used, 20 * np.arange(5))
