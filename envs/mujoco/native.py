"""MuJoCo's own threaded rollout as a pure function: state in, state out, all robots of all vmaps in one call."""

import copy
import threading
from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.mujoco import compiled
from envs.mujoco.physics import Body, Change, Physics, Robot, model_path
from envs.processors import num_processors

MAX_MODELS = 4096  # changed models kept, or as many as one batch had; the least recently used ones leave first


class Pools:
    """Threads with their MjData. Each call borrows a pool of its own: two calls on one pool at once crash MuJoCo."""

    def __init__(self, model: Any, threads: int | None):
        self.model, self.threads = model, threads or num_processors()
        self.free: list[Any] = []
        self.lock = threading.Lock()

    def rollout(self, models: list[Any], state: np.ndarray, ctrl: np.ndarray, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
        """States [B, num_steps, S] and sensors [B, num_steps, ...] from ``state`` [B, S] under constant ``ctrl`` [B, U]."""
        import mujoco
        from mujoco.rollout import Rollout

        with self.lock:
            pool = self.free.pop() if self.free else None
        if pool is None:
            pool = (
                Rollout(nthread=self.threads if self.threads > 1 else 0),
                [mujoco.MjData(self.model) for _ in range(self.threads)],
            )
        batch = state.shape[0]
        states = np.empty((batch, num_steps, state.shape[1]))
        sensors = np.empty((batch, num_steps, self.model.nsensordata))
        pool[0].rollout(
            models,
            pool[1],
            state,
            np.repeat(ctrl[:, None].astype(np.float64), num_steps, axis=1),
            nstep=num_steps,
            skip_checks=True,
            state=states,
            sensordata=sensors,
        )
        with self.lock:
            self.free.append(pool)  # not reached after an exception: a pool that failed is not used again
        return states, sensors


class Models:
    """Copies of a model with changed numbers, made once each."""

    def __init__(self, model: Any):
        self.model = model
        self.made: OrderedDict[bytes, Any] = OrderedDict()
        self.limit = MAX_MODELS
        self.lock = threading.Lock()

    def changed(self, factors: np.ndarray) -> list[Any]:
        """One model per row of ``factors`` [B, F] float32."""
        with self.lock:
            self.limit = max(self.limit, len({row.tobytes() for row in factors}))  # else each step would make all anew
            return [self._get(row) for row in factors]

    def _get(self, row: np.ndarray) -> Any:
        key = row.tobytes()
        if key in self.made:
            self.made.move_to_end(key)
            return self.made[key]
        model, like = copy.copy(self.model), self.model
        sizes = np.cumsum([like.nbody, 3 * like.nbody, like.nv])
        mass, inertia, damping, friction = np.split(row.astype(np.float64), sizes)
        model.body_mass[:] = like.body_mass * mass
        model.body_inertia[:] = like.body_inertia * inertia.reshape(-1, 3)
        model.dof_damping[:] = like.dof_damping * damping
        model.geom_friction[:] = like.geom_friction * friction.reshape(-1, 3)
        self.made[key] = model
        if len(self.made) > self.limit:
            self.made.popitem(last=False)
        return model


def split(x: np.ndarray, parts: np.ndarray) -> None:
    """Write float64 [B, n] into ``parts`` [B, 3, n], float32, whose sum is then exactly ``x``; the first is ``x`` rounded."""
    with np.errstate(over="ignore", invalid="ignore"):  # a robot that diverged is infinite, then nan
        parts[:, 0] = x
        rest = x - parts[:, 0]
        parts[:, 1] = rest
        parts[:, 2] = rest - parts[:, 1]


def native_physics(model: Any, robot: Robot, threads: int | None) -> Physics:
    """See `envs.mujoco.physics`. Between calls the state is kept in float32 triples, which lose nothing of MuJoCo's float64."""
    import mujoco

    spec = mujoco.mjtState.mjSTATE_FULLPHYSICS
    # MuJoCo would put a robot that diverged back to its start without a word; now it shows in what the family returns.
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    nq, nv = model.nq, model.nv
    if mujoco.mj_stateSize(model, spec) != 1 + nq + nv:
        raise ValueError(f"{robot.file} has activations or plugins, which this backend does not carry.")
    # One Euler step of this twin tells the acceleration at a state, and the centre of mass there.
    twin = model if robot.place == "root" else _twin(robot)
    pools, twins = Pools(model, threads), Pools(twin, threads)
    models, twin_models = Models(model), Models(twin)

    def accelerate(which, state, ctrl):
        after, centre = twins.rollout(which, state, ctrl, 1)
        return (after[:, 0, 1 + nq :] - state[:, 1 + nq :]) / twin.opt.timestep, centre[:, 0, :2]

    def last_stage(which, state, ctrl):
        # Gymnasium measures the place after MuJoCo's step, where the bodies are those of the last of the four Runge-Kutta
        # stages: q + h (v + h/2 a), with the acceleration a of the second stage.
        h = model.opt.timestep
        first, _ = accelerate(which, state, ctrl)
        middle = state.copy()
        middle[:, 1 : 1 + nq] = _integrate(state[:, 1 : 1 + nq], state[:, 1 + nq :], h / 2)
        middle[:, 1 + nq :] += h / 2 * first
        second, _ = accelerate(which, middle, ctrl)
        last = state.copy()
        last[:, 1 : 1 + nq] = _integrate(state[:, 1 : 1 + nq], state[:, 1 + nq :] + h / 2 * second, h)
        return last

    def measured_place(factors, before_last, ctrl):
        which = twin_models.changed(factors) if factors.size else [twin] * len(ctrl)
        last = last_stage(which, before_last, ctrl)
        return last[:, 1:3] if robot.place == "torso" else accelerate(which, last, ctrl)[1]

    size, duration = nq + nv + 2, model.opt.timestep * robot.frame_skip

    def host_step(given):
        # One array in and one out, and few passes over them: a robot's physics takes less than 20 microseconds.
        given = np.asarray(given)
        lead, batch = given.shape[:-1], int(np.prod(given.shape[:-1]))
        given = given.reshape(batch, -1)
        before = np.einsum("bpn->bn", given[:, : 3 * size].reshape(batch, 3, size), dtype=np.float64)
        ctrl, factors = given[:, 3 * size : 3 * size + model.nu], given[:, 3 * size + model.nu :]
        state = np.zeros((batch, 1 + nq + nv))  # time is zero: nothing depends on it
        state[:, 1:] = before[:, : nq + nv]
        which = models.changed(factors) if factors.size else [model] * batch
        states, _ = pools.rollout(which, state, ctrl, robot.frame_skip)
        after = np.zeros((batch, size))
        after[:, : nq + nv] = states[:, -1, 1:]
        if robot.place == "root":
            after[:, nq + nv] = states[:, -1, 1]
        else:
            after[:, nq + nv :] = measured_place(factors, states[:, -2], ctrl.astype(np.float64))
        result = np.empty((batch, 3 * size + 2), np.float32)
        split(after, result[:, : 3 * size].reshape(batch, 3, size))
        result[:, 3 * size :] = (after[:, nq + nv :] - before[:, nq + nv :]) / duration
        return result.reshape(*lead, -1)

    def host_centre(qpos, qvel, factors):
        qpos, qvel, factors = map(np.asarray, (qpos, qvel, factors))
        batch = int(np.prod(qpos.shape[:-1]))
        state = np.concatenate([np.zeros((batch, 1)), qpos.reshape(batch, -1), qvel.reshape(batch, -1)], axis=1)
        which = twin_models.changed(factors.reshape(batch, -1)) if factors.size else [twin] * batch
        _, place = accelerate(which, state, np.zeros((batch, model.nu)))
        parts = np.empty((batch, 3, 2), np.float32)
        split(place, parts)
        return parts.reshape(*qpos.shape[:-1], 3, 2)

    shape = jax.ShapeDtypeStruct
    name = compiled.register(model, twin, robot.place, robot.frame_skip, pools.threads, MAX_MODELS)

    def start(qpos, qvel, change=None):
        qpos, qvel = qpos.astype(jnp.float32), qvel.astype(jnp.float32)
        if robot.place == "mass centre":
            result = shape((3, 2), jnp.float32)
            if name is None:
                place = jax.pure_callback(host_centre, result, qpos, qvel, _flat(change), vmap_method="broadcast_all")
            else:
                given = jnp.concatenate([qpos, qvel, _flat(change)])
                place = compiled.call(compiled.CENTRE, name, result, given)
        else:
            xy = qpos[:2] if robot.place == "torso" else qpos[:2] * jnp.array([1, 0], jnp.float32)
            place = jnp.zeros((3, 2), jnp.float32).at[0].set(xy)
        parts = jnp.zeros((3, size), jnp.float32).at[0, : nq + nv].set(jnp.concatenate([qpos, qvel]))
        parts = parts.at[:, nq + nv :].set(place)
        return Body(qpos, qvel, jnp.zeros(2, jnp.float32), parts)

    def step(body, ctrl, change=None):
        given = jnp.concatenate([body.hidden.ravel(), ctrl.astype(jnp.float32), _flat(change)])
        like = shape((3 * size + 2,), jnp.float32)
        if name is None:
            result = jax.pure_callback(host_step, like, given, vmap_method="broadcast_all")
        else:
            result = compiled.call(compiled.STEP, name, like, given)
        parts = result[:-2].reshape(3, size)
        return Body(parts[0, :nq], parts[0, nq : nq + nv], result[-2:], parts)

    return Physics(model, start, step, calls_host=True)


def _flat(change: Change | None) -> jax.Array:
    if change is None:
        return jnp.zeros(0, jnp.float32)
    return jnp.concatenate([jnp.ravel(x).astype(jnp.float32) for x in change])


def _twin(robot: Robot) -> Any:
    import mujoco

    spec = mujoco.MjSpec.from_file(model_path(robot))
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_EULER
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_EULERDAMP  # plain v + h a, whatever the damping
    body, centre = mujoco.mjtObj.mjOBJ_BODY, mujoco.mjtSensor.mjSENS_SUBTREECOM
    spec.add_sensor(type=centre, objtype=body, objname=spec.worldbody.bodies[0].name)
    return spec.compile()


def _integrate(qpos: np.ndarray, qvel: np.ndarray, h: float) -> np.ndarray:
    """Positions [B, nq] after moving at ``qvel`` [B, nv] for ``h`` seconds; the first joint is free, the others are not."""
    x = qpos[:, :3] + h * qvel[:, :3]
    angle = h * np.linalg.norm(qvel[:, 3:6], axis=1, keepdims=True)
    axis = h * qvel[:, 3:6] / np.maximum(angle, 1e-15)
    w, v = np.cos(angle / 2), np.sin(angle / 2) * axis
    w0, v0 = qpos[:, 3:4], qpos[:, 4:7]
    turned_w = w0 * w - np.sum(v0 * v, axis=1, keepdims=True)
    turned_v = w0 * v + w * v0 + np.cross(v0, v)
    return np.concatenate([x, turned_w, turned_v, qpos[:, 7:] + h * qvel[:, 6:]], axis=1)
