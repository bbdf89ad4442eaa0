"""What Gymnasium users count on: time limits in specifications, checked actions, pickles, JSON, errors and no hang."""

import copy
import pickle
import subprocess
import sys

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import TimeAwareObservation

import envs
from agents.agent import ReinforcementSettings
from agents.parts.world import policy_gradient_world
from envs.families.navigation import Goal, Navigation2D
from envs.to_gymnasium.conventions import read_action
from tests.envs.from_gymnasium.stranger import TASKS, Corridor, corridor
from tests.few import few

NAVIGATION, BANDIT = "metarl/Navigation2D-v0", "metarl/BernoulliBandit-v0"
FAST = [NAVIGATION, BANDIT, "metarl/TabularMDP-v0", "metarl/PendulumDynamics-v0", "metarl/HalfCheetahVel-v0"]
FAR = Goal(np.array([0.5, 0.5], np.float32))


def length_of(env, most=500):
    env.reset(seed=0)
    for t in range(1, most):
        *_, terminated, truncated, _ = env.step(np.zeros(2, np.float32))
        if terminated or truncated:
            return t
    raise AssertionError("it does not end")


@pytest.mark.parametrize("id", few(envs.FAMILIES, *FAST))
def test_the_specification_says_how_long_episodes_are(id):
    horizon = envs.make(id).horizon
    assert gymnasium.make(id).spec.max_episode_steps == horizon
    assert gymnasium.make_vec(id, num_envs=2).spec.max_episode_steps == horizon


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 100),
        ({"max_episode_steps": 130}, 130),
        ({"max_episode_steps": 20}, 20),
        ({"max_episode_steps": -1}, 100),
        ({"horizon": 120}, 120),
        ({"horizon": 7, "max_episode_steps": 7}, 7),
    ],
)
def test_episodes_are_as_long_as_the_specification_says(options, expected):
    env = gymnasium.make(NAVIGATION, task=FAR, **options)
    assert env.spec.max_episode_steps == length_of(env) == expected
    again = gymnasium.make(env.spec)
    assert again.spec.max_episode_steps == length_of(again) == expected
    many = gymnasium.make_vec(NAVIGATION, num_envs=2, task=FAR, **options)
    many.reset(seed=0)
    cut = [many.step(np.zeros((2, 2)))[3].all() for _ in range(expected)]
    assert many.spec.max_episode_steps == expected and cut == [False] * (expected - 1) + [True]


def test_a_longer_episode_is_of_a_family_with_that_horizon():
    """Not merely cut off later: the space of `Navigation2D` grows with its horizon."""
    longer, expected = gymnasium.make(NAVIGATION, max_episode_steps=130), Navigation2D(130)
    assert longer.observation_space == expected.observation_space
    assert gymnasium.make_vec(NAVIGATION, max_episode_steps=130).single_observation_space == expected.observation_space


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
def test_two_lengths_are_refused(make):
    with pytest.raises(ValueError, match="horizon is 20, but max_episode_steps is 30; give one of them"):
        make(NAVIGATION, horizon=20, max_episode_steps=30)


def fixed():
    """Makes a family and takes no horizon, as most functions that call `from_gymnasium`."""
    return corridor()


@pytest.mark.parametrize("family", [fixed, Navigation2D(9)], ids=["function", "instance"])
def test_what_takes_no_horizon_is_cut_short_but_not_prolonged(family):
    envs.register(f"conventions/{type(family).__name__}-v0", family)
    id, own = f"conventions/{type(family).__name__}-v0", 6 if family is fixed else 9
    for limit in (4, own):
        env = gymnasium.make(id, max_episode_steps=limit)
        assert env.spec.max_episode_steps == gymnasium.make(env.spec).spec.max_episode_steps == limit
        many = gymnasium.make_vec(id, num_envs=2, max_episode_steps=limit)
        again = gymnasium.make_vec(many.spec)
        assert many.spec.max_episode_steps == again.spec.max_episode_steps == limit
        again.reset(seed=0)
        still = np.ones(2, int) if family is fixed else np.zeros((2, 2))
        assert [again.step(still)[3].all() for _ in range(limit)] == [False] * (limit - 1) + [True]
    for make in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(
            ValueError, match=rf"max_episode_steps is 12, but an episode has {own} steps, and what makes"
        ) as error:
            make(id, max_episode_steps=12)
        assert "\n" not in str(error.value)
    assert gymnasium.make(id).spec.max_episode_steps == own


