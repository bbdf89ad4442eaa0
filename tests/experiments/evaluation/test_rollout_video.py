"""The film of a held-out task: what was recorded, or nothing."""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from envs.families import navigation
from envs.families.navigation import Goal, Navigation2D
from experiments.evaluation import rollout_video
from metarl.sampler import rollout

TASK = Goal(jnp.asarray([0.3, 0.2]))


def episode(family, action, horizon=12):
    """Always the same action: (observation, action, mask)."""
    actor = lambda observation, key: (jnp.asarray(action), jnp.zeros(()), ())
    trajectory = rollout(family, actor, TASK, jax.random.key(5), horizon=horizon)
    return jax.device_get((trajectory.observation, trajectory.action, trajectory.mask))


def test_two_episodes_side_by_side(tmp_path):
    family = Navigation2D(12)
    path = tmp_path / "rollout.gif"
    episodes = {"before": episode(family, [0.0, 0.0]), "after": episode(family, [0.3, 0.2])}
    assert episodes["after"][2].sum() < 12, "it arrives"
    assert rollout_video.write(path, family, TASK, episodes)
    with Image.open(path) as film:
        assert film.n_frames >= 2
        film.seek(film.n_frames - 1)
        frame = np.asarray(film.convert("RGB")).astype(int)[rollout_video.CAPTION :]
    blue = (frame[..., 2] - frame[..., 0]) > 60
    agent = [np.argwhere(side).mean(axis=0) for side in (blue[:, :192], blue[:, -192:])]
    np.testing.assert_allclose(agent[0], [96, 96], atol=3)  # it stays in the middle
    np.testing.assert_allclose(agent[1], [96 - 0.2 * 96 / 0.5 / 2, 96 + 0.3 * 96 / 0.5 / 2], atol=3)


def test_no_film_of_something_else(tmp_path):
    family = Navigation2D(12)
    observation, action, mask = episode(family, [0.3, 0.2])
    path = tmp_path / "rollout.gif"
    path.write_bytes(b"of an earlier evaluation")
    assert not rollout_video.write(path, family, TASK, {"after": (observation + 0.01, action, mask)})
    assert not path.exists()


def test_no_film_of_a_family_that_cannot_draw(tmp_path):
    class Blind(Navigation2D):
        render_image = navigation.TaskFamily.render_image

    family = Blind(12)
    assert not rollout_video.write(tmp_path / "rollout.gif", family, TASK, {"after": episode(family, [0.3, 0.2])})
