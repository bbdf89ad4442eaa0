"""The table of `experiments.studies.sinusoid` as Markdown."""

import itertools
import math
from typing import Any

from experiments.cli.command_line import command_line
from experiments.reporting import claims, tables
from experiments.reporting.intervals import t_interval95
from experiments.reporting.tables import Table, counted, digits
from experiments.studies.approximations import note_on_imaml
from experiments.studies.sinusoid import published
from experiments.studies.sinusoid.published import PUBLISHED, Key, Results
from experiments.supervised import protocols

HEAVY = "†"  # marks rows whose t interval is not called a 95 % interval
COLUMNS = {  # test points and inner steps
    "maml": ((5, 0), (5, 1), (5, 5), (5, 10), (10, 1)),
    "meta-sgd": ((5, 1), (10, 1), (20, 1)),
    "cavia": ((10, 0), (10, 1), (10, 10)),
    "jang": ((20, 0), (20, 1), (20, 4)),
}


def results_of(cells: list[dict[str, Any]]) -> Results:
    """(mean, low, high) over seeds of every cell, test shots and number of steps. Lost seeds are left out.

    Intervals end at 0, as errors do.
    """
    results = {}
    for found in cells:
        settings = found["settings"]
        kept = [i for i, seed in enumerate(settings["seeds"]) if seed not in found["lost_seeds"]]
        for shots, per_seed in found["mse_per_seed"].items():
            for steps in range(len(per_seed[0])):
                key = Key(settings["protocol"], settings["train_shots"], settings["agent"], int(shots), steps)
                mean, low, high = t_interval95([per_seed[i][steps] for i in kept or range(len(per_seed))])
                results[key] = (mean, low if math.isnan(low) else max(low, 0.0), high)
    return results


def at_full_length(cell: dict[str, Any]) -> bool:
    """Whether a cell may be judged: its protocol's settings to the end, two seeds or more, 1,000 tasks or more."""
    settings = cell["settings"]
    fixed = protocols.settings_of(settings["protocol"], settings["agent"])
    names = ("num_iterations", "num_tasks", "num_inner_steps", "inner_lr", "outer_lr")
    alike = all(settings.get(name) == fixed[name] for name in names if name in fixed)
    return alike and settings["eval_tasks"] >= 1000 and len(settings["seeds"]) - len(cell["lost_seeds"]) >= 2


def markdown(cells: list[dict[str, Any]], used: dict[str, dict[str, int]]) -> str:
    """The whole table: one section per protocol, published numbers with verdicts, promises, memory."""
    results, judged = results_of(cells), results_of([cell for cell in cells if at_full_length(cell)])
    parts = {"# Sinusoid regression": introduction(cells)}
    for protocol, group in itertools.groupby(cells, lambda found: found["settings"]["protocol"]):
        parts[f"## Protocol {protocol}"] = tables.markdown(section(protocol, list(group), results))
    parts["## Published numbers"] = tables.markdown(beside_published(results, judged))
    parts["## Promises"] = claims.markdown([*published.promises(judged), published.memory_claim(used)])
    heading = "## Temporary memory of one meta-iteration, MiB, by the compiler's analysis (25 tasks, 10 points)"
    parts[heading] = tables.markdown(memory(used))
    return "\n".join(f"{heading}\n\n{text}" for heading, text in parts.items())


def beside_published(results: Results, judged: Results) -> Table:
    """Every published number that there is a result for, and what is said about it where ours may be judged."""
    rows = []
    for key, theirs in PUBLISHED.items():
        if key in results:
            trained = f"{key.protocol} protocol, {key.agent}, {key.train_shots}"
            name = f"{trained} → {key.test_shots} points, {counted(key.steps, 'step')}"
            source = f"{theirs.value} ({theirs.mark}, {theirs.source})"
            words = published.verdict(theirs, judged[key][0]) if key in judged else claims.verdict(None)
            rows.append((name, f"{results[key][0]:.3f}", source, words))
    return Table(("cell", "ours", "published", ""), rows)


