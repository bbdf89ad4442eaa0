"""Meta-World's benchmarks as families, against the package itself. Left out where it is missing: make test-metaworld has it."""

import importlib.metadata
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.meta_world import benchmark, family
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
    return np.array(seen, np.float32), np.array(got, np.float32)


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


def test_a_task_that_the_benchmark_has_not_is_refused(push):
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
        ("ML10", {"reward": "v3"}, "meta_world_ml10: reward is 'v3'; known: v2, v1."),
        ("ML45", {"seed": -1}, "meta_world_ml45: seed is -1, but must be a whole number of at least 0."),
        ("ML45", {"seed": 2**32}, "meta_world_ml45: seed is 4294967296, but must be at most 4294967294."),
        ("ML1", {"horizon": 501}, "meta_world_ml1: horizon is 501, but Meta-World's episodes have at most 500 steps."),
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
