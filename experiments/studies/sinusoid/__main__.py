"""``python -m experiments.studies.sinusoid``: agents x protocols x seeds on sinusoids, beside the published numbers."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import agents
import envs
from experiments import sinusoid
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.reporting.intervals import task_hash
from experiments.runs.folder import load_json, lock, made_with, write_json
from experiments.sinusoid import SinusoidConfig, sinusoid_config
from experiments.studies.sinusoid import report
from experiments.supervised import evaluation, protocols
from experiments.supervised.experiment import KIND
from experiments.supervised.protocols import ProtocolName
from experiments.training import memory
from experiments.training.settings import flat

SHOTS = {"meta-sgd": (5, 10, 20)}  # numbers of training points, where a protocol has several
MEMORY_STEPS = (10, 50)


@dataclasses.dataclass(frozen=True)
class SinusoidTableConfig:
    """Train every agent under every protocol with several seeds and write one table, with the published numbers beside ours.

    What is finished stays: the same command goes on where it was interrupted.
    """

    out: Path
    """Folder for table.md, table.json and one file per cell in cells/."""
    protocols: tuple[ProtocolName, ...] = ("maml", "meta-sgd", "cavia", "jang")
    """Whose settings."""
    agents: tuple[str, ...] = tuple(name for name in agents.AGENTS if KIND in agents.find(name).serves)
    """Names of agents.AGENTS; all that serve regression if not given."""
    num_seeds: int = 3
    """Seeds 0, 1, ... of each, trained together in one compiled program."""
    num_iterations: int | None = None
    """Meta-iterations instead of the protocol's, to try things out."""
    eval_tasks: int = 2000
    """Held-out tasks."""
    overwrite: bool = False
    """Train cells again that were made with other settings."""


def run(config: SinusoidTableConfig) -> None:
    """Train what is missing, then write and print the table of everything in the folder."""
    at_least(config, num_seeds=1, num_iterations=1, eval_tasks=2)
    for name in config.agents:
        if name not in agents.AGENTS:
            raise UserError(f"--agents has {name!r}; known: {', '.join(agents.AGENTS)}.")
    if not config.agents or not config.protocols:
        raise UserError("--agents and --protocols need at least one name each; leave the flag out for all.")
    if config.out.exists() and not config.out.is_dir():
        raise UserError(f"--out {config.out} is a file; give a folder.")
    (config.out / "cells").mkdir(parents=True, exist_ok=True)
    with lock(config.out):
        wanted = [
            plan(config, protocol, shots, agent)
            for protocol in config.protocols
            for shots in SHOTS.get(protocol, (protocols.PROTOCOLS[protocol].train_shots,))
            for agent in config.agents
        ]
        missing = [cell for cell in wanted if not is_finished(cell, overwrite=config.overwrite)]
        for cell in missing:
            write_json(cell.path, cell_of(cell))
        cells = finished_cells(config.out)
        used = memory_of_steps(config.out / "memory.json")
        write_json(config.out / "table.json", {"cells": cells, "memory_bytes": used})
        text = report.markdown(cells, used)
        (config.out / "table.md").write_text(text)
    print(text)


class Cell(NamedTuple):
    """One agent under one protocol, to be trained with several seeds.

    Attributes:
        path: its file.
        config: the run, but for its seed.
        settings: what the file must say to be the same.
    """

    path: Path
    config: SinusoidConfig
    settings: dict[str, Any]


def plan(config: SinusoidTableConfig, protocol: ProtocolName, train_shots: int, agent: str) -> Cell:
    """What a cell is made of."""
    run_config = sinusoid.resolve(
        sinusoid_config(
            run_dir=config.out,
            protocol=protocol,
            agent=agent,
            train_shots=train_shots,
            eval_tasks=config.eval_tasks,
            **({} if config.num_iterations is None else {"num_iterations": config.num_iterations}),
        )
    )
    not_compared = ("run_dir", "seed", "resume", "overwrite")
    settings = {k: v for k, v in flat(run_config, KIND).items() if k not in not_compared}
    settings = json.loads(json.dumps(settings | {"seeds": list(range(config.num_seeds))}))
    return Cell(config.out / "cells" / f"{protocol}-{train_shots}-{agent}.json", run_config, settings)


