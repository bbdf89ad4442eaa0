"""A family broken in each way fails the check made for it, in one line; sound families pass all of them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Text

import envs
from envs import check
from envs.check import __main__ as command
from envs.to_gymnasium.task_env import TaskEnv
from envs.to_gymnasium.task_vector_env import TaskVectorEnv
from tests.agents.probe import Guess, GuessDiscrete, Target
from tests.few import few

# Of each room of families one, and one with chance; the others are checked when slow.
FAST = ["metarl/Navigation2D-v0", "metarl/BernoulliBandit-v0", "metarl/TabularMDP-v0", "metarl/CartPoleDynamics-v0"]
FAST += ["metarl/HalfCheetahVel-v0"]
WIDE = Box(-100.0, 100.0, (1,), np.float32)


class Walk(Guess):
    """Guess with a state that actions move, and with as many tasks as there are numbers."""

    observation_space = WIDE
    sample_task = lambda self, key: Target(jax.random.uniform(key))
    transition = lambda self, state, action, rng, params: state + jnp.clip(jnp.sum(action), -3.0, 3.0)
    observation = lambda self, state, rng, params: state[None]
    terminal = lambda self, state, rng, params: state > 1.0


class Counting(Walk):
    """Python state: each trace of the reward gives another function."""

    calls = 0

    def reward(self, state, action, next_state, rng, params):
        Counting.calls += 1
        return params.value + Counting.calls


class Restless(Walk):
    """State on the host: each call gives another reward."""

    calls = 0

    def reward(self, state, action, next_state, rng, params):
        def on_host(value):
            Restless.calls += 1
            return np.float32(value + Restless.calls)

        return jax.pure_callback(on_host, jax.ShapeDtypeStruct((), jnp.float32), params.value, vmap_method="sequential")


def drifting_task(self, key):
    Drifting.calls += 1
    return Target(jax.random.uniform(key) + Drifting.calls)


class Drifting(Walk):
    calls = 0
    sample_task = drifting_task


def mixing(self, state, action, next_state, rng, params):
    """Python on the host that mixes the episodes of a batch."""
    mix = lambda value: np.full_like(value, np.sum(value))
    return jax.pure_callback(mix, jax.ShapeDtypeStruct((), jnp.float32), params.value, vmap_method="broadcast_all")


def fails_on_host(self, state, action, next_state, rng, params):
    def on_host(value):
        raise RuntimeError("the simulator is gone")

    return jax.pure_callback(on_host, jax.ShapeDtypeStruct((), jnp.float32), params.value, vmap_method="sequential")


def undeclared(self, state, action, next_state, rng, params):
    double = lambda value: 2 * value
    called = lambda value: jax.pure_callback(double, jax.ShapeDtypeStruct((), jnp.float32), value, vmap_method="expand_dims")
    return jax.lax.cond(next_state > 0, called, lambda value: value, params.value)  # inside of a branch, too


def mixing_task(self, key):
    mix = lambda value: np.full_like(value, np.sum(value))
    value = jax.random.uniform(key)
    return Target(jax.pure_callback(mix, jax.ShapeDtypeStruct((), jnp.float32), value, vmap_method="broadcast_all"))


class Deaf(Walk):
    def __init__(self, horizon=None):
        pass


NAN = lambda self, s, a, n, r, p: jnp.where(s > 0, jnp.nan, p.value)
BROKEN = {
    "actions that policies do not take": (
        Walk,
        {
            "action_space": Text(2),
            "transition": lambda self, s, a, r, p: s,
            "reward": lambda self, s, a, n, r, p: n,
        },
        "Broken.action_space is Text.*but agents take Box, Discrete, MultiDiscrete",
    ),
    "actions of whole numbers": (
        Walk,
        {"action_space": Box(0, 5, (1,), np.int32)},
        r"Broken.action_space is Box\(0, 5, \(1,\), int32\), but policies act in Discrete spaces or a Box of floats",
    ),
    "no reward": (Walk, {"reward": envs.TaskFamily.reward}, "Broken has no reward"),
    "observation in float64": (
        Walk,
        {"observation": lambda self, s, r, p: np.ones(1)},
        r"Broken.observation returns float64, array\(\[1.\]\); make it float32",
    ),
    "float64 asked for": (
        Walk,
        {"observation": lambda self, s, r, p: s[None].astype(jnp.float64)},
        "observation fails.*float64",
    ),
    "half precision": (
        Walk,
        {
            "observation": lambda self, s, r, p: s[None].astype(jnp.float16),
            "observation_space": Box(-100.0, 100.0, (1,), np.float16),
        },
        "observation returns float16; make it and its space float32",
    ),
    "state that changes shape": (Walk, {"transition": lambda self, s, a, r, p: a}, "Broken.transition returns"),
    "task that depends on what was drawn before": (Drifting, {}, "sample_task gives .* and then .* for the same key"),
    "task that depends on the batch": (Walk, {"sample_task": mixing_task}, "alone, but .* under jit and vmap"),
    "task that is no number": (
        Walk,
        {"sample_task": lambda self, key: Target(jnp.float32(jnp.nan))},
        "sample_task: task.value is nan",
    ),
    "task outside its space": (
        Walk,
        {"task_space": Target(Box(0.0, 0.5, (), np.float32))},
        r"sample_task leaves task_space: Broken: task.value is 0\.\d+, but must lie in Box\(0.0, 0.5",
    ),
    "space unlike a task": (Walk, {"task_space": Box(0.0, 1.0, ())}, "task_space is Box.*look like a task"),
    "held-out tasks outside their space": (
        Walk,
        {
            "task_space": Target(Box(0.0, 1.0, (), np.float32)),
            "sample_held_out_task": lambda self, key: Target(jnp.float32(2.0)),
        },
        "sample_held_out_task leaves task_space",
    ),
    "one task": (Walk, {"sample_task": lambda self, key: Target(jnp.float32(0.5))}, "same task, Target.*, for every key"),
    "held-out stream": (
        Walk,
        {"sample_held_out_task": lambda self, key: self.sample_task(key)},
        "sample_held_out_task gives the task",
    ),
    "held-out stream of two tasks": (
        Guess,
        {"sample_held_out_task": lambda self, key: self.sample_task(key)},
        "sample_held_out_task gives the task",
    ),
    "host that fails": (
        Walk,
        {"reward": fails_on_host},
        r"fails in a random episode.*the simulator is gone \(.*test_checks.py:\d+\)",
    ),
    "reward of nan": (Walk, {"reward": NAN}, r"Broken.reward gives nan at step 1 of task Target\(value=.*; keep it finite"),
    "observation of inf": (
        Walk,
        {"observation": lambda self, s, r, p: jnp.where(s == 0, s, jnp.inf)[None]},
        "Broken.observation gives -?inf at step 1",
    ),
    "state of nan": (
        Walk,
        {"transition": lambda self, s, a, r, p: s * jnp.nan, "observation": lambda self, s, r, p: jnp.zeros(1)},
        r"transition \(state\) gives nan",
    ),
    "measure of nan": (
        Walk,
        {
            "measures": {"angle": "last"},
            "transition_info": lambda self, s, a, n, p: {"angle": jnp.where(s > 0, jnp.nan, n), "unasked": n * jnp.nan},
        },
        r"Broken.transition_info, 'angle', gives nan at step \d of task Target\(value=.*; keep it finite",
    ),
    "observation outside its space": (
        Walk,
        {"observation_space": Box(-0.1, 0.1, (1,), np.float32)},
        r"observation returns \[.*\] at step 1 .*outside observation_space Box\(-0.1, 0.1",
    ),
    "state on the host": (Restless, {}, "played twice with the same seed and actions, reward is"),
    "Python state": (Counting, {}, "Counting.reward is .* use no Python state|Broken.reward is .* use no Python state"),
    "host call that is not declared": (Walk, {"reward": undeclared}, "Broken.reward calls the host, .* set calls_host = True"),
    "batch on the host": (Walk, {"reward": mixing}, "Broken.reward is .* but .* under vmap, .* by itself"),
    "tasks that do not matter": (
        Walk,
        {"reward": lambda self, s, a, n, r, p: -jnp.sum(a**2)},
        "4 different tasks give the same observations and rewards in 12 random episodes",
    ),
    "deaf to horizon": (Deaf, {}, r"Broken\(horizon=3\) has horizon 2; hand horizon to super"),
    "horizon of another type": (Walk, {"horizon": True}, "horizon is True, but must be a whole number"),
    "image of floats": (Walk, {"render_image": lambda self, s, d, p: (d, np.ones((4, 4, 3)))}, "render_image gives float64"),
    "image that fails": (
        Walk,
        {"render_image": lambda self, s, d, p: 1 / 0},
        "render_image fails: ZeroDivisionError.*test_checks.py",
    ),
    "equal bounds": (
        Walk,
        {"observation_space": Box(0.0, 0.0, (1,), np.float32), "observation": lambda self, s, r, p: jnp.zeros(1)},
        "check_env warns: .*maximum and minimum values are equal",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_family_fails_its_check(name):
    base, change, message = BROKEN[name]
    family = type("Broken", (base,), {"render_init": lambda self, params: None} | change)()
    with pytest.raises(ValueError) as failure:
        envs.check_task_family(family)
    assert re.search(message, str(failure.value).splitlines()[0])


def stepping_on(self, action, step=TaskEnv.step):
    self._over = False, False
    return step(self, action)


def forgetful(self, *, seed=None, options=None, reset=TaskEnv.reset):
    given = reset(self, seed=seed, options=options)
    self.task = self.family.default_params
    return given


def paid_for_nothing(self, actions, step=TaskVectorEnv.step):
    observation, reward, *rest = step(self, actions)
    return observation, np.where(reward == 0, 1.0, reward), *rest


def untruncated(self, action, step=TaskEnv.step):
    observation, reward, terminated, _, info = step(self, action)
    return observation, reward, terminated, False, info


ENVIRONMENTS = {
    "goes on after the end": (TaskEnv, "step", stepping_on, "after the end an environment gives"),
    "forgets the task": (TaskEnv, "reset", forgetful, "TaskEnv.reset made the task"),
    "rewards a beginning": (TaskVectorEnv, "step", paid_for_nothing, "step after the end gives reward 1.0"),
    "never truncates": (TaskEnv, "step", untruncated, "horizon is 2, but step 2 truncates: False"),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_broken_environment_fails_its_check(name, monkeypatch):
    target, method, replacement, message = ENVIRONMENTS[name]
    monkeypatch.setattr(target, method, replacement)
    with pytest.raises(ValueError, match=message):
        envs.check_task_family(Walk())


def test_nothing_is_played_after_an_episode_that_fails():
    family = type("Broken", (Walk,), {"reward": fails_on_host})()
    assert [finding.failure is None for finding in check.findings(family)] == [True] * 6 + [False]


@pytest.mark.parametrize("id", few(envs.FAMILIES, *FAST))
def test_every_registered_family(id):
    envs.check_task_family(envs.make(id))


def notes(family):
    found = list(check.findings(family))
    assert not [finding.failure for finding in found if finding.failure]
    return {finding.check: finding.note for finding in found if finding.note}


class Unrewarded(GuessDiscrete):
    reward = lambda self, state, action, next_state, rng, params: 0.0 * params.value
    terminal = lambda self, state, rng, params: jax.random.bernoulli(rng, 0.0 * state)


class Chance(Walk):
    horizon = 60
    terminal = lambda self, state, rng, params: jax.random.bernoulli(rng, 0.5)


class Once(Walk):
    horizon = 1


def test_check_env_sees_families_of_one_step():
    """Which it does not take as they are: two steps stand in, where the constructor allows it."""
    assert "gymnasium accepts it" not in notes(Once())
    space = {"observation_space": Box(0.0, 0.0, (1,), np.float32), "observation": lambda self, s, r, p: jnp.zeros(1)}
    with pytest.raises(ValueError, match=r"check_env warns: .*maximum and minimum values are equal"):
        envs.check_task_family(type("Broken", (Once,), space)())
    fixed = type("Fixed", (Once,), {"__init__": lambda self: None})
    found = notes(fixed())
    assert "no environment of one step" in found["gymnasium accepts it"]
    assert found["horizon is respected"].startswith("Fixed(horizon=2) fails, so --horizon cannot change it: TypeError")
    choosy = type("Choosy", (Once,), {"__init__": lambda self, horizon=1: None if horizon < 2 else 1 / 0})
    assert "it: ZeroDivisionError: division by zero (" in notes(choosy())["horizon is respected"]


def test_notes_of_sound_families():
    found = notes(Unrewarded())
    assert "list them in held_out_list" in found["held out tasks are others"]
    assert "met no reward" in found["tasks differ"]
    assert "no render_image" in found["images are drawn"]
    found = notes(type("Bounded", (Chance,), {"task_space": Target(Box(0.0, 1.0, (), np.float32))})())
    assert "by chance" in found["nothing after the end"]
    assert found["horizon is respected"] == "50 of 60 steps were played"
    assert "tasks in their space" not in found


def test_host_calls_that_are_declared():
    assert "host calls are declared" not in notes(type("Declared", (Walk,), {"reward": undeclared, "calls_host": True})())
    assert "for nothing" in notes(type("Declared", (Walk,), {"calls_host": True})())["host calls are declared"]


def test_the_command(capsys):
    assert command.main(["tests.agents.probe:probe/Guess-v0", "--horizon", "3"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == len(check.FIRST + check.THEN) and {line.split()[0] for line in lines} == {"ok", "note"}
    assert last == f"tests.agents.probe:probe/Guess-v0: {len(lines)} checks, 0 failed"


def test_the_command_on_a_broken_family_of_the_user(tmp_path, monkeypatch, capsys):
    (tmp_path / "their_family.py").write_text(
        "import envs\nfrom tests.agents.probe import Guess\n\n"
        "class Theirs(Guess):\n    def reward(self, state, action, next_state, rng, params):\n        return params.goal\n\n"
        "envs.register('their/Env-v0', Theirs)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert command.main(["their_family:their/Env-v0"]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("FAILED  functions shapes and dtypes: Theirs.reward fails under jax: AttributeError")
    assert "their_family.py:6" in first
    assert last.startswith("their_family:their/Env-v0: 1 checks, 1 failed, 18 not reached")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("metarl/Navigatoin2D-v0", "Did you mean 'metarl/Navigation2D-v0'"),
        ("no_such_module:x/Y-v0", "No module named 'no_such_module'"),
        ("metarl/Navigation2D-v0 --env-options arms=3", "unexpected keyword argument 'arms'; its options: horizon"),
        ("metarl/Navigation2D-v0 --env-options arms", "NAME=VALUE"),
        ("metarl/Navigation2D-v0 --horizon many", "invalid int value: 'many'"),
        ("", "required: ID"),
    ],
)
def test_the_command_refuses_in_one_line(arguments, message, capsys):
    try:
        code = command.main(arguments.split())
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1 and error.startswith("error: ") and message in error
