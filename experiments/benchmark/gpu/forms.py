"""The workloads on this device, with several lengths of unrolled time steps and in lower precision."""

import concurrent.futures
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax

from agents.parts import world
from experiments.benchmark import timing, workloads
from experiments.benchmark.gpu.records import LEAST, record, tried, within

NAVIGATION = "metarl/Navigation2D-v0"
CHEETAH = "metarl/HalfCheetahDir-v0"
BFLOAT16 = "BF16_BF16_F32"  # products of numbers rounded to bfloat16, summed in float32
AT_ONCE = 3  # programs compiled
_TRACING = threading.Lock()  # how many steps are unrolled is said to the whole process


class Form(NamedTuple):
    """A way to run a workload.

    Attributes:
        name: of the workload.
        unroll: time steps per iteration of the compiled loop; what suits the device if None.
        precision: of matrix products, as `jax.default_matmul_precision` calls it; the device's own if None.
        make: the workload.
        sampler: the rollouts alone.
        full_size: bars are for it; tiny workloads keep none.
    """

    name: str
    unroll: int | None
    precision: str | None
    make: Callable[[], workloads.Workload]
    sampler: bool = False
    full_size: bool = True

    @property
    def label(self) -> str:
        """In tables."""
        words = [self.name, *(["rollouts alone"] if self.sampler else [])]
        words += [f"unroll {self.unroll}"] if self.unroll else []
        return ", ".join(words + (["bfloat16"] if self.precision else []))


# What each should reach on an H100: (figure of a result, bound, whether the figure is to be above it).
BARS = {
    "navigation": ("seconds_per_iteration", 3.0e-3, False),
    "navigation, large": ("samples_per_second", 100e6, True),
    "sinusoid": ("iterations_per_second", 15_000.0, True),
    "half-cheetah, 16,384 robots": ("samples_per_second", 950_000.0, True),
}


def forms(quick: bool) -> list[Form]:
    """The most important first: later ones are left out where time runs out."""
    size: dict[str, Any] = {"num_tasks": 20, "num_episodes": 20, "horizon": 100}
    large = size | {"num_tasks": 1000, "num_episodes": 40}
    robots: dict[str, Any] = {"num_tasks": 512, "num_episodes": 32}
    few: dict[str, Any] = {}
    unrolls: tuple[int, ...] = (20, 5, 50, 1)
    if quick:
        size = large = {"num_tasks": 2, "num_episodes": 3, "horizon": 6, "hidden_sizes": (8,)}
        robots, few, unrolls = {"num_tasks": 1, "num_episodes": 2}, {"num_tasks": 2, "hidden_sizes": (8,)}, (2, 1)
    navigation = {
        "navigation": lambda: workloads.of_agent("navigation", NAVIGATION, "maml", **size),
        "navigation, large": lambda: workloads.of_agent("navigation, large", NAVIGATION, "maml", **large),
        "rl2": lambda: workloads.of_agent("rl2", NAVIGATION, "rl2", **size),
    }
    sine = lambda: workloads.supervised("sinusoid", **few)
    first = [
        *(Form(name, unrolls[0], None, make) for name, make in navigation.items()),
        Form("sinusoid", None, None, sine),
        Form("half-cheetah, 16,384 robots", None, None, lambda: cheetah(quick, **robots), sampler=True),
        Form("half-cheetah", None, None, lambda: cheetah(quick, num_tasks=40, num_episodes=20)),
    ]
    others = [
        Form(name, unroll, precision, make)
        for precision in (BFLOAT16, None)
        for unroll in unrolls
        for name, make in navigation.items()
        if (unroll, precision) != (unrolls[0], None)
    ]
    return [form._replace(full_size=not quick) for form in (*first, Form("sinusoid", None, BFLOAT16, sine), *others)]


