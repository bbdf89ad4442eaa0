"""How far an agent has got between no adaptation and the best: what an oracle, which sees the task, returns."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.reporting.intervals import bootstrap_ci95

BEST = "oracle"  # the agent that is told the task
WITHOUT = "pretrained"  # before it adapts: one policy for all tasks
OWN = "own"  # what an agent's own start is called beside it


def of_the_way(
    reached: np.ndarray, start: np.ndarray, best: np.ndarray, of_task: Sequence[int] | np.ndarray | None = None
) -> dict[str, Any] | None:
    """The share (reached - start) / (best - start) of mean returns: 0 where nothing was gained, 1 as good as the best.

    It may be below 0 and above 1. The interval is over tasks, for these seeds: that of the mean over tasks of what a task lies
    off that share, in units of the mean distance (the ratio estimator's linearisation; Cochran 1977, Section 6.3).

    Args:
        reached: [M], each task's return.
        start: [M], of the same tasks.
        best: [M], the same.
        of_task: see `experiments.reporting.intervals.bootstrap_ci95`.

    Returns:
        share and ci95, or None where the best is not clearly above the start: the interval of their distance is not above 0.

    >>> found = of_the_way(np.array([3.0, 5.0, 3.0, 5.0]), np.ones(4), np.array([5.0, 9.0, 5.0, 9.0]))
    >>> found["share"], found["ci95"]
    (0.5, [0.5, 0.5])
    """
    gained, distance = np.asarray(reached) - start, np.asarray(best) - start
    if not bootstrap_ci95([distance], of_task)[0] > 0:
        return None
    share = gained.mean() / distance.mean()
    off = bootstrap_ci95([gained - share * distance], of_task) / distance.mean()
    return {"share": float(share), "ci95": (share + off).tolist()}


def ways(
    returns: Mapping[str, Sequence[np.ndarray]], of_task: Sequence[int] | np.ndarray | None = None
) -> dict[str, dict[str, dict[str, Any] | None]]:
    """Agent -> `of_the_way` to the oracle after its last step, from its own start (`OWN`) and from `WITHOUT`.

    Args:
        returns: agent -> one array [M, K+1] per seed, on the same tasks.
        of_task: see `of_the_way`.

    Returns:
        Of all agents but the oracle; without `WITHOUT` where that agent is not there. Empty without an oracle.
    """
    if BEST not in returns:
        return {}
    mean = {agent: np.mean(its, axis=0) for agent, its in returns.items()}
    found = {}
    for agent, curve in mean.items():
        if agent != BEST:
            starts = {OWN: curve[:, 0]} | ({WITHOUT: mean[WITHOUT][:, 0]} if WITHOUT in mean else {})
            found[agent] = {name: of_the_way(curve[:, -1], start, mean[BEST][:, 0], of_task) for name, start in starts.items()}
    return found


def missing(agents: Sequence[str]) -> list[str]:
    """Which of the two are not among ``agents``."""
    return [name for name in (BEST, WITHOUT) if name not in agents]
