"""A film of every kind of agent, where chance decides how episodes start and move, and of ordinary environments."""

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.wrappers import RecordVideo
from PIL import Image

import agents
import envs
from envs.families.navigation import Navigation2D
from experiments.evaluation import rollout_video
from experiments.evaluation.held_out import EvaluateConfig, adapter, evaluate_into
from experiments.evaluation.trained import trained


class Blown(Navigation2D):
    """Navigation that starts anywhere and is blown about."""

    def initial(self, rng, params):
        return jax.random.uniform(rng, (2,), jax.numpy.float32, -0.2, 0.2)

    def transition(self, state, action, rng, params):
        return super().transition(state, action, rng, params) + 0.02 * jax.random.normal(rng, (2,))


def pendulum():
    """Drawn by itself, from a random start."""
    space = {"m": Box(0.5, 1.5, ())}
    return envs.from_gymnasium("Pendulum-v1", task_space=space, apply_task="attributes", horizon=5)


def made(name, family):
    learner = agents.make(name, family, num_tasks=2, num_episodes=2, hidden_sizes=(4,))
    return trained(family, learner, jax.jit(learner.init)(jax.random.key(0)))


@pytest.mark.parametrize("make", [lambda: Blown(5), pendulum], ids=["random", "ordinary"])
@pytest.mark.parametrize("name", ["maml", "imaml", "rl2", "oracle", "pretrained"])
@pytest.mark.parametrize("num_steps", [1])
def test_a_film_of_any_agent(name, make, num_steps, tmp_path):
    """Adapted or not, wherever the family can draw itself."""
    agent = made(name, make())
    settings = {"agent": name, "env": "any", "seed": 0, "num_episodes": 2}
    evaluate_into(tmp_path, agent, EvaluateConfig(num_tasks=2, num_steps=num_steps), settings)
    with Image.open(tmp_path / "rollout.gif") as film:
        assert film.n_frames >= 5


def test_it_shows_what_was_recorded():
    """The recorded key plays the recorded episode again, state by state; another does not."""
    family = Blown(5)
    agent = made("rl2", family)
    tasks = envs.held_out_tasks(family, 1)
    found = jax.device_get(adapter(agent.learner, 1)(agent.state, tasks))
    task = jax.tree.map(lambda x: x[0], tasks)
    for i, name in enumerate(("before", "after")):
        observation, mask, last = (part[0] for part in found[name])
        actions = found["actions"][i][0][: int(mask.sum())]
        states = rollout_video.replay(family, task, actions, observation, jax.random.wrap_key_data(found["keys"][i][0]))
        np.testing.assert_allclose(states[: len(actions)], observation[: len(actions)], atol=1e-5)
        np.testing.assert_allclose(states[-1], last, atol=1e-5)
        assert rollout_video.replay(family, task, actions, observation, jax.random.key(0)) is None


def test_gymnasium_s_own_recorder(tmp_path):
    """RecordVideo works in the development install."""
    env = gymnasium.make("metarl/Navigation2D-v0", render_mode="rgb_array", max_episode_steps=5)
    env = RecordVideo(env, str(tmp_path / "films"), episode_trigger=lambda episode: True, disable_logger=True)
    env.reset(seed=0)
    for _ in range(5):
        env.step(env.action_space.sample())
    env.close()
    [film] = (tmp_path / "films").glob("*.mp4")
    assert film.stat().st_size > 1000