def cheetah(
    quick: bool, *, num_tasks: int, num_episodes: int, horizon: int = 100, devices: int | None = None
) -> workloads.Workload:
    """ProMP on the half-cheetah's directions, on MJX with four solver iterations."""
    small: dict[str, Any] = {"hidden_sizes": (8,)} if quick else {"hidden_sizes": (64, 64)}
    sizes: dict[str, Any] = {"num_tasks": num_tasks, "num_episodes": num_episodes, "horizon": horizon}
    if quick:
        sizes = {"num_tasks": 1, "num_episodes": 2, "horizon": 2}
    sizes["devices"] = devices
    return workloads.of_agent("half-cheetah", CHEETAH, "promp", env_options=("backend=mjx", "iterations=4"), **sizes, **small)


def measure(out: Path, seconds: float, quick: bool) -> None:
    """Compile a few forms at once, time them one after another, and so on; ``out`` is written after each.

    Nothing is compiled while a form is timed: compilers try kernels on the device.
    """
    deadline = within(seconds)
    device = jax.devices()[0]
    found: dict[str, Any] = {"device": device.device_kind, "platform": device.platform, "forms": []}
    repeats, length = (2, 0.01) if quick else (3, 0.5)
    todo, late = forms(quick), list[Form]()
    compiler = ThreadPoolExecutor(AT_ONCE)
    while todo and not late and deadline.left() >= LEAST:
        several, todo = todo[:AT_ONCE], todo[AT_ONCE:]
        futures = [compiler.submit(prepared, form) for form in several]
        concurrent.futures.wait(futures, timeout=deadline.left() - LEAST)
        beside = sum(not future.done() for future in futures)  # which have no time left
        for form, future in zip(several, futures, strict=True):
            if not future.done() or deadline.left() < LEAST:
                late.append(form)
                continue
            result = tried(functools.partial(_timed_once_compiled, form, future, repeats, length))
            found["forms"].append({"form": form.label} | result)
            found["forms"][-1] |= {"compiled_beside": beside} if beside else {}
            record(out, found)
    if late or todo:
        found["not_measured"] = [form.label for form in (*late, *todo)]
    record(out, found)
    compiler.shutdown(wait=False, cancel_futures=True)


def _timed_once_compiled(form: Form, future: concurrent.futures.Future, repeats: int, seconds: float) -> dict[str, Any]:
    return timed(form, future.result(), repeats, seconds)


def prepared(form: Form) -> tuple[Callable[[int], Any], float]:
    """``run(count)`` of its program, compiled, and the seconds that took. In several threads at once, one of which traces."""
    with _TRACING, unrolled(form.unroll), jax.default_matmul_precision(form.precision):
        began = time.perf_counter()
        workload = form.make()
        make, carry = workloads.sampled(workload) if form.sampler else workloads.meta_iterations(workload.learner)
        traced = workloads.lowered(make, carry, workload.task_map)
    program = traced.compile()
    took = time.perf_counter() - began
    return workloads.runner_of(program, carry, workload.task_map), took


@contextlib.contextmanager
def unrolled(steps: int | None) -> Iterator[None]:
    """Workloads made and traced meanwhile unroll so many time steps, on any device."""
    backend = jax.default_backend()
    before = world.UNROLL.get(backend)
    if steps is not None:
        world.UNROLL[backend] = lambda horizon: steps
    try:
        yield
    finally:
        if before is not None:
            world.UNROLL[backend] = before
        else:
            world.UNROLL.pop(backend, None)


def timed(form: Form, run: tuple[Callable[[int], Any], float], repeats: int, seconds: float) -> dict[str, Any]:
    """A form's figures, and whether they keep its bar."""
    again, compiling = run
    turns = timing.steady(again, repeats=repeats, seconds=seconds)
    carry = again(1)
    samples = float(carry[-1] if form.sampler else carry[1]["time/env_steps"])
    result: dict[str, Any] = {
        "compile_seconds": compiling,
        "seconds_per_iteration": turns["median"],
        "spread": [turns["min"], turns["max"]],
        "iterations_per_second": 1 / turns["median"],
        "samples_per_second": samples / turns["median"],
    }
    bar = BARS.get(form.name)
    if bar and form.precision is None and form.full_size:
        figure, bound, above = bar
        result["bar"] = {"figure": figure, "bound": bound, "kept": (result[figure] >= bound) == above}
    return result
