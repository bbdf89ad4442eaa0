"""The comparison as a table of text: once for every form, then as Markdown, for the terminal and for the HTML page."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.reporting.comparison import SUPERVISED_STEPS, Comparison
from experiments.reporting.tables import LINE, NONE, Table, interval, markdown, number

NOTES = {
    "95 % interval": "bootstrap over held-out tasks, for these seeds",
    "IQM": "interquartile mean over tasks and seeds",
    "mode": "mean return when the policy takes its most likely action",
    "hurt": "share of tasks whose return is lower than before adaptation",
    "seed sd": "standard deviation of the seeds' means",
}


class Cells(NamedTuple):
    """The numbers of a comparison, ready to print.

    Attributes:
        title: one line.
        headings: of the columns; the first two are the agent and its number of seeds.
        groups: agent -> its rows.
        notes: heading -> what it means.
    """

    title: str
    headings: tuple[str, ...]
    groups: dict[str, list[tuple[str, ...]]]
    notes: dict[str, str]


def cells(comparison: Comparison) -> Cells:
    """A row per agent and number of episodes, or of test points and inner steps."""
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
            pick("greedy_mean", k),
            f"{row['hurt_by_step'][k]:.0%}" if k else NONE,
            pick("seed_spread", k),
        )
        for k, episodes in enumerate(row["episodes"])
        if k == 0 or row["adapts_by"] != "nothing"  # the same again
    ]


def wide(found: Cells) -> Table:
    """Every column."""
    return Table(found.headings, _grouped(list(found.groups.values())), found.title)


def narrow(found: Cells) -> Table:
    """The agent once, with its number of seeds, and headings in two lines: at most 80 characters, for returns above -1000."""
    headings = [name.replace(" ", "\n", 1) if len(name) < 10 else name for name in found.headings[2:]]
    groups = [
        [(f"{agent} ({row[1]})" if k == 0 else "", *row[2:]) for k, row in enumerate(rows)]
        for agent, rows in found.groups.items()
    ]
    caption = "\n".join(f"{name}: {meaning}" for name, meaning in found.notes.items())
    return Table(("agent (seeds)", *headings), _grouped(groups), found.title, caption=caption)


def document(found: Cells) -> str:
    """A Markdown file: the title, every column and the notes as a list."""
    caption = "\n".join(f"- {name}: {meaning}." for name, meaning in found.notes.items())
    return f"{found.title}\n\n{markdown(wide(found)._replace(caption=caption))}"


def _grouped(groups: Sequence[Sequence[tuple[str, ...]]]) -> list[tuple[str, ...]]:
    """The rows of all groups, with a gap between them."""
    return [row for group in groups for row in (*group, LINE)][:-1]
