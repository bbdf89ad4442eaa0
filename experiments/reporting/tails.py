"""How an agent does on its worst tasks, and how often one agent does better than another."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.reporting.intervals import bootstrap_ci95

CVAR = {"return_cvar05": 0.05, "return_cvar20": 0.2}  # names in evaluation.json
PERCENTILE = {"return_p20": 20}
WORST = "return_worst"


def cvar(values: np.ndarray, share: float) -> np.ndarray:
    """Conditional value at risk: the mean of the lowest ``share`` of M values, over the first axis.

    The value at the border counts in part, so that any share can be had: 0.05 of 50 values are two and a half.

    >>> float(cvar(np.array([3.0, 1.0, 2.0, 9.0]), 0.375))
    1.3333333333333333
    """
    count = share * len(values)
    weights = np.clip(count - np.arange(len(values)), 0, 1)
    return np.tensordot(weights / weights.sum(), np.sort(values, axis=0), axes=1)


def tails(per_seed: Sequence[np.ndarray], of_task: Sequence[int] | np.ndarray | None = None) -> dict[str, list[float]]:
    """What the worst tasks return, under the names of evaluation.json: each the mean over seeds.

    A task's return is itself a mean over a few episodes, whose chance makes the lowest ones lower. Agents that are evaluated
    with equally many episodes are compared fairly; no interval is given, since a tail holds few tasks.

    Args:
        per_seed: one array [M, K+1] of tasks' returns per seed.
        of_task: see `bootstrap_ci95`: rows of one task are averaged first, or the lowest of its repeats would pass for a task.

    Returns:
        [K+1] each: the means of the worst 5 % and 20 % of tasks, the 20th percentile, and the worst task.
    """
    if of_task is not None:
        rows = [np.asarray(of_task) == task for task in np.unique(of_task)]
        per_seed = [np.stack([values[of_it].mean(axis=0) for of_it in rows]) for values in per_seed]
    over_seeds = lambda of: np.mean([of(values) for values in per_seed], axis=0).tolist()
    found = {name: over_seeds(lambda values, share=share: cvar(values, share)) for name, share in CVAR.items()}
    found |= {name: over_seeds(lambda values, p=p: np.percentile(values, p, axis=0)) for name, p in PERCENTILE.items()}
    return found | {WORST: over_seeds(lambda values: values.min(axis=0))}


def improvement(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], of_task: Sequence[int] | np.ndarray | None = None
) -> dict[str, Any]:
    """Probability of improvement: how often a seed of one agent returns more on a task than a seed of the other.

    The mean over tasks of the share of pairs of seeds, ties half (Agarwal et al. 2021, section 4.3). The interval is over
    tasks, for these seeds; for other seeds, too, see the algorithm's interval of the means.

    Args:
        ours: one array [M] per seed, returns on the same tasks.
        theirs: the same of the other agent.
        of_task: see `bootstrap_ci95`.

    Returns:
        probability, and ci95 within [0, 1].
    """
    pairs = np.subtract(np.stack(ours)[:, None], np.stack(theirs)[None])  # [S, S', M]
    per_task = np.mean((pairs > 0) + 0.5 * (pairs == 0), axis=(0, 1))
    ci95 = np.clip(bootstrap_ci95([per_task], of_task), 0, 1)
    return {"probability": float(per_task.mean()), "ci95": ci95.tolist()}
