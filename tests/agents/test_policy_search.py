"""maml-trpo, promp, e-maml and imaml in reinforcement learning: each against what it must equal, computed another way."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
from agents.e_maml import better_than_others
from metarl import meta, rules
from metarl.inner_loop import adapt, collect
from metarl.surrogates import loaded_dice
from tests.agents.probe import Guess

M, N, RATE = 4, 6, 0.05


WORLD = agents.policy_gradient_world(
    Guess(), agents.ReinforcementSettings(num_episodes=N, gamma=0.9, hidden_sizes=(3,), initial_std=0.7)
)
TRAINING = agents.Training(M, 0.01)


def one_step(name, **own):
    """Start, end and metrics of one meta-iteration."""
    learner = agents.build(name, WORLD, TRAINING, **{"num_inner_steps": 1, "inner_lr": RATE} | own)
    start = exactly(jax.jit(learner.init)(jax.random.key(0)))
    return start, *jax.jit(learner.step)(start, jax.random.key(1))


def exactly(tree):
    """Networks start in float32; in tests of exact equalities their parameters go on in float64."""
    return jax.tree.map(lambda x: x.astype(jnp.result_type(float)) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def drawn(num_inner_steps=1):
    """The experience [M] that `one_step` draws, and the problem and rule it comes from."""
    rule, network = rules.sgd(RATE), WORLD.make_network(0)
    problem = WORLD.make_problem(network, outer_surrogate=loaded_dice())
    theta = exactly(jax.jit(network.init)(jax.random.key(0)))

    def one(i):
        key_task, key_data = jax.random.split(jax.random.fold_in(jax.random.key(1), i))
        return collect(problem, rule, theta, WORLD.sample_task(key_task), key_data, num_inner_steps, resample=True)

    return problem, rule, theta, jax.jit(jax.vmap(one))(jnp.arange(M))


def gaussian_kl(before, after):
    """KL between diagonal Gaussians, by the textbook formula; mean over the steps."""
    ratio = 2 * (before["log_std"] - after["log_std"])
    moved = (before["mean"] - after["mean"]) ** 2 * np.exp(-2 * after["log_std"])
    return float(np.mean(0.5 * np.sum(np.exp(ratio) + moved - 1 - ratio, axis=-1)))


def test_trust_region_bounds_the_kl_of_the_adapted_policies(float64):
    start, end, metrics = one_step("maml-trpo")
    problem, rule, theta, experience = drawn()
    jax.tree.map(np.testing.assert_array_equal, theta, start.theta)
    found, loss = [], []
    replay = jax.jit(lambda theta, support: adapt(rule, problem.inner_loss, theta, support))
    judge = jax.jit(lambda path, mine: problem.outer_loss(path, mine)[0])
    for i in range(M):
        mine = jax.tree.map(lambda x, i=i: x[i], experience)
        adapted = replay(end.theta, mine.support)
        parameters = WORLD.make_network(0).apply(meta.last(adapted), mine.query.trajectory.observation)
        found.append(gaussian_kl(mine.query.trajectory.distribution, parameters))
        loss.append([judge(path, mine) for path in (replay(theta, mine.support), adapted)])
    np.testing.assert_allclose(metrics["outer/kl"], np.mean(found), rtol=1e-6)
    assert 0.001 < metrics["outer/kl"] <= 0.01 and metrics["outer/line_search_failed"] == 0
    before, after = np.mean(loss, axis=0)
    assert after < before


def test_the_hessian_of_the_divergence_is_exact(float64):
    """Products through adaptation, second-order inner terms included, against finite differences of the divergence."""
    problem, rule, theta, experience = drawn()
    mine = jax.tree.map(lambda x: x[0], experience)
    between = jax.jit(lambda t: meta.divergence(problem, rule)(t, mine))
    flat, unravel = jax.flatten_util.ravel_pytree(theta)
    v = jax.random.normal(jax.random.key(2), flat.shape)
    value, gradient = jax.value_and_grad(lambda x: between(unravel(x)))(flat)
    np.testing.assert_allclose([value, jnp.abs(gradient).max()], 0, atol=1e-10)
    curvature = jax.jvp(jax.grad(lambda x: between(unravel(x))), (flat,), (v,))[1] @ v
    h = 1e-4
    differences = (between(unravel(flat + h * v)) + between(unravel(flat - h * v))) / h**2
    np.testing.assert_allclose(curvature, differences, rtol=1e-3)


def test_one_step_of_promp_is_a_step_of_maml(float64):
    """Where the ratio is 1 nothing is clipped, the KL penalty is flat, and ratios have the derivatives of lam=0."""
    maml = one_step("maml")[1].theta
    once = one_step("promp", outer_steps=1)[1].theta
    several = one_step("promp", outer_steps=4)[1].theta
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), once, maml)
    assert max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (once, several)), strict=True)) > 1e-3


def test_promp_s_penalty_holds_inner_steps_back(float64):
    """Several steps with a large penalty leave a start whose inner steps, replayed, move the policy less."""
    problem, rule, _, experience = drawn()
    moved = {}
    for inner_kl in (0.0, 100.0):
        end = one_step("promp", outer_steps=20, inner_kl=inner_kl)[1].theta

        def one(mine, end=end):
            return problem.divergence(adapt(rule, problem.inner_loss, end, mine.support), mine)[0]

        moved[inner_kl] = float(jnp.mean(jax.jit(jax.vmap(one))(experience)))
    assert moved[100.0] < 0.5 * moved[0.0], moved


@pytest.mark.parametrize("num_inner_steps", [1, 2])
def test_e_maml_adds_the_credit_of_the_support_episodes(num_inner_steps, float64):
    """Its meta-gradient minus MAML's, against log-probabilities and returns put together by hand."""
    kept = {}
    for name in ("maml", "e-maml"):
        own = {"num_inner_steps": num_inner_steps, "inner_lr": RATE} | ({"credit": 0.3} if name == "e-maml" else {})
        learner = agents.build(name, WORLD, TRAINING._replace(outer_lr=1.0, optimizer=optax.sgd), **own)
        start = exactly(jax.jit(learner.init)(jax.random.key(0)))
        end, _ = jax.jit(learner.step)(start, jax.random.key(1))
        kept[name] = jax.tree.map(jnp.subtract, start.theta, end.theta)
    found = jax.tree.map(jnp.subtract, kept["e-maml"], kept["maml"])

    problem, rule, theta, experience = drawn(num_inner_steps)
    discounts = 0.9 ** np.arange(Guess.horizon)
    earned = np.asarray((experience.query.trajectory.reward * discounts).sum(axis=-1).mean(axis=-1))
    advantage = [(earned[i] - np.delete(earned, i).mean()) / earned.std() for i in range(M)]
    network = WORLD.make_network(0)

    def credit(theta):
        total = 0.0
        for i in range(M):
            mine = jax.tree.map(lambda x, i=i: x[i], experience)
            path = adapt(rule, problem.inner_loss, theta, mine.support)
            for k in range(num_inner_steps):
                trajectory = jax.tree.map(lambda x, k=k: x[k], mine.support.trajectory)
                p = network.apply(jax.tree.map(lambda x, k=k: x[k], path), trajectory.observation)
                z = (trajectory.action - p["mean"]) * jnp.exp(-p["log_std"])
                log_prob = jnp.sum(-0.5 * z**2 - p["log_std"] - 0.5 * jnp.log(2 * jnp.pi), axis=-1)
                total += advantage[i] * jnp.mean(log_prob)
        return -0.3 * total / M

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8), found, jax.jit(jax.grad(credit))(theta))
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(found)) > 1e-4


