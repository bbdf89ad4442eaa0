"""The table of families: its rows, which runs say of themselves, for a file and for the terminal."""

from pathlib import Path
from typing import Any

from experiments.reporting import run_rows
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
    """What `experiments.reporting.run_rows.rows_of` gives, and what is published for the family."""
    return [row | {"published": PUBLISHED.get(row["family"])} for row in run_rows.rows_of(folder)]


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
