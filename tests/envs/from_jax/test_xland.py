"""XLand-MiniGrid: episodes as the suite plays them, rulesets that can be solved, and the split."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box

import agents
import envs
from envs import check
from envs.from_jax import xland
from experiments.training import meta_train
from tests.envs.from_jax.episodes import assert_episodes_equal_by_hand

xminigrid = pytest.importorskip("xminigrid")


@pytest.fixture(scope="module")
def family():
    return envs.from_xland(rulesets=envs.xland_rulesets(50, most_rules=2), horizon=80)


def by_hand(horizon):
    """The suite's own functions, and what they show written out."""
    env, params = xminigrid.make("XLand-MiniGrid-R1-9x9", max_steps=horizon)

    def see(timestep):
        image = jnp.zeros((5, 5, 25))
        rows, columns = jnp.meshgrid(jnp.arange(5), jnp.arange(5), indexing="ij")
        image = image.at[rows, columns, timestep.observation[..., 0].astype(int)].set(1.0)
        image = image.at[rows, columns, 13 + timestep.observation[..., 1].astype(int)].set(1.0)
        return jnp.concatenate([image.ravel(), jnp.eye(4)[timestep.state.agent.direction]])

    def reset(key, task):
        timestep = env.reset(params.replace(ruleset=task), key)
        return timestep, see(timestep)

    def step(key, timestep, action, task):
        timestep = env.step(params.replace(ruleset=task), timestep, action)
        return timestep, see(timestep), timestep.reward, timestep.last() & (timestep.discount == 0.0)

    return reset, step


def test_whole_episodes_are_the_suites(family):
    """Tasks whose goal is to stand beside an object, which chance reaches."""
    reset, step = by_hand(80)
    tasks = family.held_out_list
    easy = np.flatnonzero((tasks.goal[:, 0] == 3) & (tasks.rules[:, 0, 0] == 0))
    task = jax.tree.map(lambda leaf: leaf[easy[0]], tasks)
    lengths = assert_episodes_equal_by_hand(family, task, reset, step, num_episodes=4)
    assert min(lengths) < 80


@pytest.mark.slow  # the suite draws all its tiles first, which takes minutes
def test_pictures_are_the_suites(tmp_path, monkeypatch):
    monkeypatch.setenv("XLAND_MINIGRID_CACHE", str(tmp_path))  # read when the suite's module is first imported
    family = envs.from_xland(rulesets=envs.xland_rulesets(50, most_rules=2), horizon=4, images=True)
    assert family.observation_space == Box(0, 255, (160, 160, 3), np.uint8)
    task, key = family.sample_task(jax.random.key(0)), jax.random.key(1)
    img_obs = importlib.import_module("xminigrid.experimental.img_obs")
    env, params = xminigrid.make("XLand-MiniGrid-R1-9x9", max_steps=4)
    timestep = img_obs.RGBImgObservationWrapper(env).reset(params.replace(ruleset=task), key)
    np.testing.assert_array_equal(family.observation(family.initial(key, task), key, task), timestep.observation)
    state = jax.eval_shape(agents.make("maml", family, num_tasks=2, num_episodes=2).init, key)
    assert "Conv_0" in state.theta["params"]


def test_the_check_passes(family):
    check.check_task_family(family)


def test_agents_train(family):
    for name in ("maml", "rl2"):
        *_, last = meta_train(agents.make(name, family, num_tasks=2, num_episodes=2, hidden_sizes=(8,)), 1)
        assert np.isfinite(last.metrics["meta/post"])


def test_rulesets_are_split_by_the_suite(family):
    rulesets = envs.xland_rulesets(50, most_rules=2)
    train, held_out = rulesets.shuffle(jax.random.key(0)).split(0.8)
    assert np.array_equal(family.held_out_list.goal, held_out.goals)
    assert np.array_equal(envs.held_out_tasks(family, 10).rules, held_out.rules)
    rows = lambda goals, rules: {g.tobytes() + r.tobytes() for g, r in zip(np.asarray(goals), np.asarray(rules), strict=True)}
    assert not rows(train.goals, train.rules) & rows(held_out.goals, held_out.rules)
    drawn = jax.vmap(family.sample_task)(jax.random.split(jax.random.key(1), 100))
    assert rows(drawn.goal, drawn.rules) <= rows(train.goals, train.rules)


def test_rulesets_are_the_seeds_and_can_be_solved():
    rulesets = envs.xland_rulesets(200, most_rules=3, num_distractors=1, seed=4)
    again = envs.xland_rulesets(200, most_rules=3, num_distractors=1, seed=4)
    assert all(map(np.array_equal, jax.tree.leaves(rulesets), jax.tree.leaves(again)))
    assert set(np.asarray(rulesets.num_rules)) == {0, 1, 2, 3} and set(np.asarray(rulesets.goals)[:, 0]) == {1, 3, 4}
    for goal, rules, objects in zip(*map(np.asarray, (rulesets.goals, rulesets.rules, rulesets.init_tiles)), strict=True):
        there = {tuple(tile) for tile in objects if tile.any()}
        todo = [rule for rule in rules if rule[0]]
        while todo:  # whatever can be made is made, and uses up what it is made of
            inputs = lambda rule: {tuple(rule[1:3])} | ({tuple(rule[3:5])} if rule[0] == 3 else set())
            rule = next(rule for rule in todo if inputs(rule) <= there)
            there = there - inputs(rule) | {tuple(rule[5:7] if rule[0] == 3 else rule[3:5])}
            todo = [other for other in todo if other is not rule]
        assert {tuple(goal[1:3])} | ({tuple(goal[3:5])} if goal[0] == 4 else set()) <= there


def test_a_rule_makes_what_the_goal_needs():
    """Stand beside a red ball, and it becomes a blue one, which is the goal."""
    env = xland.from_xland(rulesets=envs.xland_rulesets(10), horizon=30)
    red, blue = [3, 1], [3, 3]
    ruleset = jax.tree.map(jnp.zeros_like, env.sample_task(jax.random.key(0)))
    task = ruleset.replace(
        goal=ruleset.goal.at[:3].set(jnp.array([3, *blue], jnp.uint8)),
        rules=ruleset.rules.at[0, :5].set(jnp.array([2, *red, *blue], jnp.uint8)),
        init_tiles=ruleset.init_tiles.at[0].set(jnp.array(red, jnp.uint8)),
    )
    played = envs.TaskEnv(env, task=task)
    rng = np.random.default_rng(0)
    for seed in range(20):
        played.reset(seed=seed)
        over = False
        while not over:
            _, reward, terminated, truncated, _ = played.step(rng.integers(3))
            over = terminated or truncated
        if terminated:
            break
    assert terminated and reward == pytest.approx(1 - 0.9 * played.t / 30)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"id": "XLand-R1"}, "from_xland: id is 'XLand-R1'; known: XLand-MiniGrid-R1-9x9"),
        ({"held_out": 1.0}, "held_out is 1.0, but must be a share between 0 and 1"),
        ({"rulesets": [1, 2]}, "rulesets is a list, but must be a benchmark"),
        ({"horizon": 0}, "horizon is 0"),
        ({"held_out": 1e-6}, "which leaves none on one side"),
    ],
)
def test_wrong_arguments(given, message):
    with pytest.raises(ValueError, match=message):
        envs.from_xland(**given)


def test_there_are_not_endless_rulesets(monkeypatch):
    monkeypatch.setattr(xland, "MOST_TRIES", 1)
    with pytest.raises(ValueError, match=r"num is 9999, but [0-9]+ different rulesets were found; take more rules"):
        envs.xland_rulesets(9999, most_rules=0, num_distractors=0)
