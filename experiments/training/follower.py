"""Training in the processes of a group that are not the first: the same compiled calls, and nothing else."""

from collections.abc import Sequence

import jax
import numpy as np

from experiments.cli.signals import StopSignals
from experiments.training.loop import Execution, Finished, Schedule, calls
from experiments.training.program import compile_chunk
from experiments.training.seeds import batch_seeds, changes_of, of_seed
from metarl.interfaces import MetaLearner


def follow(learner: MetaLearner, seeds: Sequence[int], schedule: Schedule, execution: Execution) -> Finished:
    """Call what process 0 calls in `runner.run`, from the state that it begins with to where it stops."""
    group = execution.group
    one = jax.eval_shape(learner.init, jax.random.key(0))
    like = jax.tree.map(lambda leaf: np.zeros((len(seeds), *leaf.shape), leaf.dtype), one)
    begin, states, changes = group.broadcast((np.int64(0), like, changes_of([()] * len(seeds))))
    all_seeds = batch_seeds(learner, seeds, changes)
    iteration, received = int(begin), None
    with StopSignals() as signals:
        program = compile_chunk(
            all_seeds, states, schedule.log_every, execution.guard, execution.task_map, execution.memory_flags
        )
        group.meet()

        def decide(stop: int) -> int | None:
            nonlocal received
            stop, received = group.agree(stop, signals.received)
            if iteration % schedule.checkpoint_every == 0:  # process 0 has saved before it decided how to go on
                group.note_checkpoint(iteration)
            return None if received else stop

        for call in calls(program, states, iteration, schedule, decide=decide):
            iteration, states = call.reached, call.states
    return Finished([of_seed(states, i) for i in range(len(seeds))], iteration, received)
