"""Dark rooms: only the own cell is seen, and what is looked for is felt when standing on it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Discrete

from envs import drawing
from envs.families import training
from envs.families.gridworld import MOVES, Cell
from envs.family import TaskFamily, pick, shuffled
from envs.options import one_of, whole_number
from envs.task_lists import TaskList

LEAST = 3  # cells along a wall
HELD_OUT = ("apart", "same")
HELD_OUT_SHARE = 0.2  # of all tasks, as in the dark room of Lee et al. 2023 (DPT), whose code tests on 20 of 100 goals
MOVE, FEEL = np.asarray(MOVES, np.int32), {"success": "any"}


class KeyAndDoor(NamedTuple):
    """The task: the cells of key and door, (x, y) int32 from 0, which may be the same."""

    key: jax.Array
    door: jax.Array


class Walker(NamedTuple):
    """The state in a room with a key: the own cell [2] int32, whether the key was found, and whether the door is open."""

    position: jax.Array
    has_key: jax.Array
    is_open: jax.Array


def checked(owner: str, size: int, held_out: str) -> tuple[int, str, Any]:
    """A room's options, in one line where they are wrong, and the space of a cell in it."""
    size = whole_number(owner, "size", size, LEAST)
    return size, one_of(owner, "held_out", held_out, HELD_OUT), Box(0, size - 1, (2,), np.int32)


def cells_of(size: int) -> np.ndarray:
    """[size^2, 2] int32, every cell of a room."""
    return np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int32)


def split(tasks: Any, held_out: str) -> tuple[Any, Any]:
    """Training and held-out tasks of L tasks, leaves [L, ...]: a fifth held out ("apart"), or all of them both ("same")."""
    mixed = shuffled(tasks)
    if held_out == "same":
        return mixed, mixed
    number = round(HELD_OUT_SHARE * len(jax.tree.leaves(tasks)[0]))
    return jax.tree.map(lambda leaf: leaf[number:], mixed), jax.tree.map(lambda leaf: leaf[:number], mixed)


def walk(cell, action, size: int):
    """The cell after an action; at a wall a move stays."""
    return jnp.clip(cell + jnp.asarray(MOVE)[action], 0, size - 1)


def scaled(cell, size: int):
    """A cell as it is seen: from 0 .. size - 1 to -1 .. 1 along each axis, float32."""
    return 2.0 * cell.astype(np.float32) / np.float32(size - 1) - 1.0


def draw(visited: list, marks: dict, size: int) -> np.ndarray:
    """The room with coloured cells (colour -> cell), and the way through it to where the agent is."""
    image, scale = drawing.blank(192), size / 2
    middle = lambda cell: np.asarray(cell) + 0.5 - scale
    colours = {tuple(np.asarray(cell).tolist()): colour for colour, cell in marks.items()}
    for cell in np.ndindex(size, size):
        colour = colours.get(cell, drawing.GREY)
        drawing.draw_box(image, tuple(middle(cell) - 0.46), tuple(middle(cell) + 0.46), colour, scale)
    drawing.draw_path(image, np.stack([middle(cell) for cell in visited]), 0.04, drawing.DARK_GREY, scale)
    drawing.draw_disc(image, middle(visited[-1]), 0.28, drawing.BLUE, scale)
    return image


