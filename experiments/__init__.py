"""Scripts, files and pictures. The only room with wandb, IO, wall-clock time and printing.

Run them with ``metarl train`` or ``python -m experiments.train`` and the like, from any folder.
"""

import os
import platform
import signal
import sys
import threading
import zlib
from pathlib import Path
from types import FrameType

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
# Orbax and XLA report routine events at INFO and WARNING.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Started as a command, and not imported by somebody's program, which then would find its settings or its path changed.
_STARTED_AS = Path(sys.argv[0]).stem if sys.argv else ""
is_command = _STARTED_AS in ("-m", "metarl")


def ended_before_it_began(number: int, frame: FrameType | None) -> None:
    """Ends a command that is still importing: what Ctrl-C raises inside a library's C code is a traceback, or crashes there."""
    os._exit(128 + number)


def _asked_for() -> bool:
    """Whether ``python -m`` was given a module of ours, and not somebody's whose package imports this one on the way."""
    words = sys.orig_argv
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    return module.partition(".")[0] in ("", "experiments", "envs", "metarl")


# Until `experiments.cli.signals` takes over.
if is_command and _asked_for() and threading.current_thread() is threading.main_thread():
    for _number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(_number) in (signal.SIG_DFL, signal.default_int_handler):  # and not ignored, as under nohup
            signal.signal(_number, ended_before_it_began)

# What a command refuses to start with, in one line; None if nothing.
refused: str | None = None


def before_the_current_folder() -> None:
    """In a checkout: find our packages first, whatever lies in the current folder. In a wheel their names are their own."""
    if __name__ == "experiments":
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


if is_command and not os.environ.get("JAX_NUM_CPU_DEVICES", "1").isdigit():
    asked = os.environ.pop("JAX_NUM_CPU_DEVICES")  # or jax could not even be imported
    refused = f"JAX_NUM_CPU_DEVICES is {asked!r}, but must be a whole number of devices."
if _STARTED_AS == "-m":
    before_the_current_folder()
