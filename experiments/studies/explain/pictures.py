"""Pictures of `experiments.studies.explain`. Each function writes one PNG."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.reporting.figures import save
from experiments.reporting.looks import BLUE, RED, SKY
from experiments.reporting.pyplot import plt
from experiments.reporting.tables import counted

TASK_COLOURS = (BLUE, RED)


def two_tasks(path: Path, plane: Any, centres: np.ndarray) -> None:
    """One panel per objective: the two tasks' contours, the objective, its optimum, and one inner step from it per task.

    Args:
        path: where to write.
        plane: an `experiments.studies.explain.Plane`.
        centres: [2, 2], the tasks' optima.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.4), sharex=True, sharey=True, layout="constrained")
    titles = {"pretrained": "pretraining: loss before any step", "MAML": "MAML: loss after one step"}
    for axis, (name, objective) in zip(axes, plane.objectives.items(), strict=True):
        filled = axis.contourf(*plane.axes, objective, levels=np.linspace(0, 2, 17), cmap="Greys", alpha=0.6, extend="max")
        for i, colour in enumerate(TASK_COLOURS):
            axis.contour(*plane.axes, plane.task_losses[i], levels=(0.1, 0.5), colors=colour, linewidths=0.9, alpha=0.8)
            axis.plot(*centres[i], "x", color=colour, markersize=9, markeredgewidth=2, label=f"optimum of task {i + 1}")
            arrow = {"arrowstyle": "->", "color": colour, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
            axis.annotate("", xy=plane.landings[name][i], xytext=plane.optima[name], arrowprops=arrow)
            axis.plot(*plane.landings[name][i], "o", color=colour, markersize=6, label=f"one step on task {i + 1}")
        axis.plot(
            *plane.optima[name], "*", color="gold", markersize=18, markeredgecolor="black", label="optimum of this objective"
        )
        before, after = plane.losses[name]
        axis.set_title(f"{titles[name]}\nat its optimum: {before:.2f} before, {after:.2f} after one step")
        axis.set_xlabel("theta 1")
        axis.set_aspect("equal")
    axes[0].set_ylabel("theta 2")
    figure.colorbar(filled, ax=axes, label="objective: mean over both tasks")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9)
    save(figure, path)


def loss_surface(path: Path, surface: Any, steps: tuple[int, ...]) -> None:
    """One panel per number of inner steps, one colour scale for all.

    Args:
        path: where to write.
        surface: an `experiments.studies.explain.Surface`.
        steps: inner steps of each panel.
    """
    size = (3.8 * len(steps), 4.2)
    figure, axes = plt.subplots(1, len(steps), figsize=size, sharex=True, sharey=True, layout="constrained")
    levels = np.geomspace(0.3, 30, 21)
    for axis, losses, k in zip(axes, surface.loss, steps, strict=True):
        shown = np.clip(losses, levels[0], levels[-1])
        filled = axis.contourf(surface.along, surface.across, shown, levels=levels, norm="log", cmap="viridis")
        least = np.unravel_index(np.argmin(losses), losses.shape)
        axis.plot(surface.along[least[1]], surface.across[least[0]], "w+", markersize=12, markeredgewidth=2)
        axis.plot([], [], "+", color="grey", markersize=10, label=f"least: {losses[least]:.2f}")
        for (name, point), marker in zip(surface.points.items(), "*o", strict=True):
            axis.plot(*point, marker, color=RED, markeredgecolor="white", markersize=12, linestyle="none", label=name)
        axis.set_title(f"after {counted(k, 'inner step')}")
        axis.set_xlabel("from MAML (0) to pretrained (1)")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14))
    axes[0].set_ylabel("across, towards a fresh start (same unit)")
    bar = figure.colorbar(filled, ax=axes, label="mean squared error on training tasks")
    bar.set_ticks([0.3, 1, 3, 10, 30], labels=["0.3", "1", "3", "10", "30 or more"])
    save(figure, path)


def fits(path: Path, panels: dict[str, Any]) -> None:
    """One panel per agent: the true curve, five points, and predictions after 0, 1 and 10 inner steps.

    Args:
        path: where to write.
        panels: "x" [X], "true" [X], "support" (x [N], y [N]), "agents" {name: {"predictions" [3, X], "error"}}.
    """
    names = list(panels["agents"])
    figure, axes = plt.subplots(2, 3, figsize=(12.5, 7), sharex=True, sharey=True)
    for axis, name in zip(axes.flat, names, strict=True):
        found = panels["agents"][name]
        axis.plot(panels["x"], panels["true"], color="black", linestyle="--", label="true curve")
        styles = (("0.65", ":", "before"), (SKY, "-", "after 1 step"), (BLUE, "-", "after 10 steps"))
        for prediction, (colour, style, label) in zip(found["predictions"], styles, strict=True):
            axis.plot(panels["x"], prediction, style, color=colour, label=label)
        axis.plot(*panels["support"], "^", color=RED, markersize=8, label="the five points")
        axis.set_title(f"{name}: error {found['error']:.2f}")
        axis.grid(alpha=0.3)
    top = 1.6 * np.max(np.abs(panels["true"]))
    axes[0, 0].set_ylim(-top, top)
    for axis in axes[-1]:
        axis.set_xlabel("x")
    for axis in axes[:, 0]:
        axis.set_ylabel("y")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=9)
    figure.suptitle("One held-out sinusoid, five points; mean squared error over the whole curve after 10 steps")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    save(figure, path)
