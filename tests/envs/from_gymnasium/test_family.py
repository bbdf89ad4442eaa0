"""Ordinary Gymnasium environments as families: every route compared with stepping the environment by hand."""

import os
import re
import signal
import subprocess
import sys
import time
import warnings

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiDiscrete, Tuple

import envs
from agents.parts.action_units import policy_space, to_action
from envs import check
from envs.from_gymnasium.family import host_error, sample_from, seed_of
from envs.from_gymnasium.worker import HostError
from envs.registration import build_family
from metarl.sampler import rollout
from tests.envs.from_gymnasium.stranger import TASKS, Corridor, Odd, Slope, corridor, misshapen, odd

MADE = []  # corridors made in this process


class Counted(Corridor):
    def __init__(self):
        super().__init__()
        MADE.append(self)


def in_its_units(family, action):
    """What a policy gives, as the family takes it."""
    return to_action(family.action_space, 1.0, family.unit_actions)(jnp.asarray(action))


def random_actor(family):
    def act(observation, key):
        if isinstance(family.action_space, Discrete):
            action = jax.random.randint(key, (), 0, family.action_space.n)
        else:
            action = 1.5 * jax.random.normal(key, family.action_space.shape)  # beyond [-1, 1] too
        return in_its_units(family, action), jnp.float32(0.0), {}

    return act


def player(family):
    """(keys [...], tasks [...]) -> trajectories, compiled; the last axis of keys are episodes of one task."""

    def one(key, task):
        return rollout(family, random_actor(family), task, key, horizon=family.horizon, unroll=1)

    return jax.jit(jax.vmap(jax.vmap(one, (0, None))))


def keys_and_tasks(family, seed=0, shape=(3, 4)):
    key_episodes, key_tasks = jax.random.split(jax.random.key(seed))
    tasks = jax.vmap(family.sample_task)(jax.random.split(key_tasks, shape[0]))
    return jax.random.split(key_episodes, shape), tasks


def at(tree, *index):
    return jax.tree.map(lambda x: np.asarray(x)[index], tree)


def seed_by_hand(key):
    return int(seed_of(jax.random.split(key, 3)[0]))


@pytest.fixture(scope="module")
def walk():
    """The corridor, with a record of every environment made, and its compiled player."""
    family = envs.from_gymnasium(Counted, task_space=TASKS, apply_task="attributes", horizon=6, drop=("say", "far.say"))
    return family, player(family)


def flat_by_hand(seen, resets):
    """Gymnasium sorts the fields of a Dict: dice [2], place one-hot [4], resets."""
    return np.concatenate([seen["dice"], np.eye(4)[seen["place"]], [resets]]).astype(np.float32)


def test_pendulum_with_other_gravities_equals_stepping_by_hand():
    family = envs.make("experiments.examples.gymnasium_families:examples/PendulumGravity-v0")
    assert family.horizon == 200 and family.action_space == Box(-2.0, 2.0, (1,)) and family.on_host
    keys, tasks = keys_and_tasks(family, shape=(2, 2))
    played = jax.device_get(player(family)(keys, tasks))
    env = gymnasium.make("Pendulum-v1")
    returns = set()
    for m, n in np.ndindex(2, 2):
        env.unwrapped.g = float(tasks["g"][m])
        observation, _ = env.reset(seed=seed_by_hand(keys[m, n]))
        for t in range(200):
            np.testing.assert_array_equal(observation, played.observation[m, n, t])
            observation, reward, _, truncated, _ = env.step(played.action[m, n, t])
            assert np.float32(reward) == played.reward[m, n, t]
        np.testing.assert_array_equal(observation, played.last_observation[m, n])
        assert truncated and not played.terminated[m, n].any() and played.mask[m, n].all()
        returns.add(float(played.reward[m, n].sum()))
    assert len(returns) == 4


