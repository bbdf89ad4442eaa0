"""step.cc as custom calls of XLA, built once per machine with the compiler that is there; else Python calls MuJoCo.

A call through Python takes a tenth of a half-cheetah's time and more, and cannot be part of a program that JAX keeps on disk,
since it holds the address of a function of this process. These calls name their physics by what it is made of.
"""

import ctypes
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

SOURCE = Path(__file__).with_name("step.cc")
FLAGS = ("-std=c++17", "-O2", "-shared", "-fPIC", "-pthread", "-w")
PLACES = {"root": 0, "torso": 1, "mass centre": 2}
STEP, CENTRE = "metarl_mujoco_step", "metarl_mujoco_centre"
SWITCH = "METARL_COMPILED_MUJOCO"  # 0 turns it off

_ALIVE: list[Any] = []  # models whose addresses the library has


@functools.cache
def library() -> ctypes.CDLL | None:
    """The built and registered library; None where it is turned off, cannot be built, or the machine is no Linux."""
    if os.environ.get(SWITCH) == "0" or sys.platform != "linux":
        return None
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        return None
    import jaxlib
    import mujoco

    mujoco_folder = Path(mujoco.__file__).parent
    shared = next(iter(sorted(mujoco_folder.glob("libmujoco.so*"))), None)
    if shared is None:
        return None
    parts = (SOURCE.read_text(), *FLAGS, jaxlib.__version__, mujoco.__version__, str(shared), compiler)
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    command = [compiler, *FLAGS, f"-I{mujoco_folder / 'include'}", f"-I{jax.ffi.include_dir()}", str(SOURCE), str(shared)]
    try:
        built = _build(_cache(), f"step-{digest}.so", [*command, f"-Wl,-rpath,{mujoco_folder}"])
        found = ctypes.CDLL(str(built))
    except (OSError, subprocess.SubprocessError):
        return None
    for name, symbol in ((STEP, "MetarlStep"), (CENTRE, "MetarlCentre")):
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(found, symbol)), platform="cpu")
    found.MetarlRegister.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int] * 3, ctypes.c_int64]
    found.MetarlRegister.restype = None
    return found


def _cache() -> Path:
    """A folder of this user's own, kept where there is a home."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metarl"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):
        pass
    return _temporary()


@functools.cache
def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="metarl-"))


def _build(folder: Path, name: str, command: list[str]) -> Path:
    """The library in ``folder``; processes that start together wait for the first to build it."""
    target = folder / name
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_file():
            partial = target.with_suffix(f".{os.getpid()}")
            subprocess.run([*command, "-o", str(partial)], check=True, capture_output=True, timeout=300)
            partial.replace(target)
    return target


def register(model: Any, twin: Any, place: str, frame_skip: int, threads: int, limit: int) -> str | None:
    """Make a robot's physics known to the library; the name that programs call it by, or None without a library.

    Args:
        model: its MjModel; not to be changed afterwards.
        twin: the one that tells accelerations; see `envs.mujoco.native`.
        place: see `envs.mujoco.physics.Robot`.
        frame_skip: physics steps per environment step.
        threads: how many may work on one call.
        limit: changed models kept.
    """
    found = library()
    if found is None:
        return None
    content = b"".join(_bytes(one) for one in (model, twin))
    name = hashlib.sha256(content + repr((place, frame_skip, threads, limit)).encode()).hexdigest()
    _ALIVE.append((model, twin))
    found.MetarlRegister(name.encode(), model._address, twin._address, PLACES[place], frame_skip, threads, limit)
    return name


def _bytes(model: Any) -> bytes:
    import mujoco

    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()


def call(target: str, physics: str, result: jax.ShapeDtypeStruct, given: jax.Array) -> jax.Array:
    """One of the library's functions; under vmap all robots go in one call."""
    return jax.ffi.ffi_call(target, result, vmap_method="broadcast_all")(given, physics=physics)
