"""Environments of suites as families: whole episodes equal the suite's own functions with the same keys. XLand is apart.

Each is left out where its suite is not installed; ``make test-suites`` installs them beside our pins.
"""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete

import agents
import envs
from envs.from_jax.brax import with_task
from envs.from_jax.suites import uniform
from experiments.training import meta_train
from tests.envs.from_jax.episodes import assert_episodes_equal_by_hand

KEY = jax.random.key(2)
LENGTHS = {"length": Box(0.25, 1.0, ()), "masspole": Box(0.05, 0.5, ())}


def test_gymnax_cart_pole_recomputes_what_it_stores():
    gymnax = pytest.importorskip("gymnax")
    env, params = gymnax.make("CartPole-v1")
    family = envs.from_gymnax("CartPole-v1", LENGTHS, {name: Box(0.5, 2.0, ()) for name in LENGTHS}, horizon=40)

    def parameters(task):
        length, pole = task["length"], task["masspole"]
        return params.replace(length=length, masspole=pole, polemass_length=pole * length, total_mass=1.0 + pole)

    def reset(key, task):
        observation, state = env.reset_env(key, parameters(task))
        return state, observation

    def step(key, state, action, task):
        observation, state, reward, terminated, _ = env.step_env(key, state, action, parameters(task))
        return state, observation, reward, terminated

    lengths = assert_episodes_equal_by_hand(family, family.sample_task(KEY), reset, step, num_episodes=3)
    assert min(lengths) < 40 and envs.from_gymnax("CartPole-v1", LENGTHS).horizon == 500
    *_, last = meta_train(agents.make("maml", family, num_tasks=2, num_episodes=2, hidden_sizes=(8,)), 1)
    assert np.isfinite(last.metrics["meta/post"])


def test_gymnax_pendulum():
    gymnax = pytest.importorskip("gymnax")
    env, params = gymnax.make("Pendulum-v1")
    family = envs.from_gymnax("Pendulum-v1", {"g": Box(5.0, 15.0, ())}, horizon=10)
    assert family.action_space == Box(-2.0, 2.0, (1,))

    def reset(key, task):
        observation, state = env.reset_env(key, params.replace(g=task["g"]))
        return state, observation

    def step(key, state, action, task):
        observation, state, reward, terminated, _ = env.step_env(key, state, action, params.replace(g=task["g"]))
        return state, observation, reward, terminated

    assert assert_episodes_equal_by_hand(family, family.sample_task(KEY), reset, step) == [10, 10]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"id": "CartPole-v7"}, "from_gymnax: 'CartPole-v7' is not among its environments: Acrobot-v1"),
        ({"task_space": {"depth": Box(0.0, 1.0, ())}}, "task_space has 'depth', but CartPole-v1's parameters has .*gravity"),
        ({"task_space": {"length": 0.5}}, "from_gymnax: task_space is .* must be a gymnasium Dict"),
        ({"horizon": 0}, "horizon is 0"),
        ({"params_of": 1}, "params_of is 1, but must be a function"),
    ],
)
def test_gymnax_wrong_arguments(given, message):
    pytest.importorskip("gymnax")
    with pytest.raises(ValueError, match=message):
        envs.from_gymnax(**{"id": "CartPole-v1", "task_space": LENGTHS} | given)


@pytest.mark.filterwarnings("ignore:Brax System:UserWarning")  # is not maintained any more, as it says itself
@pytest.mark.filterwarnings("ignore:Accessing .* directly from `Data` is deprecated:DeprecationWarning")  # of mujoco-mjx
def test_brax():
    if importlib.util.find_spec("brax") is None:  # importing it here would show the warnings of packages that it uses
        pytest.skip("needs brax: make test-suites")
    family = envs.from_brax(
        "inverted_pendulum", {"dof.damping": Box(0.5, 2.0, ())}, horizon=6, env_options={"backend": "spring"}
    )
    from brax.envs import get_environment

    env = get_environment("inverted_pendulum", backend="spring")
    damping = env.sys.dof.damping

    def swapped(task):
        env.sys = env.sys.replace(dof=env.sys.dof.replace(damping=damping * task["dof.damping"]))
        return env

    def reset(key, task):
        state = swapped(task).reset(key)
        return state, state.obs

    def step(key, state, action, task):
        state = swapped(task).step(state, action)
        return state, state.obs, state.reward, state.done.astype(bool)

    assert_episodes_equal_by_hand(family, family.sample_task(KEY), reset, step, num_episodes=1)