def test_credit_of_a_single_task_and_of_equal_tasks_is_zero():
    np.testing.assert_array_equal(better_than_others(jnp.array([3.0])), [0.0])
    np.testing.assert_array_equal(better_than_others(jnp.array([2.0, 2.0])), [0.0, 0.0])


def test_imaml_reuses_one_batch_and_reports_how_well_it_solved():
    quality = {}
    for cg_steps in (1, 20):
        _, _, metrics = one_step("imaml", num_inner_steps=4, cg_steps=cg_steps, cg_damping=1.0)
        quality[cg_steps] = float(metrics["implicit/residual"])
        # One batch for all steps, one to judge them.
        assert metrics["time/env_steps"] == M * N * Guess.horizon * 2
    assert quality[20] < 1e-3 < quality[1]
    _, _, longer = one_step("imaml", num_inner_steps=200, cg_steps=1, cg_damping=1.0)
    assert longer["implicit/inner_gradient"] < metrics["implicit/inner_gradient"]


def test_adaptation_of_imaml_uses_one_batch_of_episodes():
    learner = agents.build("imaml", WORLD, TRAINING, num_inner_steps=3, inner_lr=RATE)
    curve = jax.jit(learner.adapt, static_argnums=3)(
        learner.init(jax.random.key(0)), Guess().default_params, jax.random.key(1), 3
    )
    np.testing.assert_array_equal(curve.used, [0, N, N, N])
    actions = np.asarray(curve.experience.support.trajectory.action)
    assert np.all(actions[0] == actions[2]) and curve.score.shape == curve.greedy_score.shape == (4,)


