"""What the page of a comparison lets its reader explore: its curves as data, and the program that draws them anew."""

import json
from importlib import resources
from typing import Any

import numpy as np

from experiments.reporting import svg
from experiments.reporting.comparison import Comparison
from experiments.reporting.looks import DASHES, looks_of

AT_FIRST = 6  # agents shown until the reader chooses: more lines in one panel cannot be told apart


def explorer(comparison: Comparison) -> str:
    """The elements of the page that hold data and program; without scripts the page stays as it is."""
    text = json.dumps(data_of(comparison), allow_nan=False).replace("<", "\\u003c")
    program = resources.files(__package__).joinpath("explore.js").read_text(encoding="utf-8")
    return f'<script type="application/json" id="explored">{text}</script>\n<script>\n{program}</script>'


def data_of(comparison: Comparison) -> dict[str, Any]:
    """Agents from the best to the worst, with the look of their lines, and figures by name.

    A figure has labels "x" and "y", "wide" where its places span several budgets, "settles" where the first values may lie
    below it, "log" where errors are best seen so, and "curves": agent -> x [P], y [P], low [P], high [P]; x is [0] where
    nothing changes.
    """
    looks = looks_of(comparison.rows)
    last = last_of(comparison)
    best_first = sorted(comparison.rows, key=lambda agent: last[agent], reverse=comparison.measure != "mse")
    agents = [
        {"name": agent, "dash": DASHES[looks[agent].dash], "colour": looks[agent].colour, "last": last[agent]}
        for agent in best_first
    ]
    return {"agents": agents, "at_first": AT_FIRST, "figures": adaptation_figures(comparison) | training_figures(comparison)}


def last_of(comparison: Comparison) -> dict[str, float]:
    """Agent -> its held-out mean after the last step; in supervised runs, that with the most points."""
    if not comparison.supervised:
        return {agent: row["return_mean"][-1] for agent, row in comparison.rows.items()}
    means = {agent: row[f"{comparison.measure}_mean"] for agent, row in comparison.rows.items()}
    return {agent: by_shots[list(by_shots)[-1]][-1] for agent, by_shots in means.items()}


def adaptation_figures(comparison: Comparison) -> dict[str, Any]:
    """Those of held-out tasks."""
    rows = comparison.rows
    if not comparison.supervised:
        budgets = {tuple(row["episodes"]) for row in rows.values() if len(set(row["episodes"])) > 1}
        curves = {}
        for agent, row in rows.items():
            kept = slice(None) if len(set(row["episodes"])) > 1 else slice(1)
            curves[agent] = _curve(row["episodes"][kept], row["return_mean"][kept], row["return_ci95"][kept])
        figure = {"x": "episodes used on the new task", "y": "return per episode", "wide": len(budgets) > 1, "curves": curves}
        return {"adaptation": figure}
    found, mean, ends = {}, f"{comparison.measure}_mean", f"{comparison.measure}_ci95"
    of_errors = comparison.measure == "mse"
    for shots in next(iter(rows.values()))[mean]:
        curves = {
            agent: _curve(np.arange(len(row[mean][shots])), row[mean][shots], row[ends][shots]) for agent, row in rows.items()
        }
        label = "mean squared error" if of_errors else comparison.measure
        found[f"errors-{shots}"] = {"x": "inner steps", "y": label, "log": of_errors, "curves": curves}
    return found


def training_figures(comparison: Comparison) -> dict[str, Any]:
    """Those of training tasks."""
    lines = {agent: [run.lines for run in its] for agent, its in comparison.runs.items()}
    unit, what = ("examples drawn", "minus the error") if comparison.supervised else ("environment steps", "return")
    shown = {
        "meta/post": f"{what} after adaptation",
        "meta/pre": f"{what} before adaptation",
        "time/steps_per_second": f"{unit} per second",
    }
    return {
        name.replace("/", "-"): {
            "x": unit,
            "y": label,
            "settles": name.startswith("meta/"),
            "curves": {agent: _curve(*found) for agent, found in svg.learning_curves(lines, name).items()},
        }
        for name, label in shown.items()
    }


def _curve(x: Any, y: Any, low_high: Any) -> dict[str, list[float | None]]:
    low, high = np.asarray(low_high, float).T
    return {name: _rounded(values) for name, values in (("x", x), ("y", y), ("low", low), ("high", high))}


def _rounded(values: Any) -> list[float | None]:
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in np.asarray(values, float)]
