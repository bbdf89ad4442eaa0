"""The natural-gradient step with its line search, against algebra on problems small enough to solve by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl.interfaces import MetaState
from metarl.outer import recorded
from metarl.tasks import TaskMap
from metarl.trust_region import trust_region

pytestmark = pytest.mark.usefixtures("float64")

FISHER = np.array([[2.0, 0.5], [0.5, 1.0]])
SLOPES = np.array([[1.0, -2.0], [3.0, 0.5]])  # one row per task
START = np.array([0.3, -0.4])
DELTA = 0.02


def linear(theta, slope):
    return slope @ theta, {"score": theta[:1]}


def quadratic(theta, slope):
    """The same for every task, as if the policies' Fisher matrix were constant."""
    away = theta - START
    return 0.5 * away @ jnp.asarray(FISHER) @ away


def step(objective, divergence=quadratic, **options):
    update = trust_region(objective, divergence, max_divergence=DELTA, damping=0.0, **options)
    state = MetaState(jnp.asarray(START), update.init(START), jnp.zeros((), jnp.int32))
    return jax.jit(lambda state, slopes: update.step(state, recorded, slopes))(state, jnp.asarray(SLOPES))


def natural_step():
    """The minimum of the mean linear loss within the ellipse: algebra."""
    g = SLOPES.mean(axis=0)
    direction = np.linalg.solve(FISHER, g)
    return -np.sqrt(2 * DELTA / (g @ direction)) * direction


def test_a_step_goes_to_the_edge_of_the_trust_region():
    state, per_task, metrics = step(linear)
    moved = np.asarray(state.theta - START)
    # The edge itself, or one shrinkage inside it when rounding puts the first candidate a hair outside.
    assert any(np.allclose(moved, scale * natural_step(), rtol=1e-6) for scale in (1.0, 0.8)), (moved, natural_step())
    np.testing.assert_allclose(metrics["outer/kl"], quadratic(state.theta, None), rtol=1e-12)
    assert metrics["outer/kl"] <= DELTA and metrics["outer/line_search_failed"] == 0 and state.iteration == 1
    np.testing.assert_allclose(per_task["loss"], SLOPES @ START)
    np.testing.assert_allclose(metrics["outer/grad_norm"], np.linalg.norm(SLOPES.mean(axis=0)))
    cosine = SLOPES[0] @ SLOPES[1] / np.prod(np.linalg.norm(SLOPES, axis=1))
    np.testing.assert_allclose(metrics["outer/grad_cosine"], cosine)


def test_line_search_shortens_until_the_loss_improves():
    """Along the natural direction the loss first falls, then rises: the step ends on the first candidate that is better."""
    unit = natural_step()

    def valley(theta, slope):
        along = (theta - START) @ unit / (unit @ unit)
        return slope @ (theta - START) + 0.3 * along**2, {}

    state, _, metrics = step(valley)
    along = float((state.theta - START) @ unit / (unit @ unit))
    fall = -float(SLOPES.mean(axis=0) @ unit)
    candidates = 0.8 ** np.arange(15)
    better = candidates[-fall * candidates + 0.3 * candidates**2 < 0]
    assert metrics["outer/line_search_failed"] == 0
    np.testing.assert_allclose(along, better[0], rtol=1e-6)


@pytest.mark.parametrize("bad", [lambda away: 1e6 * away @ away, lambda away: jnp.where(away @ away > 0, jnp.nan, 0.0)])
def test_a_failed_search_keeps_the_parameters_and_is_counted(bad):
    """Worse, or not a number, wherever one goes."""

    def objective(theta, slope):
        away = theta - START
        # Removes the slope of the penalty only: the gradient still promises an improvement.
        return slope @ away + jax.lax.stop_gradient(bad(away)), {}

    state, _, metrics = step(objective)
    np.testing.assert_array_equal(state.theta, START)
    assert metrics["outer/line_search_failed"] == 1 and metrics["outer/kl"] == 0 and state.iteration == 1


def test_a_divergence_that_the_model_underestimates_is_respected():
    """A fourth-order term that the Hessian cannot see: the candidates are checked themselves."""

    def steeper(theta, slope):
        away = theta - START
        return quadratic(theta, slope) + 1e4 * jnp.sum(away**4)

    state, _, metrics = step(linear, steeper)
    assert metrics["outer/line_search_failed"] == 0 and 0 < metrics["outer/kl"] <= DELTA
    assert np.linalg.norm(state.theta - START) < 0.8 * np.linalg.norm(natural_step())


def test_damping_shortens_flat_directions():
    flat = lambda theta, slope: 0.5 * 1e-8 * (theta - START) @ (theta - START)
    update = trust_region(linear, flat, max_divergence=DELTA, damping=1.0)
    state, _, _ = update.step(MetaState(jnp.asarray(START), (), jnp.zeros((), jnp.int32)), recorded, jnp.asarray(SLOPES))
    np.testing.assert_allclose(np.linalg.norm(state.theta - START), np.sqrt(2 * DELTA), rtol=1e-4)


def test_no_room_is_refused():
    with pytest.raises(ValueError, match="max_divergence is 0"):
        trust_region(linear, quadratic, max_divergence=0.0)


def test_products_that_replay_are_those_of_the_linearisation():
    """A divergence that differs among tasks and is not quadratic."""

    def own(theta, slope):
        away = theta - START
        return quadratic(theta, slope) + (slope @ away) ** 2 + 0.1 * jnp.sum(jnp.cosh(away) - 1)

    stored, _, kl = step(linear, own)
    again, _, same_kl = step(linear, own, remat=True)
    in_turn, _, _ = step(linear, own, remat=True, task_map=TaskMap(None, 1))
    np.testing.assert_allclose(again.theta, stored.theta, rtol=1e-12)
    np.testing.assert_allclose(in_turn.theta, stored.theta, rtol=1e-12)
    np.testing.assert_allclose(same_kl["outer/kl"], kl["outer/kl"], rtol=1e-9)
    assert np.linalg.norm(stored.theta - START) > 0.01
