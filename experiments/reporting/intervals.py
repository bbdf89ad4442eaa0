"""Intervals and summaries over tasks, and the hash that shows two runs saw the same ones."""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from scipy import stats

NUM_RESAMPLES = 2000


def bootstrap_ci95(per_seed: Sequence[np.ndarray]) -> np.ndarray:
    """95 % percentile bootstrap interval of the mean over tasks, for given seeds.

    Seeds are strata: they stay as they are. Tasks are resampled, the same ones for every seed, because all seeds are evaluated
    on the same tasks: a hard task is hard for all of them, and resampling each seed's tasks by themselves would average
    that away and give intervals that are too narrow.

    Args:
        per_seed: one array [M, ...] per seed; row m of each belongs to the same task. The statistic is the mean over seeds of
            the mean over tasks.

    Returns:
        [..., 2], low and high. With one task there is nothing to resample: both equal the mean.

    Raises:
        ValueError: the seeds have different shapes, so they cannot share their tasks.
    """
    if len({np.shape(values) for values in per_seed}) != 1:
        raise ValueError(f"seeds must share their tasks; their shapes are {[np.shape(values) for values in per_seed]}.")
    by_task = np.mean(np.asarray(per_seed, np.float64), axis=0)  # a mean over seeds of the same resampled tasks
    if len(by_task) < 2:
        return np.stack([by_task[0], by_task[0]], axis=-1)
    interval = stats.bootstrap(
        (by_task,),
        np.mean,
        axis=0,
        n_resamples=NUM_RESAMPLES,
        batch=100,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return np.stack([interval.low, interval.high], axis=-1)


def share_ci95(per_seed: list[np.ndarray]) -> list[float]:
    """95 % interval of a share of tasks: [low, high].

    Exact (Clopper-Pearson) for one seed; for several the bootstrap over tasks, unless all tasks agree, where it would have no
    width: then the exact interval for that many tasks.

    Args:
        per_seed: one array [M] of zeros and ones per seed.
    """
    hits = np.stack(per_seed)
    if len(per_seed) > 1 and hits.min() < hits.max():
        return bootstrap_ci95(per_seed).tolist()
    interval = stats.binomtest(int(hits[0].sum()), hits.shape[1]).proportion_ci(0.95)
    return [float(interval.low), float(interval.high)]


def t_interval95(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % confidence interval by Student's t: (mean, low, high); low and high are nan for a single value."""
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
    for path, leaf in jax.tree_util.tree_leaves_with_path(tasks):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
