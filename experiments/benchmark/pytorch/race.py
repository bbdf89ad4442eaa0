"""Runners timed in turn, so that whatever else the machine does meets all of them alike."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from experiments.benchmark.timing import in_turn, spread

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
        ``times_the_reference`` (`spread` each).
    """
    runs: dict[str, Callable[[int], Any]] = {}
    results: dict[str, dict[str, Any]] = {}
    for entry in entries:
        began = time.perf_counter()
        run = entry.start()
        run(1)
        first = time.perf_counter() - began
        runs[entry.name], results[entry.name] = run, {"first_call_seconds": first}
        say(f"{entry.name}: first call {first:.1f} s")
    taken = in_turn(runs, rounds=rounds, seconds=seconds, pause=PAUSE)
    reference = taken[entries[0].name]["values"]
    for name, found in taken.items():
        results[name]["seconds_per_iteration"] = found
        results[name]["times_the_reference"] = spread([a / b for a, b in zip(found["values"], reference, strict=True)])
    return results
