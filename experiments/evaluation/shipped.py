"""Trained agents that come with this repository: parameters, settings, learning curves and the returns they had.

Each is a folder ``experiments/pretrained/FAMILY/AGENT``, some tens of kilobytes:

- ``config.json``: the settings of the run, its versions and device, as in the run's folder.
- ``parameters.npz``: the meta-parameters, one array per leaf, named by its path.
- ``evaluation.json``: what the run's evaluation gave; ``evaluation-seed-S.json``: that of another seed.
- ``curves.json``: seed -> returns before and after adaptation against environment steps, of every seed of the run.

Where only returns are of interest, as of agents others are compared with, ``parameters.npz`` is left out.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.cli.errors import UserError
from experiments.evaluation.trained import Trained, load, trained
from experiments.reporting.comparison import read_evaluation, read_lines
from experiments.runs.folder import CONFIG, NOT_SETTINGS, load_json, read_config, write_json
from experiments.training.config import KIND, TrainConfig, build
from experiments.training.settings import changed, stored_as

FOLDER = Path(__file__).parents[1] / "pretrained"
PARAMETERS = "parameters.npz"
EVALUATION = "evaluation.json"
CURVES = {"iteration": "iteration", "env_steps": "time/env_steps", "pre": "meta/pre", "post": "meta/post"}
LEFT_OUT = (*NOT_SETTINGS, "seeds", "start_from", "devices", "task_batch")


def names() -> list[str]:
    """The trained agents there are, such as "HalfCheetahDir/promp"."""
    return [name for name in recorded() if (FOLDER / name / PARAMETERS).is_file()]


def recorded() -> list[str]:
    """The same, and those of which only returns are kept."""
    return sorted("/".join(path.parent.parts[-2:]) for path in FOLDER.glob(f"*/*/{CONFIG}"))


def folder_of(name: str) -> Path:
    """Where a trained agent lies.

    Raises:
        UserError: there is none of that name, or only its returns are kept.
    """
    if name not in names():
        known = ", ".join(names()) or "none"
        if name in recorded():
            raise UserError(f"--pretrained is {name!r}, of which only returns are kept; parameters there are of {known}.")
        raise UserError(f"--pretrained is {name!r}; there are {known}.")
    return FOLDER / name


def evaluations(name: str) -> list[dict[str, Any]]:
    """What the evaluation of each seed gave, that of the shipped parameters first."""
    others = [load_json(path) for path in (FOLDER / name).glob("evaluation-seed-*.json")]
    return [load_json(FOLDER / name / EVALUATION), *sorted(others, key=lambda result: result["seed"])]


def pretrained(name: str, **changes: Any) -> Trained:
    """A trained agent that comes with this repository.

    Args:
        name: FAMILY/AGENT, such as "HalfCheetahDir/promp"; see `names`.
        **changes: settings other than in training, as for `experiments.evaluation.load`.

    Raises:
        UserError: there is none of that name, or its arrays do not fit the agent.
    """
    folder = folder_of(name)
    described = load_json(folder / CONFIG)
    config = stored_as(TrainConfig, KIND, described["settings"] | {"run_dir": folder})
    built = build(changed(config, KIND, **changes))
    state = built.learner.init(jax.random.key(0))
    with np.load(folder / PARAMETERS) as arrays:
        theta = _filled(name, state.theta, arrays)
    state = state._replace(theta=theta, iteration=state.iteration + described["iteration"])
    return trained(built.family, built.learner, state, env_steps=described["env_steps"], config=config)


def either(run_dir: Path | None, name: str | None, trust: tuple[str, ...] = ()) -> Trained:
    """The agent of a run, or one that comes with this repository, as --run-dir and --pretrained of a command say.

    Raises:
        UserError: neither is given, or both; or what `load` and `pretrained` raise.
    """
    if run_dir is not None and name is None:
        return load(run_dir, trust=trust)
    if run_dir is None and name is not None:
        return pretrained(name)
    raise UserError("give a run in --run-dir, or an agent that comes with metarl in --pretrained; one of them.")


def _filled(name: str, theta: Any, arrays: Any) -> Any:
    """``theta`` with the numbers of ``arrays`` by the paths of its leaves."""
    found, structure = jax.tree_util.tree_flatten_with_path(theta)
    paths = [jax.tree_util.keystr(path) for path, _ in found]
    if sorted(arrays.files) != sorted(paths):
        raise UserError(f"{name} holds {sorted(arrays.files)}, but its agent has {sorted(paths)}; it is of another version.")
    for path, (_, leaf) in zip(paths, found, strict=True):
        if arrays[path].shape != leaf.shape:
            raise UserError(f"{name}: {path} has shape {arrays[path].shape}, but its agent's has {leaf.shape}.")
    return jax.tree_util.tree_unflatten(structure, [jax.numpy.asarray(arrays[path]) for path in paths])


def ship(run_dirs: list[Path], name: str, parameters: bool = True) -> Path:
    """Write the first of some evaluated runs, seeds of one another, and returns of all, under a name. For maintainers.

    Args:
        run_dirs: the runs; the parameters are the first's.
        name: FAMILY/AGENT. What was there is replaced.
        parameters: False keeps returns only.

    Raises:
        UserError: a folder is no evaluated run, or trained on after it was evaluated.
    """
    runs = [(load(run), read_config(run), read_evaluation(run)) for run in run_dirs]
    for run, (agent, _, evaluation) in zip(run_dirs, runs, strict=True):
        if evaluation["iteration"] != agent.iteration:
            raise UserError(f"{run} was evaluated after {evaluation['iteration']} iterations and has {agent.iteration} now.")
    (agent, described, evaluation), folder = runs[0], FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if parameters:
        leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(agent.state.theta))
        arrays: Any = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
        np.savez_compressed(folder / PARAMETERS, **arrays)
    settings = {key: value for key, value in described["settings"].items() if key not in LEFT_OUT}
    kept = {key: described[key] for key in ("git_commit", "versions", "python", "device") if key in described}
    about = {"settings": settings, "iteration": agent.iteration, "env_steps": agent.env_steps}
    write_json(folder / CONFIG, about | kept)
    write_json(folder / EVALUATION, evaluation)
    for _, _, other in runs[1:]:
        write_json(folder / f"evaluation-seed-{other['seed']}.json", other)
    curves = {str(described["settings"]["seed"]): curve_of(run) for run, (_, described, _) in zip(run_dirs, runs, strict=True)}
    (folder / "curves.json").write_text("{\n" + ",\n".join(_lines(curves)) + "\n}\n")
    return folder


def curve_of(run_dir: Path) -> dict[str, list[Any]]:
    """Returns of a run along its training, four digits each."""
    lines = read_lines(run_dir)
    curve: dict[str, list[Any]] = {short: [float(f"{line[name]:.4g}") for line in lines] for short, name in CURVES.items()}
    for whole in ("iteration", "env_steps"):
        curve[whole] = [int(line[CURVES[whole]]) for line in lines]
    return curve | {"minutes": [round(lines[-1]["time/seconds"] / 60, 1)] if lines else []}


def _lines(curves: dict[str, dict[str, list[Any]]]) -> list[str]:
    """JSON with one line per seed."""
    return [f'"{seed}": {json.dumps(curve, separators=(",", ":"))}' for seed, curve in curves.items()]
