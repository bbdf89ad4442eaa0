"""The figures of the HTML page: SVG text that takes its colours for text and lines from the page around it."""

import io
import re
from typing import Any

import numpy as np

from experiments.reporting import figures
from experiments.reporting.looks import looks_of
from experiments.reporting.pyplot import plt, ticker

INK = "#010203"  # stands for the page's text colour until the figure is finished
SIZE = (7.2, 4.5)
NUM_POINTS = 150  # of a learning curve
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and scaled
    "font.family": "sans-serif",
    "font.size": 13,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def adaptation(rows: dict[str, Any]) -> str:
    """Held-out return against episodes used on the new task; ``rows`` as in `figures.adaptation_curves`."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=SIZE)
        figures.adaptation_curves(axis, rows)
        return to_svg(figure, axis, "adaptation", list(rows))


def errors(rows: dict[str, Any], shots: str, measure: str) -> str:
    """Held-out mean squared error, or accuracy, against inner steps, for one number of test points."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=SIZE)
        looks = looks_of(rows)
        for agent, row in rows.items():
            figures.errors_curve(axis, row, shots, measure, marker="o", markersize=4, label=agent, **looks[agent].style)
        return to_svg(figure, axis, f"errors-{shots}", list(rows))


def learning(lines: dict[str, list[list[dict[str, Any]]]], name: str, label: str, unit: str) -> str:
    """A metric of training against ``time/env_steps``: each agent's mean over seeds, shaded from the least to the greatest.

    Args:
        lines: agent -> rows of metrics.jsonl per seed; agents without any are left out.
        name: of the metric.
        label: of the vertical axis.
        unit: of the horizontal axis.
    """
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=SIZE)
        curves, looks = learning_curves(lines, name), looks_of(lines)
        for agent, (steps, mean, extremes) in curves.items():
            figures.band(
                axis, steps, mean, extremes, **looks[agent].style, linewidth=1.5, label=agent, marker="o" * (len(steps) == 1)
            )
        axis.set_xlabel(unit)
        axis.set_ylabel(label)
        axis.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        if "per second" in label:
            axis.yaxis.set_major_formatter(ticker.EngFormatter(sep=""))
            axis.set_ylim(bottom=0)
        else:
            figures.from_where_they_differ(axis, [mean for _, mean, _ in curves.values()])
        return to_svg(figure, axis, name.replace("/", "-"), list(curves))


def learning_curves(
    lines: dict[str, list[list[dict[str, Any]]]], name: str
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Agent -> steps [P], a metric's mean over seeds there [P], and the least and the greatest of a seed [P, 2].

    Args:
        lines: agent -> rows of metrics.jsonl per seed; agents without the metric are left out.
        name: of the metric.
    """
    found = {}
    for agent, seeds in lines.items():
        curves = [curve for curve in (series(rows, name) for rows in seeds) if curve is not None]
        if curves:
            steps, values = on_one_grid(curves)
            found[agent] = (steps, values.mean(axis=0), np.stack([values.min(axis=0), values.max(axis=0)], axis=-1))
    return found


def series(rows: list[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps and values of a metric, averaged over at most `NUM_POINTS` stretches of the training; None if it was not logged."""
    pairs = [(row["time/env_steps"], row[name]) for row in rows if row.get(name) is not None]
    if not pairs:
        return None
    steps, values = np.asarray(pairs, float).T
    parts = [np.array_split(x, min(NUM_POINTS, len(pairs))) for x in (steps, values)]
    steps, values = ([part.mean() for part in column] for column in parts)
    return np.asarray(steps), np.asarray(values)


def on_one_grid(curves: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Steps [P] that all seeds reached, and every seed's values there [S, P], interpolated."""
    first, last = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    if first >= last:  # single points, or seeds that have no stretch in common
        return np.asarray([first]), np.asarray([[np.interp(first, *curve)] for curve in curves])
    grid = np.linspace(first, last, NUM_POINTS)
    return grid, np.stack([np.interp(grid, *curve) for curve in curves])


def to_svg(figure: Any, axis: Any, prefix: str, agents: list[str]) -> str:
    """The figure as an ``<svg>`` element to stand in a page.

    Args:
        figure: what was drawn; it is closed.
        axis: its only axis, which gets a grid and a legend.
        prefix: of every id, so that several figures fit into one page.
        agents: those drawn, in the order of their lines; the line of the i-th is the group ``PREFIX-curve-i``.
    """
    axis.grid(alpha=0.2)
    if agents:  # above the curves, so that it hides none
        longest = max(len(line.get_label()) for line in axis.get_lines())
        columns = max(1, min(4, 58 // (longest + 6)))
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, fontsize=11)
    for line, agent in zip([line for line in axis.get_lines() if not line.get_label().startswith("_")], agents, strict=True):
        line.set_gid(f"curve-{agents.index(agent)}")
    with plt.rc_context({"svg.hashsalt": prefix}):
        text = io.StringIO()
        figure.tight_layout()
        empty = {"Creator": None, "Date": None, "Format": None, "Type": None}
        figure.savefig(text, format="svg", transparent=True, metadata=empty)
    plt.close(figure)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(\sid="|href="#|url\(#)', lambda found: found.group(1) + prefix + "-", svg)
    svg = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1">', svg, count=1)
    return svg.replace(INK, "currentColor").strip()
