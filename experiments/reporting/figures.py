"""The pictures of runs and comparisons: each function writes one PNG, but `band` and `adaptation_curves`, which draw on axes.

Returns are sums of rewards over an episode; errors are mean squared errors.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.reporting.looks import COLOURS, RED, looks_of
from experiments.reporting.pyplot import plt, ticker
from experiments.reporting.tables import counted, tasks_of

DPI = 110
START = 0.05  # the share of a learning curve that may lie below the figure


def adaptation(path: Path, result: dict[str, Any], family: Any, tasks: Any, episodes: Any) -> None:
    """Return against episodes used, with its interval; beside it paths before and after adaptation.

    Args:
        path: where to write.
        result: the contents of evaluation.json.
        family: gives ``plane(observation, task)``.
        tasks: at least P tasks, leaves [M, ...].
        episodes: one before and one after adaptation on each task, (observation [P, T, ...], mask [P, T], last observation
            [P, ...]); None leaves the paths out.
    """
    figure, axes = plt.subplots(
        1, 1 if episodes is None else 2, figsize=(5.5 if episodes is None else 10.5, 4.6), squeeze=False
    )
    _curve(axes[0, 0], result)
    axes[0, 0].set_title(f"{result['agent']} on {result['env']}, {tasks_of(result)}")
    if episodes is not None:
        num_steps, step = len(result["episodes"]) - 1, "episode" if result.get("adapts_by") == "memory" else "inner step"
        _paths(axes[0, 1], family, tasks, episodes, f"after {counted(num_steps, step)}")
    figure.tight_layout()
    save(figure, path)


def _curve(axis: Any, result: dict[str, Any]) -> None:
    """Mean return with its 95 % interval against the number of episodes used on the new task.

    Where several points used the same episodes (inner steps on one batch, or no adaptation) they stand side by side.
    """
    episodes = result["episodes"]
    agent, where = result["agent"], episodes if len(set(episodes)) == len(episodes) else list(range(len(episodes)))
    band(axis, where, result["return_mean"], result["return_ci95"], marker="o", **looks_of([agent])[agent].style)
    if result.get("adapts_by") == "memory":
        axis.set_xticks(where)
        axis.set_xlabel("episodes used on the new task")
    else:
        axis.set_xticks(where, [f"{e}\n({counted(k, 'step')})" for k, e in enumerate(episodes)])
        axis.set_xlabel("episodes used on the new task (inner steps)")
    axis.set_ylabel("return per episode (mean, 95 % interval)")


def _paths(axis: Any, family: Any, tasks: Any, episodes: Any, after: str) -> None:
    """Where the agent went in the plane, dotted before adaptation, and the goals; arguments as in `adaptation`."""
    num_tasks = episodes[0][1].shape[0]
    for i in range(num_tasks):
        colour = COLOURS[i % len(COLOURS)]
        task = jax.tree.map(lambda x, i=i: x[i], tasks)
        for (observation, mask, last), style, width in zip(episodes, (":", "-"), (1.0, 1.6), strict=True):
            points = np.concatenate([observation[i, : int(mask[i].sum())], last[i][None]])
            position, goal = family.plane(points, task)
            axis.plot(*np.asarray(position).T, style, color=colour, linewidth=width, alpha=0.7)
        axis.plot(*np.asarray(goal), "*", color=colour, markersize=15, markeredgecolor="black", zorder=5)
    axis.plot([], [], ":", color="black", label="before adaptation")
    axis.plot([], [], "-", color="black", label=after)
    axis.plot([], [], "*", color="white", markersize=12, markeredgecolor="black", linestyle="none", label="goal (unseen)")
    axis.set_title(f"Paths on {num_tasks} held-out tasks, one colour each")
    axis.set_xlabel("x")
    axis.set_ylabel("y")
    axis.set_aspect("equal", adjustable="datalim")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)


def comparison(path: Path, like: dict[str, Any], rows: dict[str, Any], training: dict[str, Any]) -> None:
    """Held-out adaptation per agent, and how post-adaptation return grew in training.

    Args:
        path: where to write.
        like: one evaluation.json, for what all share.
        rows: agent -> what `experiments.reporting.comparison.over_seeds` gives.
        training: agent -> rows of metrics.jsonl per seed.
    """
    legend_rows = -(-len(rows) // 4)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4 + 0.25 * legend_rows))
    adaptation_curves(left, rows)
    left.set_title(f"{tasks_of(like)} of {like['env']}")
    looks, room = looks_of(training), []
    for agent, seeds_rows in training.items():
        for lines in seeds_rows:
            steps = [line["time/env_steps"] for line in lines]
            post = np.asarray([line.get("meta/post", np.nan) for line in lines], float)  # none where all updates were skipped
            right.plot(steps, post, **looks[agent].style, linewidth=1, alpha=0.8, marker="o" * (len(steps) == 1))
            room.append(post)
    from_where_they_differ(right, room)
    right.set_title("Training tasks, one line per seed")
    right.set_xlabel("environment steps")
    right.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    right.set_ylabel("return after adaptation")
    figure.legend(*left.get_legend_handles_labels(), loc="lower center", ncols=4, fontsize=9)
    figure.tight_layout(rect=(0, 0.05 * legend_rows + 0.01, 1, 1))
    save(figure, path)


def sweep(path: Path, found: Sequence[tuple[dict[str, Any], float, float, float]]) -> None:
    """How each setting of a sweep did: a panel per setting, a mark per combination, the line their mean at each value.

    Args:
        path: where to write.
        found: of each combination its values, mean score and the ends of its interval, nan where there is none.
    """
    names = list(found[0][0])
    figure, axes = plt.subplots(1, len(names), figsize=(4.6 * len(names), 4.2), squeeze=False, sharey=True)
    for axis, name in zip(axes[0], names, strict=True):
        values = list(dict.fromkeys(each[0][name] for each in _hashable(found)))
        alike = {value: [i for i, each in enumerate(_hashable(found)) if each[0][name] == value] for value in values}
        for i, (of, mean, low, high) in enumerate(_hashable(found)):
            beside = alike[of[name]]
            where = values.index(of[name]) + 0.3 * ((beside.index(i) + 0.5) / len(beside) - 0.5)
            ends = [[mean - low], [high - mean]] if np.isfinite(low) else None
            axis.errorbar([where], [mean], yerr=ends, fmt="o", color="C0", alpha=0.6, markersize=4, capsize=2)
        means = [[mean for of, mean, *_ in _hashable(found) if of[name] == value and np.isfinite(mean)] for value in values]
        axis.plot(range(len(values)), [np.mean(each) if each else np.nan for each in means], color="C1", label="mean")
        axis.set_xticks(range(len(values)), [str(value) for value in values])
        axis.set_xlabel(name)
    axes[0, 0].set_ylabel("score on training tasks\n(mean and t interval over seeds)")
    axes[0, 0].legend(loc="best", fontsize=8)
    figure.tight_layout()
    save(figure, path)


def _hashable(found: Sequence[tuple[dict[str, Any], float, float, float]]) -> list[tuple[dict[str, Any], float, float, float]]:
    plain = lambda value: tuple(value) if isinstance(value, list) else value
    return [({name: plain(value) for name, value in of.items()}, *numbers) for of, *numbers in found]  # type: ignore[misc]


def band(axis: Any, x: Sequence[float] | np.ndarray, middle: Any, low_high: Any, **style: Any) -> None:
    """A line and, in its colour, the area between two others.

    Args:
        axis: where to draw.
        x: [P], places.
        middle: [P], the line.
        low_high: [P, 2], what the area lies between.
        style: of the line.
    """
    (line,) = axis.plot(x, middle, **style)
    axis.fill_between(x, *np.asarray(low_high).T, color=line.get_color(), alpha=0.2, linewidth=0)


def from_where_they_differ(axis: Any, curves: Sequence[np.ndarray]) -> None:
    """Begin the vertical axis below what most of each learning curve lies above: an untrained policy would flatten the rest."""
    finite = [curve[np.isfinite(curve)] for curve in curves]
    finite = [curve for curve in finite if len(curve)]
    if finite:
        lowest, highest = min(np.quantile(curve, START) for curve in finite), max(curve.max() for curve in finite)
        if highest > lowest:
            axis.set_ylim(bottom=lowest - 0.05 * (highest - lowest))


def adaptation_curves(axis: Any, rows: dict[str, Any]) -> None:
    """Mean return with its 95 % interval against episodes used on the new task, each agent at its own numbers of episodes.

    Args:
        axis: where to draw.
        rows: agent -> seeds, adapts_by, episodes [K+1], return_mean [K+1], return_ci95 [K+1][2].
    """
    looks = looks_of(rows)
    for agent, row in rows.items():
        label, style = f"{agent}, {counted(len(row['seeds']), 'seed')}", looks[agent].style
        if len(set(row["episodes"])) > 1:
            band(axis, row["episodes"], row["return_mean"], row["return_ci95"], marker="o", markersize=4, label=label, **style)
        else:  # it does not change with episodes
            axis.axhline(row["return_mean"][0], label=label, **style)
            axis.axhspan(*row["return_ci95"][0], color=style["color"], alpha=0.1, linewidth=0)
    budgets = {tuple(sorted(set(row["episodes"]))) for row in rows.values() if len(set(row["episodes"])) > 1} or {(0,)}
    ticks = sorted(set().union(*budgets))
    if len(budgets) > 1:
        # One episode and sixty both readable: linear up to one episode, logarithmic beyond.
        axis.set_xscale("symlog", linthresh=1, linscale=0.5)
        axis.set_xlim(-0.2, 1.3 * ticks[-1])
        kept = ticks[-1:]
        for episodes in reversed(ticks):  # labels must not touch
            kept += [episodes] * (kept[-1] >= 1.6 * episodes)
        ticks = kept[::-1]
    axis.set_xticks(ticks, [str(e) for e in ticks])
    axis.minorticks_off()
    axis.set_xlabel("episodes used on the new task")
    axis.set_ylabel("return per episode (mean, 95 % interval)")


def error_comparison(path: Path, rows: dict[str, Any], measure: str = "mse") -> None:
    """Mean squared error, on a logarithmic scale, or accuracy against inner steps, one panel per number of test shots.

    Args:
        path: where to write.
        rows: agent -> what `experiments.reporting.comparison.errors_over_seeds` gives.
        measure: "mse" or "accuracy".
    """
    shots = list(next(iter(rows.values()))[f"{measure}_mean"])
    figure, axes = plt.subplots(1, len(shots), figsize=(4 * len(shots), 4.2), sharey=True, squeeze=False)
    looks = looks_of(rows)
    for axis, shot in zip(axes[0], shots, strict=True):
        for agent, row in rows.items():
            label = f"{agent}, {counted(len(row['seeds']), 'seed')}"
            errors_curve(axis, row, shot, measure, marker=".", label=label, **looks[agent].style)
        axis.set_title(f"{shot} test points" if measure == "mse" else f"{shot} per class")
        axis.grid(which="both")
        axis.label_outer()
    _legend_below(figure, axes[0, 0])
    save(figure, path)


def errors_curve(axis: Any, row: dict[str, Any], shots: str, measure: str = "mse", **style: Any) -> None:
    """Mean squared error, or accuracy, of one agent with its 95 % interval against inner steps, given ``shots`` points.

    Args:
        axis: where to draw.
        row: mse_mean {shots: [K+1]} and mse_ci95 {shots: [K+1][2]}, or accuracy_mean and so on.
        shots: which of them.
        measure: "mse" or "accuracy".
        style: of the line.
    """
    means, intervals = row[f"{measure}_mean"][shots], row[f"{measure}_ci95"][shots]
    band(axis, range(len(means)), means, intervals, **style)
    axis.set_xlabel("inner steps")
    axis.set_ylabel(f"{'mean squared error' if measure == 'mse' else measure} (95 % interval)")
    axis.set_yscale("log" if measure == "mse" else "linear")


def sinusoid_fits(path: Path, x: np.ndarray, panels: dict[str, Any], steps: tuple[int, ...], title: str) -> None:
    """One panel per task: the true curve, the support points, and predictions after some numbers of inner steps.

    Args:
        path: where to write.
        x: [X], inputs of the curves.
        panels: "true" [P, X], "support" (x [P, N], y [P, N]), "predictions" [P, len(steps), X].
        steps: inner steps taken, darker for later ones.
        title: of the figure.
    """
    num_panels = len(panels["true"])
    width = max(4.2 * num_panels, 7)  # room for the legend
    figure, axes = plt.subplots(1, num_panels, figsize=(width, 4.2), sharey=True, squeeze=False)
    for i, axis in enumerate(axes[0]):
        axis.plot(x, panels["true"][i], color="black", linestyle="--", label="true curve")
        _predictions(axis, x, panels["predictions"][i], steps, lightest=0.35)
        axis.plot(*[leaf[i] for leaf in panels["support"]], "^", color=RED, markersize=8, label="support points")
        axis.set_xlabel("x")
    axes[0, 0].set_ylabel("y")
    figure.suptitle(title)
    _legend_below(figure, axes[0, 0])
    save(figure, path)


def plain_fit(path: Path, x: np.ndarray, prediction: np.ndarray, losses: np.ndarray) -> None:
    """sin(x) and the network fitted to it; beside it the loss of each step.

    Args:
        path: where to write.
        x: [X], inputs.
        prediction: [X], the network's output at each.
        losses: [S], mean squared error at each step of the optimiser.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8))
    left.plot(x, np.sin(x), color="black", linestyle="--", label="sin(x)")
    left.plot(x, prediction, color="C0", label=f"network after {len(losses)} steps of Adam")
    left.set_xlabel("x")
    left.set_ylabel("y")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), fontsize=9)
    right.plot(np.arange(1, len(losses) + 1), losses)
    right.set_xlabel("step")
    right.set_ylabel("mean squared error")
    right.set_yscale("log")
    figure.tight_layout()
    save(figure, path)


