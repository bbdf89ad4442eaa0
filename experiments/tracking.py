"""Where metrics go: one JSON object per line in the run folder, and a wandb run beside it, offline by default."""

import json
import os
from pathlib import Path
from typing import Any

import wandb

from experiments.command import UserError

MODES = ("offline", "online", "disabled", "shared")


class JsonLines:
    """Append-only metrics.jsonl. After a crash, lines already written keep their bytes and are not written again."""

    def __init__(self, path: Path):
        """Open ``path``, dropping an incomplete last line."""
        whole = path.read_bytes() if path.exists() else b""
        complete = whole[: whole.rfind(b"\n") + 1]
        lines = complete.splitlines()
        last = json.loads(lines[-1]) if lines else {"iteration": 0, "time/seconds": 0.0}
        self.last_iteration, self.last_seconds = int(last["iteration"]), float(last["time/seconds"])
        self._file = open(path, "ab")  # noqa: SIM115 - held open as long as the run
        if len(complete) < len(whole):
            self._file.truncate(len(complete))

    def write(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Append the rows of later iterations than the last line's; returns those."""
        new = [row for row in rows if row["iteration"] > self.last_iteration]
        self._file.write(b"".join(json.dumps(row).encode() + b"\n" for row in new))
        self._file.flush()
        if new:
            self.last_iteration = new[-1]["iteration"]
        return new

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def start_wandb(run_dir: Path, config: dict[str, Any], *, agent: str, env: str, job_type: str) -> wandb.Run:
    """Begin a wandb run, offline unless WANDB_MODE says otherwise: no account, no login prompt, no network.

    A resumed run adds a segment with the same id.
    """
    os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")  # it takes our package called agents for a language model's
    settings = wandb.Settings(silent=True, console="off", save_code=False, disable_git=True, x_disable_stats=True)
    seed = config["settings"]["seed"]
    mode = os.environ.get("WANDB_MODE", "offline")
    if mode not in MODES:
        raise UserError(f"WANDB_MODE is {mode!r}; known: {', '.join(MODES)}.")
    run = wandb.init(
        project="metarl",
        dir=run_dir,
        id=config["wandb_id"] + ("" if job_type == "train" else f"-{job_type}"),
        name=f"{agent}-seed-{seed}-{job_type}",
        group=f"{agent}/{env}",
        job_type=job_type,
        config=config,
        mode=mode,  # type: ignore[arg-type]
        resume="allow",
        settings=settings,
    )
    run.define_metric("time/env_steps")
    run.define_metric("*", step_metric="time/env_steps")
    return run
