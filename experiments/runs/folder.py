"""A run's folder on disk: made once, refused when it is something else, locked while in use."""

import datetime
import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import jax

import metarl
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError
from experiments.cli.flags import flag
from experiments.runs import wandb_run
from experiments.runs.seed_folders import seed_folder, seed_folders
from experiments.runs.strangers import refuse_crafted, refuse_links
from experiments.runs.sweep_folder import SWEEP

NOT_SETTINGS = (
    "run_dir",
    "resume",
    "overwrite",
    "profile",
    "hosts",
    "hosts_wait",
    "trust",
    "sweep",
)  # how a run is started, not what it computes
OF_ONE_START = ("hosts", "hosts_wait", "trust")  # flags that a resumed run does not keep
EXECUTION = ("devices", "task_batch", "remat", "on_nonfinite")  # how it is carried out: may change when it is resumed
EVALUATION = ("eval_tasks", "eval_steps", "eval_episodes")  # how it is evaluated at the end: the same
CONFIG = "config.json"
TASK_LISTS = "task_lists"  # in it
RUN_FILES = (
    CONFIG,
    "metrics.jsonl",
    "checkpoints",
    "evaluation.json",
    "adaptation.png",
    "rollout.gif",
    "film.gif",
    "wandb",
    "profile",
)
LEFTOVERS = ("metrics.jsonl.damaged",)  # of a power cut
TUTORIAL_FILES = ("plain_fit.png", "batching.png", "batching.json", "deployment.png")  # of the sinusoid protocol jang
PACKAGES = ("jax", "jaxlib", "optax", "flax", "distrax", "gymnasium", "orbax-checkpoint", "numpy", "wandb")


def prepare(
    script: str,
    all_settings: Sequence[dict[str, Any]],
    *,
    experiment: str,
    extendable: bool = True,
    complete: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    task_lists: dict[str, str] | None = None,
) -> tuple[list[dict[str, Any]], ExitStack]:
    """Make, resume or refuse the run folders of one session: all of them or none.

    Args:
        script: which command makes the runs, such as "train".
        all_settings: the whole configuration of each run, with run_dir, resume and overwrite.
        experiment: where the experiment is found that evaluates them, as "module:NAME".
        extendable: whether a resumed run may have another num_iterations; not if its schedules depend on it.
        complete: adds to the settings in a config.json those that did not exist when it was written.
        task_lists: what tells given lists of tasks from others, by their names; None where there can be none.

    Returns:
        Each run's config.json, and their locks, to be held until the runs end.

    Raises:
        UserError: a folder holds something else, a run with other settings, or a run in progress.
    """
    folders = [Path(settings["run_dir"]) for settings in all_settings]
    for settings in all_settings:
        _refuse(script, settings, extendable, complete, task_lists)
    with ExitStack() as locks:
        for run_dir in folders:
            run_dir.mkdir(parents=True, exist_ok=True)
            locks.enter_context(lock(run_dir))
        for settings in all_settings:  # again: before the locks were taken, another process may have made a run
            _refuse(script, settings, extendable, complete, task_lists)
        return [_make_or_read(script, experiment, settings, task_lists) for settings in all_settings], locks.pop_all()


def _refuse(
    script: str, settings: dict[str, Any], extendable: bool, complete: Callable, task_lists: dict[str, str] | None
) -> None:
    """Refuse a folder that this run cannot have; changes nothing."""
    run_dir, resume, overwrite = Path(settings["run_dir"]), settings["resume"], settings["overwrite"]
    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other; give one.")
    if run_dir.exists() and not run_dir.is_dir():
        raise UserError(f"{run_dir} is a file; give another --run-dir.")
    _refuse_strangers(run_dir)
    is_run = (run_dir / CONFIG).exists()
    if resume and not is_run and run_dir == seed_folder(run_dir.parent, settings["seed"]) and seed_folders(run_dir.parent):
        raise UserError(
            f"--resume: {run_dir} holds no run; start the new seeds first, with --seed {settings['seed']} and their number "
            "in --seeds, without --resume."
        )
    if resume and not is_run:
        raise UserError(f"--resume: {run_dir} holds no run; leave out --resume to start one.")
    if resume:
        free = NOT_SETTINGS + EXECUTION + EVALUATION + ("num_iterations",) * extendable
        _refuse_other_settings(script, settings, read_config(run_dir), run_dir, free, complete)
        _refuse_other_tasks(run_dir, read_config(run_dir).get(TASK_LISTS), task_lists or {})
    if is_run and not (resume or overwrite):
        raise UserError(f"{run_dir} already holds a run; add --resume to continue it or --overwrite to replace it.")