def test_a_limit_builds_the_family_once():
    built = []

    def counted(horizon=None):
        built.append(horizon)
        return Navigation2D(horizon)

    assert envs.TaskVectorEnv(counted, 1, max_episode_steps=30).family.horizon == 30
    assert built == [30]


def test_a_subclass_of_the_environment_is_made_as_long():
    gymnasium.register("conventions/Longer-v0", entry_point=Longer, kwargs={"family": Navigation2D})
    assert length_of(gymnasium.make("conventions/Longer-v0", task=FAR, max_episode_steps=130)) == 130


class Longer(envs.TaskEnv):
    def __init__(this, *args, **options):
        super().__init__(*args, **options)


def test_wrappers_that_ask_for_the_length():
    env = TimeAwareObservation(gymnasium.make(NAVIGATION, max_episode_steps=50))
    observation, _ = env.reset(seed=0)
    assert observation.shape == (3,) and observation[2] == 0


@pytest.mark.parametrize("action", [[0.01, -0.02], (0.01, -0.02), np.array([0.01, -0.02]), jax.numpy.array([0.01, -0.02])])
def test_actions_of_any_kind_do_the_same(action):
    env = gymnasium.make(NAVIGATION, task=FAR, disable_env_checker=True)
    env.reset(seed=0)
    observation, *_ = env.step(action)
    np.testing.assert_allclose(observation, [0.001, -0.002], atol=1e-6)  # a tenth of the action


class Charged(Navigation2D):
    """Charges the action that it is given."""

    def reward(self, state, action, next_state, rng, params):
        return -jax.numpy.sum(action**2)


@pytest.mark.parametrize("action", [[3.0, -0.5], np.array([3.0, -0.5], np.float32), [3, -9]])
def test_actions_outside_the_space_are_those_of_its_edge(action):
    """As agents are trained; so a reward that charges the action is the same in environments."""
    expected = -1.0 - np.clip(action[1], -1, 1) ** 2
    env, many = envs.TaskEnv(Charged), envs.TaskVectorEnv(Charged, 2)
    env.reset(seed=0), many.reset(seed=0)
    assert env.step(action)[1] == expected
    assert many.step([action, action])[1].tolist() == [expected] * 2
    units = policy_gradient_world(Charged(), ReinforcementSettings()).rollouts.family
    assert units.reward(np.zeros(2), jax.numpy.asarray(action, float), np.zeros(2), None, Charged().default_params) == expected


@pytest.mark.parametrize("action", [[0.1], 0.1, [[0.1, 0.1]], [0.1, 0.1, 0.1], "ab", None, [[0.1], [0.1, 0.1]], [0.1, None]])
def test_actions_of_another_shape_are_refused(action):
    env, many = envs.TaskEnv(Navigation2D), envs.TaskVectorEnv(Navigation2D, 2)
    for one, given in ((env, action), (many, [action, action])):
        one.reset(seed=0)
        with pytest.raises(ValueError, match=r"^step: the action is .*, but must be numbers of shape") as error:
            one.step(given)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("action", [[np.nan, 0.1], np.array([0.1, np.nan], np.float32), jax.numpy.full(2, np.nan)])
def test_actions_that_are_no_numbers_are_refused(action):
    """They would stay in the state, and make every reward from there on one that is none."""
    env, many = envs.TaskEnv(Navigation2D), envs.TaskVectorEnv(Navigation2D, 2)
    for one, given in ((env, action), (many, np.stack([np.zeros(2), action]))):
        one.reset(seed=0)
        with pytest.raises(ValueError, match=r"^step: the action is .*nan.*, which is not a number") as error:
            one.step(given)
        assert "\n" not in str(error.value)
        assert np.isfinite(one.step(np.zeros_like(given))[1]).all(), "nothing happened"


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (5, "actions are 0 to 4"),
        (-1, "actions are 0 to 4"),
        (0.7, "must be whole numbers"),
        (1.0, "must be whole numbers"),
        ([1], "of shape \\(\\)"),
        (np.array([1, 2]), "of shape \\(\\)"),
    ],
)
def test_discrete_actions_that_there_are_not(action, words):
    env = gymnasium.make(BANDIT, disable_env_checker=True)
    many = gymnasium.make_vec(BANDIT, num_envs=2)
    assert env.action_space.n == 5
    for one, given in ((env, action), (many, [0, action] if np.ndim(action) == 0 else [action, action])):
        one.reset(seed=0)
        with pytest.raises(ValueError, match="step: the action is"):
            one.step(given)
    with pytest.raises(ValueError, match=words):
        read_action(env.action_space, action)


