"""Where a new run can begin: at the parameters of another run, or of an agent that comes with this repository."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.cli.errors import UserError
from experiments.evaluation import shipped
from experiments.evaluation.trained import Trained, load, refuse_other_spaces
from experiments.runs.checkpoint import warn
from experiments.runs.checkpoint_format import difference, shapes
from experiments.runs.folder import CONFIG, EVALUATION, NOT_SETTINGS, load_json, read_config
from experiments.runs.seed_folders import seed_folders
from experiments.training.config import KIND, TrainConfig, family_of
from experiments.training.resume import Start
from experiments.training.settings import declared
from metarl.interfaces import MetaLearner

# Settings that a new run does not take from where it begins, and those that belong to the family there.
NOT_TAKEN = (*NOT_SETTINGS, *EVALUATION, "start_from", "devices", "task_batch", "seed", "seeds")
OF_FAMILY = ("horizon", "env_options", "initial_std", "train_tasks", "distinct_tasks", "held_out_tasks")


def settings_of(source: str, env: str | None) -> dict[str, Any]:
    """The settings that stand in for flags not given.

    Args:
        source: a run's folder, one that holds those of several seeds, or FAMILY/AGENT of `shipped.names`.
        env: the family of the new run, if it was given; without the options of the old one if it is another.

    Raises:
        UserError: there is no such run.
    """
    folder = folder_of(source)
    if folder is None:
        settings = load_json(shipped.folder_of(source) / CONFIG)["settings"]
    else:
        seeds = seed_folders(folder)
        settings = read_config(seeds[min(seeds)] if seeds else folder)["settings"]
    left_out = NOT_TAKEN + (OF_FAMILY if env not in (None, settings.get("env")) else ())
    return {name: value for name, value in settings.items() if name not in left_out}


def folder_of(source: str) -> Path | None:
    """The folder of a run or of several seeds; None if it is the name of an agent that comes with this repository."""
    folder = Path(source)
    if not folder.is_dir():
        if source in shipped.names():
            return None
        raise UserError(f"--start-from is {source}, but there is no such run; nor is it one of {', '.join(shipped.names())}.")
    if not seed_folders(folder):
        read_config(folder)
    return folder


def starts(config: TrainConfig, learner: MetaLearner, seeds: list[int]) -> list[Start]:
    """What each seed of a new run begins with.

    Of a folder with the runs of several seeds each takes that of its own number.

    Raises:
        UserError: there is no such run, or its parameters do not fit.
    """
    source = str(config.start_from)
    folder = folder_of(source)
    if folder is None:
        return [_start(config, source, shipped.pretrained(source), learner, {})] * len(seeds)
    inside = seed_folders(folder)
    missing = [seed for seed in seeds if inside and seed not in inside]
    if missing:
        raise UserError(f"--start-from {source} has no run of seed {missing[0]}; give one of its folders, or other seeds.")
    found = {run: _of_run(config, run, learner) for run in dict.fromkeys(inside[seed] if inside else folder for seed in seeds)}
    return [found[inside[seed] if inside else folder] for seed in seeds]


def _of_run(config: TrainConfig, run_dir: Path, learner: MetaLearner) -> Start:
    for own in {config.run_dir, *seed_folders(config.run_dir).values()}:
        if own.resolve() == run_dir.resolve():
            raise UserError(f"--start-from is {run_dir}, the run that is to be made; give another --run-dir, or --resume it.")
    about = {"wandb_id": read_config(run_dir)["wandb_id"]}
    return _start(config, str(run_dir), load(run_dir, trust=config.trust), learner, about)


def _start(config: TrainConfig, name: str, agent: Trained, learner: MetaLearner, about: dict[str, Any]) -> Start:
    """The parameters of an agent, once they are known to fit a learner."""
    assert agent.config is not None
    theirs, ours = (declared(each, KIND).adapts_by for each in (agent.config.agent, config.agent))
    if theirs != ours:
        raise UserError(
            f"--start-from {name} is of --agent {agent.config.agent}, which adapts by {theirs}, but {config.agent} adapts by "
            f"{ours}; leave --agent out."
        )
    here = jax.eval_shape(learner.init, jax.random.key(0)).theta
    trouble = difference(*(_shapes(theta) for theta in (agent.state.theta, here)))
    if trouble:
        raise UserError(f"--start-from {name} does not fit: {trouble}. Give the network and a family of the spaces it has.")
    try:
        refuse_other_spaces(agent.family, family_of(config))
    except UserError as error:  # training may well make up for it
        warn(f"--start-from {name}: {error}")
    about = {"run": name, "iteration": agent.iteration, "env_steps": agent.env_steps} | about
    return Start(agent.state.theta, about | {what: getattr(agent.config, what) for what in ("env", "agent", "seed")})


def _shapes(theta: Any) -> dict[str, str]:
    """Path -> type and shape."""
    return shapes(jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), theta))
