"""MuJoCo as a pure function: parity with Gymnasium's environments, vmaps, threads, changed models, and MJX against native."""

import os
import subprocess
import sys
import threading

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.check.evidence import Evidence
from envs.mujoco import compiled
from envs.mujoco.native import split

FREE = {"contact_cost_weight": 0.0, "include_cfrc_ext_in_observation": False}
INERT = {f"include_{term}_in_observation": False for term in ("cinert", "cvel", "qfrc_actuator")}
REFERENCES = {
    "HalfCheetahVel": ("HalfCheetah-v5", {}),
    "AntVel": ("Ant-v5", FREE),
    "HopperRandParams": ("Hopper-v5", {}),
    "WalkerRandParams": ("Walker2d-v5", {}),
    "HumanoidDir": ("Humanoid-v5", FREE | INERT),
}


@pytest.fixture(scope="module")
def family():
    made = {}
    return lambda name: made.setdefault(name, envs.make(f"metarl/{name}-v0", threads=1))


def reference(name, seed):
    """Gymnasium's environment in a start that float32 holds, and that start."""
    id, options = REFERENCES[name]
    env = gymnasium.make(id, **options).unwrapped
    env.reset(seed=seed)
    start = np.float32(env.data.qpos), np.float32(env.data.qvel)
    env.set_state(*map(np.float64, start))
    return env, start


def exact(body):
    return np.asarray(body.hidden, np.float64).sum(-2)


@pytest.mark.parametrize("name", REFERENCES)
def test_native_equals_gymnasium(name, family):
    """State, observation and velocity of 20 steps; what is not rounded for the agent agrees far closer than the 1e-6 asked."""
    ours = family(name)
    env, start = reference(name, seed=3)
    plain = family(name).physics
    scale = ours.physics.model.actuator_ctrlrange[:, 1]
    actions = np.random.default_rng(0).uniform(-1, 1, (20, scale.size)).astype(np.float32)

    def step(body, action):
        body = plain.step(body, action * jnp.float32(scale))
        return body, (body, ours.observation(body, None, None))

    _, (bodies, observations) = jax.jit(lambda body: jax.lax.scan(step, body, actions))(plain.start(*start))
    # The humanoid's solver (PGS) stops early, at a point that depends on a warm start that Gymnasium carries and we do not.
    exactly, closely = (1e-5, 1e-4) if name == "HumanoidDir" else (1e-8, 1e-6)
    width = ours.observation_space.shape[0]
    for t, action in enumerate(actions):
        observation, _, terminated, _, info = env.step(np.float64(action * np.float32(scale)))
        state = exact(jax.tree.map(lambda x, t=t: x[t], bodies))
        np.testing.assert_allclose(state[:-2], np.concatenate([env.data.qpos, env.data.qvel]), rtol=0, atol=exactly)
        np.testing.assert_allclose(observations[t], observation, rtol=1e-6, atol=closely)
        np.testing.assert_allclose(bodies.velocity[t, 0], info["x_velocity"], rtol=0, atol=closely)
        assert len(observation) == width
        assert bool(ours.healthy(jax.tree.map(lambda x, t=t: x[t], bodies))) == (not terminated)
    assert not np.allclose(observations[0], observations[-1])


@pytest.mark.parametrize("name", ["HalfCheetahVel", "AntVel"])
def test_every_single_step_from_the_reference_s_state(name, family):
    """A long episode, each step started anew from Gymnasium's state rounded to float32: nothing drifts."""
    env, _ = reference(name, seed=1)
    actions = np.random.default_rng(1).uniform(-1, 1, (100, env.model.nu)).astype(np.float32)
    before, after = [], []
    for action in actions:
        before.append((env.data.qpos.copy(), env.data.qvel.copy()))
        after.append(env.step(action)[0])
    physics, ours = family(name).physics, family(name)
    states = [np.float32(x) for x in zip(*before, strict=True)]
    one = jax.jit(jax.vmap(lambda q, v, a: ours.observation(physics.step(physics.start(q, v), a), None, None)))
    np.testing.assert_allclose(one(*states, actions), np.stack(after), rtol=1e-6, atol=1e-4)


