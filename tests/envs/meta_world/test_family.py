"""Meta-World's benchmarks as families, against the package itself. Left out where it is missing: make test-metaworld has it."""

import importlib.metadata
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.meta_world import benchmark, family
from envs.meta_world.rewards import REWARDS, Begun, Seen
from envs.meta_world.robots import Robots
from metarl.sampler import rollout

metaworld = pytest.importorskip("metaworld", reason="needs the extra metaworld: make test-metaworld")

REACH, PUSH = "metarl/MetaWorldML1-v0", {"name": "push-v3", "reward": "v1"}
T = 25


@pytest.fixture(scope="module")
def push():
    return envs.make(REACH, horizon=T, vectorization="sync", **PUSH)


def towards_the_puck(family):
    """Down to where the object is, then on along a random direction, closing the gripper."""

    def act(observation, key):
        noise = 0.3 * jax.random.normal(key, (4,))
        hand, puck = observation[:3], observation[4:7]
        return jnp.clip(jnp.concatenate([10 * (puck - hand), jnp.ones(1)]) + noise, -1, 1), jnp.float32(0.0), {}

    return act


def played(family, tasks, episodes=2):
    """Trajectories [M, N] of noisy actions."""
    keys = jax.random.split(jax.random.key(1), (len(tasks["environment"]), episodes))
    one = lambda key, task: rollout(family, towards_the_puck(family), task, key, horizon=family.horizon, unroll=1)
    return jax.device_get(jax.jit(jax.vmap(jax.vmap(one, (0, None))))(keys, tasks))


def by_hand(task, reward, actions):
    """Observations, rewards and success of an environment of Meta-World's own, new for this."""
    env = metaworld.ALL_V3_ENVIRONMENTS[task.env_name](reward_function_version=reward)
    env.set_task(task)
    seen, got = [env.reset()[0]], []
    for action in actions:
        observation, *rest, info = env.step(action)
        seen.append(observation)
        got.append((rest[0], info["success"]))
    return normal(np.array(seen, np.float32)), np.array(got, np.float32)


def normal(numbers):
    """The same, with zero in the place of subnormal numbers, as compiled programs have them."""
    return np.where(np.abs(numbers) < np.finfo(np.float32).tiny, np.float32(0), numbers)


def first(tree, number):
    return jax.tree.map(lambda leaf: leaf[:number], tree)


def test_whole_episodes_equal_stepping_meta_world_by_hand_with_its_own_tasks(push):
    tasks = metaworld.ML1("push-v3", seed=0)
    for ours, theirs in ((push.train_list.tasks, tasks.train_tasks), (push.held_out_list, tasks.test_tasks)):
        trajectory = played(push, first(ours, 2))
        for m, n in np.ndindex(2, 2):
            seen, got = by_hand(theirs[m], "v1", trajectory.action[m, n])
            np.testing.assert_array_equal(trajectory.observation[m, n], seen[:-1])
            np.testing.assert_array_equal(trajectory.last_observation[m, n], seen[-1])
            np.testing.assert_array_equal(trajectory.reward[m, n], got[:, 0])
            np.testing.assert_array_equal(trajectory.info["success"][m, n], got[:, 1])
            assert not seen[:, 36:].any()  # where the goal would stand
            assert trajectory.mask[m, n].all() and not trajectory.terminated[m, n].any()
        assert not np.array_equal(trajectory.reward[0], trajectory.reward[1])


