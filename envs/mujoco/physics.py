"""What every backend of MuJoCo shares: a robot, its state, and physics as pure functions of one robot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium.envs
import jax


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
        calls_host: whether they call MuJoCo on the host, as `envs.TaskFamily.calls_host`.
    """

    model: Any
    start: Callable[..., Body]
    step: Callable[..., Body]
    calls_host: bool


def model_path(robot: Robot) -> str:
    """The robot's file among Gymnasium's."""
    return str(Path(gymnasium.envs.__file__).parent / "mujoco" / "assets" / robot.file)
