"""Intervals and summaries over tasks, and the hash that shows two runs saw the same ones."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from envs.keys import numbers
from experiments.cli.later import Later
from metarl.gains import BY_CHANCE, CLEARLY, clearly_worse

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = Later("scipy.stats")

NUM_RESAMPLES = 2000
QUANTILES = (0.025, 0.975)


def bootstrap_ci95(per_seed: Sequence[np.ndarray], of_task: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """95 % bootstrap interval of the mean over tasks, for given seeds: the percentile interval, stretched.

    Seeds are strata: they stay as they are. Tasks are resampled, the same ones for every seed, because all seeds are evaluated
    on the same tasks: a hard task is hard for all of them, and resampling each seed's tasks by themselves would average
    that away and give intervals that are too narrow.

    The percentile interval of M values lacks what Student's has: it is 0.81 times as wide for 10, 0.955 times for 40. Both ends
    are moved away from the mean by that factor (`stretch`). What is then held, of 95 %, is in the tests: of normal values
    95 % already with 10; of lognormal ones, which no symmetric factor helps, 84 % with 10, 90 % with 40 and 92 % with 100.

    Where rows are repeats of a few tasks, which are all there are, tasks are strata too: repeats are resampled within each. The
    interval is then that of these tasks' mean, had they been played more often.

    Args:
        per_seed: one array [M, ...] per seed; row m of each belongs to the same task. The statistic is the mean over seeds of
            the mean over tasks.
        of_task: [M], the number of the task in a finite list that each row belongs to; all differ if None.

    Returns:
        [..., 2], low and high. With one task there is nothing to resample: both equal the mean.

    Raises:
        ValueError: the seeds have different shapes, so they cannot share their tasks.
    """
    by_task = np.mean(_alike(per_seed), axis=0)  # a mean over seeds of the same resampled tasks
    mean = by_task.mean(axis=0)
    low, high = np.quantile(mean + _over_tasks(by_task, of_task, np.random.default_rng(0)), QUANTILES, axis=0)
    return np.stack([low, high], axis=-1)


def algorithm_ci95(per_seed: Sequence[np.ndarray], of_task: Sequence[int] | np.ndarray | None = None) -> np.ndarray | None:
    """95 % bootstrap interval of the mean over seeds and tasks, for seeds and tasks that were not drawn: the algorithm's.

    Two levels are resampled, seeds and tasks, crossed as they are: a task is the same one for all seeds. Each level is
    stretched for its own number, which for three seeds makes the interval more than twice as wide as its percentiles, and the
    deviations of both are added. Three seeds say little of heavy tails: the factor is that of normal ones.

    Args:
        per_seed: as for `bootstrap_ci95`.
        of_task: the same.

    Returns:
        [..., 2], or None for a single seed, which says nothing of others.

    Raises:
        ValueError: as for `bootstrap_ci95`.
    """
    values = _alike(per_seed)
    if len(values) < 2:
        return None
    rng = np.random.default_rng(0)
    deviations = _deviations(values.mean(axis=1), rng) + _over_tasks(values.mean(axis=0), of_task, rng)
    low, high = np.quantile(values.mean(axis=(0, 1)) + deviations, QUANTILES, axis=0)
    return np.stack([low, high], axis=-1)


def stretch(count: int) -> float:
    """How much wider Student's 95 % interval of a mean is than what percentiles of resamples of ``count`` values tend to.

    >>> [round(1 / stretch(count), 3) for count in (10, 40)]
    [0.822, 0.957]
    """
    return float(np.sqrt(count / (count - 1)) * stats.t.ppf(0.975, count - 1) / stats.norm.ppf(0.975))


def _alike(per_seed: Sequence[np.ndarray]) -> np.ndarray:
    """[S, M, ...], or ValueError."""
    if len({np.shape(values) for values in per_seed}) != 1:
        raise ValueError(f"seeds must share their tasks; their shapes are {[np.shape(values) for values in per_seed]}.")
    return np.asarray(per_seed, np.float64)


def _over_tasks(values: np.ndarray, of_task: Sequence[int] | np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """`_deviations` of rows [M, ...], or of the repeats within each task, where each has some."""
    strata = [] if of_task is None else [values[np.asarray(of_task) == task] for task in np.unique(of_task)]
    if not strata or min(map(len, strata)) < 2:
        return _deviations(values, rng)
    parts = [len(rows) / len(values) * _deviations(rows, rng) for rows in strata]
    return np.sum(parts, axis=0)


def _deviations(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means of resampled rows less the mean of all [B, ...], stretched; zero for a single row."""
    count = len(values)
    if count < 2:
        return np.zeros((NUM_RESAMPLES, *values.shape[1:]))
    times = rng.multinomial(count, np.full(count, 1 / count), size=NUM_RESAMPLES)  # how often each row was drawn
    return stretch(count) * np.tensordot(times / count, values - values.mean(axis=0), axes=1)


