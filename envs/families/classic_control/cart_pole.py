"""A cart that balances a pole: the push, the masses, the pole's length and gravity are the task."""

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
from envs.task_spaces import finite, positive

MAX_POSITION = 2.4  # metres
MAX_ANGLE = 12 * np.pi / 180
TIME_STEP = 0.02  # seconds
PUBLISHED = {
    "force": Range(5.0, 15.0, 1.0, 20.0),
    "length": Range(0.25, 0.75, 0.05, 1.0),
    "pole_mass": Range(0.05, 0.5, 0.01, 1.0),
}
SHOWN = 2.6  # metres from the middle of the picture to its edge
HIGH = np.full(4, np.finfo(np.float32).max)  # velocities have no bound, and short poles turn by more than any at the end


class Cart(NamedTuple):
    """The task; ``length`` is half the pole's, as in Gymnasium. Scalars float32."""

    force: Any = 10.0
    length: Any = 0.5
    pole_mass: Any = 0.1
    cart_mass: Any = 1.0
    gravity: Any = 9.8


class CartPoleDynamics(TaskFamily):
    """Gymnasium's CartPole-v1, with the constants of Packer et al. 2018, Table 1 ("Assessing Generalization ...").

    - Task: force uniform in [5, 15], half the pole's length in [0.25, 0.75], pole mass in [0.05, 0.5], their R; cart mass 1,
      gravity 9.8. Held-out: the same, or with held_out="extreme" force in [1, 5] or [15, 20], length in [0.05, 0.25] or
      [0.75, 1], pole mass in [0.01, 0.05] or [0.5, 1], their E. ``ranges`` replaces or adds training ranges, such as
      {"gravity": [5, 15]}.
    - Observation: the state [4]: position, velocity, angle (0 is upright), angular velocity. Start: each in [-0.05, 0.05].
    - Action: 0 pushes the cart to the left, 1 to the right, with the whole force.
    - Dynamics: cart and uniform rod without friction, explicit Euler steps of 0.02 s. Total mass and mass times length follow
      the task.
    - Reward: 1 for every step, the last one included.
    - End: position beyond 2.4 or angle beyond 12 degrees. Horizon: 500 steps (200 in Packer et al.).
    """

    horizon = 500
    training_settings = training.CLASSIC
    action_space = Discrete(2)
    observation_space = Box(-HIGH, HIGH, dtype=np.float32)
    task_space = Cart(force=finite(), length=positive(), pole_mass=positive(), cart_mass=positive(), gravity=finite())

    def __init__(self, horizon: int | None = None, held_out: str = "same", ranges: Mapping[str, Sequence[float]] | None = None):
        super().__init__(horizon)
        self.constants = Constants(type(self).__name__, Cart(), PUBLISHED, held_out, ranges)

    @staticmethod
    def classic() -> Cart:
        """Gymnasium's constants."""
        return as_task(Cart())

    def sample_task(self, key):
        return self.constants.sample(key)

    def sample_held_out_task(self, key):
        return self.constants.sample_held_out(key)

    def initial(self, rng, params):
        return jax.random.uniform(rng, (4,), jnp.float32, -0.05, 0.05)

    def transition(self, state, action, rng, params):
        _, velocity, angle, spin = state
        mass = params.cart_mass + params.pole_mass
        leverage = params.pole_mass * params.length
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        push = (jnp.where(action == 1, params.force, -params.force) + leverage * spin**2 * sine) / mass
        # Barto, Sutton and Anderson 1983 without friction; 4/3 is the inertia of a uniform rod about its end over m l^2.
        spin_change = (params.gravity * sine - cosine * push) / (params.length * (4 / 3 - params.pole_mass * cosine**2 / mass))
        acceleration = push - leverage * spin_change * cosine / mass
        return state + TIME_STEP * jnp.stack([velocity, acceleration, spin, spin_change])

    def observation(self, state, rng, params):
        return state.astype(jnp.float32)

    def reward(self, state, action, next_state, rng, params):
        return jnp.asarray(1.0, jnp.float32)

    def terminal(self, state, rng, params):
        return (jnp.abs(state[0]) > MAX_POSITION) | (jnp.abs(state[2]) > MAX_ANGLE)

    def render_init(self, params, **kwargs):
        return None

    def render_image(self, state, render_state, params):
        image = drawing.blank(192)
        position, angle = float(state[0]), float(state[2])
        joint = np.array([position, -0.5])
        tip = joint + 2 * float(params.length) * np.array([np.sin(angle), np.cos(angle)])
        drawing.draw_line(image, np.array([-SHOWN, -0.75]), np.array([SHOWN, -0.75]), 0.03, drawing.GREY, SHOWN)
        drawing.draw_line(image, joint - np.array([0.3, 0.1]), joint + np.array([0.3, -0.1]), 0.25, drawing.BLACK, SHOWN)
        drawing.draw_line(image, joint, tip, 0.05 + 0.2 * float(params.pole_mass), drawing.BLUE, SHOWN)
        return render_state, image
