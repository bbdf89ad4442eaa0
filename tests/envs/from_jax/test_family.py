"""A small environment in JAX as a family: episodes as by hand, training, adapters, and each wrong argument in one line."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Text, Tuple

import agents
import envs
from envs import check
from envs.check import __main__ as command
from envs.contract import check_family
from envs.keys import numbers
from experiments.training import meta_train
from tests.agents import spaces_probe
from tests.envs.from_jax.by_hand import (
    ACTIONS,
    HORIZON,
    OBSERVATIONS,
    TASK_SPACE,
    drift,
    heavy_task,
    params_of,
    reset,
    sample_task,
    step,
    step_with_info,
)
from tests.envs.from_jax.episodes import assert_episodes_equal_by_hand, keys_of, sampled
from tests.few import few

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def family():
    return drift()


def same(a, b):
    return all(map(np.array_equal, jax.tree.leaves(numbers(a)), jax.tree.leaves(numbers(b))))


def test_whole_episodes_are_those_stepped_by_hand(family):
    task = family.sample_task(KEY)
    lengths = assert_episodes_equal_by_hand(
        family,
        task,
        lambda key, task: reset(key, params_of(task)),
        lambda key, state, action, task: step(key, state, action, params_of(task)),
        num_episodes=6,
    )
    assert min(lengths) < HORIZON and len(set(lengths)) > 1


def as_functions(world):
    """Reset and step of a probe, for `from_jax`."""

    def reset(key, task):
        state = world.initial(key, task)
        return state, world.observation(state, key, task)

    def step(key, state, action, task):
        after = world.transition(state, action, key, task)
        return after, world.observation(after, key, task), world.reward(state, action, after, key, task), jnp.asarray(False)

    return reset, step


@pytest.mark.parametrize("name", spaces_probe.SPACES)
def test_every_space_is_taken_and_played(name):
    world = spaces_probe.family(name)
    seen, acts = world.observation_space, world.action_space
    family = envs.from_jax(*as_functions(world), world.sample_task, world.horizon, seen, acts)
    check_family(family)
    if name not in ("nested", "image"):
        return
    task = world.sample_task(KEY)
    env, beside = envs.TaskEnv(family, task=task), envs.TaskEnv(world, task=task)
    acts.seed(3)
    episodes = [each.reset(seed=3)[0] for each in (env, beside)]
    assert seen.contains(episodes[0])
    for _ in range(world.horizon):
        action = acts.sample()
        given, expected = env.step(action), beside.step(action)
        assert seen.contains(given[0]) and given[1] == pytest.approx(expected[1], rel=1e-5) and given[2:4] == expected[2:4]


def test_an_observation_that_changes_its_type_is_refused():
    world = spaces_probe.family("several discrete")
    reset, step = as_functions(world)
    shorter = lambda *given: (lambda state, seen, *rest: (state, seen.astype(jnp.int8), *rest))(*step(*given))
    with pytest.raises(
        ValueError, match=r"step returns an observation with shape \(\) of int8, but reset one with .* of int32"
    ):
        envs.from_jax(reset, shorter, world.sample_task, 2, world.observation_space, world.action_space)


def test_the_gymnasium_environment_plays_the_same_episode(family):
    task = family.sample_task(KEY)
    episode = sampled(family, task, jax.random.key(5)[None])
    env = envs.TaskEnv(family, task=task)
    observation, _ = env.reset(seed=5)
    for t in range(int(episode.mask[0].sum())):
        np.testing.assert_allclose(observation, episode.observation[0, t], rtol=1e-5, atol=1e-6)
        observation, reward, terminated, _, _ = env.step(episode.action[0, t])
        assert reward == pytest.approx(episode.reward[0, t], rel=1e-5)
        assert terminated == episode.terminated[0, t]


def test_after_the_end_the_state_stands_still_and_pays_nothing(family):
    task, (key_reset, keys) = family.sample_task(KEY), keys_of(KEY, 1)
    state = family.initial(key_reset, task)
    for _ in range(40):
        before, state = state, family.transition(state, jnp.array([2.0]), keys[0], task)
        if state.terminated:
            break
    assert state.terminated and not before.terminated and state.reward < 0.0
    after = family.transition(state, jnp.array([2.0]), keys[0], task)
    assert after.reward == 0.0
    assert same(after._replace(reward=state.reward), state)


def test_derived_parameters_follow_the_task(family):
    task = sample_task(KEY)
    light, heavy = (task | {"mass": jnp.float32(mass)} for mass in (0.5, 2.0))
    state, (_, keys) = family.initial(KEY, task), keys_of(KEY, 1)
    moved = [
        family.transition(state, jnp.array([1.0]), keys[0], task).inner.place - state.inner.place for task in (light, heavy)
    ]
    np.testing.assert_allclose(moved[0], 4.0 * moved[1], rtol=1e-5)


def test_tasks_training_and_held_out(family):
    tasks = jax.vmap(family.sample_task)(jax.random.split(KEY, 8))
    assert np.all(tasks["mass"] <= 2.0)
    assert np.all(envs.held_out_tasks(family, 8)["mass"] >= 2.0)
    plain = drift(sample_held_out_task=None)
    assert not same(plain.sample_held_out_task(KEY), plain.sample_task(KEY))
    with pytest.raises(ValueError, match=r"task\['mass'\] is 9.0, but must lie in Box"):
        envs.TaskEnv(family, task=sample_task(KEY) | {"mass": 9.0})


@pytest.mark.parametrize("name", few(["maml", "rl2"], "maml"))
def test_agents_train(family, name):
    learner = agents.make(name, family, num_tasks=2, num_episodes=2, hidden_sizes=(8,))
    *_, last = meta_train(learner, 2)
    assert last.iteration == 2 and all(np.isfinite(list(row.values())).all() for row in last.rows)


def test_the_check_passes(family):
    check.check_task_family(family)


def test_the_check_by_its_id(capsys):
    assert command.main(["tests.envs.from_jax.by_hand:by_hand/Drift-v0", "--horizon", "5"]) == 0
    assert ", 0 failed" in capsys.readouterr().out


def test_a_family_and_its_copies_play_the_same(family):
    task, state = sample_task(KEY), family.initial(KEY, sample_task(KEY))
    for other in (pickle.loads(pickle.dumps(family)), copy.deepcopy(family)):
        assert same(other.initial(KEY, task), state)


def test_measures():
    family = drift(step=step_with_info, measures={"far": "any"})
    task = sample_task(KEY)
    episode = sampled(family, task, jax.random.split(KEY, 6))
    places = episode.observation[..., 0]
    assert np.array_equal(episode.info["far"], (np.abs(places) > 1.0) * episode.mask)
    assert set(np.asarray(family.episode_measures(episode.info, episode.mask)["far"])) <= {0.0, 1.0}


def nan_step(key, state, action, params):
    state, observation, reward, terminated = step(key, state, action, params)
    return state, observation, reward / (state.steps < 3), terminated


def nan_reset(key, params):
    state, observation = reset(key, params)
    return state._replace(place=jnp.sqrt(-1.0 - state.place**2)), observation * jnp.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": nan_step}, r"JaxFamily.step gives -inf at step 2"),
        ({"reset": nan_reset}, "JaxFamily.reset or step gives nan at step 0"),
    ],
)
def test_the_check_blames_the_function_that_the_user_wrote(changes, message):
    with pytest.raises(ValueError, match=message):
        check.check_task_family(drift(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"step": nan_step}, "JaxFamily.step gives -inf"), ({"reset": nan_reset}, "JaxFamily.reset gives a state")],
)
def test_training_blames_the_function_that_the_user_wrote(changes, message):
    told = check.not_finite_in(drift(**changes), lambda copied: sampled(copied, sample_task(KEY), jax.random.split(KEY, 6)))
    assert message in told


def broken(function):
    """One of the environment's functions with other results."""
    return lambda change: lambda *given: change(*function(*given))


