"""A pendulum to swing up and hold: its mass, length and gravity are the task."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from envs import drawing
from envs.families import training
from envs.families.classic_control.ranges import Constants, Range, as_task
from envs.family import TaskFamily
from envs.task_spaces import finite, positive

MAX_SPEED = 8.0  # radians per second
MAX_TORQUE = 2.0
TIME_STEP = 0.05  # seconds
PUBLISHED = {"mass": Range(0.75, 1.25, 0.5, 1.5), "length": Range(0.75, 1.25, 0.5, 1.5)}
SHOWN = 1.7  # metres from the middle of the picture to its edge
HIGH = np.array([1.0, 1.0, MAX_SPEED], np.float32)


class Rod(NamedTuple):
    """The task: a uniform rod that turns about one end. Scalars float32."""

    mass: Any = 1.0
    length: Any = 1.0
    gravity: Any = 10.0


class PendulumDynamics(TaskFamily):
    """Gymnasium's Pendulum-v1, with the masses and lengths of Packer et al. 2018, Table 1 ("Assessing Generalization ...").

    - Task: mass and length uniform in [0.75, 1.25], their R; gravity 10. Held-out: the same, or with held_out="extreme" each
      in [0.5, 0.75] or [1.25, 1.5], their E. ``ranges`` replaces or adds training ranges: {"mass": [0.5, 2], "length": [1, 1]}
      gives RLlib's PendulumMassEnv.
    - Observation: cosine and sine of the angle (0 is upright), angular velocity [3]. Start: angle uniform in [-pi, pi],
      velocity in [-1, 1].
    - Action: [1], clipped to [-1, 1], times 2 = the torque (Gymnasium's box is [-2, 2]).
    - Dynamics: acceleration 3 g sin(angle) / (2 l) + 3 torque / (m l^2); velocity first, clipped to [-8, 8]; steps of 0.05 s.
    - Reward: -(angle^2 + 0.1 velocity^2 + 0.001 torque^2), angle in [-pi, pi], both before the step.
    - End: none. Horizon: 200 steps.

    Hanging still returns -1974; standing still upright 0.
    """

    horizon = 200
    training_settings = training.CLASSIC
    action_space = Box(-1.0, 1.0, (1,), np.float32)
    observation_space = Box(-HIGH, HIGH, dtype=np.float32)
    task_space = Rod(mass=positive(), length=positive(), gravity=finite())

    def __init__(self, horizon: int | None = None, held_out: str = "same", ranges: Mapping[str, Sequence[float]] | None = None):
        super().__init__(horizon)
        self.constants = Constants(type(self).__name__, Rod(), PUBLISHED, held_out, ranges)

    @staticmethod
    def classic() -> Rod:
        """Gymnasium's constants."""
        return as_task(Rod())

    def sample_task(self, key):
        return self.constants.sample(key)

    def sample_held_out_task(self, key):
        return self.constants.sample_held_out(key)

    def initial(self, rng, params):
        return jax.random.uniform(rng, (2,), jnp.float32, -1.0, 1.0) * np.array([np.pi, 1.0], np.float32)

    def transition(self, state, action, rng, params):
        angle, velocity = state
        inertia = params.mass * params.length**2 / 3
        torque = _torque(action) + params.mass * params.gravity * params.length / 2 * jnp.sin(angle)
        velocity = jnp.clip(velocity + TIME_STEP * torque / inertia, -MAX_SPEED, MAX_SPEED)
        return jnp.stack([angle + TIME_STEP * velocity, velocity])

    def observation(self, state, rng, params):
        angle, velocity = state
        return jnp.stack([jnp.cos(angle), jnp.sin(angle), velocity]).astype(jnp.float32)

    def reward(self, state, action, next_state, rng, params):
        angle, velocity = state
        angle = (angle + jnp.pi) % (2 * jnp.pi) - jnp.pi
        return -(angle**2 + 0.1 * velocity**2 + 0.001 * _torque(action) ** 2).astype(jnp.float32)

    def terminal(self, state, rng, params):
        return jnp.asarray(False)

    def render_init(self, params, **kwargs):
        return None

    def render_image(self, state, render_state, params):
        image = drawing.blank(192)
        tip = float(params.length) * np.array([np.sin(state[0]), np.cos(state[0])])
        drawing.draw_line(image, np.zeros(2), tip, 0.1 * float(params.mass) ** 0.5, drawing.BLUE, SHOWN)
        drawing.draw_disc(image, np.zeros(2), 0.04, drawing.BLACK, SHOWN)
        return render_state, image


def _torque(action: jax.Array) -> jax.Array:
    return MAX_TORQUE * jnp.clip(action[0], -1.0, 1.0)