def test_a_schedule_of_promp_counts_meta_iterations():
    """Full rate in the first iteration, however many optimiser steps it has; none from the second on."""
    first_only = TRAINING._replace(outer_lr=lambda count: jnp.where(count < 1, 0.01, 0.0))
    ends = []
    for training, iterations in ((first_only, 1), (TRAINING, 1), (first_only, 2)):
        learner = agents.build("promp", WORLD, training, inner_lr=RATE, outer_steps=3)
        state = learner.init(jax.random.key(0))
        for i in range(iterations):
            state, _ = jax.jit(learner.step)(state, jax.random.key(i))
        ends.append(state.theta)
    jax.tree.map(np.testing.assert_array_equal, ends[0], ends[1])
    jax.tree.map(np.testing.assert_array_equal, ends[0], ends[2])


def test_e_maml_needs_other_tasks():
    with pytest.raises(ValueError, match="num_tasks is 1; give at least 2"):
        agents.build("e-maml", WORLD, TRAINING._replace(num_tasks=1))


@pytest.mark.parametrize(("target", "expected"), [(1e-9, [1e-3, 2e-3]), (1e9, [2.5e-4, 1.25e-4])])
def test_the_weight_of_promps_penalty_follows_the_inner_kl(target, expected):
    learner = agents.make("promp", Guess(), num_tasks=3, num_episodes=4, inner_kl_target=target)
    state = learner.init(jax.random.key(0))
    for index, weight in enumerate(expected):
        state, metrics = jax.jit(learner.step)(state, jax.random.key(index))
        np.testing.assert_allclose(state.opt_state[1], [weight], rtol=1e-6)
    np.testing.assert_allclose(metrics["inner/kl_weight"], expected[0], rtol=1e-6, err_msg="that of this iteration")


def test_a_target_changes_nothing_before_the_weight_has_moved():
    """And afterwards it does: the penalty is what the weight says."""
    ends = {}
    for target in (0.0, 1e-9):
        own = {"num_inner_steps": 2, "inner_kl": 50.0, "inner_kl_target": target}
        learner = agents.make("promp", Guess(), num_tasks=3, num_episodes=4, **own)
        state, thetas = learner.init(jax.random.key(0)), []
        for index in range(2):
            state, _ = jax.jit(learner.step)(state, jax.random.key(index))
            thetas.append(state.theta)
        ends[target] = thetas

    def close(a, b):
        return all(np.allclose(x, y, rtol=1e-5, atol=1e-7) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))

    assert close(ends[0.0][0], ends[1e-9][0]) and not close(ends[0.0][1], ends[1e-9][1])