def check_walk(played, keys, tasks, limit=6):
    """Every episode of a corridor against one stepped by hand, up to its end; nothing after it."""
    lengths = set()
    for m, n in np.ndindex(*keys.shape):
        env = Corridor(int(tasks["length"][m]), float(tasks["scale"][m]))
        seen, _ = env.reset(seed=seed_by_hand(keys[m, n]))
        episode = at(played, m, n)
        resets = episode.observation[0, -1]
        for t in range(limit):
            np.testing.assert_array_equal(episode.observation[t], flat_by_hand(seen, resets))
            assert episode.mask[t] == 1.0
            seen, reward, terminated, _, _ = env.step(int(episode.action[t]))
            np.testing.assert_allclose(episode.reward[t], reward, rtol=1e-6)
            assert episode.terminated[t] == (terminated or (t + 1 == limit and limit < 6))
            if terminated:
                break
        np.testing.assert_array_equal(episode.observation[t + 1 :], np.tile(flat_by_hand(seen, resets), (5 - t, 1)))
        np.testing.assert_array_equal(episode.last_observation, flat_by_hand(seen, resets))
        assert not episode.mask[t + 1 :].any() and not episode.reward[t + 1 :].any()
        lengths.add(t + 1)
    return lengths


def test_early_ends_dict_observations_and_discrete_actions(walk):
    """Nothing of a next episode reaches an ended one, and ended environments are not stepped."""
    family, play = walk
    assert family.observation_space.shape == (7,) and family.action_space == Discrete(2, start=1)
    keys, tasks = keys_and_tasks(family, seed=1)
    before = sum(env.calls for env in MADE)
    played = jax.device_get(play(keys, tasks))
    lengths = check_walk(played, keys, tasks)
    assert min(lengths) < 3 and max(lengths) == 6, "some end early, some do not"
    assert sum(env.calls for env in MADE) - before == played.mask.sum()


def test_the_same_keys_give_the_same_episodes(walk):
    family, play = walk
    keys, tasks = keys_and_tasks(family, seed=2)
    first, again = (jax.device_get(play(keys, tasks)) for _ in range(2))
    np.testing.assert_array_equal(first.reward, again.reward)
    np.testing.assert_array_equal(first.observation[..., :-1], again.observation[..., :-1])  # without the count of resets
    made = len(MADE)
    for seed in range(3):
        jax.block_until_ready(play(*keys_and_tasks(family, seed)))
    assert len(MADE) == made, "environments are used again"


def test_seeds_by_vmap_equal_each_alone(walk):
    family, play = walk
    keys, tasks = keys_and_tasks(family, seed=3)
    both = jax.jit(jax.vmap(play))(jnp.stack([keys, keys[::-1]]), jax.tree.map(lambda x: jnp.stack([x, x[::-1]]), tasks))
    alone = play(keys, tasks)
    np.testing.assert_array_equal(both.reward[0], alone.reward)
    np.testing.assert_array_equal(both.reward[1], alone.reward[::-1])


def test_two_rollouts_from_one_start_in_one_program(walk):
    """The compiler may merge two equal resets; what follows must still be two episodes."""
    family, _ = walk
    task = {"length": jnp.int32(3), "scale": jnp.float32(1.0)}

    @jax.jit
    def program(key):
        play = lambda action: rollout(
            family, lambda *_: (jnp.int32(action) + 1, jnp.float32(0.0), {}), task, key, horizon=6, unroll=1
        )
        return play(0).reward, play(1).reward

    still, right = program(jax.random.key(5))
    np.testing.assert_array_equal(still, np.zeros(6))
    np.testing.assert_array_equal(right, [1, 2, 3, 0, 0, 0])


def test_processes_give_what_this_process_gives(walk):
    family, play = walk
    keys, tasks = keys_and_tasks(family, seed=4)
    spread = corridor(vectorization="async", num_workers=2)
    played = jax.device_get(player(spread)(keys, tasks))
    assert not played.observation[:, :, 0, -1].max() > 1, "every environment was reset once"
    np.testing.assert_array_equal(played.reward, play(keys, tasks).reward)
    check_walk(played, keys, tasks)
    workers = list(spread.pool._environments.workers)
    spread.close()
    assert all(worker.process.returncode is not None for worker in workers)


