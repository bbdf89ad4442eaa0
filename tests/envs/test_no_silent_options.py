"""Options that once were accepted and had no effect."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Text, Tuple

import envs
from envs.families.navigation import Navigation2D
from experiments.compare import CompareConfig
from experiments.dashboard import DashboardConfig
from experiments.evaluation.held_out import EvaluateConfig
from experiments.train import main
from experiments.training.config import TrainConfig, train_config
from tests.envs.from_gymnasium.stranger import Slope

PLACE = Box(-2.0, 2.0, (2,), np.float32)
FIELDS = {"observation": PLACE, "achieved_goal": PLACE, "desired_goal": PLACE, "eyes": Dict({"left": PLACE, "right": PLACE})}


class Goals(gymnasium.Env):
    """Shows its goal among other things."""

    observation_space = Dict(FIELDS)
    action_space = Box(-0.1, 0.1, (2,), np.float32)
    goal = np.array([0.3, 0.3])

    def seen(self):
        here, goal = self.place.astype(np.float32), np.asarray(self.goal, np.float32)
        return {"observation": here, "achieved_goal": here, "desired_goal": goal, "eyes": {"left": here + 1, "right": goal}}

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.zeros(2)
        return self.seen(), {}

    def step(self, action):
        self.place = np.clip(self.place + action, -1, 1)
        return self.seen(), -float(np.linalg.norm(self.place - self.goal)), False, False, {}


def goals(**options):
    space = {"goal": Box(0.5, 0.9, (2,))}
    return envs.from_gymnasium(Goals, task_space=space, apply_task="attributes", horizon=5, **options)


def slope(**options):
    return envs.from_gymnasium(Slope, task_space={"x": Box(0.0, 1.0, ())}, apply_task="attributes", horizon=3, **options)


def first_observation(family):
    return np.asarray(envs.TaskEnv(family).reset(seed=0)[0])


def test_dropped_fields_are_not_seen():
    """Nor those inside others; what is left keeps its order, and says nothing of the goal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        family = goals(drop=("desired_goal", "eyes.right"))
    assert family.observation_space.shape == (6,)
    np.testing.assert_array_equal(first_observation(family), [0, 0, 1, 1, 0, 0])  # achieved_goal, eyes.left, observation
    assert first_observation(goals()).size == 10 and first_observation(goals()).max() >= 0.5
    np.testing.assert_array_equal(first_observation(goals(drop=("eyes", "desired_goal"))), np.zeros(4))


class Pair(Goals):
    """The same in tuples, with a text among them."""

    observation_space = Tuple((PLACE, Dict({"goal": PLACE, "here": PLACE}), Tuple((PLACE, Text(9)))))

    def seen(self):
        seen = super().seen()
        return (
            seen["observation"],
            {"goal": seen["desired_goal"], "here": seen["eyes"]["left"]},
            (seen["desired_goal"], "north"),
        )


def pair(**options):
    space = {"goal": Box(0.5, 0.9, (2,))}
    return envs.from_gymnasium(Pair, task_space=space, apply_task="attributes", horizon=5, **options)


def test_fields_inside_tuples_are_dropped_too():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        family = pair(drop=("1.goal", "2"))
    np.testing.assert_array_equal(first_observation(family), [0, 0, 1, 1])
    np.testing.assert_array_equal(
        family.read_observation(((0.5, 0.5), {"goal": (9, 9), "here": (1, 2)}, None)), [0.5, 0.5, 1, 2]
    )
    with pytest.warns(UserWarning, match=r"agents do not see 2\.1 of Pair, which cannot be flattened to numbers"):
        assert first_observation(pair(drop="1")).size == 4
    with pytest.raises(
        ValueError, match=r"drop names 'goal', but Pair has no such .* its fields: 0, 1, 1\.goal, 1\.here, 2, 2\.0, 2\.1"
    ):
        pair(drop="goal")


