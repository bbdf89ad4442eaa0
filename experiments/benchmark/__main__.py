"""``python -m experiments.benchmark``: speed, compile time, memory and cost of meta-iterations, and the device's ceilings."""

import dataclasses
import importlib.util
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax

from experiments.benchmark import against, ceilings, chunking, growth, timing, workloads
from experiments.benchmark.files import about_machine, refuse_folder, save
from experiments.benchmark.precision import gradient_errors
from experiments.benchmark.table import show
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, between, flag, given_flags, parse
from experiments.reporting import tables
from experiments.training import cost

NAVIGATION = "metarl/Navigation2D-v0"
Name = Literal["navigation", "navigation-large", "sinusoid", "half-cheetah"]


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """Measure meta-iterations of MAML on this machine: a table, a JSON file and a plot of how time grows."""

    out: Path = Path("benchmark.json")
    """Where the JSON is written; an earlier one is replaced. The plot lies beside it, as .png."""
    only: tuple[Name, ...] = ("navigation", "navigation-large", "sinusoid", "half-cheetah")
    """Which workloads; half-cheetah needs the extra mujoco, and is left out with a word about it where that is missing."""
    repeats: int = 5
    """Timed repeats of each measurement, at least 2 with --against; medians are shown with the least and the greatest."""
    seconds: float = 1.5
    """How long a repeat takes, about: as many meta-iterations as fit, at least one."""
    large: tuple[int, int] = (100, 40)
    """Tasks and episodes of navigation-large."""
    growth: bool = True
    """Measure how the time of a meta-iteration grows with tasks, episodes, horizon and inner steps."""
    chunks: bool = True
    """Measure what it costs that a run reports about once a second, against one long compiled call."""
    precision: bool = True
    """Measure how far meta-gradients in lower precision are from those in float64."""
    against: Path | None = None
    """The folder of another checkout of this repository, such as a git worktree of the last commit. Meta-iterations of both are
    timed in turn, and nothing else is measured; the command fails where this code is slower beyond noise."""
    quick: bool = False
    """Tiny sizes, to see that everything works: its numbers mean nothing."""


def asked(config: BenchmarkConfig) -> dict[str, against.Asked]:
    """How each workload that was asked for is built, by its name."""
    size = {"num_tasks": 20, "num_episodes": 20, "horizon": 100}
    large = size | {"num_tasks": config.large[0], "num_episodes": config.large[1]}
    small: dict[str, Any] = {}
    few: dict[str, Any] = {"num_tasks": 2} if config.quick else {}
    if config.quick:
        size = large = {"num_tasks": 2, "num_episodes": 3, "horizon": 6}
        small = {"hidden_sizes": (8,)}
    physics = ("backend=native",) if jax.default_backend() == "cpu" else ("backend=mjx",)
    cheetah: dict[str, Any] = {"env_options": physics} | size | small
    known = {
        "navigation": against.Asked("reinforcement", ("navigation", NAVIGATION), size | small),
        "navigation-large": against.Asked("reinforcement", ("navigation-large", NAVIGATION), large | small),
        "sinusoid": against.Asked("supervised", ("sinusoid",), few | small),
        "half-cheetah": against.Asked("reinforcement", ("half-cheetah", "metarl/HalfCheetahVel-v0"), cheetah),
    }
    names = list(dict.fromkeys(config.only))
    if "half-cheetah" in names and importlib.util.find_spec("mujoco") is None:
        names.remove("half-cheetah")
        print("half-cheetah is left out: mujoco is not installed.")
    return {name: known[name] for name in names}


def measure(workload: workloads.Workload, limits: ceilings.Ceilings, config: BenchmarkConfig) -> dict[str, Any]:
    """Everything about one workload."""
    timing.forget_peak()
    make, carry = workloads.meta_iterations(workload.learner)
    compiling = timing.compile_times(lambda: workloads.lowered(make, carry, workload.task_map))
    compiled = compiling.pop("compiled")
    run = workloads.runner_of(compiled, carry, workload.task_map)
    turns = timing.steady(run, repeats=config.repeats, seconds=config.seconds)
    steps = float(run(1)[1]["time/env_steps"])
    key, state = jax.random.key(0), carry[0]
    counted = cost.count(workload.learner.step, state, key)
    least = ceilings.floor(counted, limits, cost.interface_bytes(workload.learner.step, state, key))
    reported = compiled.cost_analysis() or {}
    result = {
        "name": workload.name,
        "shape": workload.shape,
        "seconds_per_iteration": turns,
        "iterations_per_second": 1 / turns["median"],
        "samples_per_iteration": steps,
        "samples_per_second": steps / turns["median"],
        "compile": compiling,
        "memory": {"program": timing.memory(compiled), "process_peak": timing.process_peak()},
        "cost": counted._asdict() | {"total": counted.total},
        "interface_bytes": cost.interface_bytes(workload.learner.step, state, key),
        "xla": {"flops": reported.get("flops"), "bytes_accessed": reported.get("bytes accessed")},  # loop bodies count once
        "floor": least,
        "times_the_floor": turns["median"] / least["seconds"],
        "operations_per_second": counted.total / turns["median"],
    }
    result["memory"]["device_peak"] = timing.device_peak(jax.local_devices()[0])
    return result | _sampler(workload, config)


