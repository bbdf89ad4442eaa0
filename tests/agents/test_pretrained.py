"""Each recipe of transfer learning against fine-tuning by hand."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import agents
from agents.agent import hyperparameters
from agents.pretrained import FOLDS, LOWER_BY, PRETRAINED, RATES, RECIPES, choose_rate
from envs.families.regression import Sinusoid, sinusoid
from tests.few import few

RATE = 0.01
TASK = Sinusoid(jnp.float32(2.0), jnp.float32(1.0))
WORLD = agents.regression_world(sinusoid(), agents.RegressionSettings(10, (6, 5), "tanh"))
LAYERS = ("Dense_0", "Dense_1", "Dense_2")


def adapted(recipe, num_steps):
    """What the agent does: its path [K+1], the start, and the support set."""
    learner = agents.build("pretrained", WORLD, agents.Training(4, 0.01), inner_lr=RATE, recipe=recipe)
    state = jax.jit(learner.init)(jax.random.key(5))
    curve = jax.jit(learner.adapt, static_argnums=3)(state, TASK, jax.random.key(1), num_steps)
    return curve.path["params"], state.theta, jax.tree.map(lambda x: x[0], curve.experience.support)


@jax.jit
def gradient(params, support):
    """Of the loss on the support set."""
    return jax.grad(lambda p: WORLD.make_problem(WORLD.make_network(0)).inner_loss(p, support)[0])(params)


def fine_tuned(start, support, num_steps, rate_of):
    """Gradient descent by hand; ``rate_of(layer, step)``."""
    params = start
    for k in range(num_steps):
        grads = gradient(params, support)["params"]
        layers = {
            name: jax.tree.map(lambda p, g, name=name, k=k: p - rate_of(name, k) * g, layer, grads[name])
            for name, layer in params["params"].items()
        }
        params = {"params": layers}
    return params["params"]


def agree(path, expected):
    for name in LAYERS:
        for leaf in ("kernel", "bias"):
            np.testing.assert_allclose(path[name][leaf][-1], expected[name][leaf], atol=1e-5, err_msg=f"{name} {leaf}")


LOWER = dict(zip(LAYERS, (LOWER_BY**2 * RATE, LOWER_BY * RATE, RATE), strict=True))
RATE_OF = {
    "plain": lambda name, k: RATE,
    "lower-early": lambda name, k: LOWER[name],
    "frozen": lambda name, k: RATE if name == "Dense_2" else 0.0,
    "gradual": lambda name, k: RATE if LAYERS.index(name) >= 2 - k else 0.0,
}


@pytest.mark.parametrize("num_steps", few([1, 2, 4], 4))
@pytest.mark.parametrize("recipe", RATE_OF)
def test_recipe_against_a_loop_by_hand(recipe, num_steps):
    path, start, support = adapted(recipe, num_steps)
    agree(path, fine_tuned(start, support, num_steps, RATE_OF[recipe]))


def test_recipes_differ():
    """The negative case: no two recipes end alike after two steps."""
    ends = [ravel_pytree(jax.tree.map(lambda x: x[-1], adapted(name, 2)[0]))[0] for name in RECIPES]
    for i, a in enumerate(ends):
        for b in ends[i + 1 :]:
            assert np.abs(a - b).max() > 1e-5


def test_new_head_starts_afresh_and_moves_everything():
    path, start, support = adapted("new-head", 3)
    fresh = WORLD.make_network(0).init(jax.random.key(0))["params"]["Dense_2"]
    np.testing.assert_allclose(path["Dense_2"]["kernel"][0], fresh["kernel"], rtol=1e-6)
    np.testing.assert_array_equal(path["Dense_1"]["kernel"][0], start["params"]["Dense_1"]["kernel"])
    agree(path, fine_tuned({"params": start["params"] | {"Dense_2": fresh}}, support, 3, RATE_OF["plain"]))


def test_cross_validated_picks_the_rate_that_predicts_held_back_points():
    """Folds by hand: the chosen rate has the least held-back error, and adaptation uses it."""
    path, start, (x, y) = adapted("cross-validated", 4)
    problem, errors = WORLD.make_problem(WORLD.make_network(0)), {}
    for rate in RATES:
        held_back = []
        for fold in range(FOLDS):
            out = np.arange(10) % FOLDS == fold
            tuned = fine_tuned(start, (x[~out], y[~out]), 4, lambda name, k, rate=rate: rate)
            held_back.append(float(problem.inner_loss({"params": tuned}, (x[out], y[out]))[0]))
        errors[rate] = np.mean(held_back)
    best = min(errors, key=errors.get)
    assert len({round(error, 4) for error in errors.values()}) == len(errors), "rates must matter here"
    chosen = choose_rate(problem.inner_loss, start, (x, y), 4)
    np.testing.assert_allclose(chosen, best, rtol=1e-6)
    agree(path, fine_tuned(start, (x, y), 4, lambda name, k: best))


def test_unknown_recipe_is_refused():
    with pytest.raises(ValueError, match=r"pretrained: recipe is 'warm'; known: plain, lower-early"):
        adapted("warm", 1)


def test_every_recipe_that_may_be_named_is_known():
    assert hyperparameters(PRETRAINED, "regression")["recipe"].type == Literal[*RECIPES, "cross-validated"]
