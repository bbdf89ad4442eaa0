"""The explaining pictures: their numbers against algebra and loops, and that they are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import sinusoid
from experiments.studies.explain import __main__ as explain
from experiments.studies.explain.__main__ import ExplainConfig, TwoTasks

WORLD = TwoTasks()


@pytest.fixture(scope="module")
def plane():
    return explain.two_tasks(WORLD, num_points=21)


def optimum(weights):
    """Where sum_i (theta - c_i)' W_i (theta - c_i) is least."""
    return np.linalg.solve(sum(weights), sum(w @ c for w, c in zip(weights, WORLD.centre, strict=True)))


def shrinks():
    return [np.eye(2) - WORLD.inner_lr * a for a in WORLD.curvature]


def test_optima_against_algebra(plane):
    np.testing.assert_allclose(plane.optima["pretrained"], optima_of(0), atol=1e-4)
    np.testing.assert_allclose(plane.optima["MAML"], optima_of(1), atol=1e-4)


def optima_of(num_steps):
    return optimum([s.T @ a @ s if num_steps else a for s, a in zip(shrinks(), WORLD.curvature, strict=True)])


def test_landings_and_losses_against_algebra(plane):
    for name, theta in plane.optima.items():
        landed = [c + s @ (theta - c) for c, s in zip(WORLD.centre, shrinks(), strict=True)]
        np.testing.assert_allclose(plane.landings[name], landed, atol=1e-5)
        for points, found in zip(([theta, theta], landed), plane.losses[name], strict=True):
            losses = [0.5 * (p - c) @ a @ (p - c) for p, c, a in zip(points, WORLD.centre, WORLD.curvature, strict=True)]
            np.testing.assert_allclose(found, np.mean(losses), rtol=1e-4)


def test_what_the_picture_says(plane):
    """MAML's optimum is worse before adaptation and clearly better after it; the grid agrees with the optima."""
    (pre_before, pre_after), (maml_before, maml_after) = plane.losses["pretrained"], plane.losses["MAML"]
    assert maml_before > pre_before and maml_after < 0.5 * pre_after
    for name, objective in plane.objectives.items():
        least = np.unravel_index(np.argmin(objective), objective.shape)
        nearest = np.array([plane.axes[0][least[1]], plane.axes[1][least[0]]])
        assert np.abs(nearest - plane.optima[name]).max() < 0.3


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    config = ExplainConfig(tmp_path_factory.mktemp("explain"), num_iterations=20)
    return {name: explain.train(config, name) for name in ("maml", "pretrained")}


@pytest.fixture(scope="module")
def surface(trained):
    return explain.loss_surface(trained["maml"], trained["pretrained"], num_points=23)


def test_surface_goes_through_both_agents(trained, surface):
    """At MAML's point the surface is the error of its state, at the pretrained one that of the pretrained; by a plain loop."""
    assert surface.loss.shape == (4, 23, 23)
    learner = sinusoid.build(trained["maml"].config, 10).learner
    family = sinusoid.build(trained["maml"].config, 10).family
    task_keys = jax.random.split(jax.random.key(1), explain.SURFACE_TASKS)
    data_keys = jax.random.split(jax.random.key(2), explain.SURFACE_TASKS)
    for name, (along, across) in (("maml", surface.points["MAML"]), ("pretrained", surface.points["pretrained"])):
        state, curve = trained["maml"].state._replace(theta=trained[name].state.theta), []
        adapt = jax.jit(lambda task, key, state=state: learner.adapt(state, task, key, 5).score)
        curve = [-adapt(family.sample_task(a), b) for a, b in zip(task_keys, data_keys, strict=True)]
        expected = np.mean(curve, axis=0)[list(explain.SURFACE_STEPS)]
        column, row = np.argmin(np.abs(surface.along - along)), np.argmin(np.abs(surface.across - across))
        np.testing.assert_allclose([surface.along[column], surface.across[row]], [along, across], atol=1e-6)
        np.testing.assert_allclose(surface.loss[:, row, column], expected, rtol=1e-3)


def test_fits_are_of_one_held_out_task(trained):
    panels = explain.fits(trained, index=2)
    x, y = panels["support"]
    assert x.shape == y.shape == (5,)
    np.testing.assert_allclose(np.interp(x, panels["x"], panels["true"]), y, atol=0.02)
    for name, agent in panels["agents"].items():
        np.testing.assert_allclose(agent["error"], np.mean((agent["predictions"][-1] - panels["true"]) ** 2), rtol=1e-5)
        before = trained[name].learner.predict(
            jax.tree.map(lambda leaf: leaf[None], trained[name].state.theta), None, jnp.asarray(panels["x"])[:, None]
        )
        np.testing.assert_allclose(agent["predictions"][0], before[0, :, 0], atol=1e-5)


def test_the_pictures_are_drawn(plane, trained, surface, tmp_path):
    """Of fits there are six, for which the two that are trained here stand in."""
    panels = explain.fits(trained, 0)
    six = {name: panels["agents"]["maml" if name == "maml" else "pretrained"] for name in explain.AGENTS}
    explain.pictures.two_tasks(tmp_path / "two_tasks.png", plane, WORLD.centre)
    explain.pictures.fits(tmp_path / "fits.png", panels | {"agents": six})
    explain.pictures.loss_surface(tmp_path / "loss_surface.png", surface, explain.SURFACE_STEPS)
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 200 and len(set(picture.convert("L").tobytes())) > 20, path
    assert len(list(tmp_path.iterdir())) == 3


def test_bad_input(tmp_path, error_of):
    (tmp_path / "file").write_text("")
    assert "is a file" in error_of(explain.main, "--out", tmp_path / "file")
    assert "--num-iterations is 0" in error_of(explain.main, "--out", tmp_path / "a", "--num-iterations", 0)