def _sampler(workload: workloads.Workload, config: BenchmarkConfig) -> dict[str, Any]:
    """The rollouts alone, without any gradient."""
    if workload.sampler is None:
        return {"sampler": None}
    make, carry = workloads.sampled(workload)
    program = workloads.compiled(make, carry, workload.task_map)
    run = workloads.runner_of(program, carry, workload.task_map)
    turns = timing.steady(run, repeats=config.repeats, seconds=config.seconds)
    steps = float(run(1)[-1])
    return {"sampler": {"seconds_per_iteration": turns, "env_steps": steps, "env_steps_per_second": steps / turns["median"]}}


def products(config: BenchmarkConfig) -> dict[str, tuple[int, int, int, int]]:
    """Shapes of the work's matrix products, as (batch, rows, depth, columns): hidden layers of policies and regressors."""
    if config.quick:
        return {"a task's batch": (2, 18, 8, 8)}
    return {
        "navigation, one time step": (20, 20, 100, 100),
        "navigation, a batch of episodes": (20, 2000, 100, 100),
        "sinusoid": (25, 10, 40, 40),
    }


def benchmark(config: BenchmarkConfig) -> dict[str, Any]:
    """Measure; returns what the JSON holds besides the machine."""
    brief = 0.01 if config.quick else 0.2
    print("measuring the device's ceilings ...")
    limits = ceilings.measure(products(config), seconds=brief)
    results = []
    for make, args, options in asked(config).values():
        workload: workloads.Workload = getattr(workloads, make)(*args, **options)
        print(f"measuring {workload.name} ...")
        results.append(measure(workload, limits, config))
    found: dict[str, Any] = {"ceilings": limits._asdict(), "workloads": results}
    if config.growth:
        found["growth"] = growth.measure(quick=config.quick, rounds=config.repeats, seconds=min(config.seconds, 0.5))
        growth.plot(found["growth"], config.out.with_suffix(".png"))
    if config.chunks:
        print("measuring a training run against one long call ...")
        found["chunks"] = chunking.measure(quick=config.quick, rounds=3, seconds=0.2 if config.quick else 8.0)
    if config.precision:
        print("measuring lower precision ...")
        sizes = (2, 3, 6, (8,)) if config.quick else (4, 20, 100, (100, 100))
        found["precision"] = gradient_errors(*sizes)
    return found


def compare(config: BenchmarkConfig, other: Path, machine: dict[str, Any]) -> None:
    """Time this code against another checkout's, and exit with 1 where it is slower."""
    found = against.compare(other, asked(config), rounds=config.repeats, seconds=config.seconds)
    tables.show(against.table(found, other))
    save(config.out, machine | {"against": str(other), "compared": found})
    slower = [each["name"] for each in found if each["slower"]]
    if slower:
        print(f"slower than {other}: {', '.join(slower)}", file=sys.stderr)
        sys.exit(1)


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    words = sys.argv[1:] if args is None else args
    config = parse(BenchmarkConfig, words, command_line("benchmark"))
    at_least(config, repeats=1, large=1)
    between(config, seconds=(1e-3, 600))
    if config.against is not None:
        against.refuse_other(config.against)
        at_least(config, repeats=2)
        for name in given_flags(words):
            if name.removeprefix("no_") in ("growth", "chunks", "precision"):
                raise UserError(f"{flag(name)} is given with --against, which times meta-iterations alone; leave one out.")
    if not (config.only or config.growth or config.chunks or config.precision):
        raise UserError("nothing to measure: --only is empty and the other measurements were left out; ask for one.")
    refuse_folder(config.out)
    if config.quick:
        config = dataclasses.replace(config, repeats=2, seconds=0.01)
    machine = about_machine(f"{command_line('benchmark')} {shlex.join(words)}")
    if config.against is not None:
        compare(config, config.against, machine)
        return
    found = benchmark(config)
    result = machine | {"settings": dataclasses.asdict(config) | {"out": str(config.out)}} | found
    show(result)
    save(config.out, result)


if __name__ == "__main__":
    main()