def _make_or_read(script: str, experiment: str, settings: dict[str, Any], task_lists: dict[str, str] | None) -> dict[str, Any]:
    """config.json of the locked run, written anew unless it is resumed."""
    run_dir = Path(settings["run_dir"])
    if settings["resume"]:
        return read_config(run_dir)
    config = _describe(script, experiment, settings) | ({} if task_lists is None else {TASK_LISTS: task_lists})
    _empty(run_dir)
    write_json(run_dir / CONFIG, config)
    return config


def read_config(run_dir: Path) -> dict[str, Any]:
    """config.json of a run.

    Raises:
        UserError: this is no run.
    """
    if not (run_dir / CONFIG).is_file():
        raise UserError(f"{run_dir} is not a run: it has no {CONFIG}.")
    config = load_json(run_dir / CONFIG)
    if not {"script", "settings", "wandb_id"} <= set(config):
        raise UserError(f"{run_dir / CONFIG} was not written by metarl; give another folder.")
    refuse_crafted(run_dir / CONFIG, config)
    refuse_links(run_dir, (*RUN_FILES, *LEFTOVERS, *TUTORIAL_FILES, ".lock"))
    if "experiment" not in config and config["settings"].get("agent") == "mann":  # which had a network of its own then
        config["settings"] |= {"hidden_sizes": [40, 40], "activation": "relu"}
    return config