WRONG = {
    "reset is no function": ({"reset": 3}, r"from_jax: reset is 3, but must be a function reset\(key, task\)\."),
    "step takes too little": (
        {"step": lambda state, action: None},
        r"from_jax: step takes \(state, action\), but is called as step\(key, state, action, task\): too many positional",
    ),
    "reset takes too much": ({"reset": lambda key, task, where: None}, "missing a required argument: 'where'"),
    "sample_task takes nothing": (
        {"sample_task": lambda: None},
        r"sample_task takes \(\), but is called as sample_task\(key\)",
    ),
    "params_of is no function": ({"params_of": {"mass": 1.0}}, "params_of is {'mass': 1.0}, but must be a function"),
    "no horizon": ({"horizon": 0}, "from_jax: horizon is 0, but must be a whole number of at least 1"),
    "horizon of half a step": ({"horizon": 2.5}, "horizon is 2.5"),
    "no observation space": ({"observation_space": (2,)}, r"observation_space is \(2,\), but must be a space, such as a Box"),
    "observations that are no dict": (
        {"observation_space": Dict(place=OBSERVATIONS)},
        "reset returns as observation a .*, but must return a dict with place; make them agree",
    ),
    "text among observations": (
        {"observation_space": Dict(place=OBSERVATIONS, said=Text(3))},
        r"from_jax: observation_space\['said'\] is Text.*, but agents take Box, Discrete",
    ),
    "no action space": ({"action_space": 4}, "action_space is 4, but must be a space, such as a Box, of gymnasium.spaces"),
    "actions of whole numbers": (
        {"action_space": Box(0, 3, (1,), np.int32)},
        "action_space is Box.*in Discrete spaces or a Box",
    ),
    "whole numbers among actions": (
        {"action_space": Tuple([ACTIONS, Box(0, 3, (1,), np.int32)])},
        r"from_jax: action_space\[1\] is Box.*or a MultiDiscrete",
    ),
    "reset gives a state alone": (
        {"reset": lambda key, task: reset(key, task)[0]},
        r"reset returns 3 values, but must return \(state, observation\)",
    ),
    "reset gives an array": ({"reset": lambda key, task: jnp.zeros(2)}, "reset returns a .*Tracer, but must return"),
    "step gives five": (
        {"step": step_with_info},
        r"step returns 5 values, but must return \(state, observation, reward, terminated\)",
    ),
    "step gives no info": ({"measures": {"far": "any"}}, r"step returns 4 values, but must return .*, info\), for measures"),
    "info lacks a measure": (
        {"step": step_with_info, "measures": {"near": "any"}},
        "measures has 'near', but step's info gives far, unused",
    ),
    "a measure of nothing": ({"step": step_with_info, "measures": {"unused": "any"}}, "step's info gives 'unused' as None"),
    "a reduction there is not": (
        {"step": step_with_info, "measures": {"far": "most"}},
        r"measures\['far'\] is 'most'; known: any",
    ),
    "an observation of another shape": (
        {"observation_space": Box(-1.0, 1.0, (3,))},
        r"reset returns an observation of shape \(2,\) of float32, but observation_space has shape \(3,\) of float32",
    ),
    "an observation of another type": (
        {"observation_space": Box(-1.0, 1.0, (2,), np.float64)},
        "but observation_space has shape .2,. of float64; make them agree",
    ),
    "observations in two arrays": (
        {"reset": broken(reset)(lambda state, seen: (state, {"a": seen[0], "b": seen}))},
        r"reset returns an observation of 2 arrays, \{'a': 'float32\[\]', 'b': 'float32\[2\]'\}; put them into one",
    ),
    "step's observation differs": (
        {"step": broken(step)(lambda state, seen, *rest: (state, seen[:1], *rest))},
        r"step returns an observation of shape \(1,\)",
    ),
    "a state that changes its type": (
        {"step": broken(step)(lambda state, *rest: (state._replace(steps=1.5), *rest))},
        r"step returns a state with shape \(\) of float32 at \.steps, but reset one with shape \(\) of int32 there",
    ),
    "a state that loses a part": (
        {"step": broken(step)(lambda state, *rest: (state._replace(steps=None), *rest))},
        r"step returns a state with nothing at \.steps, but reset one with shape",
    ),
    "a state of another structure": ({"step": broken(step)(lambda state, *rest: (list(state), *rest))}, "they must agree"),
    "text in a state": (
        {"reset": broken(reset)(lambda state, seen: ({"name": "drift", "state": state}, seen))},
        r"reset returns 'drift' at \[0\]\['name'\] of \(state, observation\); make it an array, or leave it out",
    ),
    "a reward for each axis": (
        {"step": broken(step)(lambda state, seen, reward, over: (state, seen, reward[None], over))},
        r"a reward of shape \(1,\) of float32, but it must be one float",
    ),
    "a whole reward": (
        {"step": broken(step)(lambda state, seen, reward, over: (state, seen, reward.astype(int), over))},
        r"a reward of shape \(\) of int32",
    ),
    "done is a float": (
        {"step": broken(step)(lambda state, seen, reward, over: (state, seen, reward, over.astype(jnp.float32)))},
        r"terminated as shape \(\) of float32, but it must be one bool; make it a scalar, with .astype\(bool\)",
    ),
    "a branch in Python": (
        {"step": lambda key, state, action, params: step(key, state, -action if action[0] > 0 else action, params)},
        "from_jax: step fails under jax.jit: TracerBoolConversionError: .*test_family.py.* Write it in jax.numpy",
    ),
    "NumPy in reset": (
        {"reset": lambda key, params: reset(key, params_of({"mass": np.sqrt(params["mass"]), "length": 1.0}))},
        "from_jax: reset fails under jax.jit: TracerArrayConversionError",
    ),
    "float() in params_of": (
        {"params_of": lambda task: {"inertia": float(task["mass"])}},
        "params_of fails under jax.jit: Concret",
    ),
    "params_of forgets a part": (
        {"params_of": lambda task: {"mass": 1.0}},
        "from_jax: reset fails under jax.jit: KeyError: 'length'",
    ),
    "a task of nothing": ({"sample_task": lambda key: ()}, r"sample_task returns \(\), without arrays"),
    "sample_task fails": ({"sample_task": lambda key: {"mass": 1 / 0}}, "sample_task fails under jax.jit: ZeroDivisionError"),
    "held-out tasks are others": (
        {"sample_held_out_task": lambda key: heavy_task(key) | {"mass": jnp.ones(2)}},
        r"sample_held_out_task returns a task with shape \(2,\) of float32 at \['mass'\], but sample_task one with shape \(\)",
    ),
    "task_space of another form": (
        {"task_space": {"mass": ACTIONS}},
        "sample_task and task_space do not agree: .*look like a task",
    ),
    "tasks outside": (
        {"task_space": TASK_SPACE | {"mass": Box(5.0, 6.0, ())}},
        r"sample_task and task_space do not agree: JaxFamily: task\['mass'\] is .*must lie in Box\(5.0, 6.0",
    ),
    "held-out tasks outside": ({"task_space": TASK_SPACE | {"mass": Box(0.0, 2.0, ())}}, "sample_held_out_task and task_space"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_told_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as told:
        drift(**changes)
    assert "\n" not in str(told.value) and str(told.value).startswith("from_jax: ")


def test_missing_arguments_are_named():
    with pytest.raises(
        TypeError, match="missing 3 required positional arguments: 'horizon', 'observation_space', and 'action_space'"
    ):
        envs.from_jax(reset, step, sample_task)


def test_discrete_actions_and_float64(float64):
    discrete = envs.from_jax(
        lambda key, task: (jnp.zeros((), int), jnp.zeros(1, jnp.float32)),
        lambda key, state, action, task: (state + action, jnp.ones(1, jnp.float32), task, state > 3),
        lambda key: jax.random.uniform(key),
        4,
        Box(-1.0, 1.0, (1,)),
        Discrete(2, start=1),
    )
    check.check_task_family(discrete)
