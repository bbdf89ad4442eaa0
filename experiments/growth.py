"""How the time of a meta-iteration grows with its sizes, each doubled in turn from a common start."""

import math
import statistics
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from experiments import timing, workloads

BASE = {"num_tasks": 10, "num_episodes": 10, "horizon": 50, "num_inner_steps": 1}
FACTORS = (1, 2, 4, 8)
QUICK_BASE = {"num_tasks": 1, "num_episodes": 2, "horizon": 4, "num_inner_steps": 1}
QUICK_FACTORS = (1, 2)
PROMISED = ("num_tasks", "num_episodes", "horizon")  # time grows no faster than linearly in these
TOLERANCE = 0.05  # of the exponent, for the noise of timing
LABELS = {"num_tasks": "tasks", "num_episodes": "episodes", "horizon": "horizon", "num_inner_steps": "inner steps"}


def measure(*, quick: bool, repeats: int, seconds: float) -> dict[str, Any]:
    """Size -> values, seconds per meta-iteration (`timing.spread` each), and the exponent that fits them.

    Promised: at no doubling does the time grow by more than the size does, within the tolerance, from the least size that
    takes part to the greatest; see `kept`.
    """
    base, factors = (QUICK_BASE, QUICK_FACTORS) if quick else (BASE, FACTORS)
    hidden = (8,) if quick else (100, 100)
    found: dict[str, Any] = {"base": base, "sizes": {}}
    at_base = None
    for name in base:
        print(f"measuring growth with {LABELS[name]} ...")
        values, taken = [base[name] * factor for factor in factors], []
        for value in values:
            if value == base[name] and at_base is not None:
                taken.append(at_base)  # the common start is measured once
                continue
            shape: dict[str, Any] = base | {name: value}
            taken.append(
                _seconds(
                    workloads.reinforcement(name, "metarl/Navigation2D-v0", **shape, hidden_sizes=hidden), repeats, seconds
                )
            )
            at_base = at_base or taken[-1]
        exponent = fit(values, [each["median"] for each in taken])
        entry = {"values": values, "seconds_per_iteration": taken, "exponent": exponent}
        found["sizes"][name] = entry | ({"kept": kept(exponent)} if name in PROMISED else {})
    return found


def kept(exponent: float) -> bool:
    """Whether time grows no faster than linearly."""
    return exponent <= 1.0 + TOLERANCE


def fit(sizes: list[int], seconds: list[float]) -> float:
    """The exponent p of seconds = c * size^p, by least squares on logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _seconds(workload: workloads.Workload, repeats: int, seconds: float) -> dict[str, Any]:
    import jax

    make, carry = workloads.meta_iterations(workload.learner)
    return timing.steady(workloads.runner_of(jax.jit(make()), carry), repeats=repeats, seconds=seconds)


def plot(found: dict[str, Any], path: Path) -> None:
    """Time over size, both logarithmic and relative to the common start, with a line of slope 1."""
    figure, axes = plt.subplots(figsize=(6.5, 5), layout="constrained")
    greatest = 1.0
    for name, marker in zip(found["sizes"], "os^D", strict=True):
        entry = found["sizes"][name]
        size = np.array(entry["values"]) / entry["values"][0]
        first = entry["seconds_per_iteration"][0]["median"]
        middle, low, high = (
            np.array([each[which] for each in entry["seconds_per_iteration"]]) / first for which in ("median", "min", "max")
        )
        label = f"{LABELS[name]} from {entry['values'][0]}: exponent {entry['exponent']:.2f}"
        axes.errorbar(size, middle, yerr=[middle - low, high - middle], marker=marker, capsize=3, label=label)
        greatest = max(greatest, size[-1])
    ends = np.array([1.0, greatest])
    axes.plot(ends, ends, color="black", linestyle="--", linewidth=1, label="linear")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    ticks = [2.0**i for i in range(round(math.log2(greatest)) + 1)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel("size / size at the start")
    start = statistics.median(entry["seconds_per_iteration"][0]["median"] for entry in found["sizes"].values())
    axes.set_ylabel(f"seconds per meta-iteration / {start:.2g} s")
    axes.set_title("2D navigation, MAML: how time grows (bars: all repeats)")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