def test_returns_of_whole_episodes_agree_on_average(family):
    """Contact is chaotic and the solver's warm start is not carried, so long episodes part ways; their returns must not."""
    ours, horizon, count = family("HalfCheetahVel"), 60, 24
    rng = np.random.default_rng(2)
    actions = rng.uniform(-1, 1, (horizon, count, 6)).astype(np.float32)
    starts, theirs = [], []
    for i in range(count):
        env, start = reference("HalfCheetahVel", seed=i)
        starts.append(start)
        theirs.append([env.step(actions[t, i])[4]["x_velocity"] for t in range(horizon)])
        env.close()
    physics = ours.physics

    def step(bodies, action):
        bodies = jax.vmap(physics.step)(bodies, action)
        return bodies, bodies.velocity[:, 0]

    start = jax.vmap(physics.start)(*map(np.stack, zip(*starts, strict=True)))
    velocity = np.asarray(jax.jit(lambda start: jax.lax.scan(step, start, actions)[1])(start)).T
    difference = np.abs(velocity - np.asarray(theirs))
    assert difference[:, :5].max() < 1e-5
    gap = (velocity - np.asarray(theirs)).sum(axis=1)
    spread = np.std(np.sum(theirs, axis=1))
    assert abs(gap.mean()) < 0.25 * spread, "a fourth of the spread of returns between episodes"


def test_any_nesting_of_vmap_is_one_call_and_equals_a_loop(monkeypatch):
    from envs.mujoco import native

    monkeypatch.setattr(compiled, "register", lambda *made: None)  # Python's calls can be counted
    calls, rollout = [], native.Pools.rollout
    monkeypatch.setattr(native.Pools, "rollout", lambda self, *args: calls.append(1) or rollout(self, *args))
    ours = envs.make("metarl/HopperRandParams-v0", threads=1)
    tasks = jax.vmap(ours.sample_task)(jax.random.split(jax.random.key(0), 2))
    keys = jax.random.split(jax.random.key(1), (2, 3))
    actions = jax.random.uniform(jax.random.key(2), (2, 3, 3), minval=-1.0)

    def one(key, action, task):
        return ours.transition(ours.initial(key, task), action, key, task)

    together = jax.jit(jax.vmap(jax.vmap(one, (0, 0, None))))(keys, actions, tasks)
    assert len(calls) == 1
    single = jax.jit(one)
    for m in range(2):
        for n in range(3):
            alone = single(keys[m, n], actions[m, n], jax.tree.map(lambda x, m=m: x[m], tasks))
            np.testing.assert_array_equal(together.hidden[m, n], alone.hidden)
    assert len(ours.physics.model.body_mass) == tasks.mass.shape[1]


def test_a_change_reaches_its_own_field(family):
    """Doubling mass, inertia, damping and friction equals Gymnasium's environment with those fields doubled, one by one."""
    ours = family("WalkerRandParams")
    task = jax.tree.map(jnp.ones_like, ours.sample_task(jax.random.key(0)))
    action = np.full(6, 0.5, np.float32)
    step = jax.jit(lambda start, task: ours.physics.step(ours.physics.start(*start, task), action, task))
    fields = {"mass": "body_mass", "inertia": "body_inertia", "damping": "dof_damping", "friction": "geom_friction"}
    seen = []
    for name, field in fields.items():
        env, start = reference("WalkerRandParams", seed=0)
        start[0][1] -= 0.02  # feet in the ground, so that friction matters
        env.set_state(*map(np.float64, start))
        getattr(env.model, field)[:] *= 2
        env.step(np.float64(action))
        body = step(start, task._replace(**{name: 2 * getattr(task, name)}))
        np.testing.assert_allclose(exact(body)[:-2], np.concatenate([env.data.qpos, env.data.qvel]), rtol=0, atol=1e-8)
        seen.append(exact(body)[:-2])
    assert all(np.abs(a - b).max() > 1e-6 for i, a in enumerate(seen) for b in seen[:i])


@pytest.mark.parametrize("through_python", [False, True])
def test_a_robot_that_diverges_is_not_put_back_in_silence(through_python, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log of its own
    if through_python:
        monkeypatch.setattr(compiled, "register", lambda *made: None)
    ours = envs.make("metarl/AntVel-v0", threads=1)
    body = jax.jit(ours.physics.start)(ours.start, jnp.full(14, 1e11, jnp.float32))
    after = jax.jit(ours.physics.step)(body, jnp.zeros(8, jnp.float32))
    assert bool(ours.terminal(after, None, None)) and not np.allclose(after.qpos, ours.start, atol=1.0)


def test_states_are_carried_without_loss():
    x = np.concatenate(
        [np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-10, 10).repeat(50), [0.0, 1 / 3, -np.pi]]
    )
    parts = np.empty((1, 3, x.size), np.float32)
    split(x[None], parts)
    parts = parts[0]
    np.testing.assert_array_equal(parts.astype(np.float64).sum(axis=0), x)
    assert np.any(parts[:2].astype(np.float64).sum(axis=0) != x), "two would not be enough"


