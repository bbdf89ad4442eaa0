"""``python -m experiments.benchmark.gpu``: what a few minutes of an accelerator can tell, each part saved at once."""

import contextlib
import dataclasses
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from experiments.benchmark.files import about_machine
from experiments.benchmark.gpu.pack import JAX_ALONE, pack
from experiments.benchmark.gpu.records import record
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import between, parse
from experiments.reporting.tables import Table, digits, show
from experiments.runs.folder import load_json

Name = Literal["agreement", "forms", "robot", "exact", "profiles"]
# Part -> (share of the time, "module:function" of (out, seconds, quick)), in the order in which they run.
PARTS: dict[Name, tuple[float, str]] = {
    "agreement": (0.13, "agreement:agreement"),
    "forms": (0.30, "forms:measure"),
    "robot": (0.38, "robot:learning"),
    "exact": (0.11, "exact:exact"),
    "profiles": (0.08, "profiles:profiles"),
}
Rows = tuple[Sequence[str], list[tuple[Any, ...]]]  # headings and lines of a table
GRACE = 15.0  # seconds after its time before a part is ended


@dataclasses.dataclass(frozen=True)
class GpuConfig:
    """Check this code on an accelerator, in parts of a process each: what is found is written at once.

    agreement: the first meta-iteration equals that of the processor beside it. forms: speed, with several lengths of unrolled
    steps and in bfloat16, beside what an H100 should reach. robot: the half-cheetah's curve on MJX beside the CPU's. exact: the
    exact tests. profiles: traces.
    """

    out: Path = Path("gpu")
    """A folder for a JSON file per part, logs and traces; made if it is missing."""
    minutes: float = 12.0
    """For all parts; a part that needs less leaves its time to those after it."""
    only: tuple[Name, ...] = ("agreement", "forms", "robot", "exact", "profiles")
    """Which parts."""
    quick: bool = False
    """Tiny sizes, to see that everything works: its numbers mean nothing."""
    pack: Path | None = None
    """Measure nothing; gather in this folder the wheels that a machine with JAX alone needs, with a list of them."""
    present: tuple[str, ...] = JAX_ALONE
    """With --pack: packages that the machine has, and which are left out."""
    python: str = ""
    """With --pack: the machine's Python, such as 3.12; this one's if not given."""


def check(config: GpuConfig) -> dict[str, Any]:
    """Run the parts one after another; returns what each has written."""
    names = [name for name in PARTS if name in config.only]
    config.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * config.minutes
    about: dict[str, Any] = {"command": f"{command_line('benchmark.gpu')} {shlex.join(sys.argv[1:])}", "parts": {}}
    for i, name in enumerate(names):
        shares = sum(PARTS[later][0] for later in names[i:])
        seconds = (end - time.monotonic()) * PARTS[name][0] / shares
        print(f"{name}: at most {seconds:.0f} s ...", flush=True)
        about["parts"][name] = part(config, name, seconds)
        record(config.out / "summary.json", about)
        show(table_of(name, result_of(config.out, name), about["parts"][name]))
    return {name: result_of(config.out, name) for name in names}


def part(config: GpuConfig, name: Name, seconds: float) -> dict[str, Any]:
    """One part in its own process, which gives the device's memory back; returns how it ended."""
    began = time.monotonic()
    (config.out / f"{name}.json").unlink(missing_ok=True)
    module, _, function = PARTS[name][1].partition(":")
    program = f"from pathlib import Path; from {__package__}.{module} import {function} as part; "
    program += f"part(Path({str(config.out.resolve())!r}) / '{name}.json', {seconds!r}, {config.quick!r})"
    log = config.out / f"{name}.stderr.log"
    with log.open("w") as said:
        # A group of its own, so that what a part has started ends with it and gives the device back.
        process = subprocess.Popen([sys.executable, "-c", program], stderr=said, start_new_session=True)
        try:
            code: int | None = process.wait(timeout=seconds + GRACE)
        except subprocess.TimeoutExpired:
            code = None
        finally:  # also when interrupted: nothing goes on behind the user's back
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    last = log.read_text().strip().splitlines()[-1:] if code else []
    return {"exit_code": code, "seconds": time.monotonic() - began, "allowed": seconds} | ({"said": last[0]} if last else {})