@pytest.mark.parametrize("name", REWARDS)
def test_robots_in_threads_play_meta_world_s_own_episodes(name):
    long = 120
    one = envs.make(REACH, name=name, horizon=long)
    assert isinstance(one.pool._open(), Robots)
    tasks = metaworld.ML1(name, seed=0)
    rng = np.random.default_rng(0)
    found = first(one.held_out_list, 3)
    for _ in range(2):  # the second time by robots that have played
        numbers, observation = one.pool.reset(np.arange(3), found)
        seen, got, taken = [observation], [], []
        for t in range(long):
            hand, thing = observation[:, :3], observation[:, 4:7]
            aim = 10 * (thing - hand) if t < 50 else np.array([0.0, 0.5, 0.4])  # grasp, then lift and carry on
            action = np.concatenate([aim + rng.normal(0, 0.2, (3, 3)), np.full((3, 1), 1.5 if t > 35 else -1)], axis=1)
            taken.append(np.clip(action, -1, 1).astype(np.float32))
            numbers, observation, reward, _, _, info = one.pool.step(numbers, np.full(3, t), np.zeros(3, bool), taken[-1])
            seen.append(observation)
            got.append(np.stack([reward, info[:, 0]], axis=-1))
        rewards = np.array(got)[..., 0]
        for m in range(3):
            own_seen, own_got = by_hand(tasks.test_tasks[m], "v2", np.array(taken)[:, m])
            np.testing.assert_array_equal(normal(np.array(seen)[:, m]), own_seen)
            np.testing.assert_allclose(np.array(got)[:, m], own_got, rtol=1e-6, atol=1e-7)
        assert rewards.std() > 0.01 and rewards.max() > 1  # not an arm that stands still
    one.close()


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_of_whole_batches_equal_the_package_s_own_wherever_things_are(name):
    robot = metaworld.ALL_V3_ENVIRONMENTS[name]()
    task = metaworld.ML1(name, seed=0).train_tasks[0]
    robot.set_task(task)
    robot.reset()
    rng = np.random.default_rng(1)
    seen, begun, actions, own = [], [], [], []
    for trial in range(400):  # the object about the fingers, about the goal, and anywhere
        near = [robot.tcp_center, robot._target_pos, robot.obj_init_pos][trial % 3]
        away = rng.normal(0, [0.003, 0.02, 0.1][trial // 3 % 3], 3)
        robot._set_obj_xyz(near + away)
        if name == "reach-v3":
            robot._target_pos = robot.tcp_center + away
        action = np.append(rng.uniform(-1, 1, 3), rng.uniform(-0.5, 1.5)).astype(np.float32)
        observation = np.clip(robot._get_obs(), robot.sawyer_observation_space.low, robot.sawyer_observation_space.high)
        reward, info = robot.evaluate_state(observation, action)
        at = lambda body: robot.get_body_com(body).copy()
        seen.append(Seen(robot.tcp_center, observation[3], at("leftpad"), at("rightpad"), observation[4:7]))
        begun.append(Begun(robot.hand_init_pos, robot.init_tcp, robot.obj_init_pos, robot._target_pos))
        actions.append(action)
        own.append((reward, info["success"]))
        if trial % 10 == 0:
            robot.step(rng.uniform(-1, 1, 4).astype(np.float32))
    stacked = (type(rows[0])(*map(np.array, zip(*rows, strict=True))) for rows in (seen, begun))
    found = np.stack(REWARDS[name](*stacked, np.array(actions)), axis=-1)
    np.testing.assert_allclose(found, own, rtol=2e-7)  # theirs has the gripper's part in float32
    assert found[:, 1].any() and not found[:, 1].all()


@pytest.mark.parametrize("vectorization", ["threads", "sync"])
def test_what_only_the_hand_is_seen_of(vectorization):
    """The same episodes, of which hand and gripper are shown, now and one step ago: nothing that tells goals apart."""
    whole = envs.make(REACH, horizon=T, vectorization="threads", name="reach-v3")
    hand = envs.make(REACH, horizon=T, vectorization=vectorization, name="reach-v3", sees="hand")
    assert hand.observation_space.shape == (8,)
    push_on = lambda observation, key: (jnp.array([0.3, 0.5, -0.2, 1.0]), jnp.float32(0.0), {})
    tasks = first(whole.held_out_list, 4)
    key = jax.random.key(0)
    seen = [
        jax.jit(jax.vmap(lambda task, of=of: rollout(of, push_on, task, key, horizon=T, unroll=1)))(tasks)
        for of in (whole, hand)
    ]
    np.testing.assert_array_equal(seen[0].observation[..., [0, 1, 2, 3, 18, 19, 20, 21]], seen[1].observation)
    np.testing.assert_allclose(seen[0].reward, seen[1].reward, rtol=1e-5)
    assert np.ptp(np.asarray(seen[1].observation[:, 0]), axis=0).max() == 0 < np.ptp(np.asarray(seen[0].observation[:, 0]))


def test_the_lists_are_the_benchmark_s_and_frozen(push):
    tasks = metaworld.ML1("push-v3", seed=0)
    for ours, theirs in ((push.train_list.tasks, tasks.train_tasks), (push.held_out_list, tasks.test_tasks)):
        vectors = [pickle.loads(task.data)["rand_vec"] for task in theirs]
        np.testing.assert_array_equal(ours["vector"], np.float32(vectors))
        assert {push.class_of({"environment": index}) for index in ours["environment"]} == {"push-v3"}
    assert push.list_hashes == {"train": "4ad12a26e60919d2", "held_out": "d3dabe6a2fe6b7c1"}
    others = envs.make(REACH, horizon=T, vectorization="sync", seed=1, **PUSH)
    assert others.list_hashes != push.list_hashes
    np.testing.assert_array_equal(others.train_list.tasks["vector"], push.held_out_list["vector"])  # ML1 tests on the next seed


def test_kept_lists_are_those_drawn(monkeypatch, tmp_path):
    monkeypatch.setenv(benchmark.CACHE, str(tmp_path))
    draw = benchmark.lists.__wrapped__
    drawn = draw("ML1", "reach-v3", 3)
    kept = draw("ML1", "reach-v3", 3)
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:100])  # not whole
    again = draw("ML1", "reach-v3", 3)
    for one, other, third in zip(jax.tree.leaves(drawn), jax.tree.leaves(kept), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, third)


def test_test_tasks_take_turns():
    tasks = benchmark.Tasks(np.array([7, 7, 3, 3]), np.arange(24.0).reshape(4, 6), np.full(4, 6))
    assert benchmark.in_turn(tasks).environment.tolist() == [3, 7, 3, 7]
    assert benchmark.in_turn(tasks).vector[:, 0].tolist() == [12, 0, 18, 6]


