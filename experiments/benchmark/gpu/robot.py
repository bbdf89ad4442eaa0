"""A robot on MJX from the settings of its family, for some minutes, beside the curve that a CPU had."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.gpu.forms import CHEETAH
from experiments.benchmark.gpu.records import record
from experiments.cli.command_line import module_of
from experiments.evaluation import shipped
from experiments.runs.folder import load_json
from experiments.runs.metrics_file import sound_lines

REFERENCE = "HalfCheetahDir/promp"  # trained on native MuJoCo
LEAVE = 20.0  # seconds that a run may take to save itself
TINY = ("--num-tasks", "2", "--num-episodes", "2", "--horizon", "4", "--hidden-sizes", "8", "--num-iterations", "3")


def learning(out: Path, seconds: float, quick: bool) -> None:
    """Train until the time is up, then write the curve beside the CPU's at the same environment steps."""
    run_dir = out.parent / "robot"
    command = [sys.executable, "-m", module_of("train"), "--env", CHEETAH, "--agent", "promp", "--eval-tasks", "0"]
    command += ["--env-options", "backend=mjx", "iterations=4", "--run-dir", str(run_dir), "--overwrite"]
    quiet = os.environ | {"WANDB_MODE": "disabled"}
    with (out.parent / "robot.log").open("w") as log:
        run = subprocess.Popen([*command, *(TINY if quick else ())], stdout=log, stderr=subprocess.STDOUT, env=quiet)
        try:
            run.wait(timeout=max(seconds - LEAVE, 1.0))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGTERM)
            try:
                run.wait(timeout=LEAVE)
            except subprocess.TimeoutExpired:
                run.kill()
                run.wait()
    metrics = run_dir / "metrics.jsonl"
    lines = sound_lines(metrics.read_bytes())[1] if metrics.is_file() else []  # a run that was killed may leave half a line
    curves = load_json(shipped.FOLDER / REFERENCE / "curves.json")
    found: dict[str, Any] = {"exit_code": run.returncode, "reference": REFERENCE, "iterations": len(lines)}
    if lines:
        found |= beside(lines, next(iter(curves.values())))
    else:
        found["said"] = ((out.parent / "robot.log").read_text().strip().splitlines() or ["it said nothing"])[-1]
    record(out, found)


def beside(lines: list[dict[str, Any]], reference: dict[str, list[float]], points: int = 12) -> dict[str, Any]:
    """Returns after adaptation at some numbers of environment steps of both, and how fast this run was.

    The reference is interpolated, and None where it has no such steps.
    """
    steps = np.array([line["time/env_steps"] for line in lines])
    chosen = np.unique(np.linspace(0, len(lines) - 1, points).round().astype(int))
    theirs = np.interp(steps, reference["env_steps"], reference["post"], left=np.nan, right=np.nan)
    rows = [
        {
            "env_steps": float(steps[i]),
            "seconds": lines[i]["time/seconds"],
            "post": lines[i]["meta/post"],
            "reference": None if np.isnan(theirs[i]) else float(theirs[i]),
        }
        for i in chosen
    ]
    late = len(lines) // 2  # the first half compiles
    taken = lines[-1]["time/seconds"] - lines[late]["time/seconds"]
    speed = float((steps[-1] - steps[late]) / taken) if taken > 0 else None
    return {"rows": rows, "env_steps_per_second": speed, "last_post": lines[-1]["meta/post"]}