def read_sweep(parent: Path) -> dict[str, Any]:
    """sweep.json of a sweep.

    Raises:
        UserError: it was not written by metarl.
    """
    about = load_json(parent / SWEEP)
    if not all(isinstance(about.get(name), dict) for name in ("settings", "sweep")):
        raise UserError(f"{parent / SWEEP} was not written by metarl; give another folder.")
    refuse_crafted(parent / SWEEP, about)
    return about


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object written by a run."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}); is it a run of metarl?") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} does not hold a JSON object; is it a run of metarl?")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a crash leaves the old file or the new one, never half of one."""
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "w") as file:
            file.write(json.dumps(value, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written: {error.strerror}; free some space, or give another folder.") from error


def _refuse_other_settings(
    script: str, settings: dict[str, Any], config: dict[str, Any], run_dir: Path, free: tuple[str, ...], complete: Callable
) -> None:
    if config.get("script") != script:
        raise UserError(f"{run_dir} was made by {command_line(str(config.get('script')))}, not {command_line(script)}.")
    old = complete(config.get("settings", {}))
    for name, value in json.loads(json.dumps(settings)).items():
        if name not in free and old.get(name) != value:
            other = "give another --run-dir"
            if "start_from" in settings:
                other = f"begin a new run from it, with --start-from {run_dir} and another --run-dir"
            raise UserError(
                f"{run_dir} was made with {flag(name)} {old.get(name)}, not {value}; leave the flag out to resume, or {other}."
            )


def _refuse_other_tasks(run_dir: Path, stored: Any, task_lists: dict[str, str]) -> None:
    """Refuse to go on with other lists of tasks than the run was made with; runs of before do not say which."""
    for name, words in (("train", "training"), ("held_out", "held-out")) if isinstance(stored, dict) else ():
        if task_lists.get(name) != stored.get(name):
            was, now = (each.get(name, "none") for each in (stored, task_lists))
            raise UserError(
                f"the list of {words} tasks is not the one that {run_dir} was made with ({was}, now {now}); give it that "
                "one, or another --run-dir."
            )


def lock(run_dir: Path) -> IO[str]:
    """Take the run's lock, or say that another process has it."""
    # The operating system's lock: a killed process leaves none behind.
    file = open(run_dir / ".lock", "w")  # noqa: SIM115 - held open as long as the run
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise UserError(f"{run_dir} is in use by another process; wait for it or give another folder.") from error
    return file


def _refuse_strangers(run_dir: Path) -> None:
    """Refuse a folder that holds anything but a run, or what a run leaves when it is killed while starting."""
    if not run_dir.is_dir() or not {path.name for path in run_dir.iterdir()} - {".lock", f"{CONFIG}.partial"}:
        return
    if (run_dir / SWEEP).is_file():
        raise UserError(f"{run_dir} holds a sweep; add --sweep, or give the folder of one of its runs.")
    if seed_folders(run_dir):
        raise UserError(f"{run_dir} holds the runs of several seeds; add --seeds, or give the folder of one of them.")
    if not (run_dir / CONFIG).exists():
        raise UserError(f"{run_dir} holds files but no run (no {CONFIG}); give another --run-dir.")
    read_config(run_dir)


def refuse_parent(parent: Path) -> None:
    """Refuse a folder for the runs of several seeds that is itself a run or holds anything but such runs."""
    if (parent / CONFIG).exists():
        raise UserError(f"{parent} is a single run; leave out --seeds, or give another --run-dir.")
    if parent.exists() and not parent.is_dir():
        raise UserError(f"{parent} is a file; give another --run-dir.")
    known = set(seed_folders(parent).values())
    strange = sorted(path.name for path in parent.iterdir() if path not in known) if parent.is_dir() else []
    if strange:
        raise UserError(f"{parent} holds {strange[0]}, which is not the run of a seed (seed-0, ...); give another --run-dir.")


def _empty(run_dir: Path) -> None:
    """Delete what a run writes, and nothing else."""
    for name in sorted(RUN_FILES + LEFTOVERS + TUTORIAL_FILES, key=CONFIG.__eq__):  # config.json last: it makes it a run
        path = run_dir / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _describe(script: str, experiment: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "script": script,
        "experiment": experiment,
        "settings": settings,
        **wandb_run.identity(),
        **made_with(),
    }


def made_with() -> dict[str, Any]:
    """What results depend on besides settings: commit, versions, device; and when."""
    device = jax.devices()[0]
    return {
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "versions": {"metarl": metarl.__version__} | {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _git_commit() -> str | None:
    """The commit of this code, with "+" when the working tree differs; None outside a checkout or without git."""
    home = Path(__file__).resolve().parents[__name__.count(".")]
    if not (home / ".git").exists():  # installed; a repository around it is somebody else's
        return None
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=home, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "status", "--porcelain"], cwd=home, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def to_resume(run_dir: Path) -> dict[str, Any]:
    """With ``--resume``, the settings of the run in ``run_dir``, to stand in for flags not given; empty if there is none."""
    stored = stored_settings(run_dir)
    kept = {name: value for name, value in stored.items() if name not in OF_ONE_START}
    return kept | {"resume": True, "overwrite": False} if stored else {}


def stored_settings(run_dir: Path) -> dict[str, Any]:
    """The settings of a run, or of the runs of several seeds that lie in a folder; empty if there are none."""
    if (run_dir / CONFIG).is_file():
        return read_config(run_dir)["settings"] | {"run_dir": run_dir}
    if (run_dir / SWEEP).is_file():
        return read_sweep(run_dir)["settings"] | {"run_dir": run_dir}
    folders = seed_folders(run_dir)
    if not folders:
        return {}
    first, last = min(folders), max(folders)
    if len(folders) != last - first + 1:
        seeds = ", ".join(map(str, folders))
        raise UserError(f"--resume: the seeds in {run_dir} ({seeds}) leave gaps; resume the folder of each alone.")
    return stored_settings(folders[first]) | {"run_dir": run_dir, "seed": first, "seeds": len(folders)}
