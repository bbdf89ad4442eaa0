"""Environments that are stepped by slot, in this process or in a worker process. NumPy only, no jax.

An environment has a number, its slot, and is made when the slot is first reset. An ended one is simply not stepped any more, so
no autoreset can leak the next episode into the last one.
"""

import contextlib
import pickle
import signal
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from envs.from_gymnasium.spaces import Misshapen, Observed, read_actions


class HostError(RuntimeError):
    """An environment on the host failed; the message is one line that names it."""


class Recipe(NamedTuple):
    """How an environment is made and its task applied; pickled to worker processes.

    Attributes:
        name: of the environment, for messages.
        make: render_mode -> env.
        apply_task: a function ``(env, task) -> None``, or "options", "set_task" or "attributes".
        observed: env's observation -> [O] float32.
        action_space: the environment's own.
        measures: keys of the steps' info that are measured.
    """

    name: str
    make: Callable[[str | None], gymnasium.Env]
    apply_task: str | Callable[[gymnasium.Env, dict[str, Any]], None]
    observed: Observed
    action_space: gymnasium.Space
    measures: tuple[str, ...] = ()


def task_of(tasks: Mapping[str, np.ndarray], index: int) -> dict[str, Any]:
    """One task of many, leaves [B, ...]: Python numbers where a field has no axes."""
    return {name: values[index].item() if values.ndim == 1 else np.array(values[index]) for name, values in tasks.items()}


def begin(env: gymnasium.Env, apply_task: Any, task: dict[str, Any], seed: int) -> Any:
    """Set the task and reset; the first observation as the environment gives it."""
    if apply_task == "options":
        return items(env.reset(seed=seed, options=dict(task)), 2)[0]
    if apply_task == "set_task":
        env.get_wrapper_attr("set_task")(task)
    elif apply_task == "attributes":
        for name, value in task.items():
            setattr(env.unwrapped, name, value)
    else:
        apply_task(env, task)
    return items(env.reset(seed=seed), 2)[0]


def items(answer: Any, expected: int) -> Any:
    """What ``reset`` (2 items) or ``step`` (5) gives, once it is known to be that, and not a bare observation."""
    if not isinstance(answer, tuple | list):
        raise Misshapen(f"a {type(answer).__name__}, expected {expected} items, from observation to info")
    if len(answer) != expected:
        raise Misshapen(f"{len(answer)} items, expected {expected}, from observation to info")
    if not isinstance(answer[-1], Mapping):
        raise Misshapen(f"a {type(answer[-1]).__name__} as info, expected {expected} items of which the last is a dict")
    return answer


def measured(names: tuple[str, ...], info: Mapping[str, Any]) -> list[float]:
    """The numbers of a step's info under these names."""
    found = []
    for name in names:
        if name not in info:
            raise Misshapen(f"no info[{name!r}], which measures asks of every step; it has {_keys(info)}")
        value = info[name]
        if np.ndim(value) or np.asarray(value).dtype.kind not in "biuf":
            raise Misshapen(f"{value!r} as info[{name!r}], which measures expects to be one number or bool")
        found.append(float(value))
    return found


def _keys(info: Mapping[str, Any]) -> str:
    return ", ".join(map(str, info)) or "no keys"


class Environments:
    """Environments by slot, each reset and stepped on its own."""

    def __init__(self, recipe: Recipe, render_mode: str | None = None):
        self.recipe, self.render_mode = recipe, render_mode
        self.envs: dict[int, gymnasium.Env] = {}
        self.tasks: dict[int, dict[str, Any]] = {}

    def reset(self, slots: list[int], seeds: np.ndarray, tasks: dict[str, np.ndarray]) -> np.ndarray:
        """Begin an episode in each slot: observations [B, O]."""
        observation = np.empty((len(slots), self.recipe.observed.size), np.float32)
        for i, slot in enumerate(slots):
            self.tasks[slot] = task_of(tasks, i)
            try:
                if slot not in self.envs:
                    self.envs[slot] = self.recipe.make(self.render_mode)
                first = begin(self.envs[slot], self.recipe.apply_task, self.tasks[slot], int(seeds[i]))
                observation[i] = self.recipe.observed(first)
            except (Exception, SystemExit) as error:
                raise self._failed("reset", slot, error) from error
        return observation

    def step(self, slots: list[int], actions: np.ndarray) -> tuple[np.ndarray, ...]:
        """Step each slot: observation [B, O], reward [B], terminated [B], truncated [B], and what is measured [B, Q]."""
        observation = np.empty((len(slots), self.recipe.observed.size), np.float32)
        reward = np.empty(len(slots), np.float32)
        info = np.empty((len(slots), len(self.recipe.measures)), np.float32)
        terminated, truncated = np.empty((2, len(slots)), bool)
        actions = read_actions(self.recipe.action_space, actions)
        for i, slot in enumerate(slots):
            env = self.envs[slot]
            try:
                seen, reward[i], terminated[i], truncated[i], told = items(env.step(actions[i]), 5)
                observation[i] = self.recipe.observed(seen)
                info[i] = measured(self.recipe.measures, told)
            except (Exception, SystemExit) as error:
                raise self._failed("step", slot, error) from error
        return observation, reward, terminated, truncated, info

    def render(self, slot: int) -> np.ndarray:
        """The picture [height, width, 3] of a slot made with "rgb_array"."""
        try:
            return np.asarray(self.envs[slot].render())
        except Exception as error:
            raise self._failed("render", slot, error) from error

    def close(self) -> None:
        """Close all; what a broken environment raises then is not news."""
        for env in self.envs.values():
            with contextlib.suppress(Exception):
                env.close()
        self.envs.clear()

    def _failed(self, call: str, slot: int, error: BaseException) -> HostError:
        if isinstance(error, Misshapen):
            return HostError(f"{self._who(call, slot)} gives {error}.")
        lines = str(error).strip().splitlines()
        what = f"{type(error).__name__}: {lines[0] if lines else ''}"
        return HostError(f"{self._who(call, slot)} raises {what}{_where(error)}")

    def _who(self, call: str, slot: int) -> str:
        return f"{self.recipe.name}: {call} of sub-environment {slot} with task {self.tasks[slot]}"


def _where(error: BaseException) -> str:
    """The innermost line of a user's own code, if there is one."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)[1:] if "site-packages" not in frame.filename]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def serve(handle: int) -> None:
    """A worker process: do what the pipe asks until it closes, which it also does when the other side is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other side, which then closes the pipe
    pipe = Connection(handle)
    try:
        environments = Environments(pickle.loads(pipe.recv_bytes()))
        pipe.send((True, None))
        while True:
            method, *arguments = pipe.recv()
            try:
                answer = True, getattr(environments, method)(*arguments)
            except HostError as error:
                answer = False, str(error)
            pipe.send(answer)
    except (EOFError, OSError):
        pass
    except Exception as error:  # the recipe cannot be read here, such as a module that only the other side finds
        pipe.send((False, f"a worker process cannot begin: {type(error).__name__}: {error}"))
