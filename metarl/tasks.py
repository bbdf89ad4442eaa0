"""A function of one task, applied to all tasks of a meta-iteration: batched, in micro-batches, over devices.

Tasks never exchange anything inside the function. Means over tasks are taken outside, on leaves [M, ...] that may be spread
over devices; the compiler then adds the sums between devices. Random keys belong to tasks, so results do not depend on how
tasks are spread, up to the order of summation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from metarl.interfaces import Tree

TASKS = "tasks"  # the mesh axis that tasks are spread over


class TaskMap(NamedTuple):
    """How a function ``(shared, one task's) -> results`` is applied to M tasks.

    Attributes:
        mesh: devices with an axis `TASKS` whose size divides M; None leaves all tasks on one device.
        batch_size: tasks worked on at once by each device, one micro-batch after another; all of them if None. What a task
            needs in passing is then held for ``batch_size`` tasks only.
    """

    mesh: Mesh | None = None
    batch_size: int | None = None

    def __call__(self, function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """``(shared, leaves [M, ...]) -> leaves [M, ...]``."""

        def all_here(shared, tasks):
            num_tasks = jax.tree.leaves(tasks)[0].shape[0]
            if self.batch_size is None or self.batch_size >= num_tasks:
                return jax.vmap(function, (None, 0))(shared, tasks)
            return jax.lax.map(lambda task: function(shared, task), tasks, batch_size=self.batch_size)

        if self.mesh is None:
            return all_here
        # Families and problems return constants that are the same for all tasks, which the check of what varies refuses.
        here = PartitionSpec(TASKS)
        return jax.shard_map(all_here, mesh=self.mesh, in_specs=(PartitionSpec(), here), out_specs=here, check_vma=False)

    def share(self, rows: Tree) -> Tree:
        """Ask the compiler to work on leaves [B, ...] where tasks are worked on, each device on its part of the rows.

        As they are where the devices do not divide B.
        """
        if self.mesh is None or jax.tree.leaves(rows)[0].shape[0] % self.mesh.shape[TASKS]:
            return rows
        return jax.lax.with_sharding_constraint(rows, NamedSharding(self.mesh, PartitionSpec(TASKS)))


ONE_BATCH = TaskMap()  # all tasks in one batch on one device


def mean_over_tasks(tree: Tree) -> Tree:
    """Leaves [M, ...] -> [...]."""
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), tree)
