"""Two links to swing up by a motor in the joint between them: their mass, length, inertia and gravity are the task."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Discrete

from envs import drawing
from envs.families import training
from envs.families.classic_control.ranges import Constants, Range, as_task
from envs.family import TaskFamily
from envs.options import one_of
from envs.task_spaces import finite, positive

MAX_SPEED_1, MAX_SPEED_2 = 4 * np.pi, 9 * np.pi  # radians per second
TIME_STEP = 0.2  # seconds
QUARTER = Range(0.75, 1.25, 0.5, 1.5)
PUBLISHED = {"mass": QUARTER, "length": QUARTER, "inertia": QUARTER}
HIGH = np.array([1.0, 1.0, 1.0, 1.0, MAX_SPEED_1, MAX_SPEED_2], np.float32)
SHOWN = 2.2  # link lengths from the middle of the picture to its edge


class Links(NamedTuple):
    """The task: constants that both links share; ``inertia`` is about the centre of mass. Scalars float32."""

    mass: Any = 1.0
    length: Any = 1.0
    inertia: Any = 1.0
    torque: Any = 1.0
    gravity: Any = 9.8


class AcrobotDynamics(TaskFamily):
    """Gymnasium's Acrobot-v1, with the constants of Packer et al. 2018, Table 1 ("Assessing Generalization ...").

    - Task: mass, length and moment of inertia of both links uniform in [0.75, 1.25], their R; torque 1, gravity 9.8.
      Held-out: the same, or with held_out="extreme" each in [0.5, 0.75] or [1.25, 1.5], their E. ``ranges`` replaces or adds
      training ranges, such as {"gravity": [5, 15]}.
    - Observation: cosine and sine of the first angle (0 hangs down) and of the second (relative to the first), both angular
      velocities [6]. Start: each angle and velocity uniform in [-0.1, 0.1].
    - Action: 0, 1 or 2 = torque -1, 0 or 1 times the task's on the joint between the links.
    - Dynamics: Sutton and Barto's book, one Runge-Kutta step of order four, 0.2 s. Centres of mass lie halfway along the
      links; centre="fixed" leaves them at 0.5 m whatever the length, as in the code of Packer et al.
    - Reward: -1 for every step that does not reach the end, 0 for the one that does.
    - End: the tip is more than one link length above the fixed joint. Horizon: 500 steps.
    """

    horizon = 500
    training_settings = training.CLASSIC
    action_space = Discrete(3)
    observation_space = Box(-HIGH, HIGH, dtype=np.float32)
    task_space = Links(mass=positive(), length=positive(), inertia=positive(), torque=finite(), gravity=finite())

    def __init__(
        self,
        horizon: int | None = None,
        held_out: str = "same",
        ranges: Mapping[str, Sequence[float]] | None = None,
        centre: str = "halfway",
    ):
        super().__init__(horizon)
        self.constants = Constants(type(self).__name__, Links(), PUBLISHED, held_out, ranges)
        self.centre = one_of(type(self).__name__, "centre", centre, ("halfway", "fixed"))

    @staticmethod
    def classic() -> Links:
        """Gymnasium's constants."""
        return as_task(Links())

    def sample_task(self, key):
        return self.constants.sample(key)

    def sample_held_out_task(self, key):
        return self.constants.sample_held_out(key)

    def initial(self, rng, params):
        return jax.random.uniform(rng, (4,), jnp.float32, -0.1, 0.1)

    def transition(self, state, action, rng, params):
        torque = params.torque * (action - 1)

        def rate(state):
            return self._rate(state, torque, params)

        k1 = rate(state)
        k2 = rate(state + TIME_STEP / 2 * k1)
        k3 = rate(state + TIME_STEP / 2 * k2)
        k4 = rate(state + TIME_STEP * k3)
        angle_1, angle_2, speed_1, speed_2 = state + TIME_STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        speeds = jnp.clip(speed_1, -MAX_SPEED_1, MAX_SPEED_1), jnp.clip(speed_2, -MAX_SPEED_2, MAX_SPEED_2)
        return jnp.stack([_wrapped(angle_1), _wrapped(angle_2), *speeds])

    def _rate(self, state, torque, params):
        """Time derivative of the state [4]; names as in Sutton and Barto, with m1 = m2, l1 = l2, I1 = I2."""
        angle_1, angle_2, speed_1, speed_2 = state
        m, length, inertia, g = params.mass, params.length, params.inertia, params.gravity
        centre = length / 2 if self.centre == "halfway" else 0.5
        sine, cosine = jnp.sin(angle_2), jnp.cos(angle_2)
        d1 = m * centre**2 + m * (length**2 + centre**2 + 2 * length * centre * cosine) + 2 * inertia
        d2 = m * (centre**2 + length * centre * cosine) + inertia
        phi2 = m * centre * g * jnp.sin(angle_1 + angle_2)
        phi1 = -m * length * centre * sine * (speed_2**2 + 2 * speed_2 * speed_1)
        phi1 = phi1 + m * (centre + length) * g * jnp.sin(angle_1) + phi2
        change_2 = torque + d2 / d1 * phi1 - m * length * centre * speed_1**2 * sine - phi2
        change_2 = change_2 / (m * centre**2 + inertia - d2**2 / d1)
        change_1 = -(d2 * change_2 + phi1) / d1
        return jnp.stack([speed_1, speed_2, change_1, change_2])

    def observation(self, state, rng, params):
        angle_1, angle_2, speed_1, speed_2 = state
        directions = [jnp.cos(angle_1), jnp.sin(angle_1), jnp.cos(angle_2), jnp.sin(angle_2)]
        return jnp.stack([*directions, speed_1, speed_2]).astype(jnp.float32)

    def reward(self, state, action, next_state, rng, params):
        return jnp.where(self.terminal(next_state, rng, params), 0.0, -1.0).astype(jnp.float32)

    def terminal(self, state, rng, params):
        return -jnp.cos(state[0]) - jnp.cos(state[0] + state[1]) > 1.0

    def render_init(self, params, **kwargs):
        return None

    def render_image(self, state, render_state, params):
        image = drawing.blank(192)
        angle_1, angle_2 = float(state[0]), float(state[1])
        joint = np.array([np.sin(angle_1), -np.cos(angle_1)])
        tip = joint + np.array([np.sin(angle_1 + angle_2), -np.cos(angle_1 + angle_2)])
        width = 0.15 * float(params.mass) ** 0.5
        drawing.draw_line(image, np.array([-SHOWN, 1.0]), np.array([SHOWN, 1.0]), 0.03, drawing.RED, SHOWN)
        drawing.draw_line(image, np.zeros(2), joint, width, drawing.BLUE, SHOWN)
        drawing.draw_line(image, joint, tip, width, drawing.BLUE, SHOWN)
        for point in (np.zeros(2), joint):
            drawing.draw_disc(image, point, 0.06, drawing.BLACK, SHOWN)
        return render_state, image


def _wrapped(angle: jax.Array) -> jax.Array:
    """The same direction in [-pi, pi]."""
    return angle - 2 * jnp.pi * jnp.round(angle / (2 * jnp.pi))
