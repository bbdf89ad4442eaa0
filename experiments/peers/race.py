"""Runners timed in turn, so that whatever else the machine does meets all of them alike."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from experiments.timing import length, per_iteration, spread

PAUSE = 0.3  # seconds; threads of the runner before may still spin for a while


class Entry(NamedTuple):
    """What takes part.

    Attributes:
        name: in tables.
        start: builds and compiles; returns ``run(num_iterations)``, which waits until they are done.
    """

    name: str
    start: Callable[[], Callable[[int], Any]]


def race(entries: list[Entry], *, rounds: int, seconds: float, say: Callable[[str], None] = print) -> dict[str, Any]:
    """First call and steady state of each entry, and how much slower each is than the first one, round by round.

    Args:
        entries: the first is the reference.
        rounds: how often every entry has its turn.
        seconds: how long a turn should take.
        say: told about progress.

    Returns:
        name -> ``first_call_seconds`` (build, compile and one meta-iteration), ``seconds_per_iteration`` and
        ``times_the_reference`` (`spread` each), and ``iterations_per_turn``.
    """
    runs: dict[str, Callable[[int], Any]] = {}
    lengths: dict[str, int] = {}
    results: dict[str, dict[str, Any]] = {}
    for entry in entries:
        began = time.perf_counter()
        run = entry.start()
        run(1)
        first = time.perf_counter() - began
        runs[entry.name], lengths[entry.name] = run, length(run, seconds)
        results[entry.name] = {"first_call_seconds": first, "iterations_per_turn": lengths[entry.name]}
        say(f"{entry.name}: first call {first:.1f} s")
    taken: dict[str, list[float]] = {entry.name: [] for entry in entries}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(PAUSE)
            taken[name].append(per_iteration(run, lengths[name]))
    reference = taken[entries[0].name]
    for name, values in taken.items():
        results[name]["seconds_per_iteration"] = spread(values)
        results[name]["times_the_reference"] = spread([a / b for a, b in zip(values, reference, strict=True)])
    return results
