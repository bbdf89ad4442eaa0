"""Means and intervals of what families measure beside the return, such as success."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.measures import SHARES
from experiments.reporting.intervals import bootstrap_ci95, iqm, share_ci95


def mean_intervals(*per_seed: np.ndarray, of_task: Sequence[int] | np.ndarray | None = None) -> list[list[float]]:
    """95 % intervals [K+1][2] of the mean over tasks, from values [M, K+1] of each seed; see `bootstrap_ci95`."""
    return bootstrap_ci95(per_seed, of_task).tolist()


def share_intervals(*per_seed: np.ndarray, of_task: Sequence[int] | np.ndarray | None = None) -> list[list[float]]:
    """The same of shares of episodes; where all tasks say 0, or all 1, the exact interval for that many tasks."""
    found = np.clip(mean_intervals(*per_seed, of_task=of_task), 0, 1).tolist()
    for k, column in enumerate(zip(*(values.T for values in per_seed), strict=True)):
        if np.min(column) == np.max(column) and np.max(column) in (0.0, 1.0):
            found[k] = share_ci95(list(column))
    return found


def measures_over_seeds(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Name -> reduction, mean and ci95 [K+1], and the same of greedy episodes, of what all seeds of an agent measured.

    "seeds_iqm" [K+1] is the interquartile mean over seeds of their means over tasks, as Meta-World+ reports success.
    """
    shared = [name for name in results[0].get("measures", {}) if all(name in result.get("measures", {}) for result in results)]
    found, of_task = {}, results[0].get("of_task")
    for name in shared:
        each = [result["measures"][name] for result in results]
        ci95 = share_intervals if each[0]["reduction"] in SHARES else mean_intervals
        values, modes = ([np.asarray(one[which]) for one in each] for which in ("values", "greedy_values"))
        found[name] = {
            "reduction": each[0]["reduction"],
            "mean": np.mean([v.mean(axis=0) for v in values], axis=0).tolist(),
            "seeds_iqm": iqm(np.asarray([v.mean(axis=0) for v in values])).tolist(),
            "ci95": ci95(*values, of_task=of_task),
            "greedy_mean": np.mean([v.mean(axis=0) for v in modes], axis=0).tolist(),
            "greedy_ci95": ci95(*modes, of_task=of_task),
        }
    return found
