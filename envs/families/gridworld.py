"""A grid of cells with a goal that is felt only when standing on it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Discrete

from envs import drawing
from envs.families import training
from envs.family import TaskFamily, pick, shuffled
from envs.options import whole_number

MOVES = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))  # stay, up, right, down, left
CORNER = 2  # no goal lies in the CORNER x CORNER cells around the start
ON_GOAL, ELSEWHERE = 1.0, -0.1


class Cell(NamedTuple):
    """The task: the cell of the goal, (x, y) int32 from 0."""

    position: jax.Array


class GridNavigation(TaskFamily):
    """The grid of Zintgraf et al. 2020 (VariBAD), Section 5.1, as in lmzintgraf/varibad (GridNavi).

    - Task: the goal, any cell of 5 x 5 (``size``) but the 2 x 2 in the corner of the start: 21 goals. Held-out tasks: the same
      cells, as in that code.
    - Observation: the cell (x, y), scaled from 0 .. 4 to -1 .. 1 so that networks see both signs (that code gives 0 .. 4).
      Start: (0, 0).
    - Action: 0 stays, 1 up (y + 1), 2 right (x + 1), 3 down, 4 left; at the border a move stays.
    - Reward: 1 when on the goal after the move, at every step, else -0.1.
    - End: never. Horizon: 15 steps.

    Walking straight to a known goal returns 11.07 on average over the goals; never moving returns -1.5.
    """

    horizon = 15
    training_settings = training.GRID
    rewards = (ELSEWHERE, ON_GOAL)
    action_space = Discrete(len(MOVES))
    observation_space = Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, horizon: int | None = None, size: int = 5):
        super().__init__(horizon)
        self.size = whole_number(type(self).__name__, "size", size, CORNER + 1)
        cell: Any = Box(0, size - 1, (2,), np.int32)  # the corner too: there one may extrapolate
        self.task_space = Cell(cell)
        cells = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), axis=-1).reshape(-1, 2)
        goals: Any = cells[np.any(cells >= CORNER, axis=1)].astype(np.int32)
        self.goals = Cell(goals)
        self.held_out_list = shuffled(self.goals)
        self.observations = np.asarray(self._scaled(cells), np.float32)

    def sample_task(self, key):
        return pick(self.goals, key)

    def initial(self, rng, params):
        return jnp.zeros(2, jnp.int32)

    def transition(self, state, action, rng, params):
        return jnp.clip(state + jnp.asarray(MOVES, jnp.int32)[action], 0, self.size - 1)

    def observation(self, state, rng, params):
        return self._scaled(state.astype(jnp.float32))

    def reward(self, state, action, next_state, rng, params):
        return jnp.where(jnp.all(next_state == params.position), jnp.float32(ON_GOAL), jnp.float32(ELSEWHERE))

    def terminal(self, state, rng, params):
        return jnp.asarray(False)

    def _scaled(self, cell):
        return 2.0 * cell / (self.size - 1) - 1.0

    def plane(self, observation, task):
        return observation, self._scaled(np.asarray(task.position, np.float32))

    def render_init(self, params, **kwargs):
        return []  # the cells visited so far

    def render_image(self, state, render_state, params):
        trail, image = [*render_state, np.asarray(state)], drawing.blank(192)
        scale = self.size / 2

        def middle(cell):
            return np.asarray(cell) + 0.5 - scale

        for cell in np.ndindex(self.size, self.size):
            goal, candidate = np.array_equal(cell, params.position), max(cell) >= CORNER
            colour = drawing.RED if goal else drawing.GREY if candidate else drawing.PALE
            drawing.draw_box(image, tuple(middle(cell) - 0.46), tuple(middle(cell) + 0.46), colour, scale)
        drawing.draw_path(image, np.stack([middle(cell) for cell in trail]), 0.04, drawing.DARK_GREY, scale)
        drawing.draw_disc(image, middle(state), 0.28, drawing.BLUE, scale)
        return trail, image
