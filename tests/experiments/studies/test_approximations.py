"""What approximate meta-gradients are worth: the measures on problems whose answers are known, and the command."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import agents
from agents.agent import Training
from agents.imaml import Imaml, unpulled
from agents.parts.world import regression_world
from envs.families import regression
from experiments.studies import approximations
from experiments.studies.approximations import Exact, drawn, implicit_errors, spread_of
from metarl import meta, rules
from metarl.inner_loop import adapt

pytestmark = pytest.mark.usefixtures("settings_of_families")
LAMBDA = 3.0


@pytest.fixture
def small(float64):
    """A loop, parameters and data of two tasks: a network of few enough parameters for a dense Hessian."""
    settings = agents.RegressionSettings(num_shots=6, hidden_sizes=(4,), activation="tanh")
    world = regression_world(regression.sinusoid(), settings)
    own = Imaml(num_inner_steps=3, inner_lr=0.01, proximal=LAMBDA)
    loop = unpulled(world, Training(2, 1e-3), own)
    theta = jax.tree.map(lambda x: x.astype(float), loop.network.init(jax.random.key(0)))
    return loop, own, theta, drawn(world, loop, own, theta, 2, seed=1)


def first(experience):
    return jax.tree.map(lambda x: x[0], experience)


def test_the_exact_derivative_is_that_of_a_dense_solve_and_of_the_solution(small):
    """Two other routes: the inverse of the whole Hessian, and differences of minima from starts that are moved."""
    loop, _, theta, experience = small
    mine, exact = first(experience), Exact(loop.problem, theta, LAMBDA)
    flat, unravel = ravel_pytree(theta)
    loss = lambda x: loop.problem.inner_loss(unravel(x), first(mine.support))[0]
    end = exact.solved(flat, mine)
    assert jnp.linalg.norm(exact.pulled_gradient(end, mine)[1]) < 1e-6
    outer = lambda x: loop.problem.inner_loss(unravel(x), mine.query)[0]
    dense = LAMBDA * np.linalg.solve(jax.hessian(loss)(end) + LAMBDA * np.eye(flat.size), jax.grad(outer)(end))
    found = exact.derivative(end, mine)
    np.testing.assert_allclose(found, dense, atol=1e-5 * np.linalg.norm(dense))
    along = np.random.default_rng(0).normal(size=flat.size)
    moved = [Exact(loop.problem, unravel(flat + h * along), LAMBDA).solved(end, mine) for h in (1e-4, -1e-4)]
    np.testing.assert_allclose(found @ along, (outer(moved[0]) - outer(moved[1])) / 2e-4, rtol=1e-3)


def test_errors_come_from_damping_and_from_an_inner_problem_that_is_not_solved(small):
    loop, own, theta, experience = small
    few = functools.partial(dataclasses.replace, own)
    whole = drawn_again(loop, few(num_inner_steps=1500, cg_steps=60, cg_damping=0.0), theta, experience)
    assert max(whole.here, whole.solved, whole.left) < 1e-3 and whole.cosine > 0.999
    damped = drawn_again(loop, few(num_inner_steps=1500, cg_steps=60, cg_damping=20.0), theta, experience)
    assert min(damped.here, damped.solved) > 0.3 and damped.left < 1e-3
    begun = drawn_again(loop, few(num_inner_steps=1, cg_steps=60, cg_damping=0.0), theta, experience)
    assert begun.here < 1e-3 < 0.01 < begun.solved and begun.left > 0.1


def drawn_again(loop, own, theta, experience):
    """Errors with these settings, on the same data."""
    support = jax.tree.map(lambda x: jnp.repeat(x[:, :1], own.num_inner_steps, axis=1), experience.support)
    return implicit_errors(loop, own, theta, experience._replace(support=support))


def test_gauss_newton_is_a_network_s_part_of_the_curvature(small):
    """Against J' H J from whole Jacobians; without a negative direction, where the Hessian has some; and it is solved for."""
    loop, _, theta, experience = small
    mine, (flat, unravel) = first(experience), ravel_pytree(theta)
    x, y = batch = first(mine.support)
    read = lambda v: unravel(v)
    jacobian = jax.jacobian(lambda v: loop.network.apply(unravel(v), x).ravel())(flat)
    dense = 2 / y.size * jacobian.T @ jacobian
    product = meta.gauss_newton(loop.problem, read, flat, batch)
    np.testing.assert_allclose(jax.vmap(product)(jnp.eye(flat.size)), dense, atol=1e-12)
    whole = jax.vmap(meta.hessian(loop.problem, read, flat, batch))(jnp.eye(flat.size))
    assert np.linalg.eigvalsh(dense)[0] > -1e-12 and np.linalg.eigvalsh(whole)[0] < -0.01
    settings = {"cg_steps": 40, "damping": 0.0, "curvature_of": meta.gauss_newton}
    end = meta.last(adapt(rules.proximal(loop.rule, LAMBDA), loop.problem.inner_loss, theta, mine.support))
    at_end = jax.jacobian(lambda v: loop.network.apply(unravel(v), x).ravel())(ravel_pytree(end)[0])
    system = 2 / y.size * at_end.T @ at_end + LAMBDA * np.eye(flat.size)
    outer = ravel_pytree(jax.grad(lambda p: loop.problem.inner_loss(p, mine.query)[0])(end))[0]
    found = ravel_pytree(meta.implicit(loop.problem, loop.rule, LAMBDA, **settings)(theta, mine)[0])[0]
    np.testing.assert_allclose(found, LAMBDA * np.linalg.solve(system, outer), atol=1e-9)


def test_gauss_newton_is_for_problems_that_have_it(small):
    loop, _, theta, experience = small
    bare = meta.implicit(
        loop.problem._replace(gauss_newton=None), loop.rule, LAMBDA, cg_steps=1, curvature_of=meta.gauss_newton
    )
    with pytest.raises(
        ValueError, match=r"^gauss_newton: this problem gives no gauss_newton; take the Hessian, with damping\.$"
    ):
        bare(theta, first(experience))


def test_signal_and_spread_of_draws_that_are_known():
    """A mean of size 2 in 50 dimensions under noise of size 5; and noise alone, without signal but by chance."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 50)) * 5 / np.sqrt(50)
    mean = np.eye(50)[0] * 2
    both, alone = spread_of(noise + mean), spread_of(noise)
    assert abs(both.signal - 2) < 0.2 and abs(both.spread - 5) < 0.2
    assert alone.signal < 3 * alone.noise < 1.5 and abs(alone.spread - 5) < 0.2


def test_the_command_prints_both_tables(capsys, monkeypatch, error_of):
    small = agents.ReinforcementSettings(num_episodes=3, hidden_sizes=(3,))
    world = approximations.navigation_world

    def tiny():
        family = approximations.envs.make(approximations.NAVIGATION, horizon=5)
        return agents.policy_gradient_world(family, small), world()[1]

    monkeypatch.setattr(approximations, "navigation_world", tiny)
    few = {approximations.NAVIGATION: approximations.OF_THE_TABLES[approximations.NAVIGATION]}
    monkeypatch.setattr(approximations, "OF_THE_TABLES", few)
    monkeypatch.setattr(approximations, "GAUSS_NEWTON", few)
    approximations.main(["--num-batches", "3", "--num-tasks", "1"])
    said = capsys.readouterr().out
    for word in (
        "tasks",
        "episodes",
        "spread of one",
        "metarl/Navigation2D-v0, as in the tables",
        "Navigation2D-v0, Gauss-Newton",
    ):
        assert word in said
    assert "--num-batches is 2, but must be at least 3" in error_of(approximations.main, "--num-batches", "2")
