"""Training in the processes of a group that are not the first: the same compiled calls, and nothing else."""

from collections.abc import Sequence

import jax
import numpy as np

from experiments.cli.signals import StopSignals
from experiments.distributed import group
from experiments.training.loop import Execution, Finished, Schedule
from experiments.training.program import compile_chunk
from experiments.training.seeds import of_seed, together
from metarl.interfaces import MetaLearner


def follow(learner: MetaLearner, seeds: Sequence[int], schedule: Schedule, execution: Execution) -> Finished:
    """Call what process 0 calls in `runner.run`, from the state that it begins with to where it stops."""
    all_seeds = together(learner, seeds)
    one = jax.eval_shape(learner.init, jax.random.key(0))
    like = jax.tree.map(lambda leaf: np.zeros((len(seeds), *leaf.shape), leaf.dtype), one)
    begin, states = group.broadcast((np.int64(0), like))
    iteration, received = int(begin), None
    with StopSignals() as signals:
        program = compile_chunk(all_seeds, states, schedule.log_every, execution.guard, execution.over_tasks, execution.savers)
        group.meet()
        while iteration < schedule.num_iterations:
            stop, received = group.agree(0, signals.received)
            if iteration % schedule.checkpoint_every == 0:  # process 0 has saved before it decided how to go on
                group.note_checkpoint(iteration)
            if received:
                break
            states, _, _, reached = jax.device_get(program.call(states, iteration, stop))
            iteration = int(reached)
    return Finished([of_seed(states, i) for i in range(len(seeds))], iteration, received)
