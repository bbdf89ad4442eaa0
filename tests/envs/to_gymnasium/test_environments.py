"""Every registered family as ordinary Gymnasium environments, single and vector."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Discrete
from gymnasium.utils.env_checker import check_env

import envs
from envs.families.navigation import Goal, Navigation2D
from envs.registration import build_family
from envs.to_gymnasium.task_env import TaskEnv
from metarl.sampler import rollout

NAVIGATION = "metarl/Navigation2D-v0"


@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_check_env_of_a_registered_environment(render_mode):
    """As Gymnasium makes it, in each render mode; `check_task_family` puts every family through the rest of it."""
    check_env(gymnasium.make(NAVIGATION, render_mode=render_mode).unwrapped)


@pytest.mark.parametrize("id", envs.FAMILIES)
def test_stepping_equals_the_jitted_sampler(id):
    """Same seed, same actions: the trajectory of the Gymnasium env is the one of the sampler."""
    family = envs.make(id, horizon=20)  # longer, and swings amplify the last bits in which two programs differ
    task = jax.tree.map(lambda x: x[0], envs.held_out_tasks(family, 1))

    def actor(observation, key):
        if isinstance(family.action_space, Discrete):
            action = jax.random.randint(key, (), 0, family.action_space.n)
        else:  # actions reach beyond the environment's box, so clipping is compared too
            action = 1.5 * family.action_space.high * jax.random.normal(key, family.action_space.shape)
        return action, jnp.sum(action), {}

    seed = 11
    sampled = jax.jit(lambda key: rollout(family, actor, task, key, horizon=family.horizon))(jax.random.key(seed))
    env = gymnasium.make(id, task=task, horizon=20, disable_env_checker=True)
    observation, _ = env.reset(seed=seed)
    for t in range(int(sampled.mask.sum())):
        np.testing.assert_allclose(observation, sampled.observation[t], rtol=1e-5, atol=1e-5)
        observation, reward, terminated, truncated, _ = env.step(np.asarray(sampled.action[t]))
        np.testing.assert_allclose(reward, sampled.reward[t], rtol=1e-5, atol=1e-5)
        assert terminated == bool(sampled.terminated[t])
        assert truncated == (t == family.horizon - 1 and not terminated)
    np.testing.assert_allclose(observation, sampled.last_observation, rtol=1e-5, atol=1e-5)


def test_types_are_gymnasium_s():
    env = gymnasium.make(NAVIGATION)
    observation, _ = env.reset(seed=0)
    assert type(observation) is np.ndarray and observation.dtype == np.float32
    observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert type(observation) is np.ndarray and type(reward) is float and type(terminated) is bool and type(truncated) is bool


def test_truncation_at_the_horizon():
    env = gymnasium.make(NAVIGATION, task=Goal(np.array([0.5, 0.5])), horizon=4)
    env.reset(seed=0)
    assert [env.step(np.zeros(2, np.float32))[3] for _ in range(4)] == [False, False, False, True]


def goal_of(env):
    return np.asarray(env.unwrapped.task.position)


def test_reset_never_changes_the_task_unless_told():
    env = gymnasium.make(NAVIGATION, task=Goal(np.array([0.1, 0.2])))
    for seed in (None, 3, None):
        env.reset(seed=seed)
        np.testing.assert_allclose(goal_of(env), [0.1, 0.2], atol=1e-7)
    env.reset(options={"task": Goal(np.array([-0.3, 0.4]))})
    np.testing.assert_allclose(goal_of(env), [-0.3, 0.4], atol=1e-7)
    env.reset(seed=5)
    np.testing.assert_allclose(goal_of(env), [-0.3, 0.4], atol=1e-7)


def test_without_a_task_the_default_is_fixed():
    a, b = gymnasium.make(NAVIGATION), gymnasium.make(NAVIGATION)
    np.testing.assert_array_equal(goal_of(a), goal_of(b))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"task": Goal(np.zeros(3))}, "shape"), ({"task": np.zeros(2)}, "looks like"), ({"tsk": 1}, "unknown option 'tsk'")],
)
def test_bad_reset_options(options, message):
    with pytest.raises(ValueError, match=message):
        gymnasium.make(NAVIGATION).reset(options=options)


def test_rendering_shows_agent_goal_and_trail():
    env = gymnasium.make(NAVIGATION, task=Goal(np.array([0.4, 0.4])), render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    assert before.shape == (192, 192, 3) and before.dtype == np.uint8
    red = (before[..., 0] > 150) & (before[..., 2] < 100)
    rows, columns = np.nonzero(red)
    assert rows.mean() < 96 < columns.mean(), "the goal is up and to the right"
    env.step(np.array([-1.0, 0.0], np.float32))
    assert np.any(env.render() != before)


def test_vector_env_equals_single_envs():
    tasks = envs.held_out_tasks(Navigation2D(), 3)
    vector = gymnasium.make_vec(NAVIGATION, num_envs=3, task=tasks, horizon=5)
    singles = [
        gymnasium.make(NAVIGATION, task=jax.tree.map(lambda x, i=i: x[i], tasks), horizon=5, disable_env_checker=True)
        for i in range(3)
    ]
    observation, _ = vector.reset(seed=7)
    expected = np.stack([env.reset(seed=7 + i)[0] for i, env in enumerate(singles)])
    np.testing.assert_array_equal(observation, expected)
    rng = np.random.default_rng(0)
    for _ in range(5):
        actions = rng.uniform(-1, 1, (3, 2)).astype(np.float32)
        found = vector.step(actions)[:4]
        rows = [env.step(action)[:4] for env, action in zip(singles, actions, strict=True)]
        for a, b in zip(found, zip(*rows, strict=True), strict=True):
            np.testing.assert_allclose(a, np.stack(b), atol=1e-6)


def test_vector_env_autoreset_leaves_the_others_alone():
    """One sub-environment ends at once and begins anew on the next step; meanwhile the other keeps moving."""
    goals = Goal(np.array([[0.1, 0.0], [0.5, 0.5]], np.float32))
    env = gymnasium.make_vec(NAVIGATION, num_envs=2, task=goals, horizon=50)
    assert env.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.NEXT_STEP
    env.reset(seed=0)
    move = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    _, _, terminated, _, _ = env.step(move)
    np.testing.assert_array_equal(terminated, [True, False])
    observation, reward, terminated, _, _ = env.step(move)
    np.testing.assert_allclose(observation, [[0, 0], [0, 0.2]], atol=1e-6)
    assert reward[0] == 0 and reward[1] < 0 and not terminated.any()
    observation, *_ = env.step(move)
    np.testing.assert_allclose(observation, [[0.1, 0], [0, 0.3]], atol=1e-6)


def test_vector_env_truncates_and_counts_anew():
    env = gymnasium.make_vec(NAVIGATION, num_envs=2, task=Goal(np.array([0.5, 0.5])), horizon=3)
    env.reset(seed=0)
    still = np.zeros((2, 2), np.float32)
    truncated = [env.step(still)[3].tolist() for _ in range(8)]
    once, never = [True, True], [False, False]
    assert truncated == [never, never, once, never, never, never, once, never]


def test_vector_env_one_task_for_all_or_one_each():
    env = gymnasium.make_vec(NAVIGATION, num_envs=2, task=Goal(np.array([0.1, 0.2])))
    env.reset(options={"task": Goal(np.array([[0.3, 0.3], [0.4, 0.4]]))})
    np.testing.assert_allclose(env.task.position, [[0.3, 0.3], [0.4, 0.4]], atol=1e-7)
    env.reset(seed=1)
    np.testing.assert_allclose(env.task.position, [[0.3, 0.3], [0.4, 0.4]], atol=1e-7)
    with pytest.raises(ValueError, match="shape"):
        env.reset(options={"task": Goal(np.zeros((3, 2)))})


def test_vector_env_renders_each():
    env = gymnasium.make_vec(NAVIGATION, num_envs=2, task=Goal(np.array([[0.3, 0.3], [-0.4, 0.4]])), render_mode="rgb_array")
    env.reset(seed=0)
    first, second = env.render()
    assert first.shape == (192, 192, 3) and np.any(first != second)


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("metarl/Navigation2d-v0", r"Did you mean 'metarl/Navigation2D-v0' or "),
        ("metarl/Navigatoin2D-v0", r"Did you mean 'metarl/Navigation2D-v0' or "),
        ("CartPole-v1", "ordinary Gymnasium environment"),
        ("no_such_module:x/Y-v0", "No module named 'no_such_module'"),
    ],
)
def test_unknown_ids_name_the_closest(id, message):
    with pytest.raises(ValueError, match=message):
        envs.make(id)


def test_register_refuses_a_taken_id_and_a_stranger():
    envs.register("metarl_test/Twice-v0", Navigation2D)
    envs.register("metarl_test/Twice-v0", Navigation2D)
    with pytest.raises(ValueError, match="is taken"):
        envs.register("metarl_test/Twice-v0", "envs.families.navigation:Navigation2D")
    with pytest.raises(ValueError, match="must subclass"):
        build_family(dict)
    gymnasium.registry.pop("metarl_test/Twice-v0")


def test_a_task_of_other_numbers_is_read_as_they_are():
    env = TaskEnv(Navigation2D())
    env.reset(seed=0)
    with jax.enable_x64():
        wide = jnp.array([0.3, 0.25])
        assert wide.dtype == jnp.float64
        env.task = env.task._replace(position=wide)
        _, reward, *_ = env.step(np.zeros(2, np.float32))
    narrow = TaskEnv(Navigation2D(), task=env.task._replace(position=np.array([0.3, 0.25], np.float32)))
    narrow.reset(seed=0)
    assert reward == pytest.approx(narrow.step(np.zeros(2, np.float32))[1], rel=1e-5)


def test_a_task_set_by_hand_is_the_one_that_is_played():
    env = TaskEnv(Navigation2D(), task=Goal(np.array([0.3, 0.25])))
    env.reset(seed=0)
    _, near, *_ = env.step(np.zeros(2, np.float32))
    env.task = Goal(np.array([-0.3, 0.25], np.float32))
    env.reset(seed=0)
    _, mirrored, *_ = env.step(np.zeros(2, np.float32))
    env.task = Goal(np.array([0.0, 0.0], np.float32))
    _, there, *_ = env.step(np.zeros(2, np.float32))
    assert near == pytest.approx(mirrored, abs=1e-6) and near < -0.01 and there == pytest.approx(0.0, abs=1e-6)