def test_playground():
    pytest.importorskip("mujoco_playground")
    from mujoco_playground import registry

    family = envs.from_playground("CartpoleBalance", {"body_mass": Box(0.5, 2.0, ())}, horizon=4)
    env = registry.load("CartpoleBalance", config_overrides={"impl": "jax"})
    model = env.mjx_model

    def swapped(task):
        env._mjx_model = model.replace(body_mass=model.body_mass * task["body_mass"])
        return env

    def reset(key, task):
        state = swapped(task).reset(key)
        return state, state.obs

    def step(key, state, action, task):
        state = swapped(task).step(state, action)
        return state, state.obs, state.reward, state.done.astype(bool)

    assert_episodes_equal_by_hand(family, family.sample_task(KEY), reset, step, num_episodes=1, tolerance=1e-4)
    with pytest.raises(ValueError, match="task_space has 'mass', but the model has no such field"):
        envs.from_playground("CartpoleBalance", {"mass": Box(0.5, 2.0, ())})
    with pytest.raises(ValueError, match=r"task_space\['body_mass'\] has shape \(2,\), but the field has \(3,\)"):
        envs.from_playground("CartpoleBalance", {"body_mass": Box(0.5, 2.0, (2,))})


def test_fields_of_fields_factors_and_values():
    from flax import struct

    @struct.dataclass
    class Part:
        masses: jax.Array
        gravity: jax.Array

    @struct.dataclass
    class Model:
        part: Part
        time: jax.Array

    model = Model(Part(jnp.array([1.0, 2.0]), jnp.zeros(3)), jnp.asarray(0.5))
    task = {"part.masses": jnp.asarray(2.0), "part.gravity": jnp.arange(3.0), "time": jnp.asarray(0.1)}
    changed = with_task(model, task)
    assert changed.part.masses.tolist() == [2.0, 4.0] and changed.part.gravity.tolist() == [0.0, 1.0, 2.0]
    assert changed.time == jnp.float32(0.1) and model.part.gravity.tolist() == [0.0, 0.0, 0.0]


def test_tasks_of_two_spaces_are_accepted_and_no_others():
    fields, more = {"mass": Box(1.0, 2.0, ()), "kind": Discrete(2)}, {"mass": Box(3.0, 4.0, ()), "kind": Discrete(2, start=4)}
    given = uniform("from_here", fields, more)
    assert given["task_space"] == {"mass": Box(1.0, 4.0, ()), "kind": Discrete(6)}
    assert 3.0 <= given["sample_held_out_task"](KEY)["mass"] <= 4.0 and 1.0 <= given["sample_task"](KEY)["mass"] <= 2.0
    with pytest.raises(ValueError, match="from_here: held_out_task_space has fields mass, but task_space kind, mass"):
        uniform("from_here", fields, {"mass": more["mass"]})


def test_navix():
    navix = pytest.importorskip("navix")
    family = envs.from_navix("Navix-Empty-5x5-v0", horizon=20)
    env = navix.make("Navix-Empty-5x5-v0", max_steps=20)

    def reset(key, task):
        timestep = env.reset(task.key)
        timestep = timestep.replace(state=timestep.state.replace(key=key))
        return timestep, timestep.observation.astype(jnp.float32)

    def step(key, timestep, action, task):
        timestep = env._step(timestep, action)
        return timestep, timestep.observation.astype(jnp.float32), timestep.reward, timestep.is_termination()

    assert_episodes_equal_by_hand(family, family.sample_task(KEY), reset, step)