class DarkRoom(TaskFamily):
    """The dark room of Laskin et al. 2022 (Algorithm Distillation), as in corl-team/toy-meta-gym.

    - Task: the goal, any cell of 9 x 9 (``size``). A fifth of the goals is held out, always the same at random: 65 to train
      on, 16 to test on, the share that the code of Lee et al. 2023 (DPT) has. ``held_out="same"``: all goals are both.
    - Observation: the own cell (x, y) alone, scaled from 0 .. 8 to -1 .. 1 so that networks see both signs (toy-meta-gym gives
      the cell's number). Start: the middle, (4, 4).
    - Action: 0 stays, 1 up (y + 1), 2 right (x + 1), 3 down, 4 left; at a wall a move stays.
    - Reward: 1 when on the goal after the move, at every step, else 0.
    - End: never. Horizon: 20 steps.
    - Measure: success, whether the goal was found.

    Each step tries one cell, so that a first episode returns at most 210 / 81 = 2.59 on average over all goals. Who knows the
    goal gets 1 in every step from the one that reaches it: 16.54 on average.
    """

    horizon = 20
    training_settings = training.DARK_ROOM
    measures = FEEL
    rewards = (0.0, 1.0)
    action_space = Discrete(len(MOVES))
    observation_space = Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, horizon: int | None = None, size: int = 9, held_out: str = "apart"):
        super().__init__(horizon)
        self.size, self.held_out, cell = checked(type(self).__name__, size, held_out)
        self.task_space = Cell(cell)
        cells: Any = cells_of(size)
        train, self.held_out_list = split(Cell(cells), held_out)
        self.train_list = TaskList(train)
        self.observations = scaled(cells, size)

    def sample_task(self, key):
        return pick(self.train_list.tasks, key)

    def initial(self, rng, params):
        return jnp.full(2, self.size // 2, jnp.int32)

    def transition(self, state, action, rng, params):
        return walk(state, action, self.size)

    def observation(self, state, rng, params):
        return scaled(state, self.size)

    def reward(self, state, action, next_state, rng, params):
        return jnp.all(next_state == params.position).astype(jnp.float32)

    def terminal(self, state, rng, params):
        return jnp.asarray(False)

    def transition_info(self, state, action, next_state, params):
        return {"success": self.reward(state, action, next_state, None, params)}

    def plane(self, observation, task):
        return observation, scaled(np.asarray(task.position), self.size)

    def render_init(self, params, **kwargs):
        return []  # the cells visited so far

    def render_image(self, state, render_state, params):
        visited = [*render_state, np.asarray(state)]
        return visited, draw(visited, {drawing.RED: params.position}, self.size)


class DarkKeyDoor(TaskFamily):
    """The dark key-to-door of Laskin et al. 2022 (Algorithm Distillation), after corl-team/toy-meta-gym.

    - Task: the cells of key and door, any two of 9 x 9 (``size``), which may be the same: 6561 pairs. A fifth of the pairs is
      held out, always the same at random: 5249 to train on, 1312 to test on. ``held_out="same"``: all pairs are both.
      (toy-meta-gym leaves out pairs that are one cell.)
    - Observation: the own cell (x, y) alone, scaled as in `DarkRoom`; whether the key was found is to be remembered (AMAGO's
      version shows it, and the time). Start: any cell, drawn anew in each episode.
    - Action: 0 stays, 1 up (y + 1), 2 right (x + 1), 3 down, 4 left; at a wall a move stays.
    - Reward: 1 once, when first on the key after the move; 1 once, when on the door in a later step; else 0. (toy-meta-gym pays
      both in one step where they are one cell.)
    - End: when the door opens, as in that code and AMAGO. Horizon: 50 steps.
    - Measure: success, whether the door was opened.

    Who knows both cells returns 2: no way is longer than 32 moves.
    """

    horizon = 50
    training_settings = training.DARK_KEY_DOOR
    measures = FEEL
    action_space = Discrete(len(MOVES))
    observation_space = Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, horizon: int | None = None, size: int = 9, held_out: str = "apart"):
        super().__init__(horizon)
        self.size, self.held_out, cell = checked(type(self).__name__, size, held_out)
        self.task_space = KeyAndDoor(cell, cell)
        pairs: Any = [cells_of(size)[index.reshape(-1)] for index in np.indices((size**2, size**2))]
        train, self.held_out_list = split(KeyAndDoor(*pairs), held_out)
        self.train_list = TaskList(train)

    def sample_task(self, key):
        return pick(self.train_list.tasks, key)

    def initial(self, rng, params):
        no = jnp.asarray(False)
        return Walker(jax.random.randint(rng, (2,), 0, self.size, jnp.int32), no, no)

    def transition(self, state, action, rng, params):
        position = walk(state.position, action, self.size)
        opens = state.has_key & jnp.all(position == params.door)
        return Walker(position, state.has_key | jnp.all(position == params.key), state.is_open | opens)

    def observation(self, state, rng, params):
        return scaled(state.position, self.size)

    def reward(self, state, action, next_state, rng, params):
        found, opened = next_state.has_key & ~state.has_key, next_state.is_open & ~state.is_open
        return (found | opened).astype(jnp.float32)

    def terminal(self, state, rng, params):
        return state.is_open

    def transition_info(self, state, action, next_state, params):
        return {"success": next_state.is_open.astype(jnp.float32)}

    def plane(self, observation, task):
        return observation, scaled(np.asarray(task.door), self.size)

    def render_init(self, params, **kwargs):
        return []  # the cells visited so far

    def render_image(self, state, render_state, params):
        visited = [*render_state, np.asarray(state.position)]
        return visited, draw(visited, {drawing.RED: params.door, drawing.GREEN: params.key}, self.size)
