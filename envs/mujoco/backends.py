"""Choosing a backend: `native` calls MuJoCo itself on the host, in threads; `mjx` is its rewrite in JAX."""

from typing import Any

import jax

from envs.mujoco.physics import Physics, Robot, model_path
from envs.optional import require
from envs.options import whole_number

BACKENDS = ("auto", "native", "mjx")


def make_physics(family: str, robot: Robot, backend: str, iterations: int, threads: int | None) -> Physics:
    """Physics of ``robot``; "auto" is native on a CPU, where MJX is far slower, and MJX on accelerators.

    Args:
        family: its name, for errors.
        robot: which.
        backend: "auto", "native" or "mjx".
        iterations: of MJX's constraint solver. On the half-cheetah 4 are enough: from the same starts with the same random
            actions velocities agree with native MuJoCo's to 1e-5 m/s for five steps and returns of 100 steps differ by
            -0.2 +- 1.7 of -188, as with 20; 1 or 2 are off by 0.2 m/s (``python -m experiments.studies.mjx_iterations``,
            32 episodes, 2 CPU cores, mujoco 4.0.0, mujoco-mjx 3.17.0, 2026-11-21). An ant lands differently on the two
            backends, whatever the iterations, since these versions lay the axes of friction differently: its velocity is off by
            some 0.1 m/s
            in the steps of the landing (the same command with ``--env metarl/AntVel-v0``).
        threads: of native MuJoCo; None for one per processor.
    """
    if backend not in BACKENDS:
        raise ValueError(f"{family}: backend is {backend!r}, but must be one of {', '.join(BACKENDS)}.")
    whole_number(family, "iterations", iterations, 1)
    if threads is not None:
        whole_number(family, "threads", threads, 1)
    model = _load(robot)
    if backend == "mjx" or (backend == "auto" and jax.default_backend() != "cpu"):
        from envs.mujoco.mjx import mjx_physics

        return mjx_physics(model, robot, iterations)
    from envs.mujoco.native import native_physics

    return native_physics(model, robot, threads)


def _load(robot: Robot) -> Any:
    mujoco = require("mujoco")
    warn = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)  # that the half-cheetah's file uses an attribute of an older MuJoCo
    try:
        return mujoco.MjModel.from_xml_path(model_path(robot))
    finally:
        mujoco.set_mju_user_warning(warn)
