"""The JSON that measurements are written to, and what it says about the machine they were made on."""

import os
import platform
from pathlib import Path
from typing import Any

import jax

from experiments.cli.errors import UserError
from experiments.runs.folder import made_with, write_json


def about_machine(command: str) -> dict[str, Any]:
    """Hardware, versions, date, command and commit."""
    return {
        "command": command.strip(),
        **made_with(),
        "cpu": {"model": cpu_model(), "cores": cores()},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "x64": bool(jax.config.jax_enable_x64),  # type: ignore[attr-defined]
    }


def cpu_model() -> str:
    """The processor's name as the operating system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_folder(out: Path) -> None:
    """Before anything is measured: ``out`` must be a place where a file can be written."""
    if out.is_dir():
        raise UserError(f"--out is {out}, which is a folder; give a file, such as {out / 'benchmark.json'}.")
    if not out.parent.is_dir():
        raise UserError(f"--out is {out}, but the folder {out.parent} does not exist; make it first.")


def save(out: Path, result: dict[str, Any]) -> None:
    """Write the JSON and say where."""
    write_json(out, result)
    print(f"wrote {out}")