@pytest.mark.parametrize("through_python", [False, True])
def test_calls_at_once_do_not_disturb_one_another(through_python, monkeypatch):
    """Several calls run at the same time, as from several devices; each needs data of its own."""
    if through_python:
        monkeypatch.setattr(compiled, "register", lambda *made: None)
    ours = envs.make("metarl/HalfCheetahVel-v0", threads=2)
    start = jax.vmap(ours.physics.start)(np.tile(np.asarray(ours.start), (8, 1)), np.zeros((8, 9), np.float32))
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 8, 6)).astype(np.float32)
    step = jax.jit(jax.vmap(ours.physics.step))
    expected = [exact(step(start, action)) for action in actions]
    wrong = []

    def work(i):
        for _ in range(10):
            if not np.array_equal(exact(step(start, actions[i])), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_models_of_a_batch_larger_than_the_limit_are_kept(monkeypatch):
    from envs.mujoco import native

    monkeypatch.setattr(native, "MAX_MODELS", 2)
    ours = envs.make("metarl/HopperRandParams-v0", threads=1)
    models = native.Models(ours.physics.model)
    sizes = sum(np.prod(shape, dtype=int) for shape in ours._shapes())
    large, small = (np.linspace(1.0, 2.0, n, dtype=np.float32)[:, None] * np.ones(sizes, np.float32) for n in (5, 3))
    first, second = models.changed(large), models.changed(large)
    assert all(a is b for a, b in zip(first, second, strict=True))
    models.changed(small + 1.0)
    models.changed(small + 2.0)
    assert len(models.made) == 5


TWO_DEVICES = """
import jax, numpy as np, envs
from jax.sharding import Mesh, NamedSharding, PartitionSpec
assert jax.device_count() == 2
ours = envs.make("metarl/HopperRandParams-v0", threads=2)
keys = jax.random.split(jax.random.key(0), 8)
tasks = jax.vmap(ours.sample_task)(keys)
actions = jax.random.uniform(jax.random.key(1), (30, 8, 3), minval=-1.0)
def episode(task, key, actions):
    step = lambda body, action: (ours.transition(body, action, key, task), None)
    return jax.lax.scan(step, ours.initial(key, task), actions)[0].hidden
alone = jax.jit(jax.vmap(episode, (0, 0, 1)))(tasks, keys, actions)
mesh = Mesh(np.array(jax.devices()), ("tasks",))
P = PartitionSpec
specs = {"in_specs": (P("tasks"), P("tasks"), P(None, "tasks")), "out_specs": P("tasks"), "check_vma": False}
shards = jax.shard_map(jax.vmap(episode, (0, 0, 1)), mesh=mesh, **specs)
for _ in range(5):
    np.testing.assert_array_equal(jax.jit(shards)(tasks, keys, actions), alone)
print("equal")
"""


@pytest.mark.slow
def test_callbacks_of_two_devices_at_once():
    flags = "--xla_force_host_platform_device_count=2"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "equal" in done.stdout, done.stderr[-2000:]


def compare_backends(name, steps, iterations):
    native = envs.make(f"metarl/{name}-v0", backend="native", threads=1)
    mjx = envs.make(f"metarl/{name}-v0", backend="mjx", iterations=iterations)
    task = jax.tree.map(lambda x: x, native.default_params)
    actions = jax.random.uniform(jax.random.key(5), (steps, *native.action_space.shape), minval=-1.0)
    results = []
    for ours in (native, mjx):

        def step(body, action, ours=ours):
            after = ours.transition(body, action, None, task)
            seen = ours.observation(after, None, task), ours.reward(body, action, after, None, task)
            return after, (*seen, ours.terminal(after, None, task))

        results.append(
            jax.jit(lambda key, ours=ours, step=step: jax.lax.scan(step, ours.initial(key, task), actions)[1])(
                jax.random.key(6)
            )
        )
    return results


def test_both_backends_agree():
    """A few steps from the same state. MJX computes in float32, which contact makes grow: 1e-3 of what is of order 1 to 10."""
    native, mjx = compare_backends("HalfCheetahVel", 4, iterations=4)  # the default
    np.testing.assert_allclose(native[0], mjx[0], atol=5e-3)
    np.testing.assert_allclose(native[1], mjx[1], atol=1e-3)
    np.testing.assert_array_equal(native[2], mjx[2])


# An ant is in the air for two steps. Its landing differs: MJX 3.17 lays the axes of friction otherwise than MuJoCo 4.0.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps"), [("AntVel", 2), ("AntGoal", 2), ("HopperRandParams", 4), ("WalkerRandParams", 4), ("HumanoidDir", 4)]
)
def test_both_backends_agree_for_every_robot(name, steps):
    native, mjx = compare_backends(name, steps, iterations=4)
    np.testing.assert_allclose(native[0], mjx[0], atol=2e-2)
    np.testing.assert_allclose(native[1], mjx[1], atol=2e-2)
    np.testing.assert_array_equal(native[2], mjx[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "cuda"}, "backend is 'cuda', but must be one of auto, native, mjx"),
        ({"threads": 0}, "threads is 0"),
        ({"iterations": 0}, "iterations is 0"),
        ({"speeds": (3, 1)}, "speeds is"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        envs.make("metarl/HalfCheetahVel-v0", **options)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_the_sampler_costs_little_beside_the_physics(threads, monkeypatch):
    """Environment steps per second inside the jitted sampler, against MuJoCo's rollout called on the same states."""
    import time

    import mujoco
    from mujoco.rollout import Rollout

    from envs.mujoco import native
    from metarl.sampler import rollout

    ours, num_tasks, num_episodes, horizon = envs.make("metarl/HalfCheetahVel-v0", threads=threads), 40, 20, 30
    model, batch = ours.physics.model, num_tasks * num_episodes
    tasks = jax.vmap(ours.sample_task)(jax.random.split(jax.random.key(0), num_tasks))
    keys = jax.random.split(jax.random.key(1), (num_tasks, num_episodes))
    actor = lambda observation, key: (jax.random.uniform(key, (6,), minval=-1.0), jnp.float32(0), ())
    one = lambda task, key: rollout(ours, actor, task, key, horizon=horizon)
    sample = jax.jit(lambda: jax.vmap(jax.vmap(one, (None, 0)))(tasks, keys).reward)
    expected = sample().block_until_ready()
    monkeypatch.setattr(compiled, "register", lambda *made: None)
    through = envs.make("metarl/HalfCheetahVel-v0", threads=threads)
    once = lambda task, key: rollout(through, actor, task, key, horizon=horizon)
    recorded = jax.jit(lambda: jax.vmap(jax.vmap(once, (None, 0)))(tasks, keys).reward)
    seen, run = [], native.Pools.rollout
    monkeypatch.setattr(native.Pools, "rollout", lambda self, *args: seen.append(args) or run(self, *args))
    np.testing.assert_array_equal(recorded().block_until_ready(), expected)
    monkeypatch.undo()
    pool, data = Rollout(nthread=threads if threads > 1 else 0), [mujoco.MjData(model) for _ in range(threads)]

    def direct():
        for models, state, ctrl, num_steps in seen:
            ctrl = np.repeat(ctrl[:, None].astype(np.float64), num_steps, axis=1)
            states, sensors = np.empty((batch, num_steps, state.shape[1])), np.empty((batch, num_steps, 0))
            options = {"nstep": num_steps, "skip_checks": True, "state": states, "sensordata": sensors}
            pool.rollout(models, data, state, ctrl, **options)

    ratios = []
    for _ in range(9):
        times = []
        for work in (direct, lambda: sample().block_until_ready()):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        ratios.append(times[0] / times[1])
    print(f"half-cheetah, {threads} threads: {np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) of direct calls")
    assert np.all(np.isfinite(expected)) and np.median(ratios) > 0.9


@pytest.mark.parametrize(("backend", "expected"), [("native", True), ("mjx", False)])
def test_only_the_native_backend_calls_the_host(backend, expected):
    family = envs.make("metarl/HalfCheetahVel-v0", backend=backend)
    assert family.calls_host is expected and bool(Evidence(family).host_calls) is expected