def test_success_counts_at_any_step(push):
    info = {"success": jnp.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])}
    assert push.episode_measures(info, jnp.ones((2, 3)))["success"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("options", [PUSH | {"vectorization": "sync"}, {"name": "push-v3"}])
def test_a_task_that_the_benchmark_has_not_is_refused(options):
    push = envs.make(REACH, horizon=T, **options)
    task = jax.tree.map(np.array, push.default_params)
    task["vector"][0] += 1e-3
    with pytest.raises(
        Exception, match=r"the benchmark has no task with environment \d+ and vector .*; take one of train_list"
    ):
        jax.block_until_ready(push.initial(jax.random.key(0), task))


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("ML1", {"name": "reach"}, "meta_world_ml1: name is 'reach'; known: .*reach-v3"),
        ("ML1", {"sees": "goal"}, "meta_world_ml1: sees is 'goal'; known: all, hand."),
        ("ML10", {"reward": "v3"}, "meta_world_ml10: reward is 'v3'; known: v2, v1."),
        ("ML45", {"seed": -1}, "meta_world_ml45: seed is -1, but must be a whole number of at least 0."),
        ("ML45", {"seed": 2**32}, "meta_world_ml45: seed is 4294967296, but must be at most 4294967294."),
        ("ML1", {"horizon": 501}, "meta_world_ml1: horizon is 501, but Meta-World's episodes have at most 500 steps."),
        (
            "ML1",
            {"reward": "v1", "vectorization": "threads"},
            "meta_world_ml1: vectorization is 'threads', but only reach-v3, ",
        ),
        ("ML1", {"timeout": 5}, "meta_world_ml1: timeout is 5, but 'threads' have none; leave it out."),
        ("ML1", {"num_workers": 0}, "meta_world_ml1: num_workers is 0, but must be a whole number of at least 1."),
        ("ML1", {"goal": 1}, "meta_world_ml1: .*unexpected keyword argument 'goal'; its options: name, reward, seed, horizon"),
    ],
)
def test_bad_options_are_one_line(id, options, message):
    with pytest.raises(ValueError, match=message) as failure:
        envs.make(f"metarl/MetaWorld{id}-v0", **options)
    assert "\n" not in str(failure.value)


def test_another_mujoco_is_one_line(monkeypatch):
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "4.0.0" if name == "mujoco" else version(name))
    with pytest.raises(
        ValueError, match=r"^meta_world_ml10: metaworld .* needs mujoco 3.3.0, but 4.0.0 is installed; .*\[metaworld\]'$"
    ):
        family.meta_world_ml10()


@pytest.mark.slow
@pytest.mark.parametrize("name", benchmark.names())
def test_an_episode_does_not_depend_on_what_was_played_before(name):
    one = envs.make(REACH, name=name, horizon=T, vectorization="sync")
    tasks = first(one.train_list.tasks, 2)
    played(one, tasks)
    trajectory = played(one, tasks)  # by robots that have played other episodes
    assert [one.class_of({"environment": index}) for index in tasks["environment"]] == [name] * 2
    own = metaworld.ML1(name, seed=0).train_tasks[:2]
    for m, n in np.ndindex(2, 2):
        seen, got = by_hand(own[m], "v2", trajectory.action[m, n])
        np.testing.assert_array_equal(trajectory.observation[m, n], seen[:-1])
        np.testing.assert_array_equal(trajectory.reward[m, n], got[:, 0])


@pytest.mark.slow
@pytest.mark.parametrize("which", ["ML10", "ML45"])
def test_classes_of_training_and_test(which):
    found = envs.make(f"metarl/MetaWorld{which}-v0", horizon=T, vectorization="sync")
    theirs = getattr(metaworld, which)(seed=0)
    for ours, own in ((found.train_list.tasks, theirs.train_tasks), (found.held_out_list, theirs.test_tasks)):
        key = lambda pair: (pair[0], pair[1].tolist())
        mine = [(benchmark.names()[index], vector) for index, vector in zip(*map(np.asarray, ours.values()), strict=True)]
        other = []
        for task in own:
            vector = pickle.loads(task.data)["rand_vec"]
            other.append((task.env_name, np.float32(np.pad(vector, (0, 6 - len(vector))))))
        for (name, vector), (own_name, own_vector) in zip(sorted(mine, key=key), sorted(other, key=key), strict=True):
            assert name == own_name and np.array_equal(vector, own_vector)
    tasks = first(found.held_out_list, 5)
    assert len({found.class_of({"environment": index}) for index in tasks["environment"]}) == 5  # one of every class
    trajectory = played(found, tasks, episodes=1)
    for m in range(5):  # the benchmark's test tasks lie class by class
        kind = found.class_of({"environment": tasks["environment"][m]})
        own = next(task for task in theirs.test_tasks if task.env_name == kind)
        seen, got = by_hand(own, "v2", trajectory.action[m, 0])
        np.testing.assert_array_equal(trajectory.observation[m, 0], seen[:-1])
        np.testing.assert_array_equal(trajectory.reward[m, 0], got[:, 0])