@pytest.mark.parametrize(
    ("drop", "words"),
    [
        ("desired", r"drop names 'desired', but Goals has no such observation field; its fields: .*desired_goal"),
        (("eyes.middle",), "drop names 'eyes.middle'"),
        (("left",), "drop names 'left'"),
        (tuple(FIELDS), "drop names every observation field of Goals; leave agents something to see"),
    ],
)
def test_drop_names_what_there_is(drop, words):
    with pytest.raises(ValueError, match=words) as error:
        goals(drop=drop)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"drop names 'desired_goal', but Slope .* its observations have no fields"):
        slope(drop=("desired_goal",))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_workers": 2}, "num_workers is 2, but 'sync' has no workers"),
        ({"timeout": 5.0}, "timeout is 5.0, but 'sync' has no workers"),
        ({"env_options": ["gravity"]}, "env_options is \\['gravity'\\], but must be a dict"),
        ({"env_options": {1: 2}}, "env_options is .*, but must be a dict"),
        ({"images": "no"}, "images is 'no', but must be True or False"),
        ({"first_task": {"y": 0.5}}, r"first_task is \{'y': 0.5\}, but must be a dict of x"),
        ({"first_task": {"x": 0.5, "y": 0.5}}, "first_task is .* but must be a dict of x"),
        ({"first_task": 0.5}, "first_task is 0.5, but must be a dict of x"),
        ({"first_task": {"x": 2.0}}, r"first_task\['x'\] is 2.0, outside its space Box"),
        ({"first_task": {"x": [0.5]}}, r"first_task\['x'\] is \[0.5\], outside its space Box"),
        ({"first_task": {"x": "a"}}, "first_task is .* but its fields must be numbers"),
    ],
)
def test_options_of_what_there_is_not(options, words):
    with pytest.raises(ValueError, match=words):
        slope(**options)


@pytest.mark.parametrize("family", [3, None, "navigation", "module:", ":Name", Navigation2D.horizon])
def test_no_family_can_be_registered(family):
    with pytest.raises(ValueError, match="must be a family's class, a function, or 'module:name'"):
        envs.register("silent/Nothing-v0", family)
    assert "silent/Nothing-v0" not in gymnasium.registry


def test_modes_of_drawing_are_those_of_the_family():
    for make in (envs.TaskEnv, envs.TaskVectorEnv):
        with pytest.raises(ValueError, match="render_mode is 'human', but the family draws rgb_array only"):
            make(Navigation2D, render_mode="human")


def test_a_family_that_draws_needs_no_more_than_that():
    """``render_image`` alone, as its documentation says."""

    class Plain(Navigation2D):
        render_init = envs.TaskFamily.render_init

        def render_image(self, state, render_state, params):
            return render_state, np.zeros((8, 8, 3), np.uint8)

    env = envs.TaskEnv(Plain, render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--eval-tasks", "0", "--eval-steps", "2"], "--eval-steps is 2, but --eval-tasks is 0"),
        (["--eval-tasks", "0", "--eval-episodes", "2"], "--eval-episodes is 2, but --eval-tasks is 0"),
        (["--hosts-wait", "9"], "--hosts-wait is 9, but there is no --hosts"),
        (["--trust", "theirs"], "--trust is theirs, but no other run is read without --resume or --start-from"),
    ],
)
def test_flags_for_what_is_left_out(flags, words, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--run-dir", str(tmp_path / "run"), "--num-iterations", "1", *flags])
    printed = capsys.readouterr()
    assert words in printed.err + printed.out and not (tmp_path / "run").exists()


def test_folders_may_be_text(tmp_path):
    folder = tmp_path / "run"
    for config in (train_config(run_dir=str(folder)), TrainConfig(run_dir=str(folder)), EvaluateConfig(run_dir=str(folder))):
        assert config.run_dir == folder
    for config in (CompareConfig(runs=(str(folder),), out=str(tmp_path)), DashboardConfig((str(folder),), str(tmp_path))):
        assert config.runs == (folder,) and config.out == tmp_path