@pytest.mark.parametrize("action", [3, np.int64(3), np.int32(3), np.array(3), jax.numpy.int32(3)])
def test_discrete_actions_that_there_are(action):
    env = gymnasium.make(BANDIT, disable_env_checker=True)
    env.reset(seed=0)
    env.step(action)
    assert read_action(env.action_space, action) == 3


def test_stepping_before_the_first_reset():
    for env in (envs.TaskEnv(Navigation2D), envs.TaskVectorEnv(Navigation2D, 2)):
        with pytest.raises(gymnasium.error.ResetNeeded, match="call reset first"):
            env.step(env.action_space.sample())


@pytest.mark.parametrize("id", few(envs.FAMILIES, *FAST))
def test_environments_and_families_are_pickled(id):
    """In the middle of an episode, which goes on alike."""
    family = envs.make(id, horizon=6)
    task = jax.tree.map(lambda x: x[0], envs.held_out_tasks(family, 1))
    env = gymnasium.make(id, horizon=6, task=task, disable_env_checker=True)
    env.reset(seed=4)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(4)]
    env.step(actions[0])
    again, theirs = pickle.loads(pickle.dumps(env)), pickle.loads(pickle.dumps(family))
    assert theirs.observation_space == family.observation_space and theirs.horizon == 6
    for action in actions[1:3]:
        for one, other in zip(env.step(action), again.step(action), strict=True):
            np.testing.assert_equal(one, other)
    many = envs.TaskVectorEnv(theirs, 2)
    many.reset(seed=[4, 5])
    copy = pickle.loads(pickle.dumps(many))
    for one, other in zip(many.step([actions[0]] * 2)[:4], copy.step([actions[0]] * 2)[:4], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_family_of_an_ordinary_environment_is_pickled():
    """Its episodes stay where they are played: the copy begins anew."""
    family = envs.from_gymnasium(Corridor, task_space=TASKS, apply_task="set_task", horizon=6, drop=("say", "far.say"))
    env = envs.TaskEnv(family)
    first, _ = env.reset(seed=1)
    again = pickle.loads(pickle.dumps(env))
    with pytest.raises(RuntimeError, match="Reset again"):
        again.step(1)
    np.testing.assert_array_equal(again.reset(seed=1)[0], first)


def test_copies_of_a_family_of_an_ordinary_environment_do_not_step_one_anothers_episodes():
    family = corridor()
    one, other = copy.deepcopy([begun(family, 1), begun(family, 2)])
    with pytest.raises(RuntimeError, match=r"this is a copy of where it was begun. Reset again"):
        other.step(1)
    one.reset(seed=1)
    with pytest.raises(RuntimeError, match="Reset again"):
        other.step(1)


def begun(family, seed):
    env = envs.TaskEnv(family)
    env.reset(seed=seed)
    return env


def test_what_is_drawn_is_pickled_too():
    env = gymnasium.make(NAVIGATION, render_mode="rgb_array")
    env.reset(seed=0)
    env.render()
    assert pickle.loads(pickle.dumps(env)).render().shape == (192, 192, 3)


@pytest.mark.parametrize("id", [NAVIGATION, BANDIT, "metarl/CartPoleDynamics-v0", "metarl/HalfCheetahDir-v0"])
def test_a_specification_with_a_task_goes_through_json(id):
    family = envs.make(id)
    task = jax.tree.map(lambda x: x[3], envs.held_out_tasks(family, 4))
    env = gymnasium.make(id, task=task)
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    jax.tree.map(np.testing.assert_array_equal, again.unwrapped.task, env.unwrapped.task)
    many = gymnasium.make_vec(id, num_envs=2, task=task)
    copy = gymnasium.make_vec(EnvSpec.from_json(many.spec.to_json()))
    jax.tree.map(np.testing.assert_array_equal, copy.unwrapped.task, many.unwrapped.task)


def test_a_specification_of_a_class_goes_through_json():
    envs.register("conventions/Plane-v0", Navigation2D)
    envs.register("conventions/Corridor-v0", corridor)
    for id, horizon in (("conventions/Plane-v0", 100), ("conventions/Corridor-v0", 6)):
        env = gymnasium.make(EnvSpec.from_json(gymnasium.make(id).spec.to_json()))
        assert env.spec.max_episode_steps == horizon


@pytest.mark.parametrize("make", ["function", "class", "instance"])
def test_a_specification_of_what_no_module_holds_goes_through_json(make):
    """Such as what a script or a notebook registers: found by its id."""

    class Local(Navigation2D):
        pass

    id = f"conventions/Local-{make}-v0"
    makers = {"function": lambda horizon=30: Navigation2D(horizon), "class": Local, "instance": Navigation2D(30)}
    envs.register(id, makers[make])
    limit = {} if make == "instance" else {"max_episode_steps": 40}
    for one in (gymnasium.make, lambda *about, **how: gymnasium.make_vec(*about, num_envs=2, **how)):
        spec = one(id, task=FAR, **limit).spec
        read = EnvSpec.from_json(spec.to_json())
        again = gymnasium.make(read) if one is gymnasium.make else gymnasium.make_vec(read)
        assert again.spec.max_episode_steps == limit.get("max_episode_steps", 30)
        jax.tree.map(lambda leaf: np.testing.assert_array_equal(np.ravel(leaf)[:2], FAR.position), again.unwrapped.task)
    with pytest.raises(ValueError, match=r"^no family is registered as 'conventions/nobody-v0' here; import what registers it"):
        envs.TaskEnv("conventions/nobody-v0")


def test_tasks_by_the_names_of_their_fields():
    """As in JSON; for a vector of environments one for all, or one each."""
    env = gymnasium.make(NAVIGATION, task={"position": [0.25, -0.5]})
    np.testing.assert_array_equal(env.unwrapped.task.position, [0.25, -0.5])
    for task in ({"position": [0.25, -0.5]}, Goal([0.25, -0.5]), Goal([[0.25, -0.5]] * 3)):
        many = gymnasium.make_vec(NAVIGATION, num_envs=3, task=task)
        np.testing.assert_array_equal(many.unwrapped.task.position, [[0.25, -0.5]] * 3)
    with pytest.raises(ValueError, match="a task looks like Goal"):
        gymnasium.make(NAVIGATION, task={"place": [0.25, -0.5]})


FORKED = """
import multiprocessing, os, warnings
warnings.simplefilter("ignore")
import gymnasium, jax, envs

def make():
    return gymnasium.make("metarl/Navigation2D-v0")

if __name__ == "__main__":
    if {early}:
        jax.numpy.ones(3).block_until_ready()
    {body}
"""
BODIES = {
    "async": "gymnasium.make_vec('metarl/Navigation2D-v0', num_envs=2, vectorization_mode='async')",
    "process": "p = multiprocessing.get_context('fork').Process(target=make); p.start(); p.join(); print('ended', p.exitcode)",
    "stepping": (
        "env = make(); env.reset(); p = multiprocessing.get_context('fork').Process(target=env.reset); p.start(); p.join(); "
        "print('ended', p.exitcode)"
    ),
}


def forked(body, early):
    program = FORKED.format(body=BODIES[body], early=early)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("body", BODIES)
def test_a_forked_child_says_so_and_does_not_hang(body):
    done = forked(body, early=True)
    assert "RuntimeError: this process was forked" in done.stderr and "'spawn'" in done.stderr
    assert done.returncode != 0 or "ended 1" in done.stdout


def test_a_child_forked_before_jax_began_works():
    assert "ended 0" in forked("process", early=False).stdout
