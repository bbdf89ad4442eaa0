"""Where the training of one seed goes: metrics.jsonl, checkpoints and the wandb run of its folder."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from orbax.checkpoint import CheckpointManager

from experiments import checkpoint, tracking
from experiments.tracking import JsonLines


class Outputs(NamedTuple):
    """What one seed's run writes to, open."""

    seed: int
    lines: JsonLines
    checkpoints: CheckpointManager
    wandb_run: Any

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Rows of metrics, to the file and to wandb; those that an interrupted run has already written are left out."""
        for row in self.lines.write(rows):
            self.wandb_run.log(row)

    def save(self, iteration: int, state: Any, env_steps: int) -> None:
        """A checkpoint; none where the run has been further before, as one of several seeds may have been alone."""
        latest = self.checkpoints.latest_step()
        if latest is None or iteration > latest:
            checkpoint.save(self.checkpoints, iteration, state, env_steps)


@contextmanager
def open_outputs(
    run_dir: Path, described: dict[str, Any], *, agent: str, env: str, keep: int | None = checkpoint.KEEP
) -> Iterator[Outputs]:
    """Open all of them, and close them at the end.

    Args:
        run_dir: the run's folder, whose lock the caller holds.
        described: its config.json.
        agent: for wandb.
        env: for wandb.
        keep: how many of the newest checkpoints stay; all if None.
    """
    wandb_run = tracking.start_wandb(run_dir, described, agent=agent, env=env, job_type="train")
    try:
        with (
            checkpoint.manager(run_dir, writing=True, keep=keep) as checkpoints,
            closing(JsonLines(run_dir / "metrics.jsonl")) as lines,
        ):
            yield Outputs(described["settings"]["seed"], lines, checkpoints, wandb_run)
    finally:
        tracking.finish(wandb_run, run_dir)