def batching(path: Path, arms: dict[str, np.ndarray], window: int, agent: str) -> None:
    """Training loss against iterations: mean over seeds, shaded from the least to the greatest.

    Args:
        path: where to write.
        arms: label -> smoothed losses [S, I - window + 1].
        window: iterations in the moving average.
        agent: for the title.
    """
    figure, axis = plt.subplots(figsize=(7, 4.4))
    for label, losses in arms.items():
        iterations = window + np.arange(losses.shape[1])
        extremes = np.stack([losses.min(axis=0), losses.max(axis=0)], axis=-1)
        band(axis, iterations, losses.mean(axis=0), extremes, linewidth=1.2, label=label)
    num_seeds = len(next(iter(arms.values())))
    axis.set_title(f"{agent}: tasks per update ({num_seeds} seeds, mean and range)")
    axis.set_xlabel("meta-iteration")
    axis.set_ylabel(f"loss of its own tasks after adaptation\n(moving average over {window} iterations)")
    axis.set_yscale("log")
    axis.grid(which="both")
    axis.legend()
    figure.tight_layout()
    save(figure, path)


def step_fits(path: Path, x: np.ndarray, panels: dict[str, Any], agent: str) -> None:
    """A panel per data set: its points and the fits after 0..K inner steps, later ones darker.

    Args:
        path: where to write.
        x: [X], inputs of the fits.
        panels: "support" (x [P, N], y [P, N]), "predictions" [P, K+1, X].
        agent: for the title.
    """
    figure, axes = plt.subplots(3, 4, figsize=(13, 8.5), sharex=True, sharey=True)
    for i, axis in enumerate(axes.flat):
        axis.plot(*[leaf[i] for leaf in panels["support"]], ".", color=RED, markersize=3, label="data")
        _predictions(axis, x, panels["predictions"][i], range(panels["predictions"].shape[1]), lightest=0.25)
    for axis in axes[-1]:
        axis.set_xlabel("x")
    for axis in axes[:, 0]:
        axis.set_ylabel("y")
    figure.suptitle(f"{agent}: adapting to twelve validation sets")
    _legend_below(figure, axes[0, 0])
    save(figure, path)


def _predictions(axis: Any, x: np.ndarray, predictions: np.ndarray, steps: Sequence[int], lightest: float) -> None:
    """Curves [K, X] over x [X] after each of K numbers of inner steps, from light to dark."""
    shades = plt.get_cmap("Blues")(np.linspace(lightest, 1.0, len(steps)))
    for prediction, step, shade in zip(predictions, steps, shades, strict=True):
        axis.plot(x, prediction, color=shade, label=f"after {counted(step, 'step')}")


def _legend_below(figure: Any, axis: Any) -> None:
    """One legend for all panels, under them, in as many rows as its width asks for."""
    handles, labels = axis.get_legend_handles_labels()
    width, height = figure.get_size_inches()
    columns = min(len(labels), int(width / 1.6))
    rows = -(-len(labels) // columns)
    figure.legend(handles, labels, loc="lower center", ncols=columns, fontsize=9)
    figure.tight_layout(rect=(0, 0.3 * rows / height, 1, 1))


def save(figure: Any, path: Path) -> None:
    """Write the figure and free it."""
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
