"""How the tasks of a meta-iteration are spread: over which devices, and how many at once on each."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import envs
from experiments.cli.errors import UserError
from metarl.tasks import TASKS, TaskMap


def choose_devices(
    asked: int | None, num_tasks: int, family: envs.TaskFamily | None = None, *, mixes_tasks: bool = False
) -> int:
    """How many devices of each process to use: those asked for, or as many as there are and share the tasks equally.

    Families whose physics runs on the host use one device unless more are asked for: they have threads of their own. So do
    agents whose updates mix the data of all tasks (``mixes_tasks``).

    Raises:
        UserError: there are fewer, tasks cannot be shared equally, or the family cannot be spread.
    """
    there, processes = jax.local_device_count(), jax.process_count()
    fits = [count for count in range(1, there + 1) if num_tasks % (count * processes) == 0]
    if processes > 1 and getattr(family, "on_host", False):
        raise UserError("--hosts: this family's environments live in one process; leave --hosts out.")
    if not fits:
        raise UserError(f"--num-tasks {num_tasks} cannot be shared equally by {processes} processes; give a multiple of it.")
    if asked is None:
        alone = mixes_tasks or (family is not None and calls_host(family))
        return 1 if alone else fits[-1]
    if asked > there:
        more = f" On a CPU, JAX_NUM_CPU_DEVICES={asked} makes as many." if jax.default_backend() == "cpu" else ""
        raise UserError(
            f"--devices is {asked}, but JAX sees {there} {jax.default_backend()} device(s); ask for fewer (a resumed run "
            f"asks for those it had).{more}"
        )
    if asked not in fits:
        of_each = "" if processes == 1 else f" of each of {processes} processes"
        raise UserError(
            f"--num-tasks {num_tasks} cannot be shared equally by --devices {asked}{of_each}; give a multiple of "
            f"{asked * processes}, or --devices {' or '.join(map(str, fits))}."
        )
    if asked > 1 and getattr(family, "on_host", False):
        raise UserError(f"--devices is {asked}, but this family's environments live in one process; leave --devices out.")
    return asked


def choose_batch(asked: int | None, family: envs.TaskFamily) -> int | None:
    """Tasks worked on at once by a device: as asked, or one at a time where that is faster; all if None.

    One at a time stays in a core's cache: on a CPU a meta-iteration of 20 tasks took two thirds of the time
    (``python -m experiments.benchmark``). An accelerator wants them all, and so does a host that is called once for all.
    """
    if asked is not None or jax.default_backend() != "cpu" or calls_host(family):
        return asked
    return 1


def calls_host(family: envs.TaskFamily) -> bool:
    """Whether a step of the family leaves the compiled program."""
    return family.calls_host


def spread(devices: int | None, task_batch: int | None = None) -> TaskMap:
    """Tasks over the first ``devices`` devices of each process, ``task_batch`` of them at once on each device."""
    chosen = [device for process in range(jax.process_count()) for device in jax.local_devices(process)[: devices or 1]]
    return TaskMap(None if len(chosen) == 1 else Mesh(np.array(chosen), (TASKS,)), task_batch)


def everywhere(task_map: TaskMap) -> NamedSharding | None:
    """Where parameters lie: a copy on every device; None where there is one."""
    return None if task_map.mesh is None else NamedSharding(task_map.mesh, PartitionSpec())


def place(tree: Any, task_map: TaskMap) -> Any:
    """Put ``tree`` where parameters lie."""
    sharding = everywhere(task_map)
    if sharding is None:
        return tree
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    # Every process has the same values; device_put would spend an all-gather per leaf on making sure.
    return jax.tree.map(lambda x: jax.make_array_from_callback(np.shape(x), sharding, np.asarray(x).__getitem__), tree)