def memory(used: dict[str, dict[str, int]]) -> Table:
    """Bytes by agent and number of inner steps, in MiB."""
    steps_measured = list(next(iter(used.values())))
    rows = [(name, *(f"{row[steps] / 2**20:.2f}" for steps in steps_measured)) for name, row in used.items()]
    return Table(("inner steps", *steps_measured), rows)


def introduction(cells: list[dict[str, Any]]) -> str:
    """What the numbers are, and what made them."""
    settings = cells[0]["settings"]
    made = [cell["made_with"] for cell in cells]
    commits = sorted({str(m["git_commit"])[:7] + "+" * str(m["git_commit"]).endswith("+") for m in made})
    days = sorted({m["started"][:10] for m in made})
    versions = sorted({f"jax {m['versions']['jax']}, Python {m['python']}, {m['device']['kind']}" for m in made})
    return (
        f"Mean squared error on {settings['eval_tasks']:,} held-out tasks, the same for all: mean over "
        f"{counted(len(settings['seeds']), 'seed')} and Student's t interval over seeds, which is a 95 % interval if seeds are "
        f"normal. Rows marked {HEAVY} are heavy-tailed, so that theirs is not: tasks ran away, or it reaches zero, which no "
        "error does. Beside it the published number and how it is known: P read in the paper, S in search results, M from "
        "memory. Under the protocol maml every "
        "agent is tested at the checkpoint that did best on 2,000 training tasks (5 points; 1, 5 and 10 steps), under the "
        "others at its last. The last column counts, seed by seed, tasks whose error is above 100 after ten steps, which no "
        "protocol but maml asks for. Seeds whose parameters became non-finite are left out and counted. What was not measured "
        "at full length is not judged.\n\n"
        f"`{command_line('studies.sinusoid')}`; cells made {' to '.join(sorted({days[0], days[-1]}))} at commit "
        f"{', '.join(commits)} with {'; '.join(versions)}.\n"
    )


def heavy_tailed(cell: dict[str, Any], protocol: str, results: Results) -> bool:
    """Whether Student's interval over a row's seeds is no 95 % interval, as far as one sees: `introduction` says how."""
    settings = cell["settings"]
    keys = [Key(protocol, settings["train_shots"], settings["agent"], *column) for column in COLUMNS[protocol]]
    return sum(cell["diverged"][str(COLUMNS[protocol][0][0])]) > 0 or any(results[key][1] <= 0 for key in keys)


def section(protocol: str, cells: list[dict[str, Any]], results: Results) -> Table:
    """One protocol: a row per agent and number of training points."""
    columns = COLUMNS[protocol]
    heads = ["agent", "trained on", "inner steps", "iterations"]
    heads += [f"{shots} points, {counted(steps, 'step')}" for shots, steps in columns] + [f"diverged, {columns[0][0]} points"]
    rows = []
    for found in cells:
        settings = found["settings"]
        lost = len(found["lost_seeds"])
        mark = f" {HEAVY}" * heavy_tailed(found, protocol, results)
        row = [settings["agent"] + f" ({lost} of {counted(len(settings['seeds']), 'seed')} lost)" * bool(lost) + mark]
        row += [
            f"{settings['train_shots']} points",
            str(settings.get("num_inner_steps", "none")),
            f"{settings['num_iterations']:,}",
        ]
        for shots, steps in columns:
            key = Key(protocol, settings["train_shots"], settings["agent"], shots, steps)
            mean, low, high = results[key]
            text = digits(mean) + ("" if math.isnan(low) else f" [{digits(low)}, {digits(high)}]")
            text = "-" if lost == len(settings["seeds"]) else text
            row.append(text + (f"; published {PUBLISHED[key].value} {PUBLISHED[key].mark}" if key in PUBLISHED else ""))
        row.append(" / ".join(map(str, found["diverged"][str(columns[0][0])])))
        rows.append(row)
    of_imaml = next((found["settings"] for found in cells if found["settings"]["agent"] == "imaml"), None)
    return Table(heads, rows, caption=note_on_imaml(of_imaml) if of_imaml else "")