def test_navix_s_pictures():
    navix = pytest.importorskip("navix")
    family = envs.from_navix("Navix-Empty-5x5-v0", horizon=4, images=True)
    env = navix.make("Navix-Empty-5x5-v0", max_steps=4)
    task = family.sample_task(KEY)
    expected = navix.observations.rgb(env.reset(task.key).state)
    assert family.observation_space == Box(0, 255, expected.shape, np.uint8)
    np.testing.assert_array_equal(family.observation(family.initial(KEY, task), KEY, task), expected)
    state = jax.eval_shape(agents.make("maml", family, num_tasks=2, num_episodes=2).init, KEY)
    assert "Conv_0" in state.theta["params"]
    with pytest.raises(ValueError, match=r"images is True, but observations are int32\[5, 5\], not bytes"):
        envs.from_navix("Navix-Empty-5x5-v0", images=True, env_options={"observation_fn": navix.observations.categorical})


def test_jumanji_s_many_actions():
    jumanji = pytest.importorskip("jumanji")
    family = envs.from_jumanji("JobShop-v0", horizon=4)
    assert family.action_space == MultiDiscrete(np.asarray(jumanji.make("JobShop-v0").action_spec.num_values))
    key = jax.random.key(0)
    learner = agents.make("maml", family, num_tasks=2, num_episodes=2, hidden_sizes=(8,))
    jax.eval_shape(lambda key: learner.step(learner.init(key), key), key)


def test_jumanji():
    jumanji = pytest.importorskip("jumanji")
    family = envs.from_jumanji("Snake-v1", horizon=30)
    env = jumanji.make("Snake-v1")

    def see(timestep):
        return jnp.concatenate([jnp.ravel(part).astype(jnp.float32) for part in timestep.observation])

    def reset(key, task):
        state, timestep = env.reset(task.key)
        state.key = key
        return state, see(timestep)

    def step(key, state, action, task):
        state, timestep = env.step(state, action)
        return state, see(timestep), timestep.reward, timestep.last() & (timestep.discount == 0)

    assert min(assert_episodes_equal_by_hand(family, family.sample_task(KEY), reset, step)) < 30
    assert envs.from_jumanji("Maze-v0").action_space == Discrete(4)
    with pytest.raises(ValueError, match="'Snake-v9' is not among its environments"):
        envs.from_jumanji("Snake-v9")


def test_craftax():
    pytest.importorskip("craftax")
    from craftax.craftax_env import make_craftax_env_from_name

    family = envs.from_craftax(horizon=5)
    env = make_craftax_env_from_name("Craftax-Classic-Symbolic-v1", auto_reset=False)

    def reset(key, task):
        observation, state = env.reset_env(task.key, env.default_params)
        return state, observation

    def step(key, state, action, task):
        observation, state, reward, over, _ = env.step_env(key, state, action, env.default_params)
        return state, observation, reward, over

    assert assert_episodes_equal_by_hand(family, family.sample_task(KEY), reset, step, num_episodes=1) == [5]


@pytest.mark.parametrize(
    ("make", "module", "command"),
    [
        (lambda: envs.from_gymnax("CartPole-v1", LENGTHS), "gymnax", "pip install --no-deps 'gymnax>=1.0.1'"),
        (lambda: envs.from_craftax(), "craftax", "pip install --no-deps 'craftax>=1.6.1'"),
        (lambda: envs.from_xland(), "xminigrid", r"[xland]"),
        (lambda: envs.from_brax("ant", {}), "brax", r"[brax]"),
        (lambda: envs.from_playground("CartpoleBalance", {}), "mujoco_playground", r"[playground]"),
        (lambda: envs.from_navix("Navix-Empty-5x5-v0"), "navix", r"[navix]"),
        (lambda: envs.from_jumanji("Maze-v0"), "jumanji", r"[jumanji]"),
    ],
)
def test_a_missing_suite_says_how_to_install_it(make, module, command, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ValueError, match="is not installed: ") as told:
        make()
    assert command in str(told.value) and "\n" not in str(told.value)
