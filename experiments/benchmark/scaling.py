"""``python -m experiments.benchmark.scaling --agent NAME``: what a meta-iteration communicates, and how far it can be spread.

The collectives are counted in the program that the compiler makes for two devices; the times are a model on top, whose
constants are flags. See docs/scaling.md.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.cli.command_line import command_line
from experiments.cli.errors import one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.reporting.tables import Table, markdown
from experiments.training.config import build, family_of, resolve, train_config
from experiments.training.devices import choose_devices, everywhere, spread
from metarl.interfaces import MetaLearner

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
ITEM_BYTES = {"pred": 1, "s8": 1, "u8": 1, "f16": 2, "bf16": 2, "s16": 2, "u16": 2, "f64": 8, "s64": 8, "u64": 8, "c64": 8}

COLUMNS = {  # heading -> a row's cell
    "devices": "{devices}",
    "tasks each": "{tasks_per_device:g}",
    "compute, ms": "{compute_ms:.2f}",
    "communication, ms": "{communication_ms:.2f}",
    "speed-up": "{speedup:.1f}",
    "efficiency": "{efficiency:.0%}",
}


@dataclasses.dataclass(frozen=True)
class ScalingConfig:
    """Bytes communicated per meta-iteration, and predicted times on many accelerators."""

    agent: str = "maml"
    """A name of agents.AGENTS."""
    env: str = "metarl/Navigation2D-v0"
    """Task family."""
    num_tasks: int = 1024
    """M: tasks per meta-iteration, over all devices."""
    num_episodes: int = 40
    """N: episodes per task and inner step."""
    horizon: int = 100
    """T: steps per episode."""
    hidden_sizes: tuple[int, ...] = (100, 100)
    """Hidden layers of the policy."""
    devices: tuple[int, ...] = (1, 8, 64, 512)
    """How many accelerators to predict for."""
    floor_ms: float = 2.2
    """Milliseconds that a meta-iteration takes however few tasks a device has: the time scan's steps, one after another."""
    million_steps_per_second: float = 101.0
    """Environment steps per second of one device with many tasks, meta-gradient included, in millions."""
    latency_us: float = 10.0
    """Microseconds that one hop of an all-reduce takes, however short the message."""
    gigabytes_per_second: float = 25.0
    """Bandwidth between devices."""
    loop_turns: int = 10
    """Turns of a loop whose length the compiled program does not tell: conjugate gradients, line search, passes of PPO."""


class Traffic(NamedTuple):
    """What the devices of one program exchange.

    Attributes:
        calls: how many collectives run.
        bytes: the sum of their messages.
        loops: whether some are in loops of unknown length.
    """

    calls: int
    bytes: int
    loops: bool = False


def traffic(hlo: str, loop_turns: int = 1) -> Traffic:
    """Count the collectives in a compiled program's text, those in loops as often as the loop turns."""
    computations: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in hlo.splitlines():
        if header := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            lines = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        else:
            lines.append(line)
    return _count(computations, entry, loop_turns)


def _count(computations: dict[str, list[str]], name: str, loop_turns: int) -> Traffic:
    total = Traffic(0, 0)
    for line in computations.get(name, ()):
        found = re.match(r"\s+(?:ROOT )?%?[\w.\-]+ = (.*?) ([\w\-]+)\(", line)
        if not found:
            continue
        if found[2].removesuffix("-start") in COLLECTIVES:
            total = total._replace(calls=total.calls + 1, bytes=total.bytes + message_bytes(found[1]))
            continue
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
        turns = 1 if found[2] != "while" else int(known[1]) if known else loop_turns
        called = re.findall(r"(?:body|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)", line)
        branches = re.search(r"branch_computations=\{([^}]*)\}", line)
        called += [branch.strip(" %") for branch in branches[1].split(",")] if branches else []
        for inner in (_count(computations, each, loop_turns) for each in called):
            unknown = bool(inner.calls) and found[2] == "while" and not known
            total = Traffic(
                total.calls + turns * inner.calls, total.bytes + turns * inner.bytes, total.loops or inner.loops or unknown
            )
    return total


