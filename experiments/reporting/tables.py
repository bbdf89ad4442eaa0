"""The comparison as a table of text cells, and that table in Markdown and on the terminal."""

from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from experiments.reporting.comparison import SUPERVISED_STEPS, Comparison

NONE = "-"  # where an agent has no such number
NOTES = {
    "95 % interval": "bootstrap over held-out tasks, for these seeds",
    "IQM": "interquartile mean over tasks and seeds",
    "mode": "mean return when the policy takes its most likely action",
    "hurt": "share of tasks whose return is lower than before adaptation",
    "seed sd": "standard deviation of the seeds' means",
}


class Cells(NamedTuple):
    """A table of text. ``groups``: agent -> its rows; the first two columns are the agent and its number of seeds."""

    title: str
    headings: tuple[str, ...]
    groups: dict[str, list[tuple[str, ...]]]
    notes: dict[str, str]


def cells(comparison: Comparison) -> Cells:
    """The numbers of a comparison, ready to print."""
    if comparison.supervised:
        headings: tuple[str, ...] = ("agent", "seeds", "after", "mean", "95 % interval")
        groups = {agent: _error_rows(agent, row) for agent, row in comparison.rows.items()}
        return Cells(comparison.title, headings, groups, {"95 % interval": NOTES["95 % interval"]})
    headings = ("agent", "seeds", "episodes", "mean", "95 % interval", "IQM", "mode", "hurt", "seed sd")
    groups = {agent: _return_rows(agent, row) for agent, row in comparison.rows.items()}
    return Cells(comparison.title, headings, groups, NOTES)


def _error_rows(agent: str, row: dict[str, Any]) -> list[tuple[str, ...]]:
    seeds = str(len(row["seeds"]))
    return [
        (agent, seeds, f"{shots}-shot, step {k}", number(row["mse_mean"][shots][k]), interval(row["mse_ci95"][shots][k]))
        for shots in row["mse_mean"]
        for k in SUPERVISED_STEPS
    ]


def _return_rows(agent: str, row: dict[str, Any]) -> list[tuple[str, ...]]:
    pick = lambda name, k: NONE if row[name] is None else number(row[name][k])
    return [
        (
            agent,
            str(len(row["seeds"])),
            str(episodes),
            number(row["return_mean"][k]),
            interval(row["return_ci95"][k]),
            number(row["return_iqm"][k]),
            pick("mean_action_mean", k),
            f"{row['hurt_by_step'][k]:.0%}" if k else NONE,
            pick("seed_spread", k),
        )
        for k, episodes in enumerate(row["episodes"])
        if k == 0 or row["adapts_by"] != "nothing"  # the same again
    ]


def number(value: float) -> str:
    """Two decimals, or none where they would mean nothing."""
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:.0f}"


def interval(low_and_high: list[float]) -> str:
    """[low, high]."""
    return f"[{number(low_and_high[0])}, {number(low_and_high[1])}]"


def markdown(table: Cells) -> str:
    """The table as Markdown."""
    lines = [table.title, "", "| " + " | ".join(table.headings) + " |", "|---" * len(table.headings) + "|"]
    lines += ["| " + " | ".join(row) + " |" for rows in table.groups.values() for row in rows]
    return "\n".join([*lines, "", *(f"- {name}: {meaning}." for name, meaning in table.notes.items())]) + "\n"


def print_cells(table: Cells) -> None:
    """The table on the terminal, one line per agent and point, at most 80 columns wide for returns above -1000."""
    shown = Table(title=table.title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("agent (seeds)", overflow="fold")
    for heading in table.headings[2:]:
        shown.add_column(heading.replace(" ", "\n", 1) if len(heading) < 10 else heading, justify="right")
    for agent, rows in table.groups.items():
        for k, row in enumerate(rows):
            shown.add_row(f"{agent} ({row[1]})" if k == 0 else "", *row[2:], end_section=k == len(rows) - 1)
    Console().print(shown)
    for name, meaning in table.notes.items():
        print(f"{name}: {meaning}")