def result_of(out: Path, name: str) -> dict[str, Any]:
    """What a part has written; nothing if it came to nothing."""
    path = out / f"{name}.json"
    return load_json(path) if path.is_file() else {}


def table_of(name: Name, found: dict[str, Any], ended: dict[str, Any]) -> Table:
    """A part's findings."""
    caption = f"{ended['seconds']:.0f} s"
    if ended["exit_code"] != 0:
        caption += "; ended at its time" if ended["exit_code"] is None else f"; failed: {ended.get('said', '')}"
    if "said" in found:
        caption += f"; it said: {found['said']}"
    if found.get("not_measured"):
        caption += f"; no time for {found['not_measured']}"
    headings, lines = ROWS[name](found)
    return Table(headings, lines, name, caption=caption)


def _agreement(found: dict[str, Any]) -> Rows:
    lines = [
        (agent, "failed:", row["failed"], "")
        if "failed" in row
        else (agent, f"{row['state']:.1e}", f"{row['metrics']:.1e}", _kept(row["kept"]))
        for agent, row in found.get("agents", {}).items()
    ]
    lines += [
        (f"meta-gradient, {how}", f"{row['relative_error']:.1e}", "", "")
        for how, row in found.get("meta_gradient_against_float64", {}).items()
    ]
    return ("after one meta-iteration", "error of the state", "of metrics", "at most 1e-4"), lines


def _forms(found: dict[str, Any]) -> Rows:
    lines: list[tuple[Any, ...]] = []
    for row in found.get("forms", []):
        if "failed" in row:
            lines.append((row["form"], "failed:", row["failed"], "", ""))
            continue
        bar = row.get("bar")
        judged = f"{_kept(bar['kept'])} ({bar['figure']} {bar['bound']:g})" if bar else ""
        speed = f"{row['samples_per_second']:,.0f}"
        lines.append((row["form"], digits(1e3 * row["seconds_per_iteration"]), speed, digits(row["compile_seconds"]), judged))
    return ("workload", "ms", "samples / s", "compiled in s", "bar for an H100"), lines


def _robot(found: dict[str, Any]) -> Rows:
    lines = [
        (
            f"{row['env_steps']:,.0f}",
            digits(row["seconds"]),
            digits(row["post"]),
            "" if row["reference"] is None else digits(row["reference"]),
        )
        for row in found.get("rows", [])
    ]
    return ("env steps", "seconds", "return after one step", "native MuJoCo, CPU"), lines


def _exact(found: dict[str, Any]) -> Rows:
    lines = [
        (word, str(found[word])) for word in ("passed", "failed", "error", "errors", "skipped", "left_out") if word in found
    ]
    return ("tests", "number"), lines + [("failed", name) for name in found.get("failures", [])]


def _profiles(found: dict[str, Any]) -> Rows:
    lines: list[tuple[Any, ...]] = []
    for name, rows in found.get("workloads", {}).items():
        if "failed" in rows:
            lines.append((name, f"failed: {rows['failed']}", "", ""))
            continue
        lines += [(name, row["operation"][:60], digits(row["ms"]), str(row["calls"])) for row in rows[:5]]
    return ("workload", "longest operations", "ms", "calls"), lines


ROWS = {"agreement": _agreement, "forms": _forms, "robot": _robot, "exact": _exact, "profiles": _profiles}


def _kept(kept: bool) -> str:
    return "kept" if kept else "NOT KEPT"


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    config = parse(GpuConfig, args, command_line("benchmark.gpu"))
    between(config, minutes=(0.1, 24 * 60))
    if config.pack is not None:
        pack(config.pack, config.present, config.python)
        return
    if config.python or config.present != JAX_ALONE:
        raise UserError("--python and --present are of --pack FOLDER; without it everything here is used as it is.")
    if not config.only:
        raise UserError(f"--only is empty; parts are {', '.join(PARTS)}.")
    if config.out.is_file():
        raise UserError(f"--out is {config.out}, which is a file; give a folder.")
    check(config)
    machine = about_machine(command_line("benchmark.gpu"))
    record(config.out / "machine.json", machine)
    print(f"wrote {config.out}")


if __name__ == "__main__":
    main()