def test_truncation_inside_ends_the_episode():
    family = corridor(limit=2, horizon=6)
    state = walk_states(family, [0, 0])[-1]
    assert bool(family.terminal(state, None, None)) and bool(state.truncated) and not bool(state.terminated)
    at_horizon = walk_states(corridor(limit=2, horizon=2), [0, 0])[-1]
    assert not family.terminal(at_horizon, None, None), "at the horizon it is the time limit of the family"
    assert corridor(limit=2, horizon=3).horizon == 3


def walk_states(family, actions, task=None, key=0):
    """States of an episode stepped without jit."""
    task = {"length": jnp.int32(3), "scale": jnp.float32(2.0)} if task is None else task
    states = [family.initial(jax.random.key(key), task)]
    for action in actions:
        states.append(family.transition(states[-1], in_its_units(family, action), None, task))
    return states


def by_function(env, task):
    env.unwrapped.set_task(task)


@pytest.mark.parametrize("apply_task", [by_function, "attributes", "set_task", "options"])
def test_every_way_to_tell_the_task(apply_task):
    states = walk_states(corridor(apply_task=apply_task), [1, 1], {"length": jnp.int32(2), "scale": jnp.float32(1.5)})
    assert [float(state.reward) for state in states] == [0.0, 1.5, 3.0]
    assert [bool(state.terminated) for state in states] == [False, False, True]


def test_states_may_be_stepped_again(walk):
    """A repeated step is not played twice; going back, or choosing otherwise, plays the episode again."""
    family, _ = walk
    states = walk_states(family, [1, 0, 1])
    calls = sum(env.calls for env in MADE)
    again = family.transition(states[2], jnp.asarray(2), None, None)
    assert sum(env.calls for env in MADE) == calls
    jax.tree.map(np.testing.assert_array_equal, again, states[3])
    back = family.transition(states[1], jnp.asarray(2), None, None)  # 1, 1 instead of 1, 0
    assert float(back.reward) == 4.0 and int(back.episode) != int(states[1].episode)
    assert float(family.transition(states[3], jnp.asarray(2), None, None).reward) == 6.0, "the first goes on undisturbed"
    branches = jax.vmap(lambda action: family.transition(states[0], action, None, None))(jnp.array([1, 2, 2, 1]))
    np.testing.assert_array_equal(branches.reward, [0.0, 2.0, 2.0, 0.0])
    after_end = family.transition(states[3]._replace(terminated=jnp.asarray(True)), jnp.asarray(2), None, None)
    assert float(after_end.reward) == 0.0 and int(after_end.t) == 3


def failure(call):
    """The one line of what must fail on the host."""
    with pytest.raises((ValueError, RuntimeError)) as failed:
        jax.block_until_ready(call())
    message = host_error(failed.value)
    assert message is not None and "\n" not in message, failed.value
    return message


def test_a_state_out_of_order_is_refused(walk):
    family, _ = walk
    state = walk_states(family, [])[0]
    later = state._replace(t=jnp.int32(3))
    assert "step 3 of an episode of which 0 steps were taken" in failure(lambda: family.transition(later, 2, None, None))
    assert "not kept" in failure(lambda: family.transition(state, 2, None, None)), "a failure begins anew"


def test_abandoned_episodes_are_bounded():
    """They give up their environments first, and go on by replay when they are stepped after all; then they are forgotten."""
    family, task = odd(), {"x": jnp.float32(0.5)}
    first = walk_states(family, [np.ones(2)], task)[-1]
    for key in range(30):
        walk_states(family, [], task, key)
    assert len(family.pool._environments.envs) <= 4
    np.testing.assert_array_equal(family.transition(first, np.zeros(2), None, None).observation, [0.0, 0.0])
    for key in range(70):
        walk_states(family, [], task, key)
    assert "not kept" in failure(lambda: family.transition(first, np.ones(2), None, None))


