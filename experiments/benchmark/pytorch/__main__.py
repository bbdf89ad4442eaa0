"""``python -m experiments.benchmark.pytorch``: our meta-iterations against PyTorch's, timed in turn in one process.

A command of its own, because it needs an optional package and its compiler for C++, and compiles for minutes.
"""

import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax

from envs.optional import require
from experiments.benchmark import workloads
from experiments.benchmark.files import about_machine, refuse_folder, save
from experiments.benchmark.pytorch.race import Entry, race
from experiments.benchmark.timing import empty_cache
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, between, parse
from experiments.reporting import tables
from experiments.reporting.tables import Table, counted


@dataclasses.dataclass(frozen=True)
class PeersConfig:
    """Time our sinusoid and navigation meta-iterations and the same work in compiled PyTorch, turn by turn."""

    out: Path = Path("peers.json")
    """Where the JSON is written; an earlier one is replaced."""
    only: tuple[Literal["sinusoid", "navigation"], ...] = ("sinusoid", "navigation")
    """Which workloads."""
    rounds: int = 7
    """Turns of each."""
    seconds: float = 1.5
    """How long a turn takes, about."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads that PyTorch is tried with; its best counts."""
    num_tasks: int = 20
    """Navigation: tasks per meta-iteration."""
    num_episodes: int = 20
    """Navigation: episodes per task and inner step."""
    horizon: int = 100
    """Navigation: steps per episode; a multiple of 10, or at most 10."""


def entries(config: PeersConfig, name: str) -> list[Entry]:
    """Ours, ours with a call per meta-iteration, and PyTorch with each number of threads."""
    workload = (
        workloads.supervised(name)
        if name == "sinusoid"
        else workloads.reinforcement(name, "metarl/Navigation2D-v0", **_sizes(config))
    )
    theta = jax.jit(workload.learner.init)(jax.random.key(0)).theta

    def ours() -> Callable[[int], Any]:
        return workloads.start(workload)

    def one_by_one() -> Callable[[int], Any]:
        run, step = workloads.start(workload), 1
        return lambda count: [run(step) for _ in range(count)]

    peers = [
        Entry(_label(threads, variant), partial(_peer, config, name, theta, threads, options))
        for threads in config.threads
        for variant, options in VARIANTS[name].items()
    ]
    return [Entry("ours", ours), Entry("ours, one call per meta-iteration", one_by_one), *peers]


# What PyTorch is tried with. Ten sinusoid meta-iterations in one graph, called from C++, take about a minute to compile.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "sinusoid": {"": {}, ", 10 per call from C++": {"steps_per_call": 10, "cpp_wrapper": True}},
    "navigation": {"": {"steps_per_call": 1}, ", 10 time steps per call": {"steps_per_call": 10}},
}


def _label(threads: int, variant: str) -> str:
    return f"PyTorch, {counted(threads, 'thread')}{variant}"


def _sizes(config: PeersConfig) -> dict[str, Any]:
    return {"num_tasks": config.num_tasks, "num_episodes": config.num_episodes, "horizon": config.horizon}


def _peer(config: PeersConfig, name: str, theta: Any, threads: int, options: dict[str, Any]) -> Callable[[int], Any]:
    """PyTorch's meta-iterations, from the same start."""
    import torch

    from experiments.benchmark.pytorch import torch_navigation, torch_sinusoid
    from experiments.benchmark.pytorch.parts import layers_from, tensor

    torch._dynamo.reset()
    torch.set_num_threads(threads)
    if name == "sinusoid":
        run = torch_sinusoid.make(layers_from(theta), **options)
    else:
        run = torch_navigation.make((layers_from(theta["mean"]), tensor(theta["log_std"])), **_sizes(config), **options)

    def with_threads(count: int) -> Any:
        torch.set_num_threads(threads)
        return run(count)

    return with_threads


def compare(config: PeersConfig) -> dict[str, Any]:
    """The JSON: per workload what `race` found, PyTorch's form with the best median, and how much slower than ours that is.

    ``ratio_of_minima`` compares the fastest turns alone: what else a busy machine does stretches medians.
    """
    results: dict[str, Any] = {}
    for name in dict.fromkeys(config.only):
        print(f"{name}:")
        with empty_cache():  # first calls compile
            found = race(
                entries(config, name), rounds=config.rounds, seconds=config.seconds, say=lambda line: print(f"  {line}")
            )
        theirs = {entry: result for entry, result in found.items() if entry.startswith("PyTorch")}
        best = min(theirs, key=lambda entry: theirs[entry]["seconds_per_iteration"]["median"])
        fastest = [found[entry]["seconds_per_iteration"]["min"] for entry in (best, "ours")]
        results[name] = {"entries": found, "best_peer": best, "ratio": theirs[best]["times_the_reference"]}
        results[name]["ratio_of_minima"] = fastest[0] / fastest[1]
    return results


def show(results: dict[str, Any]) -> None:
    """One table per workload, at least 120 columns wide."""
    for name, result in results.items():
        ratio = result["ratio"]
        caption = (
            f"{name}: {result['best_peer']} takes {ratio['median']:.2f} times as long as ours "
            f"(rounds: {ratio['min']:.2f} to {ratio['max']:.2f}; fastest turns alone: {result['ratio_of_minima']:.2f}).\n"
        )
        headings = ("", "first call", "per second", "ms each, median (min-max)", "time / ours (min-max)")
        rows = [_row(entry, found) for entry, found in result["entries"].items()]
        title = f"{name}: meta-iterations, first call and steady state apart"
        tables.show(Table(headings, rows, title, caption=caption), least_width=120)


def _row(entry: str, found: dict[str, Any]) -> tuple[str, ...]:
    each, ratio = found["seconds_per_iteration"], found["times_the_reference"]
    return (
        entry,
        f"{found['first_call_seconds']:.1f} s",
        f"{1 / each['median']:,.1f}",
        f"{1e3 * each['median']:.3f} ({1e3 * each['min']:.3f}-{1e3 * each['max']:.3f})",
        f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})",
    )


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    config = parse(PeersConfig, args, command_line("benchmark.pytorch"))
    at_least(config, rounds=1, threads=1, num_tasks=1, num_episodes=1, horizon=1)
    between(config, seconds=(1e-3, 600))
    if not config.only or not config.threads:
        raise UserError("--only and --threads need at least one value each.")
    if config.horizon > 10 and config.horizon % 10:
        raise UserError(f"--horizon is {config.horizon}, but must be a multiple of 10, or at most 10.")
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # read at import; as with JAX, first calls compile
    try:
        torch = require("peers")
    except ImportError as error:
        raise UserError(str(error)) from error
    if jax.default_backend() != "cpu":
        raise UserError("the peers are measured on a CPU; set JAX_PLATFORMS=cpu.")
    refuse_folder(config.out)
    results = compare(config)
    made = about_machine(f"{command_line('benchmark.pytorch')} {shlex.join(sys.argv[1:] if args is None else args)}")
    made["versions"]["torch"] = torch.__version__
    show(results)
    save(config.out, made | {"settings": {"rounds": config.rounds, "seconds": config.seconds}, "results": results})


if __name__ == "__main__":
    main()
