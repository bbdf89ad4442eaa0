"""Intervals and summaries over tasks, and the hash that shows two runs saw the same ones."""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from scipy import stats

NUM_RESAMPLES = 2000


def bootstrap_ci95(per_seed: list[np.ndarray]) -> np.ndarray:
    """95 % percentile bootstrap interval of the mean over tasks, stratified over seeds.

    Args:
        per_seed: one array [M, ...] per seed. Tasks are resampled within each seed; the statistic is the mean over seeds of
            the mean over tasks.

    Returns:
        [..., 2], low and high. With one task there is nothing to resample: both equal the mean.
    """
    means = np.mean([np.mean(values, axis=0) for values in per_seed], axis=0)
    if any(len(values) < 2 for values in per_seed):
        return np.stack([means, means], axis=-1)

    def statistic(*samples: np.ndarray, axis: int) -> np.ndarray:
        return np.mean([np.mean(sample, axis=axis) for sample in samples], axis=0)

    interval = stats.bootstrap(
        per_seed,
        statistic,
        axis=0,
        n_resamples=NUM_RESAMPLES,
        batch=100,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return np.stack([interval.low, interval.high], axis=-1)


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
