"""A car too weak to drive straight up a hill: its force and gravity are the task."""

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
from envs.task_spaces import finite

LEFT, RIGHT, GOAL = -1.2, 0.6, 0.5
MAX_SPEED = 0.07  # per step
PUBLISHED = {"force": Range(0.0005, 0.005, 0.0001, 0.01), "gravity": Range(0.001, 0.005, 0.0005, 0.01)}
SHOWN = 1.0  # road lengths from the middle of the picture to its edge


class Hill(NamedTuple):
    """The task. Scalars float32."""

    force: Any = 0.001
    gravity: Any = 0.0025


class MountainCarDynamics(TaskFamily):
    """Gymnasium's MountainCar-v0, with the constants of Packer et al. 2018, Table 1 ("Assessing Generalization ...").

    - Task: force uniform in [0.0005, 0.005] and gravity (their "mass") in [0.001, 0.005], their R. Held-out: the same, or with
      held_out="extreme" force in [0.0001, 0.0005] or [0.005, 0.01], gravity in [0.0005, 0.001] or [0.005, 0.01], their E.
      ``ranges`` replaces training ranges.
    - Observation: the state [2]: position and velocity. Start: position uniform in [-0.6, -0.4], standing.
    - Action: 0, 1 or 2 = to the left, nothing, to the right.
    - Dynamics: velocity + (action - 1) force - gravity cos(3 position), clipped to [-0.07, 0.07], then position + velocity,
      clipped to [-1.2, 0.6]; the left wall stops the car.
    - Reward: -1 for every step.
    - End: position at least 0.5, not rolling back. Horizon: 200 steps.

    Who never gets there returns -200.
    """

    horizon = 200
    training_settings = training.CLASSIC
    action_space = Discrete(3)
    observation_space = Box(
        np.array([LEFT, -MAX_SPEED], np.float32), np.array([RIGHT, MAX_SPEED], np.float32), dtype=np.float32
    )
    task_space = Hill(force=finite(), gravity=finite())

    def __init__(self, horizon: int | None = None, held_out: str = "same", ranges: Mapping[str, Sequence[float]] | None = None):
        super().__init__(horizon)
        self.constants = Constants(type(self).__name__, Hill(), PUBLISHED, held_out, ranges)

    @staticmethod
    def classic() -> Hill:
        """Gymnasium's constants."""
        return as_task(Hill())

    def sample_task(self, key):
        return self.constants.sample(key)

    def sample_held_out_task(self, key):
        return self.constants.sample_held_out(key)

    def initial(self, rng, params):
        return jnp.stack([jax.random.uniform(rng, (), jnp.float32, -0.6, -0.4), jnp.zeros((), jnp.float32)])

    def transition(self, state, action, rng, params):
        position, velocity = state
        velocity = velocity + (action - 1) * params.force - params.gravity * jnp.cos(3 * position)
        velocity = jnp.clip(velocity, -MAX_SPEED, MAX_SPEED)
        position = jnp.clip(position + velocity, LEFT, RIGHT)
        return jnp.stack([position, jnp.where((position == LEFT) & (velocity < 0), 0.0, velocity)])

    def observation(self, state, rng, params):
        return state.astype(jnp.float32)

    def reward(self, state, action, next_state, rng, params):
        return jnp.asarray(-1.0, jnp.float32)

    def terminal(self, state, rng, params):
        return (state[0] >= GOAL) & (state[1] >= 0)

    def render_init(self, params, **kwargs):
        return None

    def render_image(self, state, render_state, params):
        image = drawing.blank(192)
        road = np.stack([_place(position) for position in np.linspace(LEFT, RIGHT, 40)])
        drawing.draw_path(image, road, 0.015, drawing.GREY, SHOWN)
        drawing.draw_disc(image, _place(GOAL), 0.05, drawing.RED, SHOWN)
        drawing.draw_disc(image, _place(float(state[0])), 0.06, drawing.BLUE, SHOWN)
        return render_state, image


def _place(position: float) -> np.ndarray:
    """Where on the hill, in the picture: the slope is proportional to cos(3 position)."""
    return np.array([position - (LEFT + RIGHT) / 2, 0.45 * np.sin(3 * position)])
