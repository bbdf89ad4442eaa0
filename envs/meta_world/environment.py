"""One of Meta-World's robots as an ordinary environment whose task may be of any of its classes. NumPy only, no jax."""

import importlib
import pickle
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from envs.meta_world.benchmark import Tasks

SIZE = 39  # of an observation: hand, gripper and objects, now and one step ago, and zeros in the place of the goal
SEES = {"all": tuple(range(SIZE)), "hand": (0, 1, 2, 3, 18, 19, 20, 21)}  # which of them an agent is shown
# Robots of a class that nobody plays with: a model takes 20 MB and a quarter of a second, so they are shared by the slots of a
# process instead of one per slot and class.
_IDLE: dict[tuple[str, str], list[Any]] = {}


class MetaWorldEnv(gymnasium.Env):
    """Plays the tasks of given lists, each exactly as Meta-World does, with the goal hidden.

    Args:
        names: of all classes.
        reward: "v2" or "v1".
        tasks: the only ones that can be set; Meta-World looks for a start for ever where there is none.
        sees: a key of `SEES`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own way
    action_space = Box(-1.0, 1.0, (4,), np.float32)

    def __init__(self, names: tuple[str, ...], reward: str, tasks: Tasks, sees: str = "all"):
        self.names, self.reward = names, reward
        self.sees = list(SEES[sees])
        self.observation_space = Box(-np.inf, np.inf, (len(self.sees),), np.float64)
        rows = zip(*(values.tolist() for values in (tasks.environment, tasks.size)), tasks.vector, strict=True)
        self.known = {key_of(environment, vector): (environment, vector[:size]) for environment, size, vector in rows}
        self.robot: Any = None
        self.kind: tuple[str, str] | None = None

    def set_task(self, task: dict[str, Any]) -> None:
        """Set a task of the lists; float32 numbers of its vector stand for the float64 ones."""
        found = self.known.get(key_of(task["environment"], task["vector"]))
        if found is None:
            raise ValueError(unknown(task["environment"], task["vector"]))
        environment, vector = found
        kind = self.names[environment], self.reward
        if kind != self.kind:
            self.close()
            self.kind, self.robot = kind, _robot(*kind)
        metaworld = importlib.import_module("metaworld")
        data = {"rand_vec": vector, "env_cls": type(self.robot), "partially_observable": True}
        self.robot.set_task(metaworld.Task(env_name=kind[0], data=pickle.dumps(data)))

    def reset(self, *, seed=None, options=None):
        """Begin the task; nothing in it is left to chance."""
        del options
        observation, _ = self.robot.reset(seed=seed)
        return observation[self.sees], {}

    def step(self, action):
        """As Meta-World; ``info`` has success and its other numbers."""
        observation, *rest = self.robot.step(action)
        return (observation[self.sees], *rest)

    def close(self):
        """Leave the robot to others."""
        if self.kind is not None:
            _IDLE.setdefault(self.kind, []).append(self.robot)
            self.robot = self.kind = None


def key_of(environment: Any, vector: Any) -> tuple[int, bytes]:
    """By what tasks are found, whose numbers may have been rounded to float32."""
    return int(environment), np.asarray(vector, np.float32).tobytes()


def unknown(environment: Any, vector: Any) -> str:
    """What to say of a task that is not there."""
    return (
        f"the benchmark has no task with environment {environment} and vector {np.asarray(vector).tolist()}; "
        "take one of train_list or held_out_list"
    )


def _robot(name: str, reward: str) -> Any:
    idle = _IDLE.get((name, reward))
    if idle:
        return idle.pop()
    made = importlib.import_module("metaworld.env_dict").ALL_V3_ENVIRONMENTS[name]
    return made(reward_function_version=reward)
