"""A run's folder on disk: made once, refused when it is something else, locked while in use."""

import dataclasses
import datetime
import fcntl
import importlib.metadata
import json
import platform
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import IO, Any

import jax

from experiments.command import UserError, flag, load_json

NOT_SETTINGS = ("run_dir", "resume", "overwrite")  # how a run is started, not what it computes
PACKAGES = ("metarl", "jax", "jaxlib", "optax", "flax", "distrax", "gymnasium", "orbax-checkpoint", "numpy", "wandb")


def settings_of(config: Any) -> dict[str, Any]:
    """A configuration as JSON would hold it."""
    return dataclasses.asdict(config) | {"run_dir": str(config.run_dir)}


def prepare(script: str, settings: dict[str, Any], *, extendable: bool = True) -> tuple[dict[str, Any], IO[str]]:
    """Make, resume or refuse ``settings["run_dir"]``.

    Args:
        script: which command makes the run, such as "train".
        settings: the whole configuration, with run_dir, resume and overwrite.
        extendable: whether a resumed run may have another num_iterations; not if its schedules depend on it.

    Returns:
        The run's config.json, and its open lock file, to be kept until the run ends.

    Raises:
        UserError: the folder holds something else, a run with other settings, or a run in progress.
    """
    run_dir = Path(settings["run_dir"])
    if run_dir.exists() and not run_dir.is_dir():
        raise UserError(f"{run_dir} is a file; give another --run-dir.")
    occupied = run_dir.is_dir() and any(run_dir.iterdir())
    is_run = (run_dir / "config.json").is_file()
    if occupied and not is_run:
        raise UserError(f"{run_dir} holds files but no run (no config.json); give another --run-dir.")
    if occupied and not (settings["resume"] or settings["overwrite"]):
        raise UserError(f"{run_dir} already holds a run; add --resume to continue it or --overwrite to replace it.")
    if settings["resume"] and settings["overwrite"]:
        raise UserError("--resume and --overwrite exclude each other; give one.")
    if settings["resume"] and not is_run:
        raise UserError(f"--resume: {run_dir} holds no run; leave out --resume to start one.")
    if is_run and settings["resume"]:
        config = load_json(run_dir / "config.json")
        _refuse_other_settings(script, settings, config, run_dir, NOT_SETTINGS + ("num_iterations",) * extendable)
        lock = _lock(run_dir)
        config["settings"]["num_iterations"] = settings["num_iterations"]
    else:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = _lock(run_dir)
        _empty(run_dir)
        config = _describe(script, settings)
    write_json(run_dir / "config.json", config)
    return config, lock


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a crash leaves the old file or the new one, never half of one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    partial.replace(path)


def _refuse_other_settings(
    script: str, settings: dict[str, Any], config: dict[str, Any], run_dir: Path, free: tuple[str, ...]
) -> None:
    if config.get("script") != script:
        raise UserError(f"{run_dir} was made by experiments.{config.get('script')}, not experiments.{script}.")
    old = config.get("settings", {})
    for name, value in json.loads(json.dumps(settings)).items():
        if name not in free and old.get(name) != value:
            raise UserError(
                f"{run_dir} was made with {flag(name)} {old.get(name)}, not {value}; "
                "leave the flag out to resume, or give another --run-dir."
            )


def _lock(run_dir: Path) -> IO[str]:
    # The operating system's lock: a killed process leaves none behind.
    lock = open(run_dir / ".lock", "w")  # noqa: SIM115 - held open as long as the run
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise UserError(f"{run_dir} is in use by another process; wait for it or give another --run-dir.") from error
    return lock


def _empty(run_dir: Path) -> None:
    for path in run_dir.iterdir():
        if path.name == ".lock":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _describe(script: str, settings: dict[str, Any]) -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "script": script,
        "settings": settings,
        "wandb_id": uuid.uuid4().hex[:8],
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _git_commit() -> str | None:
    """The commit of this code, with "+" when the working tree differs; None outside a checkout or without git."""
    home = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=home, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "status", "--porcelain"], cwd=home, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")
