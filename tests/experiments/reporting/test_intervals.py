"""Intervals hold what they promise, also when seeds share their tasks."""

import numpy as np
import pytest
from scipy import stats

from experiments.reporting.intervals import bootstrap_ci95, share_ci95

NUM_REPEATS, NUM_SEEDS, NUM_TASKS = 300, 3, 40


@pytest.fixture(scope="module")
def simulated():
    """Returns [S, M, repeats] with mean 0 over tasks: a difficulty that all seeds share, and noise of their own."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=(1, NUM_TASKS, NUM_REPEATS))
    return difficulty + 0.3 * rng.normal(size=(NUM_SEEDS, NUM_TASKS, NUM_REPEATS))


def coverage(interval):
    return np.mean((interval[..., 0] < 0) & (interval[..., 1] > 0))


def test_tasks_that_seeds_share_are_resampled_together(simulated):
    assert 0.91 <= coverage(bootstrap_ci95(list(simulated))) <= 0.98


def test_resampling_tasks_seed_by_seed_would_be_too_narrow(simulated):
    """The negative case: each seed draws its own tasks, as if they were independent."""
    rng = np.random.default_rng(1)
    resampled = []
    for _ in range(400):
        rows = rng.integers(NUM_TASKS, size=(NUM_SEEDS, NUM_TASKS))
        resampled.append(np.mean([values[row].mean(axis=0) for values, row in zip(simulated, rows, strict=True)], axis=0))
    assert coverage(np.quantile(resampled, [0.025, 0.975], axis=0).T) < 0.82


def test_joint_interval_agrees_with_the_normal_one(simulated):
    """An interval of means over 40 tasks is near the one of the central limit theorem, which resamples nothing."""
    by_task = simulated.mean(axis=0)
    half = stats.norm.ppf(0.975) * stats.sem(by_task, axis=0, ddof=0)
    widths = np.diff(bootstrap_ci95(list(simulated)), axis=-1)[:, 0]
    np.testing.assert_allclose(widths.mean(), 2 * half.mean(), rtol=0.03)


def test_seeds_with_other_tasks_are_refused():
    with pytest.raises(ValueError, match="share their tasks"):
        bootstrap_ci95([np.zeros((3, 2)), np.zeros((4, 2))])


def test_shares_have_exact_intervals_also_where_no_task_or_every_task_counts():
    """The rule of three: none of 100 leaves up to about 3.7 % (two-sided); against the beta quantiles it is defined by."""
    low, high = share_ci95([np.zeros(100)])
    assert low == 0 and high == pytest.approx(1 - 0.025 ** (1 / 100))
    low, high = share_ci95([np.ones(100), np.ones(100)])
    assert high == 1 and low == pytest.approx(0.025 ** (1 / 100))
    some = (np.arange(100) < 20).astype(float)
    assert share_ci95([some]) == pytest.approx([stats.beta.ppf(0.025, 20, 81), stats.beta.ppf(0.975, 21, 80)])
    low, high = share_ci95([some, 1 - some])
    assert low <= 0.5 <= high