def message_bytes(shapes: str) -> int:
    """Bytes of HLO shapes such as ``(f32[100,2]{1,0}, s32[])``."""
    found = re.findall(r"([a-z]+\d*)\[([\d,]*)\]", shapes)
    return sum(ITEM_BYTES.get(kind, 4) * math.prod(int(n) for n in sizes.split(",") if n) for kind, sizes in found)


def all_reduce_seconds(calls: int, size: int, devices: int, latency: float, bandwidth: float) -> float:
    """Tree all-reduces, as libraries choose for messages as small as these: up and down log2(D) hops.

    The bytes cost 2 (D - 1) / D times the message over the bandwidth, the least that any all-reduce can do.
    """
    if devices == 1:
        return 0.0
    return calls * 2 * math.ceil(math.log2(devices)) * latency + 2 * (devices - 1) / devices * size / bandwidth


def compute_seconds(env_steps: float, devices: int, floor: float, steps_per_second: float) -> float:
    """A meta-iteration without communication: a floor that no device can avoid, and the work, shared equally."""
    return floor + env_steps / devices / steps_per_second


def count_traffic(learner: MetaLearner, devices: int, loop_turns: int) -> tuple[int, Traffic]:
    """The meta-parameters of a learner, which was built for the first ``devices`` local devices, and what it exchanges."""
    where = everywhere(spread(devices))
    state = jax.eval_shape(learner.init, jax.random.key(0))
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), state)
    key = jax.ShapeDtypeStruct((), jax.random.key(0).dtype, sharding=where)
    hlo: Any = jax.jit(learner.step, out_shardings=where).lower(like, key).compile().as_text()
    return sum(leaf.size for leaf in jax.tree.leaves(state.theta)), traffic(hlo, loop_turns)


def predict(config: ScalingConfig, found: Traffic, env_steps: float) -> list[dict[str, float]]:
    """One row per number of devices."""
    compute = [
        compute_seconds(env_steps, count, config.floor_ms / 1e3, config.million_steps_per_second * 1e6)
        for count in (1, *config.devices)
    ]
    rows = []
    for count, seconds in zip(config.devices, compute[1:], strict=True):
        talk = all_reduce_seconds(found.calls, found.bytes, count, config.latency_us / 1e6, config.gigabytes_per_second * 1e9)
        speedup = compute[0] / (seconds + talk)
        rows.append(
            {
                "devices": count,
                "tasks_per_device": config.num_tasks / count,
                "compute_ms": 1e3 * seconds,
                "communication_ms": 1e3 * talk,
                "speedup": speedup,
                "efficiency": speedup / count,
            }
        )
    return rows


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    config = parse(ScalingConfig, args, command_line("benchmark.scaling"))
    at_least(config, num_tasks=2, num_episodes=1, horizon=1, devices=1, loop_turns=1)
    given = {name: getattr(config, name) for name in ("agent", "env", "num_tasks", "num_episodes", "horizon", "hidden_sizes")}
    settings = resolve(train_config(run_dir=Path("unused"), **given))
    devices = choose_devices(2, config.num_tasks, family_of(settings))
    learner = build(settings, task_map=spread(devices)).learner
    parameters, found = count_traffic(learner, devices, config.loop_turns)
    env_steps = config.num_tasks * config.num_episodes * config.horizon * (getattr(settings.own, "num_inner_steps", 0) + 1)
    loops = f" (loops of unknown length taken to turn {config.loop_turns} times)" if found.loops else ""
    print(
        f"{config.agent}: {parameters:,} meta-parameters, {env_steps:,} environment steps per meta-iteration, "
        f"{found.calls} collectives of {found.bytes:,} bytes together{loops}\n"
    )
    rows = [[cell.format(**row) for cell in COLUMNS.values()] for row in predict(config, found, env_steps)]
    print(markdown(Table(tuple(COLUMNS), rows)), end="")


if __name__ == "__main__":
    main()
