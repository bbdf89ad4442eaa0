"""Scripts, files and pictures. The only room with wandb, IO, wall-clock time and printing.

Run them with ``python -m experiments.train`` and the like, from any folder.
"""

import os
import platform
import sys
import zlib
from pathlib import Path

MAX_CPU_DEVICES = 32
CACHE_BYTES = 2**30


def _keep_compiled_programs() -> None:
    """Compiled programs are kept on disk, so that the second start of a run is quick; the oldest leave first."""
    cpu = Path("/proc/cpuinfo")
    # Programs are made for this very processor, and a home folder may be shared among machines.
    processor = cpu.read_text().split("\n\n")[0] if cpu.exists() else platform.processor()
    kind = [line for line in processor.splitlines() if line.startswith(("model name", "flags", "Features", "CPU part"))]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    folder = base / "metarl" / f"jax-{zlib.crc32(repr(kind or processor).encode()):08x}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # no home to write to: then not
        return
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(CACHE_BYTES))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")


# Threads inside the small products of meta-learning cost more than they gain. Set before jax starts, unless the user did.
if "xla_cpu_multi_thread_eigen" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
# A device per core, so that tasks can be shared among cores (`experiments.training.devices`). No import from our rooms before
# this: jax reads it when it is imported.
if "xla_force_host_platform_device_count" not in os.environ["XLA_FLAGS"]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(cores, MAX_CPU_DEVICES)))
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _keep_compiled_programs()
if not os.environ.get("JAX_NUM_CPU_DEVICES", "1").isdigit():
    sys.exit(f"error: JAX_NUM_CPU_DEVICES is {os.environ['JAX_NUM_CPU_DEVICES']!r}, but must be a whole number of devices.")
# Orbax and XLA report routine events at INFO and WARNING.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _refuse_clash() -> None:
    """``python -m`` puts the current folder first on the path, so a folder or file there named like a room would hide it."""
    here, home = Path.cwd(), Path(__file__).resolve().parent.parent
    if here.resolve() == home or Path(sys.path[0] or ".").resolve() != here.resolve():
        return
    for room in ("metarl", "envs", "agents"):
        hidden = [here / f"{room}.py", here / room / "__init__.py"]
        if room != "metarl":  # a checkout of this repository is often a folder called metarl, which hides nothing
            hidden.append(here / room)
        for path in hidden:
            if path.exists():
                sys.exit(
                    f"error: {path} clashes with metarl's own package {room!r}. "
                    f"Rename it (my_{path.stem if path.suffix else room}, say) or run from another folder."
                )


_refuse_clash()
