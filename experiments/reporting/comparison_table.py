"""The comparison as a table of text: once for every form, then as Markdown, for the terminal and for the HTML page."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.reporting.comparison import SUPERVISED_STEPS, Comparison
from experiments.reporting.tables import LINE, NONE, Table, interval, markdown, number, percent, percents, share
from experiments.reporting.way import BEST, OWN, WITHOUT, missing
from metarl.gains import CLEARLY

NOTES = {
    "95 % interval": "bootstrap over held-out tasks, for these seeds",
    "algorithm": "the same over seeds and tasks, for other seeds, too: the algorithm's",
    "IQM": "interquartile mean over tasks and seeds",
    "mode": "mean return when the policy takes its most likely action",
    "hurt": f"share of tasks worse than before by {CLEARLY} standard errors",
    "seed sd": "standard deviation of the seeds' means",
    "CVaR 5 %": "mean over the worst 5 % of tasks, mean over seeds",
    "CVaR 20 %": "the same of the worst 20 %",
    "20th": "20th percentile over tasks",
    "worst": "the worst task",
}
TAILS = {"CVaR 5 %": "return_cvar05", "CVaR 20 %": "return_cvar20", "20th": "return_p20", "worst": "return_worst"}
BETTER = (
    "Share of tasks and pairs of seeds on which the row's agent returns more than\n"
    "the column's after the last step of both, ties half; 95 % interval over tasks\n"
    "(probability of improvement, Agarwal et al. 2021)."
)

WAY = (
    "Gain in mean return after the last step, as a share of what there is to gain\n"
    f"up to {BEST}: from the agent's own return before it adapts, and from that of\n"
    f"{WITHOUT} before it adapts. 95 % interval over tasks, for these seeds; {NONE} where\n"
    f"{BEST} is not clearly above the start."
)

ROOMY = ("IQM", "seed sd", *TAILS)  # columns for files, which a terminal has no room for


class Cells(NamedTuple):
    """The numbers of a comparison, ready to print.

    Attributes:
        title: one line.
        headings: of the columns; the first two are the agent and its number of seeds.
        groups: agent -> its rows.
        notes: heading -> what it means.
        measures: the last of the headings, which say what was measured beside the return.
    """

    title: str
    headings: tuple[str, ...]
    groups: dict[str, list[tuple[str, ...]]]
    notes: dict[str, str]
    measures: tuple[str, ...] = ()


def cells(comparison: Comparison) -> Cells:
    """A row per agent and number of episodes, or of test points and inner steps."""
    if comparison.supervised:
        headings: tuple[str, ...] = ("agent", "seeds", "after", "mean", "95 % interval", "algorithm")
        groups = {agent: _error_rows(agent, row, comparison.measure) for agent, row in comparison.rows.items()}
        return Cells(comparison.title, headings, groups, {name: NOTES[name] for name in ("95 % interval", "algorithm")})
    headings = ("agent", "seeds", "episodes", "mean", "95 % interval", "algorithm", "IQM", "mode", "hurt", "seed sd", *TAILS)
    measures = list(dict.fromkeys(name for row in comparison.rows.values() for name in row["measures"]))
    groups = {agent: _return_rows(agent, row, measures) for agent, row in comparison.rows.items()}
    told = {"hurt": f"{NOTES['hurt']} ({_by_chance(comparison)})"}
    told |= {name: "measured beside the return: mean and 95 % interval" for name in measures}
    return Cells(comparison.title, (*headings, *measures), groups, NOTES | told, tuple(measures))


def _by_chance(comparison: Comparison) -> str:
    """The share of tasks that chance alone makes worse, which differs with the number of episodes."""
    shares = [row["hurt_by_chance"] for row in comparison.rows.values()]
    return " to ".join(dict.fromkeys(f"{share:.1%}" for share in (min(shares), max(shares)))) + " by chance"


def _error_rows(agent: str, row: dict[str, Any], measure: str) -> list[tuple[str, ...]]:
    seeds, of_algorithm = str(len(row["seeds"])), row[f"{measure}_algorithm_ci95"]
    write, ends = (percent, percents) if measure == "accuracy" else (number, interval)
    return [
        (
            agent,
            seeds,
            f"{shots}-shot, step {k}",
            write(row[f"{measure}_mean"][shots][k]),
            ends(row[f"{measure}_ci95"][shots][k]),
            ends(of_algorithm[shots][k]) if of_algorithm[shots] else NONE,
        )
        for shots in row[f"{measure}_mean"]
        for k in SUPERVISED_STEPS
    ]


def _measured(row: dict[str, Any], name: str, k: int) -> str:
    if name not in row["measures"]:
        return NONE
    measure = row["measures"][name]
    return f"{measure['mean'][k]:.3g} [{measure['ci95'][k][0]:.3g}, {measure['ci95'][k][1]:.3g}]"


def _return_rows(agent: str, row: dict[str, Any], measures: list[str]) -> list[tuple[str, ...]]:
    pick = lambda name, k: NONE if row[name] is None else number(row[name][k])
    return [
        (
            agent,
            str(len(row["seeds"])),
            str(episodes),
            number(row["return_mean"][k]),
            interval(row["return_ci95"][k]),
            interval(row["algorithm_ci95"][k]) if row["algorithm_ci95"] else NONE,
            number(row["return_iqm"][k]),
            pick("greedy_mean", k),
            share(row["hurt_by_step"][k] if k and row["hurt_by_step"] else None),
            pick("seed_spread", k),
            *(pick(name, k) for name in TAILS.values()),
            *(_measured(row, name, k) for name in measures),
        )
        for k, episodes in enumerate(row["episodes"])
        if k == 0 or row["adapts_by"] != "nothing"  # the same again
    ]


def wide(found: Cells) -> Table:
    """Every column."""
    return Table(found.headings, _grouped(list(found.groups.values())), found.title)


def narrow(found: Cells) -> list[Table]:
    """The returns, and in a table of its own what was measured beside them, if anything."""
    count = len(found.headings) - len(found.measures)
    returns = found._replace(
        headings=found.headings[:count],
        groups={agent: [row[:count] for row in rows] for agent, rows in found.groups.items()},
        notes={name: meaning for name, meaning in found.notes.items() if name not in found.measures},
    )
    beside = found._replace(
        title="",
        headings=(*found.headings[:3], *found.measures),
        groups={agent: [(*row[:3], *row[count:]) for row in rows] for agent, rows in found.groups.items()},
        notes={name: meaning for name, meaning in found.notes.items() if name in found.measures},
    )
    return [_narrow(returns), _narrow(beside)] if found.measures else [_narrow(returns)]


def _narrow(found: Cells) -> Table:
    """The agent once, with its number of seeds, and no `ROOMY` columns: at most 80 characters, for returns above -1000."""
    kept = [i for i, name in enumerate(found.headings) if i > 1 and name not in ROOMY]
    groups = [
        [(f"{agent} ({row[1]})" if k == 0 else "", *(row[i] for i in kept)) for k, row in enumerate(rows)]
        for agent, rows in found.groups.items()
    ]
    caption = "\n".join(f"{name}: {meaning}" for name, meaning in found.notes.items() if name not in ROOMY)
    return Table(("agent (seeds)", *(found.headings[i] for i in kept)), _grouped(groups), found.title, caption=caption)


def document(found: Cells) -> str:
    """A Markdown file: the title, every column and the notes as a list."""
    caption = "\n".join(f"- {name}: {meaning}." for name, meaning in found.notes.items())
    return f"{found.title}\n\n{markdown(wide(found)._replace(caption=caption))}"


def better(comparison: Comparison) -> Table | None:
    """Each agent beside each other one; None where there is but one, or errors are compared."""
    agents = list(comparison.improvement)
    if len(agents) < 2:
        return None
    rows = [(agent, *(_probability(comparison.improvement[agent].get(other)) for other in agents)) for agent in agents]
    return Table(("better than", *agents), rows, caption=BETTER)


def _probability(found: dict[str, Any] | None) -> str:
    return NONE if found is None else f"{found['probability']:.2f} [{found['ci95'][0]:.2f}, {found['ci95'][1]:.2f}]"


def way(comparison: Comparison) -> Table | None:
    """How far each agent has got between no adaptation and the oracle; None without one."""
    if not comparison.way:
        return None
    starts = {OWN: "from its own start", WITHOUT: f"from {WITHOUT}"}
    there = [name for name in starts if any(name in row for row in comparison.way.values())]
    rows = [(agent, *(_share(row.get(name)) for name in there)) for agent, row in comparison.way.items()]
    return Table((f"of the way to {BEST}", *(starts[name] for name in there)), rows, caption=WAY)


def _share(found: dict[str, Any] | None) -> str:
    return NONE if found is None else f"{share(found['share'])} [{', '.join(map(share, found['ci95']))}]"


def advice(comparison: Comparison) -> str:
    """One line on the agents without which nobody knows how far the others are from the best, or from no adaptation; or ""."""
    lacks = [] if comparison.supervised else missing(list(comparison.rows))
    if not lacks:
        return ""
    why = {BEST: "how far agents are from the best", WITHOUT: "how far above no adaptation"}
    return f"Add runs of {' and '.join(lacks)} to see {' and '.join(why[name] for name in lacks)}."


def _grouped(groups: Sequence[Sequence[tuple[str, ...]]]) -> list[tuple[str, ...]]:
    """The rows of all groups, with a gap between them."""
    return [row for group in groups for row in (*group, LINE)][:-1]
