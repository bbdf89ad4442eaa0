"""How the tasks of a meta-iteration are spread: over which devices, and how many at once on each."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import envs
from experiments.command import UserError
from metarl.tasks import TASKS, OverTasks


def choose_devices(asked: int | None, num_tasks: int, family: envs.TaskFamily | None = None) -> int:
    """How many local devices to use: those asked for, or as many as there are and share the tasks equally.

    Families whose physics runs on the host share one device unless more are asked for: they have threads of their own.

    Raises:
        UserError: there are fewer, tasks cannot be shared equally, or the family cannot be spread.
    """
    there = jax.local_device_count()
    if asked is None:
        alone = family is not None and calls_host(family)
        return 1 if alone else max(count for count in range(1, there + 1) if num_tasks % count == 0)
    if asked > there:
        more = f" On a CPU, JAX_NUM_CPU_DEVICES={asked} makes as many." if jax.default_backend() == "cpu" else ""
        raise UserError(f"--devices is {asked}, but JAX sees {there} {jax.default_backend()} device(s); ask for fewer.{more}")
    if num_tasks % asked:
        fits = [count for count in range(1, there + 1) if num_tasks % count == 0]
        raise UserError(
            f"--num-tasks {num_tasks} cannot be shared equally by --devices {asked}; give a multiple of {asked}, "
            f"or --devices {' or '.join(map(str, fits))}."
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

    def step(key):
        task = family.sample_task(key)
        state = family.initial(key, task)
        action = jnp.zeros(family.action_space.shape, family.action_space.dtype)
        return family.transition(state, action, key, task)

    return "callback" in str(jax.make_jaxpr(step)(jax.random.key(0)))


def spread(devices: int | None, task_batch: int | None = None) -> OverTasks:
    """Tasks over the first ``devices`` local devices, ``task_batch`` of them at once on each."""
    if devices is None or devices == 1:
        return OverTasks(None, task_batch)
    return OverTasks(Mesh(np.array(jax.local_devices()[:devices]), (TASKS,)), task_batch)


def everywhere(over_tasks: OverTasks) -> NamedSharding | None:
    """Where parameters lie: a copy on every device; None where there is one."""
    return None if over_tasks.mesh is None else NamedSharding(over_tasks.mesh, PartitionSpec())


def place(tree: Any, over_tasks: OverTasks) -> Any:
    """Put ``tree`` where parameters lie."""
    sharding = everywhere(over_tasks)
    return tree if sharding is None else jax.device_put(tree, sharding)
