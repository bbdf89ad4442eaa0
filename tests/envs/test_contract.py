"""A family broken in each way is refused in one line that names the function and the value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box

import envs
from envs import registration
from envs.registration import build_family
from tests.agents.probe import Guess, GuessDiscrete, Target

BROKEN = {
    "no reward": ({"reward": envs.TaskFamily.reward}, "has no reward"),
    "no terminal": ({"terminal": envs.TaskFamily.terminal}, "has no terminal"),
    "no sample_task": ({"sample_task": envs.TaskFamily.sample_task}, "has no sample_task"),
    "no space": ({"observation_space": None}, "has no observation_space"),
    "no horizon": ({"horizon": None}, "horizon is None"),
    "half a step": ({"horizon": 2.5}, "horizon is 2.5"),
    "observation of another shape": ({"observation": lambda self, s, r, p: jnp.ones(2)}, r"observation returns shape \(2,\)"),
    "observation of integers": ({"observation": lambda self, s, r, p: jnp.ones(1, int)}, "of int32"),
    "space in float64": ({"observation_space": Box(0, 1, (1,), np.float64)}, "of float64"),
    "reward of shape [1]": ({"reward": lambda self, s, a, n, r, p: a}, r"reward returns shape \(1,\)"),
    "reward of integers": ({"reward": lambda self, s, a, n, r, p: 0}, "reward returns shape .* of int32"),
    "end as a number": ({"terminal": lambda self, s, r, p: s}, "terminal returns shape .* of float32"),
    "state that grows": ({"transition": lambda self, s, a, r, p: jnp.ones(3)}, "transition returns"),
    "task of a Python number": ({"sample_task": lambda self, key: Target(0.5)}, r"task.value is 0.5; make it an array"),
    "numpy on a tracer": (
        {"reward": lambda self, s, a, n, r, p: np.asarray(a).sum()},
        "reward fails under jax: Tracer.*test_contract.py",
    ),
    "if on a tracer": ({"terminal": lambda self, s, r, p: bool(s)}, "terminal fails under jax: Tracer"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_families_are_refused(name):
    change, message = BROKEN[name]
    with pytest.raises(ValueError, match=message) as failure:
        build_family(type("Broken", (Guess,), change))
    assert "Broken" in str(failure.value) and "\n" not in str(failure.value)


@pytest.mark.parametrize("family", [Guess, GuessDiscrete])
def test_sound_families_pass(family):
    build_family(family)


@pytest.fixture
def checked(monkeypatch):
    """The families whose functions were traced to check them."""
    seen = []
    check = registration.check_functions
    monkeypatch.setattr(registration, "check_functions", lambda family: (seen.append(family), check(family)))
    return seen


def test_functions_are_checked_once_per_maker_and_options(checked):
    family = type("Again", (Guess,), {})
    first, second = build_family(family), build_family(family)
    assert first is not second and checked == [first]
    build_family(family, horizon=3)
    build_family(type("Again", (Guess,), {}))
    assert len(checked) == 3, "other options, and another class of that name, are checked"
    build_family(first)
    build_family(first)
    assert len(checked) == 4, "an instance may have been changed since it was built"
    first.horizon = 0
    with pytest.raises(ValueError, match="horizon is 0"):
        build_family(first)


def test_options_that_cannot_be_compared_are_checked_every_time(checked):
    family = type("Again", (Guess,), {"__init__": lambda self, offset: None})
    for _ in range(2):
        build_family(family, offset=np.ones(2))
    assert len(checked) == 2


def test_a_failed_check_is_not_remembered():
    family = type("Broken", (Guess,), {"reward": lambda self, s, a, n, r, p: a})
    for _ in range(2):
        with pytest.raises(ValueError, match="reward returns shape"):
            build_family(family)


def test_python_numbers_are_fine_where_jax_takes_them():
    change = {"reward": lambda self, s, a, n, r, p: -1.0, "terminal": lambda self, s, r, p: False}
    family = build_family(type("Plain", (Guess,), change))
    env = envs.TaskEnv(family)
    env.reset(seed=0)
    assert env.step(np.zeros(1, np.float32))[1] == -1.0


@pytest.mark.parametrize(
    ("source", "message"),
    [("import no_such_package", "No module named 'no_such_package'"), ("def (", "SyntaxError"), ("1 / 0", "ZeroDivisionError")],
)
def test_a_module_that_does_not_import(tmp_path, monkeypatch, source, message):
    (tmp_path / "their_broken_module.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=message) as failure:
        envs.make("their_broken_module:their/Env-v0")
    assert "Run from the folder" not in str(failure.value)


def test_keys_reach_every_function_in_the_sampler_s_order():
    """A family that is random in all five places: sampler, single and vector environment agree key for key."""
    from metarl.sampler import rollout

    class Noisy(Guess):
        horizon = 6
        observation_space = action_space = Box(-100.0, 100.0, (1,), np.float32)
        initial = lambda self, rng, params: jax.random.normal(rng)
        transition = lambda self, state, action, rng, params: state + jax.random.normal(rng) + action[0]
        observation = lambda self, state, rng, params: (state + jax.random.normal(rng))[None]
        reward = lambda self, state, action, next_state, rng, params: next_state + jax.random.normal(rng)
        terminal = lambda self, state, rng, params: jax.random.bernoulli(rng, 0.1)

    family, seed = build_family(Noisy), 3
    actor = lambda observation, key: (jax.random.normal(key, (1,)), jnp.float32(0.0), {})
    episodes = [
        jax.jit(lambda key: rollout(family, actor, family.default_params, key, horizon=6))(jax.random.key(s)) for s in range(8)
    ]
    lengths = [int(episode.mask.sum()) for episode in episodes]
    assert min(lengths) < 6 == max(lengths), "some end early, some do not"
    env, vector = envs.TaskEnv(family), envs.TaskVectorEnv(family, num_envs=1)
    for seed, (episode, length) in enumerate(zip(episodes, lengths, strict=True)):
        first, _ = env.reset(seed=seed)
        np.testing.assert_allclose(first, episode.observation[0], atol=1e-5)
        np.testing.assert_allclose(vector.reset(seed=seed)[0][0], first, atol=1e-5)
        for t in range(length):
            action = np.asarray(episode.action[t])
            observation, reward, terminated, truncated, _ = env.step(action)
            following = episode.observation[t + 1] if t + 1 < 6 else episode.last_observation
            np.testing.assert_allclose(observation, following, atol=1e-5)
            np.testing.assert_allclose(reward, episode.reward[t], atol=1e-5)
            assert terminated == bool(episode.terminated[t])
            assert truncated == (t == 5 and not terminated)
            batched = [x[0] for x in vector.step(action[None])[:4]]
            np.testing.assert_allclose(np.hstack(batched), np.hstack([observation, reward, terminated, truncated]), atol=1e-5)
