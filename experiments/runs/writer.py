"""Where the training of one seed goes: metrics.jsonl, checkpoints and the wandb run of its folder."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.cli.errors import UserError
from experiments.cli.luxuries import luxury
from experiments.runs import checkpoint, wandb_run
from experiments.runs.checkpoint_format import RunIdentity
from experiments.runs.folder import CONFIG, write_json
from experiments.runs.metrics_file import JsonLines
from experiments.runs.strangers import MAX_REKEYED
from experiments.runs.sweep_folder import combination_of

if TYPE_CHECKING:
    from orbax.checkpoint import CheckpointManager


class RunWriter(NamedTuple):
    """What one seed's run writes to, open."""

    seed: int
    identity: RunIdentity
    run_config: dict[str, Any]
    lines: JsonLines
    checkpoints: "CheckpointManager"
    wandb_run: Any

    @property
    def combination(self) -> str | None:
        """The settings that the run has in a sweep; None if it belongs to none."""
        return combination_of(self.lines.path.parent)

    @property
    def called(self) -> str:
        """The seed and, in a sweep, the settings."""
        return str(self.seed) if self.combination is None else f"{self.seed} of {self.combination}"

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Rows of metrics, to the file and to wandb; those that an interrupted run has already written are left out."""
        with self._or_stop(self.lines.path):
            new = self.lines.write(rows)
        for row in new:
            with luxury("a line of metrics in wandb"):
                self.wandb_run.log(row)

    def describe(self, program: dict[str, Any]) -> None:
        """Note what the compiled program costs, in config.json and in wandb: that of the newest start."""
        self.note("program", program)

    def note(self, name: str, value: Any) -> None:
        """Put a value into config.json and into wandb's."""
        self.run_config[name] = value
        write_json(self.lines.path.parent / CONFIG, self.run_config)
        with luxury(f"{name} in wandb"):
            self.wandb_run.config.update({name: value}, allow_val_change=True)

    def save(self, iteration: int, state: Any, env_steps: int) -> None:
        """A checkpoint; none where the run has been further before, as one of several seeds may have been alone."""
        latest = self.checkpoints.latest_step()
        if latest is None or iteration > latest:
            with self._or_stop(self.lines.path):
                self.lines.sync()  # or a power cut could leave a checkpoint without the lines that lead to it
            with self._or_stop(Path(self.checkpoints.directory) / str(iteration)):
                checkpoint.save(self.checkpoints, iteration, state, env_steps, self.identity)

    def rekey(self, iteration: int) -> bool:
        """Note in config.json that this run draws other random numbers from an iteration (counted from 0) on.

        Lines of metrics that were written with the earlier ones are removed. False where it has done so too often: then what
        stops it is not chance.
        """
        rekeyed = [*self.run_config.get("rekeyed", ()), iteration]
        if len(rekeyed) > MAX_REKEYED:
            return False
        self.run_config["rekeyed"] = rekeyed
        write_json(self.lines.path.parent / CONFIG, self.run_config)
        self.lines.forget(iteration)
        return True

    @contextmanager
    def _or_stop(self, path: Path) -> Iterator[None]:
        """Stop with one line where the disk is full or fails."""
        try:
            yield
        except OSError as error:
            latest = self.checkpoints.latest_step()
            left = (
                "no checkpoint was written yet"
                if latest is None
                else f"the last good checkpoint, iteration {latest}, is intact"
            )
            free = shutil.disk_usage(self.checkpoints.directory).free
            raise UserError(
                f"{path} cannot be written: {error.strerror or error} ({free / 1e6:,.1f} MB free). Training stopped; {left}. "
                "Free some space, then go on with --resume."
            ) from error


@contextmanager
def open_writer(
    run_dir: Path, run_config: dict[str, Any], *, agent: str, env: str, keep: int | None = checkpoint.KEEP
) -> Iterator[RunWriter]:
    """Open all of them, and close them at the end.

    Args:
        run_dir: the run's folder, whose lock the caller holds.
        run_config: its config.json.
        agent: for wandb.
        env: for wandb.
        keep: how many of the newest checkpoints stay; all if None.
    """
    identity = RunIdentity(agent, env, run_config["wandb_id"], run_config["settings"]["seed"])
    run = wandb_run.start_or_do_without(run_dir, run_config, agent=agent, env=env, job_type="train")
    try:
        with (
            checkpoint.manager(run_dir, writing=True, keep=keep) as checkpoints,
            closing(JsonLines(run_dir / "metrics.jsonl")) as lines,
        ):
            yield RunWriter(identity.seed, identity, run_config, lines, checkpoints, run)
    except BaseException:
        with suppress(Exception):  # the disk may be full: what stopped the run is what to say
            wandb_run.finish(run, run_dir)
        raise
    with luxury("the end of the run in wandb"):
        wandb_run.finish(run, run_dir)
