"""How much memory a compiled program needs, as the compiler reports it, and how much there is."""

from pathlib import Path
from typing import Any

import jax

from experiments.cli.errors import UserError
from experiments.training.cost import size_of
from metarl.interfaces import MetaLearner

GIB = 2**30
SMALL = 2**24  # bytes that need no second look
HEADROOM = 1.2  # a process was seen to peak a fifth above what the compiler says, its own code included


def temporary_bytes(learner: MetaLearner) -> int:
    """Temporary memory of one compiled meta-iteration in bytes: what lives between its inputs and its outputs."""
    key = jax.random.key(0)
    state: Any = jax.eval_shape(learner.init, key)
    analysis: Any = jax.jit(learner.step).lower(state, key).compile().memory_analysis()
    return int(analysis.temp_size_in_bytes)


def needed_bytes(compiled: Any) -> int:
    """Inputs, outputs and temporaries of a compiled program on each of its devices."""
    analysis = compiled.memory_analysis()
    shared = analysis.alias_size_in_bytes
    return int(analysis.argument_size_in_bytes + analysis.output_size_in_bytes + analysis.temp_size_in_bytes - shared)


def gib(size: float) -> str:
    """In GiB, readable for small and large."""
    return f"{size / GIB:,.1f} GiB" if size > GIB else f"{size / GIB:.3g} GiB"


def available_bytes() -> int | None:
    """What a device of the default kind can still take; None if it does not tell. On a CPU its devices share it."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return _host_bytes()
    stats = device.memory_stats()
    return None if not stats or "bytes_limit" not in stats else stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def refuse_too_large_state(learner: MetaLearner, num_seeds: int, memory_flags: str = "smaller buffers or networks") -> None:
    """Refuse an agent whose state alone does not fit, before anything is compiled or made.

    Args:
        learner: whose state.
        num_seeds: how many there are of it.
        memory_flags: the flags that make it smaller.

    Raises:
        UserError: twice what it carries, replay buffers included, is more than there is: as it was before a meta-iteration, and
            as it is after it.
    """
    state = jax.eval_shape(learner.init, jax.random.key(0))
    needed = 2 * num_seeds * sum(map(size_of, jax.tree.leaves(state)))
    available = available_bytes() if needed > SMALL else None
    if available is not None and needed > available:
        raise UserError(
            f"the agent's state alone, before and after a meta-iteration, needs {gib(needed)}, but {_where()} has "
            f"{gib(available)} free; try {memory_flags}{', or train fewer seeds' if num_seeds > 1 else ''}."
        )


def refuse_too_large(compiled: Any, num_devices: int, memory_flags: str) -> int:
    """The bytes that a program needs, predicted before it runs.

    Args:
        compiled: the program.
        num_devices: local ones that it runs on.
        memory_flags: the flags that make it smaller.

    Raises:
        UserError: there is not as much.
    """
    needed = needed_bytes(compiled) * (num_devices if jax.default_backend() == "cpu" else 1)
    available = available_bytes()
    if available is not None and needed * HEADROOM > available:
        raise UserError(
            f"a meta-iteration needs {gib(needed)} and some headroom, but {_where()} has {gib(available)} free; try "
            f"{memory_flags}, with --overwrite or in another --run-dir."
        )
    return needed


def _where() -> str:
    return "this machine" if jax.default_backend() == "cpu" else "a device"


def _host_bytes(meminfo: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Free memory of this machine or, if that is less, of its control group. Files that were read count as free."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:
        limit, used = (group / "memory.max").read_text().strip(), int((group / "memory.current").read_text())
        held = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return free if limit == "max" else min(free, int(limit) - used + int(held["active_file"]) + int(held["inactive_file"]))
    except (OSError, KeyError, ValueError):
        return free