def test_an_environment_that_does_not_follow_from_its_seed():
    family = odd("wild")
    task = {"x": jnp.float32(0.5)}
    states = walk_states(family, [np.zeros(2), np.zeros(2)], task)
    family.pool._release(int(states[2].episode))
    assert "went another way" in failure(lambda: family.transition(states[2], np.ones(2), None, None))


def test_actions_reach_the_range_of_the_environment():
    """A policy's [-1, 1] is [-2, 6] on the first axis, clipped; the second has no bounds. The family takes [-2, 6]."""
    family = odd()
    assert family.action_space == Odd.action_space
    np.testing.assert_array_equal(policy_space(family.action_space, family.unit_actions).low, [-1.0, -np.inf])
    task = {"x": jnp.float32(0.5)}
    for action, taken in (([-1, 7], [-2, 7]), ([0, -9], [2, -9]), ([5, 0], [6, 0])):
        state = walk_states(family, [np.array(action, np.float32)], task)[-1]
        np.testing.assert_array_equal(state.observation, taken)
        start = family.initial(jax.random.key(0), task)
        np.testing.assert_array_equal(family.transition(start, np.array(taken), None, task).observation, taken)


def test_a_policy_that_diverged_ends_the_episode_with_a_reward_of_nan():
    state = walk_states(odd(), [np.array([np.nan, 0.0], np.float32)], {"x": jnp.float32(0.5)})[-1]
    assert np.isnan(state.reward) and bool(state.truncated) and np.isfinite(state.observation).all()


FAILS = {
    "raise": "make: step of sub-environment 0 with task {'x': 0.5} raises RuntimeError: the motor (",
}
NOT_FINITE = {
    "nan": "make: step 4 of an episode with task {'x': 0.5} and seed S gives an observation with nan at place 1.",
    "bad reward": "make: step 4 of an episode with task {'x': 0.5} and seed S gives the reward inf.",
}


@pytest.mark.parametrize("how", NOT_FINITE)
def test_numbers_that_are_not_finite_go_on_and_are_noted(how):
    family = odd(how)
    last = walk_states(family, [np.zeros(2)] * 4, {"x": jnp.float32(0.5)})[-1]
    assert not np.isfinite([*last.observation, last.reward]).all()
    assert re.sub(r"seed \d+", "seed S", family.not_finite() or "") == NOT_FINITE[how]
    assert family.not_finite() is None


@pytest.mark.parametrize("how", FAILS)
def test_environments_that_fail(how, caplog):
    family = odd(how)
    assert FAILS[how] in failure(lambda: walk_states(family, [np.zeros(2)] * 4, {"x": jnp.float32(0.5)})[-1])
    assert not caplog.records, "no traceback in the log beside the one line"
    walk_states(family, [np.zeros(2)] * 3, {"x": jnp.float32(0.5)})  # begins anew


PAIR = {"a": Box(0.0, 1.0, (1,)), "b": Box(0.0, 1.0, (2,))}
THREE = np.zeros(3, np.float32)
MISSHAPEN = {
    "one number for three": ("step", "late", np.ones(1), "gives an observation of shape (1,), expected (3,)."),
    "a scalar for three": ("step", "late", 5.0, "gives an observation of shape (), expected (3,)."),
    "a batch of one": ("reset", "seen", np.zeros((1, 3)), "gives an observation of shape (1, 3), expected (3,)."),
    "step of Gym": ("step", "step", (THREE, 0.0, False, {}), "gives 4 items, expected 5, from observation to info."),
    "step that forgets the rest": ("step", "step", THREE, "gives a ndarray, expected 5 items, from observation to info."),
}


@pytest.mark.parametrize("name", MISSHAPEN)
def test_answers_of_the_wrong_shape(name):
    call, where, given, message = MISSHAPEN[name]
    family = misshapen(where, given)
    said = failure(lambda: walk_states(family, [0], {"x": jnp.float32(0.5)})[-1])
    assert said == f"make: {call} of sub-environment 0 with task {{'x': 0.5}} {message}"


