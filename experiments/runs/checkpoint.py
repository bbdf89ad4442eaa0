"""Checkpoints with orbax: what a run must carry to continue exactly, and only if every byte of it is as it was written."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cli.errors import UserError
from experiments.cli.later import Later
from experiments.runs import checkpoint_format as content_of
from experiments.runs.checkpoint_format import RunIdentity
from experiments.runs.folder import CONFIG, read_config
from experiments.runs.orbax_errors import first_line, os_error, quiet, reserve

if TYPE_CHECKING:
    import orbax.checkpoint as ocp
else:
    ocp = Later("orbax.checkpoint")

KEEP = 3
# Process 0 alone writes and reads, also where there are others: orbax must not wait for them.
ALONE: dict[str, Any] = {"primary_host": 0, "active_processes": {0}, "barrier_sync_key_prefix": "process-0"}
KEY_OF_EVALUATION = 2**31 - 1  # evaluation draws the same random numbers for every agent and seed
OVERHEAD = 2**16  # bytes that a checkpoint may need besides its arrays, more than its descriptions have
PER_ARRAY = 2**10  # and per array

State = tuple[int, Any, int]  # iteration, state, environment steps


class Damaged(Exception):
    """A checkpoint that cannot be read, or not as it was written."""


def manager(run_dir: Path, *, writing: bool = False, keep: int | None = KEEP) -> "ocp.CheckpointManager":
    """The run's checkpoints, numbered by completed meta-iterations; the newest ``keep`` are kept, or all if None.

    Only the process that holds the run's lock may open them for writing: that removes what a killed one left half written.
    """
    if writing:
        (run_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=writing,
        create=False,
        multiprocessing_options=ocp.options.MultiprocessingOptions(**ALONE),
    )
    with quiet():
        return ocp.CheckpointManager((run_dir / "checkpoints").resolve(), options=options)


def newest(run_dir: Path) -> int:
    """Meta-iterations done at the newest checkpoint, sound or not; -1 if there is none."""
    if not (run_dir / "checkpoints").is_dir():
        return -1
    with manager(run_dir) as checkpoints:
        return max(checkpoints.all_steps(), default=-1)


def newest_sound(run_dir: Path, learner: Any) -> int:
    """Meta-iterations done at the newest checkpoint that is sound; -1 if there is none."""
    if newest(run_dir) < 0:
        return -1
    with manager(run_dir) as checkpoints:
        found, _ = search(checkpoints, learner, checkpoints.all_steps(), agent=_agent(run_dir))
    return found[0] if found else -1


def load(run_dir: Path, learner: Any) -> State:
    """The newest sound checkpoint of a run: (iteration, state, env_steps). Warns of newer ones that are damaged.

    Raises:
        UserError: there is none, or it does not fit the learner.
    """
    if newest(run_dir) < 0:
        raise UserError(f"{run_dir / 'checkpoints'} holds no checkpoint; train the run first.")
    with manager(run_dir) as checkpoints:
        found, damaged = search(checkpoints, learner, checkpoints.all_steps(), agent=_agent(run_dir))
    if found is None:
        raise UserError(none_sound(checkpoints, damaged))
    for iteration, reason in damaged.items():
        warn(f"checkpoint {iteration} in {checkpoints.directory} is damaged ({reason}); using checkpoint {found[0]} instead.")
    return found


def load_all(run_dir: Path, learner: Any) -> list[State]:
    """Every sound checkpoint that was kept, oldest first, as `load` gives the newest. Warns of damaged ones."""
    found = []
    with manager(run_dir, keep=None) as checkpoints:
        for iteration in sorted(checkpoints.all_steps()):
            try:
                found.append(restore(checkpoints, learner, iteration, agent=_agent(run_dir)))
            except Damaged as error:
                warn(f"checkpoint {iteration} in {checkpoints.directory} is damaged ({error}); it is left out.")
    return found


def search(
    checkpoints: "ocp.CheckpointManager", learner: Any, iterations: Sequence[int], **expected: Any
) -> tuple[State | None, dict[int, str]]:
    """The newest sound one of some checkpoints, or None; and the damaged ones that are newer: iteration -> reason."""
    damaged: dict[int, str] = {}
    for iteration in sorted(iterations, reverse=True):
        try:
            return restore(checkpoints, learner, iteration, **expected), damaged
        except Damaged as error:
            damaged[iteration] = str(error)
    return None, damaged


def save(checkpoints: "ocp.CheckpointManager", iteration: int, state: Any, env_steps: int, identity: RunIdentity) -> None:
    """Write the state after ``iteration`` meta-iterations.

    Raises:
        OSError: the disk is full or fails; checkpoints written before are as they were.
    """
    content = content_of.arrays(iteration, state, env_steps, identity)
    about = content_of.describe(content, identity)
    reserve(Path(checkpoints.directory), sum(x.nbytes + PER_ARRAY for x in jax.tree.leaves(content)) + OVERHEAD)
    parts = ocp.args.Composite(arrays=ocp.args.StandardSave(content), about=ocp.args.JsonSave(about))
    with quiet():
        try:
            checkpoints.save(iteration, args=parts, force=True)
        except (ValueError, RuntimeError) as error:
            refused = os_error(error)
            if refused is None:
                raise
            raise refused from error


def restore(
    checkpoints: "ocp.CheckpointManager",
    learner: Any,
    iteration: int,
    *,
    agent: str | None = None,
    identity: RunIdentity | None = None,
) -> State:
    """The checkpoint of an iteration: (iteration, state, env_steps).

    Args:
        checkpoints: of the run.
        learner: what it is a state of.
        iteration: which.
        agent: what the learner is called, if known.
        identity: the run that goes on from it, if one does.

    Raises:
        Damaged: it is not as it was written.
        UserError: it is sound, but not of this learner or run.
    """
    where = f"checkpoint {iteration} in {checkpoints.directory}"
    if (Path(checkpoints.directory) / str(iteration) / "default").is_dir():
        raise UserError(f"{where} is of an older version of metarl, without a checksum; train the run again with --overwrite.")
    about = _read(checkpoints, iteration, "about", ocp.args.JsonRestore())
    if not isinstance(about, dict) or about.get("digest") != content_of.digest(about):
        raise Damaged("its description has changed")
    try:
        template = content_of.like(learner)
    except (MemoryError, ValueError) as error:
        if isinstance(error, ValueError) and "Maximum allowed dimension" not in str(error) and "too big" not in str(error):
            raise
        raise UserError(
            f"{where} does not fit: the run's settings ask for more than memory holds ({first_line(error)})."
        ) from error
    trouble = content_of.difference(about["arrays"], content_of.shapes(template))
    agent = identity.agent if identity else agent
    if agent not in (None, about["agent"]):
        trouble = f"it is of --agent {about['agent']}, this run of {agent}" + (f"; {trouble}" if trouble else "")
    if trouble:
        raise UserError(f"{where} does not fit: {trouble}. Give the settings that it was trained with, or another --run-dir.")
    content = _read(checkpoints, iteration, "arrays", ocp.args.StandardRestore(template))
    if content_of.checksum(content) != about["checksum"]:
        raise Damaged("its checksum differs")
    if identity is not None:
        _refuse_another_run(where, about, content, identity)
    return iteration, jax.tree.map(jnp.asarray, content["state"]), int(content["env_steps"])


def _refuse_another_run(where: str, about: dict[str, Any], content: dict[str, Any], identity: RunIdentity) -> None:
    """Refuse to go on from a checkpoint of another run, or with other random numbers than it was trained with."""
    for name, value in identity._asdict().items():
        if about[name] != value:
            raise UserError(f"{where} is of another run: its {name} is {about[name]}, this run's {value}; give its own folder.")
    if not np.array_equal(content["key"], content_of.key_data(identity.seed)):
        raise UserError(
            f"{where} was trained with another random stream than --seed {identity.seed} gives here: use the versions and "
            f"settings of JAX that {CONFIG} names, or give another --run-dir."
        )


def none_sound(checkpoints: "ocp.CheckpointManager", damaged: dict[int, str]) -> str:
    """The message where no checkpoint is left to go on from."""
    reasons = ", ".join(f"{iteration}: {reason}" for iteration, reason in damaged.items())
    return (
        f"every checkpoint in {checkpoints.directory} is damaged ({reasons}); restore one from a copy, or --overwrite the run."
    )


def set_aside(checkpoints: "ocp.CheckpointManager", iteration: int) -> None:
    """Rename a damaged checkpoint, so that its iteration can be written again. Only for the holder of the run's lock."""
    path = Path(checkpoints.directory) / str(iteration)
    aside = path.with_name(f"{iteration}.damaged")
    if aside.exists():
        shutil.rmtree(aside)
    path.rename(aside)
    checkpoints.reload()


def warn(message: str) -> None:
    """One line on stderr."""
    print(f"warning: {message}", file=sys.stderr, flush=True)


def _agent(run_dir: Path) -> str | None:
    return read_config(run_dir)["settings"].get("agent") if (run_dir / CONFIG).is_file() else None


def _read(checkpoints: "ocp.CheckpointManager", iteration: int, part: str, how: Any) -> Any:
    """A part of a checkpoint. What stands in the way is damage, but for what the operating system forbids."""
    with quiet():
        try:
            return checkpoints.restore(iteration, args=ocp.args.Composite(**{part: how}))[part]
        except Exception as error:  # damaged files fail in many ways
            if isinstance(error, PermissionError) or "PERMISSION_DENIED" in str(error):
                raise UserError(
                    f"checkpoint {iteration} in {checkpoints.directory} may not be read: {first_line(error)}"
                ) from error
            raise Damaged(f"its {part} cannot be read: {first_line(error)}") from error
