"""What evaluated runs say of themselves, one row per agent, for the tables of studies."""

import statistics
from pathlib import Path
from typing import Any

from experiments.cli.errors import UserError
from experiments.reporting import comparison


def rows_of(*folders: Path) -> list[dict[str, Any]]:
    """One row per agent of run folders, or of folders that hold the runs of several seeds.

    Raises:
        UserError: a folder holds no evaluated meta-RL runs, or runs that cannot be pooled.
    """
    gathered = comparison.gather(folders)
    if gathered.supervised:
        raise UserError(f"{folders[0]} is a supervised run; this table is about returns.")
    return [_row(folders[0], agent, gathered.rows[agent], runs) for agent, runs in gathered.runs.items()]


def _row(folder: Path, agent: str, pooled: dict[str, Any], runs: list[comparison.Run]) -> dict[str, Any]:
    first = runs[0]
    last = [_evaluated(run) for run in runs]
    device = first.config.get("device") or {}
    return {
        "family": first.result["env"],
        "options": _options(first.config["settings"]),
        "agent": agent,
        "seeds": pooled["seeds"],
        "iterations": first.result["iteration"],
        "env_steps": max(int(line.get("time/env_steps", 0)) for line in last),
        "trained": [statistics.mean(returns) for returns in _tenths(runs) if returns],
        "minutes": max(line.get("time/seconds", 0.0) for line in last) / 60,
        "device": f"{device.get('count', 1)} x {device.get('kind', device.get('platform', 'unknown'))}",
        "adapts_by": pooled["adapts_by"],
        "num_tasks": first.result["num_tasks"],
        **{name: pooled[name] for name in ("episodes", "return_mean", "return_ci95", "greedy_mean", "hurt", "seed_means")},
        "run": str(folder),
    }


def _evaluated(run: comparison.Run) -> dict[str, Any]:
    """The line of metrics.jsonl of the iteration that was evaluated; training may have gone on since."""
    until = [line for line in run.lines if line["iteration"] <= run.result["iteration"]]
    return until[-1] if until else {}


def _options(settings: dict[str, Any]) -> list[str]:
    """What was given to the family's constructor."""
    horizon = settings.get("horizon")
    return ([] if horizon is None else [f"horizon={horizon}"]) + list(settings.get("env_options") or ())


def _tenths(runs: list[comparison.Run]) -> tuple[list[float], list[float]]:
    """Returns after adaptation in the first and in the last tenth of training, all seeds."""
    first: list[float] = []
    last: list[float] = []
    for run in runs:
        returns = [
            line["meta/post"] for line in run.lines if line["iteration"] <= run.result["iteration"] and "meta/post" in line
        ]
        count = max(len(returns) // 10, 1)
        first, last = first + returns[:count], last + returns[-count:]
    return first, last