@pytest.mark.parametrize(
    ("space", "given", "message"),
    [
        (Dict(PAIR), {"a": np.zeros(2), "b": np.zeros(1)}, "observation['a'] of shape (2,), expected (1,)."),
        (Tuple(PAIR.values()), (np.zeros(2), np.zeros(1)), "observation[0] of shape (2,), expected (1,)."),
        (Tuple(PAIR.values()), (np.zeros(1), np.zeros(1), np.zeros(1)), "an observation of 3 items, expected 2."),
    ],
)
def test_a_field_of_the_wrong_shape(space, given, message):
    """Its size is made up for by another field's."""
    family = misshapen("seen", given, space)
    said = failure(lambda: walk_states(family, [], {"x": jnp.float32(0.5)}))
    assert said == f"make: reset of sub-environment 0 with task {{'x': 0.5}} gives {message}"


@pytest.mark.parametrize("given", [THREE, (THREE,), (THREE, 1.0), np.zeros(2)])
def test_a_reset_without_info_is_refused_at_once(given):
    with pytest.raises(ValueError, match=r"^from_gymnasium: reset of make with task .* gives .*, expected 2"):
        misshapen("reset", given)


@pytest.mark.parametrize(
    ("how", "message"), [("die", "worker process 0 of 1, .* was killed by signal 9"), ("hang", "no answer within 2 s")]
)
def test_workers_that_fail(how, message):
    family = odd(how, vectorization="async", num_workers=1, timeout=20)
    states = walk_states(family, [np.zeros(2)] * 3, {"x": jnp.float32(0.5)})
    [worker] = family.pool._environments.workers
    family.pool._environments.timeout = 2
    assert re.search(message, failure(lambda: family.transition(states[-1], jnp.zeros(2), None, None)))
    assert worker.process.returncode is not None, "ended"