def is_finished(cell: Cell, *, overwrite: bool) -> bool:
    """Whether the file holds this cell; refuses to replace one made with other settings unless told to."""
    if not cell.path.is_file():
        return False
    stored = read_cell(cell.path)["settings"]
    other = [name for name in cell.settings if stored.get(name) != cell.settings[name]]
    if other and not overwrite:
        raise UserError(
            f"{cell.path} was made with {other[0]} {stored.get(other[0])}, not {cell.settings[other[0]]}; "
            "give another --out, or --overwrite to train it again."
        )
    return not other


def read_cell(path: Path) -> dict[str, Any]:
    """A finished cell, or a `UserError` that says what to do."""
    stored = load_json(path)
    if not {"settings", "mse_per_seed", "diverged", "lost_seeds", "made_with"} <= set(stored):
        raise UserError(f"{path} is no finished cell; delete it to train it again.")
    return stored


def finished_cells(out: Path) -> list[dict[str, Any]]:
    """Every cell of the folder, in the order of protocols, training points and agents.

    Raises:
        UserError: they were not tested alike.
    """
    order = (list(protocols.PROTOCOLS), list(agents.AGENTS))
    cells = [read_cell(path) for path in (out / "cells").glob("*.json")]
    rank = lambda s: (order[0].index(s["protocol"]), s["train_shots"], order[1].index(s["agent"]))
    cells.sort(key=lambda cell: rank(cell["settings"]))
    for name in ("eval_tasks", "seeds"):
        found = {json.dumps(cell["settings"][name]) for cell in cells}
        if len(found) > 1:
            raise UserError(f"{out / 'cells'} mixes {name} {' and '.join(sorted(found))}; give another --out or --overwrite.")
    return cells


def cell_of(cell: Cell) -> dict[str, Any]:
    """Meta-train all seeds together, then measure errors on held-out tasks.

    Returns:
        The cell's file: mean squared errors of every seed [11] by test shots, tasks that diverged (error above 100 after ten
        steps), and the seeds lost to non-finite parameters.
    """
    config, seed_list = cell.config, cell.settings["seeds"]
    began = time.monotonic()
    states = sinusoid.train_seeds(config, seed_list, cell.path.stem)
    seconds = time.monotonic() - began
    tasks = envs.held_out_tasks(sinusoid.build(config, 1).family, config.eval_tasks)
    of_seed = [jax.tree.map(lambda x, i=i: x[i], states) for i in range(len(seed_list))]
    per_seed, diverged = {}, {}
    for shots in evaluation.TEST_SHOTS:
        tested = sinusoid.build(config, shots, test=True).learner
        errors_of = evaluation.held_out_errors(tested, tasks)
        errors = [errors_of(state) for state in of_seed]
        per_seed[str(shots)] = np.mean(errors, axis=1).tolist()
        diverged[str(shots)] = [int(np.sum(error[:, -1] > 100)) for error in errors]
    return {
        "settings": cell.settings,
        "mse_per_seed": per_seed,
        "diverged": diverged,
        "lost_seeds": [seed for seed, state in zip(seed_list, of_seed, strict=True) if not finite(state.theta)],
        "seconds": round(seconds, 1),
        "task_hash": task_hash(tasks),
        "made_with": made_with(),
    }


def finite(theta: Any) -> bool:
    """Whether every parameter is finite. Adam's moments may overflow while parameters stay, and stand still, where they are."""
    return all(bool(np.all(np.isfinite(leaf))) for leaf in jax.tree.leaves(theta))


def memory_of_steps(path: Path) -> dict[str, dict[str, int]]:
    """Bytes of one meta-iteration (25 tasks, 10 points) for some numbers of inner steps; kept in ``path``."""
    made = {name: value for name, value in made_with().items() if name in ("git_commit", "versions")}
    if path.is_file() and (stored := load_json(path)).get("made_with") == made:
        return stored["bytes"]
    used: dict[str, dict[str, int]] = {}
    for name, agent, remat in (("maml", "maml", False), ("maml, rematerialised", "maml", True), ("imaml", "imaml", False)):
        used[name] = {}
        for steps in MEMORY_STEPS:
            config = sinusoid.resolve(sinusoid_config(run_dir=Path("."), agent=agent, num_inner_steps=steps, remat=remat))
            used[name][str(steps)] = memory.temporary_bytes(sinusoid.build(config, config.train_shots).learner)
    write_json(path, {"bytes": used, "made_with": made})
    return used


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(parse(SinusoidTableConfig, args, command_line("studies.sinusoid")))


if __name__ == "__main__":
    main()
