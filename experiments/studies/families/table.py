"""The table of families: its rows, which runs say of themselves, for a file and for the terminal."""

import statistics
from pathlib import Path
from typing import Any

from experiments.cli.errors import UserError
from experiments.reporting import comparison
from experiments.reporting.tables import Table, counted, estimates, number
from experiments.studies.families.family_settings import PUBLISHED

HEADINGS = (
    "family",
    "agent (seeds)",
    "iterations",
    "env steps",
    "time, device",
    "in training, first to last",
    "return before",
    "return after",
    "published",
)
UNITS = {"memory": "episode", "nothing": "episode"}  # of what an agent takes on a new task; other agents take steps
NOTE = (
    "Returns are means over held-out tasks with 95 % bootstrap intervals, after so many inner steps, or episodes before "
    'the one that is counted; "in training" is the return after adaptation on training tasks, over the first and the last '
    "tenth of the iterations. Environment steps are those of one seed; seeds trained together share their minutes."
)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """One row per agent of a run folder, or of a folder that holds the runs of several seeds.

    Raises:
        UserError: the folder holds no evaluated meta-RL runs, or runs that cannot be pooled.
    """
    gathered = comparison.gather((folder,))
    if gathered.supervised:
        raise UserError(f"{folder} is a supervised run; the table of families is about returns.")
    return [_row(folder, agent, gathered.rows[agent], runs) for agent, runs in gathered.runs.items()]


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
        "trained": [statistics.mean(returns) for returns in _tenths(runs)],
        "minutes": max(line.get("time/seconds", 0.0) for line in last) / 60,
        "device": f"{device.get('count', 1)} x {device.get('kind', device.get('platform', 'unknown'))}",
        "adapts_by": pooled["adapts_by"],
        "num_tasks": first.result["num_tasks"],
        **{name: pooled[name] for name in ("episodes", "return_mean", "return_ci95")},
        "published": PUBLISHED.get(first.result["env"]),
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


def sort(rows: list[dict[str, Any]], families: list[str]) -> list[dict[str, Any]]:
    """Rows in the order of ``families``, other families after them; a family without a row gets one that says so."""
    there = {row["family"] for row in rows}
    rows = [*rows, *({"family": id, "agent": None} for id in families if id not in there)]
    place = {id: i for i, id in enumerate([*families, *sorted(there - set(families))])}
    return sorted(rows, key=lambda row: place[row["family"]])


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """The row as text; several points of "return after" are separated by line ends."""
    if row["agent"] is None:
        return (row["family"], "not run", *[""] * (len(HEADINGS) - 3), PUBLISHED.get(row["family"]) or "")
    means = estimates(row["return_mean"], row["return_ci95"])
    unit = UNITS.get(row["adapts_by"], "step")
    after = [f"{counted(k, unit)}: {mean}" for k, mean in enumerate(means) if k]
    agent = f"{row['agent']} ({len(row['seeds'])})"
    steps = f"{row['env_steps'] / 1e6:.1f} M"
    training = f"{row['minutes']:.1f} min, {row['device']}"
    family = "\n".join([row["family"], *row["options"]])
    trained = " to ".join(map(number, row["trained"]))
    return family, agent, str(row["iterations"]), steps, training, trained, means[0], "\n".join(after), row["published"] or ""


def wide(rows: list[dict[str, Any]]) -> Table:
    """Every column, for a file."""
    return Table(HEADINGS, [cells(row) for row in rows], caption=NOTE)


def narrow(rows: list[dict[str, Any]]) -> Table:
    """For the terminal: mean returns before adaptation, after one step and after the last."""
    lines = []
    for row in rows:
        name = row["family"].removeprefix("metarl/").removesuffix("-v0")
        if row["agent"] is None:
            lines.append((name, "not run", "", "", "", ""))
            continue
        mean = row["return_mean"]
        shown = [number(mean[k]) if k < len(mean) else "" for k in (0, 1)]
        lines.append((name, row["agent"], f"{row['minutes']:.1f}", *shown, f"{len(mean) - 1}: {number(mean[-1])}"))
    headings = ("family", "agent", "minutes", "before", "after 1", "after the last")
    return Table(headings, lines, "Held-out returns", words=(0, 1))
