"""The table of `experiments.sinusoid_table` as Markdown."""

import datetime
import itertools
import platform
from typing import Any

import jax

from experiments import published
from experiments.published import PUBLISHED, Key
from experiments.run_folder import versions

COLUMNS = {  # test points and inner steps
    "maml": ((5, 0), (5, 1), (5, 5), (5, 10), (10, 1)),
    "meta-sgd": ((5, 1), (10, 1), (20, 1)),
    "cavia": ((10, 0), (10, 1), (10, 10)),
    "jang": ((20, 0), (20, 1), (20, 4)),
}


def results_of(cells: list[dict[str, Any]]) -> dict[Key, tuple[float, float, float]]:
    """(mean, low, high) of every cell, test shots and number of steps."""
    results = {}
    for found in cells:
        settings = found["settings"]
        for shots, means in found["mse_mean"].items():
            for steps, mean in enumerate(means):
                key = Key(settings["protocol"], settings["train_shots"], settings["agent"], int(shots), steps)
                results[key] = (mean, *found["mse_ci95"][shots][steps])
    return results


def markdown(cells: list[dict[str, Any]], used: dict[str, dict[str, int]]) -> str:
    """The whole table: one section per protocol, published numbers with verdicts, promises, memory."""
    results = results_of(cells)
    settings = cells[0]["settings"]
    lines = [
        "# Sinusoid regression",
        "",
        f"Mean squared error on {settings['eval_tasks']} held-out tasks, mean over {len(settings['seeds'])} seeds, with a 95 % "
        "bootstrap interval over tasks stratified over seeds; beside it the published number and how it is known: "
        "P read in the paper, S in search results, M from memory. Seeds whose parameters became non-finite are left out, and "
        "counted.",
        "",
        f"`python -m experiments.sinusoid_table`, {datetime.date.today()}, jax {versions()['jax']}, Python "
        f"{platform.python_version()}, {jax.devices()[0].device_kind}.",
    ]
    for protocol, group in itertools.groupby(cells, lambda found: found["settings"]["protocol"]):
        lines += ["", *section(protocol, list(group), results)]
    lines += ["", "## Published numbers", "", "| cell | ours | published | |", "|---|---|---|---|"]
    for key, number in PUBLISHED.items():
        if key in results:
            name = f"{key.protocol} protocol, {key.agent}, {key.train_shots} → {key.test_shots} points, {key.steps} steps"
            ours = f"{results[key][0]:.3f}"
            lines.append(
                f"| {name} | {ours} | {number.value} ({number.mark}, {number.source}) "
                f"| {published.verdict(number, results[key][0])} |"
            )
    lines += ["", "## Promises", "", "| | |", "|---|---|"]
    words = {True: "kept", False: "**not kept**", None: "not measured in this table"}
    lines += [f"| {claim.text} | {words[claim.kept]} |" for claim in published.claims(results)]
    lines += ["", "## Memory of one meta-iteration, MiB, by the compiler's own analysis (25 tasks, 10 points)", ""]
    steps_measured = list(next(iter(used.values())))
    lines += ["| inner steps | " + " | ".join(steps_measured) + " |", "|---" * (len(steps_measured) + 1) + "|"]
    for name, row in used.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[steps] / 2**20:.2f}" for steps in steps_measured) + " |")
    return "\n".join(lines) + "\n"


def section(protocol: str, cells: list[dict[str, Any]], results: dict[Key, tuple[float, float, float]]) -> list[str]:
    """One protocol: a row per agent and number of training points."""
    columns = COLUMNS[protocol]
    heads = [f"{shots} points, {steps} step{'s' * (steps != 1)}" for shots, steps in columns]
    lines = [f"## Protocol {protocol}", "", "| agent | trained on | inner steps | iterations | " + " | ".join(heads) + " |"]
    lines.append("|---" * (len(heads) + 4) + "|")
    for found in cells:
        settings = found["settings"]
        row = [settings["agent"], f"{settings['train_shots']} points", str(settings["num_inner_steps"])]
        row.append(f"{settings['num_iterations']:,}")
        lost = f" ({len(found['lost_seeds'])} of {len(settings['seeds'])} seeds lost)" if found["lost_seeds"] else ""
        row[0] += lost
        for shots, steps in columns:
            key = Key(protocol, settings["train_shots"], settings["agent"], shots, steps)
            mean, low, high = results[key]
            text = f"{mean:#.3g} [{low:#.3g}, {high:#.3g}]"
            if key in PUBLISHED:
                text += f"; published {PUBLISHED[key].value} {PUBLISHED[key].mark}"
            row.append(text)
        lines.append("| " + " | ".join(row) + " |")
    return lines
