"""Checkpoints with orbax: what a run must carry to continue exactly."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from experiments.command import UserError

KEEP = 3
KEY_OF_EVALUATION = 2**31 - 1  # evaluation draws the same random numbers for every agent and seed


def manager(run_dir: Path, *, writing: bool = False, keep: int | None = KEEP) -> ocp.CheckpointManager:
    """The run's checkpoints, numbered by completed meta-iterations; the newest ``keep`` are kept, or all if None.

    Only the process that holds the run's lock may open them for writing: that removes what a killed one left half written.
    """
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=writing, create=writing
    )
    return ocp.CheckpointManager((run_dir / "checkpoints").resolve(), options=options)


def newest(run_dir: Path) -> int:
    """Meta-iterations done at the newest checkpoint; -1 if there is none."""
    if not (run_dir / "checkpoints").is_dir():
        return -1
    with manager(run_dir) as checkpoints:
        step = checkpoints.latest_step()
    return -1 if step is None else step


def load(run_dir: Path, learner: Any) -> tuple[int, Any, int]:
    """The newest checkpoint of a run: (iteration, state, env_steps).

    Raises:
        UserError: there is none, or it does not fit the learner.
    """
    if newest(run_dir) < 0:
        raise UserError(f"{run_dir / 'checkpoints'} holds no checkpoint; train the run first.")
    with manager(run_dir) as checkpoints:
        return restore(checkpoints, learner)


def load_all(run_dir: Path, learner: Any) -> list[tuple[int, Any, int]]:
    """Every checkpoint that was kept, oldest first, as `load` gives the newest."""
    with manager(run_dir, keep=None) as checkpoints:
        return [restore(checkpoints, learner, step) for step in checkpoints.all_steps()]


def save(checkpoints: ocp.CheckpointManager, iteration: int, state: Any, env_steps: int) -> None:
    """Write the state after ``iteration`` meta-iterations. Random keys follow from the seed and the iteration."""
    content = {"state": state, "env_steps": np.asarray(env_steps, np.int64)}
    checkpoints.save(iteration, args=ocp.args.StandardSave(content), force=True)


def restore(checkpoints: ocp.CheckpointManager, learner: Any, iteration: int | None = None) -> tuple[int, Any, int]:
    """The checkpoint of an iteration, or the newest: (iteration, state, env_steps)."""
    iteration = checkpoints.latest_step() if iteration is None else iteration
    like = {"state": jax.eval_shape(learner.init, jax.random.key(0)), "env_steps": np.zeros((), np.int64)}
    try:
        content = checkpoints.restore(iteration, args=ocp.args.StandardRestore(like))
    except (ValueError, KeyError, FileNotFoundError) as error:
        first_line = str(error).splitlines()[0]
        raise UserError(f"checkpoint {iteration} in {checkpoints.directory} does not fit this agent: {first_line}") from error
    return iteration, content["state"], int(content["env_steps"])
