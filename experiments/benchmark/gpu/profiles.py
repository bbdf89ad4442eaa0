"""Where the time of a meta-iteration goes on this device: a trace of each workload, and its longest operations."""

import collections
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from experiments.benchmark import workloads
from experiments.benchmark.gpu.forms import forms
from experiments.benchmark.gpu.records import record, tried, while_there_is_time, within

LONGEST = 12
NAMES = ("navigation", "navigation, large", "sinusoid", "rl2", "half-cheetah")


def profiles(out: Path, seconds: float, quick: bool) -> None:
    """Trace one meta-iteration of each, warm, into folders beside ``out``, and write the longest operations."""
    deadline = within(seconds)
    found: dict[str, Any] = {"workloads": {}}
    first = {form.name: form for form in reversed(forms(quick)) if form.precision is None and not form.sampler}
    for name in while_there_is_time(NAMES, deadline, found):
        folder = out.parent / "profile" / name.replace(", ", "-")
        found["workloads"][name] = tried(functools.partial(traced, first[name].make, folder))
        record(out, found)


def traced(make: Callable[[], workloads.Workload], folder: Path) -> list[dict[str, Any]]:
    """One meta-iteration, compiled before; its `longest` operations."""
    run = workloads.start(make())
    run(1)
    with jax.profiler.trace(str(folder)):
        run(1)
    return longest(folder)


def longest(folder: Path) -> list[dict[str, Any]]:
    """The operations that took longest in all, of the device's planes if it has any, else of the host's."""
    files = sorted(folder.rglob("*.xplane.pb"))
    if not files:
        return []
    planes = list(jax.profiler.ProfileData.from_file(str(files[-1])).planes)
    chosen = [plane for plane in planes if plane.name.startswith("/device:")] or planes
    taken: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    for plane in chosen:
        for line in plane.lines:
            for event in line.events:
                if event.name.startswith("$"):  # a Python function of the process
                    continue
                taken[event.name] += event.duration_ns
                calls[event.name] += 1
    return [{"operation": name, "ms": ns / 1e6, "calls": calls[name]} for name, ns in taken.most_common(LONGEST)]
