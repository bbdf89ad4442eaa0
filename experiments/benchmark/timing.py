"""Timing compiled programs: many meta-iterations per call, several repeats, medians and spreads, and what compiling costs."""

import contextlib
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from experiments.training.memory import needed_bytes

CACHE_OPTIONS = (
    "jax_enable_compilation_cache",
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


def spread(values: list[float]) -> dict[str, Any]:
    """Median, extremes and all values."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "values": values}


def per_iteration(run: Callable[[int], Any], count: int) -> float:
    """Seconds per meta-iteration of ``run(count)``, which waits until they are done."""
    began = time.perf_counter()
    run(count)
    return (time.perf_counter() - began) / count


def length(run: Callable[[int], Any], seconds: float) -> int:
    """How many meta-iterations take about ``seconds``, asked after a first call, which may compile."""
    run(1)
    count = 1
    while True:
        each = per_iteration(run, count)
        if each * count > 0.2 * seconds or count > 1_000_000:
            return max(1, round(seconds / each))
        count *= 4


def steady(run: Callable[[int], Any], *, repeats: int, seconds: float) -> dict[str, Any]:
    """`spread` of the seconds per meta-iteration over ``repeats`` turns of about ``seconds``, after a warm-up."""
    count = length(run, seconds)
    return spread([per_iteration(run, count) for _ in range(repeats)]) | {"iterations_per_repeat": count}


def in_turn(runs: dict[str, Callable[[int], Any]], *, rounds: int, seconds: float, pause: float = 0.0) -> dict[str, Any]:
    """Name -> `spread` of seconds per meta-iteration, every run having its turn in each round, ``pause`` seconds between.

    Whatever else the machine does then meets all alike.
    """
    lengths = {name: length(run, seconds) for name, run in runs.items()}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(pause)
            taken[name].append(per_iteration(run, lengths[name]))
    return {name: spread(values) | {"iterations_per_repeat": lengths[name]} for name, values in taken.items()}


def compile_times(lower: Callable[[], Any]) -> dict[str, Any]:
    """What it costs to trace and compile, cold and at a second start.

    Args:
        lower: traces a function made anew each time, so that nothing traced before is found again; returns what has `compile`.

    Returns:
        ``trace_seconds`` and ``compile_seconds`` with an empty persistent cache; ``second_start_seconds``, trace and compile
        with the program in it (None where JAX does not keep it there, as with calls back to Python); ``compiled``.
    """
    with empty_cache() as folder:
        began = time.perf_counter()
        lowered = lower()
        traced, others = time.perf_counter(), _files(folder)  # what tracing compiles beside it
        compiled = lowered.compile()
        cold = {"trace_seconds": traced - began, "compile_seconds": time.perf_counter() - traced}
        kept = _files(folder) > others
        began = time.perf_counter()
        if kept:
            lower().compile()
        again = time.perf_counter() - began if kept else None
    return cold | {"second_start_seconds": again, "compiled": compiled}


def _files(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


@contextlib.contextmanager
def empty_cache() -> Iterator[str]:
    """JAX with an empty persistent cache, in the folder given back, that keeps even small programs."""
    before = {name: getattr(jax.config, name) for name in CACHE_OPTIONS}
    with tempfile.TemporaryDirectory() as folder:
        _set(dict(zip(CACHE_OPTIONS, (True, folder, 0.0, -1), strict=True)))
        try:
            yield folder
        finally:
            _set(before)


def _set(options: dict[str, Any]) -> None:
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX decides once per process whether there is one


def memory(compiled: Any) -> dict[str, int]:
    """Bytes that a compiled program needs at once on each of its devices: arguments, outputs and temporaries."""
    stats = compiled.memory_analysis()
    sizes = stats.argument_size_in_bytes, stats.output_size_in_bytes, stats.temp_size_in_bytes
    return dict(zip(("arguments", "outputs", "temporaries", "total"), (*sizes, needed_bytes(compiled)), strict=True))


def forget_peak() -> None:
    """Begin a new peak of the process's memory, where the operating system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def process_peak() -> int:
    """Bytes of main memory that the process held at most since `forget_peak`, or since its start where that does nothing."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device_peak(device: Any) -> int | None:
    """Bytes that the device's allocator held at most in this process; None where it does not say, as on a CPU."""
    stats = device.memory_stats()
    return None if stats is None else stats.get("peak_bytes_in_use")
