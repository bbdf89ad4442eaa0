"""MuJoCo as pure functions of one robot, with two interchangeable backends. vmap for many robots.

`native` calls MuJoCo itself on the host, in threads (`envs.mujoco_native`); `mjx` is its rewrite in JAX (`envs.mujoco_mjx`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium.envs
import jax

from envs.optional import require
from envs.options import whole_number

BACKENDS = ("auto", "native", "mjx")


class Robot(NamedTuple):
    """What a model file does not say.

    Attributes:
        file: among Gymnasium's MuJoCo assets.
        frame_skip: physics steps per environment step.
        start_noise: key, shape of qpos, shape of qvel -> what is added to the model's own start.
        place: where the robot is, for its velocity: "root" (the first coordinate), "torso" or "mass centre".
        unobserved: how many leading coordinates are left out of observations.
        max_velocity: observed velocities are clipped to this.
        view: of pictures, "side" or "top".
    """

    file: str
    frame_skip: int
    start_noise: Callable[[jax.Array, int, int], tuple[jax.Array, jax.Array]]
    place: str
    unobserved: int
    max_velocity: float = float("inf")
    view: str = "side"


class Body(NamedTuple):
    """The state of one robot.

    Attributes:
        qpos: [nq] float32.
        qvel: [nv] float32.
        velocity: [2] float32, of its place along x and y over the last environment step, in m/s; 0 at the start.
        hidden: the backend's own: what is needed to go on without loss.
    """

    qpos: jax.Array
    qvel: jax.Array
    velocity: jax.Array
    hidden: Any


class Change(NamedTuple):
    """What multiplies a model's own numbers, float32: [nbody], [nbody, 3], [nv] and [ngeom, 3]."""

    mass: jax.Array
    inertia: jax.Array
    damping: jax.Array
    friction: jax.Array


class Physics(NamedTuple):
    """A robot as pure functions.

    ``change`` is a `Change`, or None for the model as it is. Derived constants of the model, such as the inverse weights in
    the softness of constraints, stay as they are, as in rand_param_envs.

    Attributes:
        model: the MjModel.
        start: (qpos [nq], qvel [nv], change) -> Body at rest there.
        step: (Body, ctrl [nu], change) -> Body after ``frame_skip`` physics steps.
    """

    model: Any
    start: Callable[..., Body]
    step: Callable[..., Body]


def model_path(robot: Robot) -> str:
    """The robot's file among Gymnasium's."""
    return str(Path(gymnasium.envs.__file__).parent / "mujoco" / "assets" / robot.file)


def make_physics(family: str, robot: Robot, backend: str, iterations: int, threads: int | None) -> Physics:
    """Physics of ``robot``; "auto" is native on a CPU, where MJX is far slower, and MJX on accelerators.

    Args:
        family: its name, for errors.
        robot: which.
        backend: "auto", "native" or "mjx".
        iterations: of MJX's constraint solver. On the half-cheetah 4 are enough: from the same starts with the same random
            actions velocities agree with native MuJoCo's to 1e-5 m/s for five steps and returns of 100 steps differ by
            -0.2 +- 1.7 of -188, as with 20; 1 or 2 are off by 0.2 m/s (``python -m experiments.mjx_iterations``, 32 episodes,
            2 CPU cores, mujoco 4.0.0, mujoco-mjx 3.17.0, 2026-11-21). An ant lands differently on the two backends, whatever
            the iterations, since these versions lay the axes of friction differently: its velocity is off by some 0.1 m/s
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
        from envs.mujoco_mjx import mjx_physics

        return mjx_physics(model, robot, iterations)
    from envs.mujoco_native import native_physics

    return native_physics(model, robot, threads)


def _load(robot: Robot) -> Any:
    mujoco = require("mujoco")
    warn = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)  # that the half-cheetah's file uses an attribute of an older MuJoCo
    try:
        return mujoco.MjModel.from_xml_path(model_path(robot))
    finally:
        mujoco.set_mju_user_warning(warn)
