"""Trained agents that come with this repository: parameters, settings, learning curves and the returns they had.

Each is a folder ``experiments/pretrained/FAMILY/AGENT``, some tens of kilobytes:

- ``config.json``: the settings of the run, its versions and device, as in the run's folder.
- ``parameters.npz``: the meta-parameters, one array per leaf, named by its path.
- ``evaluation.json``: what the run's evaluation gave.
- ``curves.json``: seed -> returns before and after adaptation against environment steps, of every seed of the run.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.cli.errors import UserError
from experiments.evaluation.trained import Trained, load, trained
from experiments.reporting.comparison import read_evaluation, read_lines
from experiments.runs.folder import CONFIG, load_json, read_config, write_json
from experiments.training.config import KIND, TrainConfig, build
from experiments.training.settings import changed, stored_as

FOLDER = Path(__file__).parents[1] / "pretrained"
CURVES = {"iteration": "iteration", "env_steps": "time/env_steps", "pre": "meta/pre", "post": "meta/post"}
LEFT_OUT = ("run_dir", "seeds", "resume", "overwrite", "profile", "hosts", "hosts_wait", "devices", "task_batch")


def names() -> list[str]:
    """What there is, such as "HalfCheetahDir/promp"."""
    return sorted("/".join(path.parent.parts[-2:]) for path in FOLDER.glob(f"*/*/{CONFIG}"))


def folder_of(name: str) -> Path:
    """Where a trained agent lies.

    Raises:
        UserError: there is none of that name.
    """
    if name not in names():
        raise UserError(f"--pretrained is {name!r}; there are {', '.join(names()) or 'none'}.")
    return FOLDER / name


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
    with np.load(folder / "parameters.npz") as arrays:
        theta = _filled(name, state.theta, arrays)
    state = state._replace(theta=theta, iteration=state.iteration + described["iteration"])
    return trained(built.family, built.learner, state, env_steps=described["env_steps"], config=config)


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


def ship(run_dirs: list[Path], name: str) -> Path:
    """Write the first of some evaluated runs, seeds of one another, and the curves of all, under a name. For maintainers.

    Raises:
        UserError: a folder is no evaluated run.
    """
    first, folder = run_dirs[0], FOLDER / name
    agent, described, evaluation = load(first), read_config(first), read_evaluation(first)
    if evaluation["iteration"] != agent.iteration:
        raise UserError(f"{first} was evaluated after {evaluation['iteration']} iterations and has {agent.iteration} now.")
    folder.mkdir(parents=True, exist_ok=True)
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(agent.state.theta))
    arrays: Any = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    np.savez_compressed(folder / "parameters.npz", **arrays)
    settings = {key: value for key, value in described["settings"].items() if key not in LEFT_OUT}
    kept = {key: described[key] for key in ("git_commit", "versions", "python", "device") if key in described}
    about = {"settings": settings, "iteration": agent.iteration, "env_steps": agent.env_steps}
    write_json(folder / CONFIG, about | kept)
    write_json(folder / "evaluation.json", evaluation)
    curves = {str(read_config(run)["settings"]["seed"]): curve_of(run) for run in run_dirs}
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
