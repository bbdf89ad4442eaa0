"""This code's meta-iterations against those of another checkout, timed in turn: whether something became slower.

Figures from a file would have been measured when the machine was otherwise busy. So a process for each checkout compiles the
same workloads, and both wait while the other one is timed; what the machine does besides then meets both alike.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmark import timing
from experiments.cli.errors import UserError
from experiments.reporting.intervals import t_interval95
from experiments.reporting.tables import Table

# Read by python -c in either checkout, so it uses only what both have.
MEASURE = """
import json, sys, time
from experiments.benchmark import workloads
as_given = lambda value: tuple(value) if isinstance(value, list) else value
for name, (make, args, options) in json.loads(sys.argv[1]).items():
    options = {key: as_given(value) for key, value in options.items()}
    run = workloads.start(getattr(workloads, make)(*args, **options))
    globals().setdefault("runs", {})[name] = run
print("ready", flush=True)
for line in sys.stdin:
    name, count = line.split()
    began = time.perf_counter()
    runs[name](int(count))
    print(time.perf_counter() - began, flush=True)
"""
TOLERATED = 1.03  # times as slow: less is not called a slowdown, however sure
HERE = Path(__file__).resolve().parents[__name__.count(".")]


class Asked(NamedTuple):
    """A workload by the function of `experiments.benchmark.workloads` that builds it."""

    make: str
    args: tuple[Any, ...]
    options: dict[str, Any]


class Checkout(NamedTuple):
    """A process that measures one checkout's code."""

    folder: Path
    process: subprocess.Popen

    def run(self, name: str, count: int) -> float:
        """Seconds that ``count`` meta-iterations of a workload took, by the process's own clock."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{name} {count}\n")
            self.process.stdin.flush()
        return float(self.answer())

    def answer(self) -> str:
        """The next line that it says.

        Raises:
            UserError: it has ended.
        """
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            said = self.process.stderr.read().strip().splitlines() or ["it ended"]
            raise UserError(f"{self.folder} cannot be measured: {said[-1]}")
        return line


@contextlib.contextmanager
def opened(folder: Path, asked: dict[str, Asked]) -> Iterator[Checkout]:
    """A checkout's process, with every workload compiled."""
    environment = os.environ | {"PYTHONPATH": str(folder)}
    arguments = [sys.executable, "-c", MEASURE, json.dumps(asked)]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=folder, env=environment) as process:
        try:
            checkout = Checkout(folder, process)
            checkout.answer()
            yield checkout
        finally:
            process.kill()


def refuse_other(folder: Path) -> None:
    """Before anything is measured.

    Raises:
        UserError: this is no checkout.
    """
    inside = Path("experiments", "benchmark", "workloads.py")
    if not (HERE / inside).is_file():
        raise UserError("--against compares checkouts of this repository, and this is an installed copy; run it in a checkout.")
    if not (folder / inside).is_file():
        raise UserError(f"--against is {folder}, which is no checkout; make one: git worktree add {folder} COMMIT")


def compare(folder: Path, asked: dict[str, Asked], *, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """How many times as long a meta-iteration takes here as in ``folder``: per workload, with a t interval over rounds.

    Args:
        folder: the other checkout.
        asked: the workloads by name.
        rounds: turns of each.
        seconds: how long a turn takes, about.
    """
    with opened(HERE, asked) as here, opened(folder.resolve(), asked) as there:
        return [compared(name, here, there, rounds, seconds) for name in asked]


def compared(name: str, here: Checkout, there: Checkout, rounds: int, seconds: float) -> dict[str, Any]:
    """`compare` of one workload."""
    runs = {called: _runner(checkout, name) for called, checkout in (("here", here), ("there", there))}
    turns = timing.in_turn(runs, rounds=rounds, seconds=seconds)
    values = (turns["here"]["values"], turns["there"]["values"])
    logs = [math.log(mine / other) for mine, other in zip(*values, strict=True)]
    ratio, low, high = map(math.exp, t_interval95(logs))
    return {"name": name, "seconds_per_iteration": turns, "ratio": ratio, "ci95": [low, high], "slower": low > TOLERATED}


def _runner(checkout: Checkout, name: str) -> Any:
    return lambda count: checkout.run(name, count)


def table(found: Sequence[dict[str, Any]], folder: Path) -> Table:
    """A row per workload."""
    rows = []
    for each in found:
        mine, other = (1e3 * each["seconds_per_iteration"][which]["median"] for which in ("here", "there"))
        low, high = each["ci95"]
        said = "slower" if each["slower"] else "faster" if high < 1 / TOLERATED else "as fast"
        rows.append([each["name"], f"{mine:.3g}", f"{other:.3g}", f"{each['ratio']:.3f} [{low:.3f}, {high:.3f}]", said])
    caption = f"Of a meta-iteration: medians, mean ratio with its t interval over rounds. Slower: above {TOLERATED}."
    return Table(["", "ms here", f"ms in {folder}", "ratio", ""], rows, words=(0, 4), caption=caption)
