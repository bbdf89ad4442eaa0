"""MJX, MuJoCo rewritten in JAX, behind the same interface."""

import contextlib
import io
from typing import Any

import jax
import jax.numpy as jnp

from envs.mujoco.physics import Body, Physics, Robot


def mjx_physics(model: Any, robot: Robot, iterations: int) -> Physics:
    """See `envs.mujoco.physics`. The solver's warm start is carried from step to step, since MJX stops after ``iterations``."""
    import mujoco

    with contextlib.redirect_stdout(io.StringIO()):  # it prints what else is not installed
        from mujoco import mjx

    model.opt.iterations = iterations
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON  # the humanoid's file asks for PGS, which MJX lacks
    with jax.ensure_compile_time_eval():
        plain, data = mjx.put_model(model), mjx.make_data(model)
    duration = model.opt.timestep * robot.frame_skip

    def changed(change):
        if change is None:
            return plain
        return plain.replace(
            body_mass=plain.body_mass * change.mass,
            body_inertia=plain.body_inertia * change.inertia,
            dof_damping=plain.dof_damping * change.damping,
            geom_friction=plain.geom_friction * change.friction,
        )

    def place_of(now):
        if robot.place == "root":
            return now.qpos[:2] * jnp.array([1, 0], now.qpos.dtype)
        return now.xpos[1, :2] if robot.place == "torso" else now.subtree_com[1, :2]

    def start(qpos, qvel, change=None):
        now = data.replace(qpos=qpos, qvel=qvel)
        if robot.place != "root":
            now = mjx.com_pos(changed(change), mjx.kinematics(changed(change), now))
        return Body(qpos, qvel, jnp.zeros(2, jnp.float32), {"warm": data.qacc_warmstart, "place": place_of(now)})

    def step(body, ctrl, change=None):
        now = data.replace(qpos=body.qpos, qvel=body.qvel, qacc_warmstart=body.hidden["warm"], ctrl=ctrl)
        which = changed(change)
        now, _ = jax.lax.scan(lambda now, _: (mjx.step(which, now), None), now, None, length=robot.frame_skip)
        place = place_of(now)
        velocity = ((place - body.hidden["place"]) / duration).astype(jnp.float32)
        return Body(now.qpos, now.qvel, velocity, {"warm": now.qacc_warmstart, "place": place})

    return Physics(model, start, step, calls_host=False)
