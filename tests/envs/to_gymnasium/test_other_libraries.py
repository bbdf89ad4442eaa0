"""Other people's agents on our ids: Gymnasium's wrappers and vector environments, a loop as in CleanRL, Stable-Baselines3.

Stable-Baselines3 is left out where it is missing: make test-sb3 has it.
"""

import importlib.util

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

import envs  # noqa: F401 - registers the ids
from envs.families.navigation import Goal

IDS = ("metarl/Navigation2D-v0", "metarl/CartPoleDynamics-v0", "metarl/PendulumDynamics-v0", "metarl/GridNavigation-v0")
HORIZON = 12
sb3 = pytest.mark.skipif(importlib.util.find_spec("stable_baselines3") is None, reason="needs stable_baselines3: make test-sb3")


def thunk(id, **options):
    return lambda: gymnasium.make(id, max_episode_steps=HORIZON, **options)


def wrapped(id):
    """As CleanRL makes its environments."""

    def make():
        env = wrappers.RecordEpisodeStatistics(wrappers.FlattenObservation(gymnasium.make(id, max_episode_steps=HORIZON)))
        if isinstance(env.action_space, gymnasium.spaces.Box):
            env = wrappers.ClipAction(env)
        env = wrappers.NormalizeObservation(env)
        env = wrappers.TransformObservation(env, lambda seen: np.clip(seen, -10, 10), env.observation_space)
        return wrappers.TransformReward(wrappers.NormalizeReward(env), lambda reward: float(np.clip(reward, -10, 10)))

    return make


@pytest.mark.parametrize("id", IDS)
def test_a_loop_as_in_cleanrl(id):
    """Episodes end, count and begin anew, and their statistics are those of the environment without wrappers."""
    many = SyncVectorEnv([wrapped(id) for _ in range(2)])
    plain = [thunk(id)() for _ in range(2)]
    many.action_space.seed(0)
    observation, _ = many.reset(seed=3)
    for number, env in enumerate(plain):
        env.reset(seed=3 + number)
    returns, over, ended = np.zeros(2), np.zeros(2, bool), 0
    for _ in range(3 * HORIZON):
        action = many.action_space.sample()
        observation, reward, terminated, truncated, infos = many.step(action)
        assert np.isfinite(observation).all() and np.isfinite(reward).all()
        for number, env in enumerate(plain):
            if over[number]:  # a vector environment resets in the place of this step
                env.reset()
                over[number] = returns[number] = 0
                continue
            _, paid, *ends, _ = env.step(action[number])
            returns[number] += paid
            over[number] = any(ends)
            assert ends == [terminated[number], truncated[number]]
            if over[number]:
                assert infos["episode"]["r"][number] == pytest.approx(returns[number], rel=1e-5)
                ended += 1
    assert ended >= 4


@pytest.mark.slow
def test_processes_play_as_one_process_does():
    """The id says where it is registered, since the processes import nothing by themselves."""
    id = f"envs:{IDS[0]}"
    many = AsyncVectorEnv([thunk(id)] * 2, context="spawn"), SyncVectorEnv([thunk(id)] * 2)
    seen = [env.reset(seed=5)[0] for env in many]
    np.testing.assert_array_equal(*seen)
    for _ in range(HORIZON + 2):
        action = many[1].action_space.sample()
        for one, other in zip(*(env.step(action)[:4] for env in many), strict=True):
            np.testing.assert_array_equal(one, other)
    many[0].close()


@sb3
@pytest.mark.parametrize("id", [*IDS, "metarl/HalfCheetahVel-v0"])
def test_its_own_check_of_environments(id):
    from stable_baselines3.common.env_checker import check_env

    check_env(gymnasium.make(id).unwrapped, warn=True, skip_render_check=False)


@sb3
def test_ppo_learns_a_task():
    """Twice as near to the goal as before, and still the task it was given."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    task = Goal(np.array([0.3, -0.2], np.float32))
    env = make_vec_env(IDS[0], n_envs=4, seed=0, env_kwargs={"task": task, "horizon": 30})
    agent = PPO("MlpPolicy", env, n_steps=128, learning_rate=1e-3, seed=0, device="cpu")
    before, _ = evaluate_policy(agent, env, n_eval_episodes=10)
    agent.learn(20_000)
    after, _ = evaluate_policy(agent, env, n_eval_episodes=10)
    assert after > 0.5 * before, (before, after)
    for position in env.get_attr("task"):
        np.testing.assert_array_equal(position.position, task.position)


@sb3
def test_sac_and_processes():
    from stable_baselines3 import SAC
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

    env = make_vec_env(f"envs:{IDS[2]}", n_envs=2, seed=0, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": "spawn"})
    agent = SAC("MlpPolicy", VecNormalize(env), learning_starts=50, seed=0, device="cpu").learn(300)
    action, _ = agent.predict(env.reset())
    assert env.action_space.contains(action[0]) and np.isfinite(jax.tree.leaves(action)[0]).all()
    env.close()
