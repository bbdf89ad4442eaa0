"""How the time of a meta-iteration grows with its sizes, each doubled in turn from a common start."""

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark import timing, workloads
from experiments.reporting.pyplot import plt

BASE = {"num_tasks": 10, "num_episodes": 10, "horizon": 50, "num_inner_steps": 1}
FACTORS = (1, 2, 4, 8)
QUICK_BASE = {"num_tasks": 1, "num_episodes": 2, "horizon": 4, "num_inner_steps": 1}
QUICK_FACTORS = (1, 2)
PROMISED = ("num_tasks", "num_episodes", "horizon")  # time grows no faster than linearly in these
TOLERANCE = 0.05  # of the exponent, for the noise of timing
LABELS = {"num_tasks": "tasks", "num_episodes": "episodes", "horizon": "horizon", "num_inner_steps": "inner steps"}


def measure(*, quick: bool, rounds: int, seconds: float) -> dict[str, Any]:
    """Size -> values, seconds per meta-iteration (`timing.spread` each), and the exponent that fits them.

    All are compiled first and then timed in turn, so that whatever else the machine does meets all alike.
    """
    base, factors = (QUICK_BASE, QUICK_FACTORS) if quick else (BASE, FACTORS)
    hidden = (8,) if quick else (100, 100)
    values = {name: [base[name] * factor for factor in factors] for name in base}
    runs = {}
    for name in base:
        print(f"compiling growth with {LABELS[name]} ...")
        for value in values[name]:
            shape: dict[str, Any] = base | {name: value}
            if _label(shape) not in runs:  # the common start is measured once
                workload = workloads.reinforcement(name, "metarl/Navigation2D-v0", **shape, hidden_sizes=hidden)
                runs[_label(shape)] = workloads.start(workload)
    print("measuring growth ...")
    taken = timing.in_turn(runs, rounds=rounds, seconds=seconds)
    found: dict[str, Any] = {"base": base, "sizes": {}}
    for name in base:
        times = [taken[_label(base | {name: value})] for value in values[name]]
        exponent = fit(values[name], [each["median"] for each in times])
        entry = {"values": values[name], "seconds_per_iteration": times, "exponent": exponent}
        found["sizes"][name] = entry | ({"kept": kept(exponent)} if name in PROMISED else {})
    return found


def _label(shape: dict[str, Any]) -> str:
    return repr(sorted(shape.items()))


def kept(exponent: float) -> bool:
    """Whether time grows no faster than linearly."""
    return exponent <= 1.0 + TOLERANCE


def fit(sizes: list[int], seconds: list[float]) -> float:
    """The exponent p of seconds = c * size^p, by least squares on logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


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
    axes.set_ylabel(f"time per meta-iteration / that at the start ({1e3 * start:.2g} ms)")
    axes.set_title("2D navigation, MAML: how time grows (bars: all repeats)")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