def share_ci95(per_seed: list[np.ndarray]) -> list[float]:
    """95 % interval of a share of tasks: [low, high].

    Exact (Clopper-Pearson) for one seed; for several the bootstrap over tasks, unless all tasks agree, where it would have no
    width: then the exact interval for that many tasks.

    Args:
        per_seed: one array [M] of zeros and ones per seed.
    """
    hits = np.stack(per_seed)
    if len(per_seed) > 1 and hits.min() < hits.max():
        return np.clip(bootstrap_ci95(per_seed), 0, 1).tolist()
    interval = stats.binomtest(int(hits[0].sum()), hits.shape[1]).proportion_ci(0.95)
    return [float(interval.low), float(interval.high)]


def hurt_over_seeds(
    returns: Sequence[np.ndarray], gain_error: Sequence[np.ndarray], of_task: Sequence[int] | np.ndarray | None = None
) -> dict[str, Any]:
    """The share of tasks that adaptation made clearly worse, under the names of evaluation.json; see `metarl.gains`.

    Args:
        returns: one array [M, K+1] per seed.
        gain_error: standard errors [M, K+1] of each return minus the first, per seed.
        of_task: see `bootstrap_ci95`: a task that was evaluated several times is one task, with its mean gain.

    Returns:
        hurt, of the last step, with hurt_ci95; hurt_by_step [K+1]. None where some standard error is not known.
    """
    if not all(np.all(np.isfinite(error)) for error in gain_error):
        return {"hurt": None, "hurt_ci95": None, "hurt_by_step": None}
    which = range(len(returns[0])) if of_task is None else of_task
    rows = [np.asarray(which) == task for task in np.unique(which)]
    gains = [np.stack([(seed - seed[:, :1])[row].mean(axis=0) for row in rows]) for seed in returns]
    errors = [np.stack([np.sqrt(np.square(seed[row]).sum(axis=0)) / row.sum() for row in rows]) for seed in gain_error]
    worse = [clearly_worse(gain, error).astype(float) for gain, error in zip(gains, errors, strict=True)]
    by_step = np.mean([share.mean(axis=0) for share in worse], axis=0)
    return {
        "hurt": float(by_step[-1]),
        "hurt_ci95": share_ci95([hit[:, -1] for hit in worse]),
        "hurt_by_step": by_step.tolist(),
    }


def share_by_chance(freedom: float) -> float:
    """The share of tasks that are clearly worse where adaptation does nothing, if returns are normal; see `metarl.gains`.

    Args:
        freedom: degrees of freedom of the standard errors: the fewer the episodes, the more often they are too small.

    >>> [round(share_by_chance(freedom), 4) for freedom in (2, 38, np.inf)]  # 2 episodes on either side, 20, many
    [0.0945, 0.0287, 0.025]
    """
    return float(stats.t.cdf(-CLEARLY, freedom) if freedom > 0 else BY_CHANCE)


def told_by_chance() -> str:
    """The same in words, for tables of agents that played different numbers of episodes."""
    return f"{BY_CHANCE:.1%} by chance alone with many episodes, {share_by_chance(2 * 20 - 2):.1%} with 20 before and 20 after"


def t_interval95(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and interval by Student's t: (mean, low, high); low and high are nan for a single value.

    It holds the truth in 95 % where values are normal, which three of them cannot show: of lognormal ones 3 give 84 %. Tables
    call it a t interval.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half


def iqm(values: np.ndarray) -> np.ndarray:
    """Interquartile mean over the first axis: the mean of the middle half."""
    return stats.trim_mean(values, 0.25, axis=0)


def task_hash(tasks: Any) -> str:
    """SHA-256 of a tree of task arrays: structure, shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(numbers(tasks)):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
