"""The pictures. Each function writes one PNG."""

from pathlib import Path
from typing import Any

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

DPI = 110


def adaptation(path: Path, result: dict[str, Any], family: Any, tasks: Any, episodes: Any) -> None:
    """Return against episodes used, with its interval; beside it paths before and after adaptation.

    Args:
        path: where to write.
        result: the contents of evaluation.json.
        family: gives ``plane(observation, task)``.
        tasks: a few tasks, leaves [P, ...].
        episodes: before and after adaptation, (observation [P, 3, T, ...], mask [P, 3, T], last observation [P, 3, ...]);
            None leaves the paths out.
    """
    figure, axes = plt.subplots(1, 1 if episodes is None else 2, figsize=(5.5 if episodes is None else 10.5, 4.6), squeeze=False)
    curve(axes[0, 0], result, f"{result['agent']}, {result['num_tasks']} held-out tasks")
    axes[0, 0].set_title(f"Adaptation on {result['env']}")
    if episodes is not None:
        _paths(axes[0, 1], family, tasks, episodes, num_steps=len(result["episodes"]) - 1)
    _save(figure, path)


def curve(axis: Any, result: dict[str, Any], label: str) -> None:
    """Mean return with its 95 % interval against the number of episodes used on the new task."""
    low, high = np.asarray(result["return_ci95"]).T
    (line,) = axis.plot(result["episodes"], result["return_mean"], marker="o", label=label)
    axis.fill_between(result["episodes"], low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axis.set_xticks(
        result["episodes"], [f"{e}\n({k} step{'s' * (k != 1)})" for k, e in enumerate(result["episodes"])]
    )
    axis.set_xlabel("episodes used on the new task (inner steps)")
    axis.set_ylabel("return per episode (mean, 95 % interval)")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")


def _paths(axis: Any, family: Any, tasks: Any, episodes: Any, num_steps: int) -> None:
    num_tasks = episodes[0][1].shape[0]
    colours = plt.get_cmap("tab10").colors
    after = f"after {num_steps} inner step{'s' * (num_steps != 1)}"
    for i in range(num_tasks):
        task = jax.tree.map(lambda x, i=i: x[i], tasks)
        for (observation, mask, last), style, width in zip(episodes, (":", "-"), (1.0, 1.6), strict=True):
            for episode in range(observation.shape[1]):
                steps = int(mask[i, episode].sum())
                points = np.concatenate([observation[i, episode, :steps], last[i, episode][None]])
                position, goal = family.plane(points, task)
                axis.plot(*np.asarray(position).T, style, color=colours[i], linewidth=width, alpha=0.7)
        axis.plot(*np.asarray(goal), "*", color=colours[i], markersize=15, markeredgecolor="black", zorder=5)
    axis.plot([], [], ":", color="black", label="before adaptation")
    axis.plot([], [], "-", color="black", label=after)
    axis.plot([], [], "*", color="white", markersize=12, markeredgecolor="black", linestyle="none", label="goal (unseen)")
    axis.set_title(f"Paths on {num_tasks} held-out tasks, one colour each")
    axis.set_xlabel("x")
    axis.set_ylabel("y")
    axis.set_aspect("equal", adjustable="datalim")
    axis.grid(alpha=0.3)
    axis.legend(loc="best", fontsize=8)


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
