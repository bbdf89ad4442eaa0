"""The wandb run beside a run folder's own files: written offline, and resumed with the run."""

import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli.errors import UserError
from experiments.cli.later import Later
from experiments.cli.luxuries import luxury
from experiments.runs import wandb_upload
from experiments.runs.sweep_folder import combination_of

if TYPE_CHECKING:
    import wandb
else:
    wandb = Later("wandb")

MODES = ("offline", "online", "disabled", "shared")
NOT_LOGGED = ("settings", "wandb_id", "wandb_sweep", "wandb_project")  # parts of config.json that wandb gets otherwise


def identity() -> dict[str, str | None]:
    """Names of a new run for wandb, part of its config.json: those that a sweep's agent asks for, or fresh ones.

    They are taken out of the environment: the first run of the process has them, not its evaluation nor further seeds, and
    wandb would otherwise give every run of the process the same id.
    """
    take = lambda name: os.environ.pop(name, None) or None
    os.environ.pop("WANDB_SWEEP_PARAM_PATH", None)  # its values came as flags
    return {
        "wandb_id": take("WANDB_RUN_ID") or uuid.uuid4().hex[:8],
        "wandb_sweep": take("WANDB_SWEEP_ID"),
        "wandb_project": os.environ.get("WANDB_PROJECT") or "metarl",
    }


def start_or_do_without(run_dir: Path, config: dict[str, Any], *, agent: str, env: str, job_type: str) -> "wandb.Run":
    """`start_wandb`; where that fails, a warning and a run that writes nothing.

    Raises:
        UserError: WANDB_MODE is no mode of wandb.
    """
    _mode()
    with luxury("wandb"):
        return start_wandb(run_dir, config, agent=agent, env=env, job_type=job_type)
    return wandb.init(mode="disabled", reinit="create_new")


def start_wandb(run_dir: Path, config: dict[str, Any], *, agent: str, env: str, job_type: str) -> "wandb.Run":
    """Begin a wandb run. It is always written offline: no login prompt, no network, no waiting.

    With an account, or WANDB_MODE=online, a process beside this one uploads it while it goes on: see
    `experiments.runs.wandb_upload`. WANDB_MODE=offline leaves that out, WANDB_MODE=disabled writes nothing. A resumed run adds
    a segment with the same id. Several runs may be open at once.

    Args:
        run_dir: the run's folder.
        config: its config.json.
        agent: for the names.
        env: for the names.
        job_type: "train" or "eval".
    """
    os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")  # it takes our package called agents for a language model's
    mode = _mode()
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH"):
        os.environ.pop(name, None)  # see `identity`
    quiet: Any = "disabled" if mode == "disabled" else "offline"
    wandb.setup(wandb.Settings(mode=quiet))  # or the library's own telemetry would go out, and wait for an answer at the end
    training = job_type == "train"
    settings = wandb.Settings(
        silent=True,
        console="off",
        save_code=False,
        disable_git=True,
        x_disable_stats=True,
        sweep_id=config.get("wandb_sweep") if training else None,
    )
    run = wandb.init(
        project=config.get("wandb_project", "metarl"),
        dir=run_dir,
        id=config["wandb_id"] if training else f"{config['wandb_id']}-{job_type}",
        name="-".join([agent, *filter(None, [combination_of(run_dir)]), f"seed-{config['settings']['seed']}", job_type]),
        group=f"{agent}/{env}",
        job_type=job_type,
        # Settings lie at the top, where sweeps and grouping look for them.
        config={k: v for k, v in config.items() if k not in NOT_LOGGED}
        | config["settings"]
        | {"env": env, "agent": agent, "train_run": config["wandb_id"]},
        mode=quiet,
        resume="allow",
        reinit="create_new",
        settings=settings,
    )
    run.define_metric("time/env_steps")
    run.define_metric("*", step_metric="time/env_steps")
    if wandb_upload.wanted(mode, in_sweep=bool(config.get("wandb_sweep"))):
        wandb_upload.begin(Path(run.dir).parent)
    return run


def _mode() -> str | None:
    mode = os.environ.get("WANDB_MODE") or None
    if mode not in (None, *MODES):
        raise UserError(f"WANDB_MODE is {mode!r}; known: {', '.join(MODES)}.")
    return mode


def finish(run: "wandb.Run", run_dir: Path) -> None:
    """End a training run, with its newest checkpoint as an artifact of type model."""
    log_model(run, run_dir, used=False)
    run.finish()


def log_model(run: "wandb.Run", run_dir: Path, *, used: bool, iteration: int | None = None) -> None:
    """Attach the checkpoint of an iteration, or the newest, to a run, as made by it or as used by it; wandb draws the lineage.

    The files are hard links inside the run's wandb folder: they need no space and outlive the checkpoint's removal.
    """
    steps = [int(path.name) for path in (run_dir / "checkpoints").glob("*") if path.name.isdigit()]
    if run.disabled or not steps:
        return
    iteration = max(steps) if iteration is None else iteration
    source, folder = run_dir / "checkpoints" / str(iteration), run_dir.resolve() / "wandb" / f"model-{iteration}"
    if not folder.exists():
        shutil.copytree(source, folder, copy_function=_link)
    artifact = wandb.Artifact(f"model-{run.config['train_run']}", type="model", metadata={"iteration": iteration})
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            artifact.add_file(str(path), name=str(path.relative_to(folder)), policy="immutable", skip_cache=True)
    if used:
        # `use_artifact` refuses to work offline; this is what it does online with an artifact made here.
        run._log_artifact(artifact, aliases=["latest"], is_user_created=True, use_after_commit=True)
    else:
        run.log_artifact(artifact)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