KILLED = """
import os, signal, sys, jax
from tests.envs.from_gymnasium.stranger import corridor
family = corridor(vectorization="async", num_workers=1)
family.initial(jax.random.key(0), family.default_params)
print(family.pool._environments.workers[0].process.pid, flush=True)
os.kill(os.getpid(), {})
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_no_worker_outlives_this_process(sign):
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(int(sign))], capture_output=True, text=True, timeout=100, cwd=os.getcwd()
    )
    assert done.returncode == -sign, done.stderr
    for _ in range(100):
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("the worker lives on")


def test_tasks_outside_their_space_are_refused():
    family = corridor(held_out_task_space=Dict({"length": Discrete(1, start=3), "scale": Box(3.0, 4.0, ())}))
    for name, value in (("scale", 2.5), ("scale", np.nan), ("length", 0)):
        task = {"length": jnp.int32(3), "scale": jnp.float32(1.0)} | {name: jnp.asarray(value)}
        assert f"Corridor: initial got task[{name!r}] = {value}, outside" in failure(
            lambda t=task: family.initial(jax.random.key(0), t)
        )
    held_out = envs.held_out_tasks(family, 20)
    assert np.all((held_out["scale"] >= 3) & (held_out["length"] == 3))
    family.initial(jax.random.key(0), at(held_out, 0))


def test_tasks_are_uniform_in_their_space():
    space = Dict({"a": Box(-1.0, 3.0, (2,)), "b": Discrete(3, start=-1), "c": Box(2, 4, (), np.int32)})
    tasks = jax.vmap(lambda key: sample_from(space, key))(jax.random.split(jax.random.key(0), 4000))
    assert tasks["a"].shape == (4000, 2) and tasks["a"].dtype == jnp.float32 and tasks["b"].dtype == jnp.int32
    np.testing.assert_allclose(tasks["a"].mean(axis=0), 1.0, atol=0.1)
    np.testing.assert_allclose(tasks["a"].std(axis=0), 4 / np.sqrt(12), atol=0.05)
    for name, values in (("b", [-1, 0, 1]), ("c", [2, 3, 4])):
        found, counts = np.unique(tasks[name], return_counts=True)
        assert found.tolist() == values and counts.min() > 1200


def test_dropped_fields_are_named_once():
    with pytest.warns(UserWarning, match=r"do not see far.say, say of Corridor") as caught:
        corridor(drop=())
    assert len(caught) == 1 and caught[0].filename == __file__.replace("test_family", "stranger")


def test_one_dropped_field_by_its_name():
    """As it comes from the command line: ``--env-options drop=say``."""
    with pytest.warns(UserWarning, match="do not see far.say of Corridor") as caught:
        corridor(drop="say")
    assert len(caught) == 1


PENDULUM = {"env": "Pendulum-v1", "task_space": {"g": Box(5.0, 15.0, ())}, "apply_task": "attributes"}
REFUSED = {
    "unknown id": ({"env": "Pendulun-v1"}, "no Gymnasium environment 'Pendulun-v1'. Did you mean 'Pendulum-v1'"),
    "unknown module": ({"env": "no_module:their/Env-v0"}, "needs the package no_module"),
    "no such attribute": ({"task_space": {"mass": Box(0.0, 1.0, ())}}, "has no attribute 'mass'"),
    "no set_task": ({"apply_task": "set_task"}, "has no method set_task"),
    "another way": ({"apply_task": "magic"}, "apply_task is 'magic'"),
    "function that fails": ({"apply_task": lambda env, task: task["h"]}, "beginning Pendulum-v1 with task .* fails: KeyError"),
    "bad constructor option": ({"env_options": {"h": 1}}, "making Pendulum-v1 fails: TypeError"),
    "no finite bounds": ({"task_space": {"g": Box(0.0, np.inf, ())}}, r"task_space\['g'\] is .*finite bounds"),
    "other spaces": ({"task_space": {"g": MultiDiscrete([2])}}, "must be a Box or Discrete"),
    "no Dict": ({"task_space": Box(0.0, 1.0)}, "must be a gymnasium Dict"),
    "other held-out fields": ({"held_out_task_space": {"m": Box(0.0, 1.0, ())}}, "has fields m, but task_space g"),
    "vectorization": ({"vectorization": "fast"}, "must be 'sync' or 'async'"),
    "no workers": ({"num_workers": 0}, "num_workers is 0, but must be a whole number of at least 1"),
    "half a worker": ({"num_workers": 2.5}, "num_workers is 2.5, but"),
    "workers in quotes": ({"num_workers": "2"}, "num_workers is '2', but"),
    "timeout in quotes": ({"timeout": "6"}, "timeout is '6', but must be a positive number of seconds"),
    "no time": ({"timeout": 0}, "timeout is 0, but"),
    "time without end": ({"timeout": np.inf}, "timeout is inf, but"),
    "horizon of true": ({"horizon": True}, "horizon is True, but"),
    "drop of a number": ({"drop": 3}, "drop is 3, but must be names"),
    "held out of another kind": (
        {"held_out_task_space": {"g": Discrete(3)}},
        r"held_out_task_space\['g'\] is Discrete\(3\), but task_space\['g'\] is Box",
    ),
    "held out of whole numbers": ({"held_out_task_space": {"g": Box(5, 9, (), np.int32)}}, "is Box.*int32.*, but task_space"),
    "held out of another shape": ({"held_out_task_space": {"g": Box(5.0, 9.0, (2,))}}, "is Box.*2.*, but task_space"),
    "no horizon": ({"env": Corridor, "task_space": TASKS}, "give horizon"),
    "half a step": ({"horizon": 2.5}, "horizon is 2.5"),
    "not an env": ({"env": lambda: 3}, "made a int"),
    "actions": (
        {"env": type("Many", (Odd,), {"action_space": Box(0, 5, (2,), np.int32)}), "apply_task": lambda e, t: None},
        "agents act",
    ),
    "observations": (
        {"env": type("Web", (Odd,), {"observation_space": Graph(Box(0, 1), None)}), "apply_task": lambda e, t: None},
        "cannot be flattened",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name):
    change, message = REFUSED[name]
    horizon = {} if name == "no horizon" else {"horizon": 5}
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message) as failed:
        warnings.simplefilter("ignore")
        envs.from_gymnasium(**{**PENDULUM, **horizon, **change})
    assert "\n" not in str(failed.value) and str(failed.value).startswith("from_gymnasium: ")


def test_an_option_that_nobody_takes():
    with pytest.raises(ValueError, match="unexpected keyword argument 'speed'"):
        envs.make("stranger/Corridor-v0", speed=3)


@pytest.mark.parametrize(
    ("id", "extra", "module"), [("MiniGrid-Empty-5x5-v0", "minigrid", "minigrid"), ("LunarLander-v3", "box2d", "Box2D")]
)
def test_a_missing_package_names_the_install_command(id, extra, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "gymnasium.envs.box2d.lunar_lander", raising=False)
    monkeypatch.delitem(gymnasium.registry, "MiniGrid-Empty-5x5-v0", raising=False)
    with pytest.raises(ValueError, match=rf"pip install .*'\.\[{extra}\]'"):
        envs.from_gymnasium(id, task_space={"gravity": Box(-9.0, -1.0, ())}, apply_task="attributes", horizon=5)


def test_lunar_lander_s_attributes_act_like_constructor_arguments():
    family = envs.make("experiments.examples.gymnasium_families:examples/LunarLanderWind-v0", horizon=30)
    task = {"gravity": jnp.float32(-5.0), "wind_power": jnp.float32(18.0), "turbulence_power": jnp.float32(1.5)}
    other = {**task, "gravity": jnp.float32(-10.0), "wind_power": jnp.float32(2.0)}
    walk_states(family, [0], other, key=3)  # a used environment must not remember its last task
    states = walk_states(family, [2, 0, 1, 3] * 4, task, key=7)
    env = gymnasium.make("LunarLander-v3", enable_wind=True, **{name: float(value) for name, value in task.items()})
    observation, _ = env.reset(seed=int(seed_of(jax.random.key(7))))
    np.testing.assert_array_equal(states[0].observation, observation)
    for state, action in zip(states[1:], [2, 0, 1, 3] * 4, strict=True):
        observation, reward, *_ = env.step(action)
        np.testing.assert_array_equal(state.observation, observation)
        assert np.float32(reward) == state.reward
    assert not np.array_equal(walk_states(family, [2] * 4, other, key=7)[-1].observation, states[4].observation)


def test_mini_grid_with_other_goals():
    """Forward twice, turn right, forward: the middle of the right column; the goal is there, or is not."""
    family = envs.make("experiments.examples.gymnasium_families:examples/MiniGridGoal-v0")
    assert family.observation_space.shape == (4 + 7 * 7 * 3,)
    forward, right = 2, 1
    for goal, found in ((5, True), (8, False), (3, False), (5, True)):
        state = walk_states(family, [forward, forward, right, forward], {"goal": jnp.int32(goal)})[-1]
        assert bool(state.terminated) == found and (float(state.reward) > 0) == found


def test_as_ordinary_gymnasium_environments():
    """One id serves make and make_vec; sub-environments that end begin anew with the seed's next episode."""
    task = {"length": np.int32(1), "scale": np.float32(1.0)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of Gymnasium, about wrappers
        env = gymnasium.make("stranger/Corridor-v0", task=task, horizon=4)
        vector = gymnasium.make_vec("stranger/Corridor-v0", num_envs=2, task=task, horizon=4)
    first, _ = env.reset(seed=3)
    assert env.observation_space.contains(first)
    assert env.step(1)[1:4] == (0.0, False, False) and env.step(2)[1:4] == (1.0, True, False)
    firsts, _ = vector.reset(seed=3)
    np.testing.assert_array_equal(firsts[0, :-1], first[:-1])
    results = [vector.step(np.array(actions)) for actions in ([2, 1], [2, 1], [1, 1], [2, 1])]
    np.testing.assert_array_equal([r[1] for r in results], [[1, 0], [0, 0], [0, 0], [1, 0]])
    np.testing.assert_array_equal([r[2] for r in results], [[True, False], [False, False], [False, False], [True, False]])
    np.testing.assert_array_equal([r[3][1] for r in results], [False, False, False, True])


def test_pictures_follow_the_state():
    family = envs.make("experiments.examples.gymnasium_families:examples/PendulumGravity-v0", horizon=8)
    task = {"g": jnp.float32(10.0)}
    states = walk_states(family, [np.ones(1)] * 4, task)
    pictures = [family.render_image(state, None, task)[1] for state in (states[0], states[4], states[2])]
    env = gymnasium.make("Pendulum-v1", render_mode="rgb_array")
    env.reset(seed=int(seed_of(jax.random.key(0))))
    by_hand = [env.render()] + [env.render() for _ in range(4) if env.step(np.full(1, 2.0, np.float32))]
    for picture, t in zip(pictures, (0, 4, 2), strict=True):
        np.testing.assert_array_equal(picture, by_hand[t])
    assert not envs.family.can_render(corridor())


def test_a_host_family_passes_the_checks():
    """Without the note that its horizon cannot be changed: `from_gymnasium` takes one, only the class needs more."""
    family = envs.from_gymnasium(Slope, task_space={"x": Box(-1.0, 1.0, ())}, apply_task="attributes", horizon=4)
    found = {finding.check: finding for finding in check.findings(family)}
    assert [finding.failure for finding in found.values() if finding.failure] == []
    assert found["horizon is respected"].note is None
    with pytest.raises(ValueError, match="the same seed"):
        envs.check_task_family(corridor())  # it observes how often it was reset


def test_a_function_that_makes_a_host_family_is_an_entry_point():
    assert isinstance(build_family(corridor), envs.TaskFamily)


def test_only_errors_of_the_host_are_read_as_such():
    assert host_error(HostError("x")) == "x" and host_error(ValueError("x")) is None


@pytest.mark.parametrize("wrapper", [gymnasium.wrappers.NormalizeObservation, gymnasium.wrappers.NormalizeReward])
def test_statistics_that_outlive_an_episode_are_refused(wrapper):
    """An episode would not follow from its seed."""
    env = lambda **options: gymnasium.wrappers.ClipReward(wrapper(gymnasium.make("Pendulum-v1", **options)), -1, 1)
    with pytest.raises(ValueError, match=f"is wrapped in {wrapper.__name__}, whose statistics change") as error:
        envs.from_gymnasium(env, task_space={"g": Box(5.0, 15.0, ())}, apply_task="attributes", horizon=5)
    assert "\n" not in str(error.value)


class Averages(gymnasium.ObservationWrapper):
    """Statistics of a user's own, which go on from one episode to the next."""

    count, mean = 0, 0.0

    def observation(self, observation):
        self.count += 1
        self.mean = self.mean + (observation - self.mean) / self.count
        return (observation - self.mean).astype(np.float32)


class Dice(gymnasium.Env):
    """Rewards by chance: the environment's own, which follows from the seed, or NumPy's."""

    observation_space, g = Box(-1.0, 1.0, (1,), np.float32), 0.0
    action_space = gymnasium.spaces.Dict(jump=gymnasium.spaces.Discrete(3, start=1), push=Box(-1.0, 1.0, (2,), np.float32))

    def __init__(self, own):
        self.own = own

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        chance = self.np_random if self.own else np.random
        return np.zeros(1, np.float32), float(chance.random()), False, False, {}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: gymnasium.make("Pendulum-v1"), None),
        (lambda: Averages(gymnasium.make("Pendulum-v1")), "the same seed, task and actions give"),
        (lambda: Dice(own=True), None),
        (lambda: Dice(own=False), "use no random numbers but the environment's np_random"),
    ],
)
def test_episodes_that_do_not_follow_from_their_seed_are_told(make, said):
    family = envs.from_gymnasium(make, task_space={"g": Box(5.0, 15.0, ())}, apply_task="attributes", horizon=5)
    found = family.unrepeatable()
    assert (found is None) == (said is None) and (said is None or (said in found and "\n" not in found))
