"""Environments in worker processes: each holds every W-th slot and steps its share while the others step theirs.

Gymnasium's `AsyncVectorEnv` starts one process per environment, hundreds for a meta-iteration, and forks a process in which JAX
runs threads. Here W processes are started afresh; they do not run the user's script again, so it needs no ``__main__`` guard.
"""

import os
import subprocess
import sys
import weakref
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

from envs.from_gymnasium.worker import HostError, Recipe

MAKING = 10  # times as long may a reset take, which may have to make all environments first
CODE = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from {} import serve; serve({})"


class Worker(NamedTuple):
    """A process and the pipe to it."""

    process: subprocess.Popen
    pipe: Connection


class Processes:
    """What `Environments` does, spread over processes. Not for several threads at once.

    Args:
        recipe: of the environments; what it refers to must be importable, or defined in the main script.
        num_workers: W.
        timeout: seconds that one step of a batch may take before the workers count as hanging.
    """

    def __init__(self, recipe: Recipe, num_workers: int, timeout: float):
        self.name, self.size, self.timeout = recipe.name, recipe.observed.size, timeout
        self.workers: list[Worker] = []
        self.close = weakref.finalize(self, _end, self.workers)  # called at exit, if not before
        try:
            message = cloudpickle.dumps(recipe)
        except Exception as error:
            raise HostError(
                f"{self.name}: cannot be sent to worker processes ({type(error).__name__}: {error}); use vectorization='sync'."
            ) from error
        self.workers += [_start() for _ in range(num_workers)]
        for index, worker in enumerate(self.workers):
            self._talk(index, worker.pipe.send_bytes, message)
        for index in range(num_workers):
            self._receive(index, MAKING)

    def reset(self, slots: list[int], seeds: np.ndarray, tasks: dict[str, np.ndarray]) -> np.ndarray:
        """See `Environments.reset`."""
        (observation,) = self._spread("reset", slots, seeds, tasks)
        return observation

    def step(self, slots: list[int], actions: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Environments.step`."""
        return self._spread("step", slots, actions)

    def _spread(self, method: str, slots: list[int], *arrays: Any) -> tuple[np.ndarray, ...]:
        """Ask every worker that holds some of the slots, then gather the answers in order."""
        places: dict[int, np.ndarray] = {}
        for index in range(len(self.workers)):
            mine = [i for i, slot in enumerate(slots) if slot % len(self.workers) == index]
            if mine:
                places[index] = np.asarray(mine)
                share = [_take(array, places[index]) for array in arrays]
                self._talk(index, self.workers[index].pipe.send, (method, [slots[i] for i in mine], *share))
        gathered: list[np.ndarray] = []
        for index, place in places.items():
            answer = self._receive(index, MAKING if method == "reset" else 1)
            parts = answer if isinstance(answer, tuple) else (answer,)
            gathered = gathered or [np.empty((len(slots), *part.shape[1:]), part.dtype) for part in parts]
            for whole, part in zip(gathered, parts, strict=True):
                whole[place] = part
        return tuple(gathered)

    def _receive(self, index: int, times: int) -> Any:
        pipe, seconds = self.workers[index].pipe, times * self.timeout
        if not self._talk(index, pipe.poll, seconds):
            raise HostError(
                f"{self.name}: worker process {index} of {len(self.workers)} gave no answer within {seconds:g} s; "
                "an environment hangs, or timeout is too short."
            )
        good, answer = self._talk(index, pipe.recv)
        if not good:
            raise HostError(answer if answer.startswith(self.name) else f"{self.name}: {answer}")
        return answer

    def _talk(self, index: int, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except (EOFError, OSError) as error:
            process = self.workers[index].process
            try:
                code = process.wait(timeout=5)
                how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            except subprocess.TimeoutExpired:
                how = "closed its pipe"
            raise HostError(
                f"{self.name}: worker process {index} of {len(self.workers)}, which holds every {len(self.workers)}th "
                f"sub-environment from {index} on, {how}."
            ) from error


def _take(array: Any, places: np.ndarray) -> Any:
    return {name: values[places] for name, values in array.items()} if isinstance(array, dict) else array[places]


def _start() -> Worker:
    ours, theirs = Pipe()
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)  # what this process can import, a worker can
    # Environments that use JAX must not take memory of the accelerator that training runs on.
    environ = {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}
    with theirs:
        handle = theirs.fileno()
        # -P: the paths say where the current folder comes, if it is one of them.
        command = [sys.executable, "-P", "-c", CODE.format(Recipe.__module__, handle)]
        process = subprocess.Popen(command, pass_fds=[handle], env=environ)
    return Worker(process, ours)


def _end(workers: list[Worker]) -> None:
    """End the workers; those that do not hear the pipe close within a second are killed."""
    for worker in workers:
        worker.pipe.close()
    for worker in workers:
        try:
            worker.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
