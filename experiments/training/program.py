"""The compiled call of the outer loop: up to `MAX_BLOCKS` blocks of meta-iterations, compiled once for all calls of a run."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.training import cost
from experiments.training.devices import everywhere, place
from experiments.training.memory import refuse_too_large
from experiments.training.nonfinite import Guard
from experiments.training.seeds import SeedBatch
from metarl.tasks import TaskMap

MAX_BLOCKS = 1000  # rows a compiled call can return


class Program(NamedTuple):
    """What is called, and what it cost to make.

    Attributes:
        call: ``(states, start, stop) -> (states, sums {name: [MAX_BLOCKS, S]}, counted [MAX_BLOCKS, S], reached)``, over
            iterations start..stop-1. Metrics are summed within each block over the iterations that count.
        compile_seconds: tracing and compiling, or finding it in the cache.
        memory_bytes: what a call needs, predicted by the compiler, on each device (on a CPU: on all).
        flops: operations of one meta-iteration of all seeds, counted as `experiments.training.cost` says.
        matmul_bytes: of operands and results of its matrix products.
    """

    call: Callable
    compile_seconds: float
    memory_bytes: int
    flops: float
    matmul_bytes: float

    def summary(self) -> str:
        """A line about what it cost."""
        work = f"{self.flops / 1e9:.3g} GFLOP and {self.matmul_bytes / 1e9:.3g} GB in and out of matrix products"
        return f"compiled in {self.compile_seconds:.1f} s; needs {self.memory_bytes / 2**20:,.1f} MiB; a meta-iteration: {work}"

    def description(self) -> dict[str, float]:
        """The same for config.json and wandb."""
        return {
            "compile_seconds": round(self.compile_seconds, 3),
            "memory_bytes": self.memory_bytes,
            "flops_per_iteration": self.flops,
            "matmul_bytes_per_iteration": self.matmul_bytes,
        }


def make_chunk(all_seeds: SeedBatch, log_every: int, guard: Guard) -> Callable:
    """`Program.call` before it is compiled, whose first argument is the seeds' ``streams``.

    How far to go is an argument, so one compilation serves every call.

    Random keys follow from the seed and the iteration: results do not depend on how iterations are grouped into calls.
    """
    step = jax.jit(all_seeds.step)

    def chunk(streams, states, start, stop):
        _, like = jax.eval_shape(step, streams, states, start)
        sums = {name: jnp.zeros((MAX_BLOCKS, *metric.shape), metric.dtype) for name, metric in like.items()}
        counted = jnp.zeros((MAX_BLOCKS, *next(iter(like.values())).shape), jnp.int32)

        def unfinished(carry):
            *_, iteration, go_on = carry
            return (iteration < stop) & go_on

        def body(carry):
            before, sums, counted, iteration, _ = carry
            states, metrics, counts, go_on = guard(before, *step(streams, before, iteration))
            block = (iteration - start) // log_every
            sums = {name: sums[name].at[block].add(metrics[name]) for name in sums}
            return states, sums, counted.at[block].add(counts), iteration + 1, go_on

        states, sums, counted, iteration, _ = jax.lax.while_loop(
            unfinished, body, (states, sums, counted, start, jnp.asarray(True))
        )
        return states, sums, counted, iteration

    return chunk


def compile_chunk(
    all_seeds: SeedBatch, states: Any, log_every: int, guard: Guard, task_map: TaskMap, memory_flags: str = "fewer tasks"
) -> Program:
    """Compile it for ``states``, and refuse it where there is not enough memory for it; ``memory_flags`` is what to try then.

    Raises:
        UserError: it needs more memory than there is.
    """
    began = time.monotonic()
    where = everywhere(task_map)
    index = jax.ShapeDtypeStruct((), jnp.int32, sharding=where)
    shaped = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
    like = jax.tree.map(shaped, (all_seeds.streams, states))
    chunk = jax.jit(make_chunk(all_seeds, log_every, guard), out_shardings=where)
    compiled = chunk.lower(*like, index, index).compile()
    work = cost.count(chunk, *like, index, index)  # the body of its loop, one meta-iteration, counts once
    memory = refuse_too_large(compiled, 1 if task_map.mesh is None else task_map.mesh.local_mesh.size, memory_flags)

    def call(states, start: int, stop: int):
        return compiled(*place((all_seeds.streams, states, np.int32(start), np.int32(stop)), task_map))

    return Program(call, time.monotonic() - began, memory, work.total, work.product_bytes)
