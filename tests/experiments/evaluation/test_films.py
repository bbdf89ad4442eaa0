"""A film of every kind of agent, where chance decides how episodes start and move, and of ordinary environments."""

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.experimental.functional import FuncEnv
from gymnasium.spaces import Box
from gymnasium.wrappers import RecordVideo
from PIL import Image

import agents
import envs
from envs.families.navigation import Navigation2D
from envs.stepping import first_step
from experiments import film as command
from experiments.evaluation import film, rollout_video
from experiments.evaluation.held_out import EvaluateConfig, adapter, evaluate_into
from experiments.evaluation.trained import trained
from tests.experiments.conftest import small_run
from tests.few import few


class Blown(Navigation2D):
    """Navigation that starts anywhere and is blown about."""

    def initial(self, rng, params):
        return jax.random.uniform(rng, (2,), jax.numpy.float32, -0.2, 0.2)

    def transition(self, state, action, rng, params):
        return super().transition(state, action, rng, params) + 0.02 * jax.random.normal(rng, (2,))


class Plain(Navigation2D):
    """Cannot draw itself."""

    render_image = FuncEnv.render_image


def pendulum():
    """Drawn by itself, from a random start."""
    space = {"m": Box(0.5, 1.5, ())}
    return envs.from_gymnasium("Pendulum-v1", task_space=space, apply_task="attributes", horizon=5)


def made(name, family):
    learner = agents.make(name, family, num_tasks=2, num_episodes=2, hidden_sizes=(4,))
    return trained(family, learner, jax.jit(learner.init)(jax.random.key(0)))


MAKERS = {"random": lambda: Blown(5), "ordinary": pendulum}
FILMED = [(name, maker) for name in ("maml", "imaml", "rl2", "oracle", "pretrained") for maker in MAKERS]


@pytest.mark.parametrize(("name", "maker"), few(FILMED, ("maml", "random"), ("imaml", "random"), ("rl2", "ordinary")))
@pytest.mark.parametrize("num_steps", [1])
def test_a_film_of_any_agent(name, maker, num_steps, tmp_path):
    """Adapted or not, wherever the family can draw itself."""
    agent = made(name, MAKERS[maker]())
    settings = {"agent": name, "env": "any", "seed": 0, "num_episodes": 2}
    evaluate_into(tmp_path, agent, EvaluateConfig(num_tasks=2, num_steps=num_steps), settings)
    with Image.open(tmp_path / "rollout.gif") as shown:
        assert shown.n_frames >= 5


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


@pytest.mark.parametrize("sampled", [False, True], ids=["greedy", "sampled"])
def test_both_episodes_of_a_row_have_the_same_random_start(sampled):
    """And are those of the agent before adaptation and after it."""
    agent, task = made("maml", Blown(5)), Blown(5).default_params
    curve = agent.adapt(task, num_steps=2)
    ends = []
    for step in (0, 2):
        states, total = film.episode(agent, agent.actor(curve, step, greedy=not sampled), task, seed=3)
        np.testing.assert_array_equal(states[0], first_step(agent.family, jax.random.key(3), task)[0])
        assert len(states) == 6 and total < 0
        ends.append(states[-1])
    assert not np.array_equal(*ends)
    other, _ = film.episode(agent, agent.actor(curve, 0), task, seed=4)
    assert not np.array_equal(other[0], states[0])


@pytest.mark.parametrize(
    ("name", "captions"),
    [("maml", ["before", "after 2 steps"]), ("rl2", ["before", "after 2 episodes"]), ("oracle", ["-"]), ("random", None)],
)
def test_captions_say_what_is_shown(name, captions):
    films = film.films_of(made(name, Blown(5)), Blown(5).default_params, film.How(2))
    captions = ["before", "after 2 steps"] if captions is None else captions
    assert [caption.startswith(start) for caption, start in zip(films, captions, strict=True)] == [True] * len(captions)
    assert all("(task " in caption for caption in films)


@pytest.fixture(scope="module")
def blown_run(tmp_path_factory):
    envs.register("films/Blown-v0", Blown)
    return small_run(tmp_path_factory.mktemp("films") / "run", "--env", "films/Blown-v0", "--eval-tasks", "0")


def test_the_command_films_a_run(blown_run, tmp_path):
    command.main(["--run-dir", str(blown_run), "--num-tasks", "3"])
    with Image.open(blown_run / "film.gif") as shown:
        assert shown.n_frames >= 6
        width, height = shown.size
    command.main(["--run-dir", str(blown_run), "--task", '{"position": [0.3, -0.2]}', "--out", str(tmp_path / "new/one.gif")])
    with Image.open(tmp_path / "new/one.gif") as shown:
        assert shown.size[0] == width and shown.size[1] < height / 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "give a run in --run-dir, or an agent that comes with metarl in --pretrained; one of them"),
        (["--run-dir", "RUN", "--out", "a.mp4"], "a film is a GIF; give a name that ends with .gif"),
        (["--run-dir", "RUN", "--task", "[]"], "--task is []: "),
        (["--run-dir", "RUN", "--num-tasks", "0"], "--num-tasks is 0, but must be at least 1"),
        (["--run-dir", "."], "is not a run"),
    ],
)
def test_the_command_refuses_in_one_line(flags, said, blown_run, error_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in error_of(command.main, *[str(blown_run) if word == "RUN" else word for word in flags])
    assert not list(tmp_path.iterdir())


def test_a_family_that_cannot_draw_itself_is_said(tmp_path, error_of):
    envs.register("films/Plain-v0", Plain)
    run = small_run(tmp_path / "run", "--env", "films/Plain-v0", "--num-iterations", "0", "--eval-tasks", "0")
    assert "Plain has no render_image, so there is nothing to film" in error_of(command.main, "--run-dir", run)


def test_gymnasium_s_own_recorder(tmp_path):
    """RecordVideo works in the development install."""
    env = gymnasium.make("metarl/Navigation2D-v0", render_mode="rgb_array", max_episode_steps=5)
    env = RecordVideo(env, str(tmp_path / "films"), episode_trigger=lambda episode: True, disable_logger=True)
    env.reset(seed=0)
    for _ in range(5):
        env.step(env.action_space.sample())
    env.close()
    [shown] = (tmp_path / "films").glob("*.mp4")
    assert shown.stat().st_size > 1000
