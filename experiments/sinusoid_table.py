"""``python -m experiments.sinusoid_table``: agents x protocols x seeds on sinusoids, beside the published numbers."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import agents
import envs
from experiments import memory, protocols, seeds, sinusoid, sinusoid_report, supervised
from experiments.command import UserError, at_least, load_json, one_line_errors, parse
from experiments.progress import Progress
from experiments.protocols import ProtocolName
from experiments.run_folder import lock, versions, write_json
from experiments.sinusoid import SinusoidConfig
from experiments.statistics import bootstrap_ci95, task_hash

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
    agents: tuple[str, ...] = tuple(agents.AGENTS)
    """Names of agents.AGENTS."""
    num_seeds: int = 3
    """Seeds 0, 1, ... of each, trained together in one compiled program."""
    num_iterations: int | None = None
    """Meta-iterations instead of the protocol's, to try things out."""
    eval_tasks: int = 2000
    """Held-out tasks."""


def run(config: SinusoidTableConfig) -> None:
    """Train what is missing, then write and print the table."""
    at_least(config, num_seeds=1, num_iterations=1, eval_tasks=2)
    for name in config.agents:
        if name not in agents.AGENTS:
            raise UserError(f"--agents has {name!r}; known: {', '.join(agents.AGENTS)}.")
    (config.out / "cells").mkdir(parents=True, exist_ok=True)
    with lock(config.out):
        cells = [
            cell(config, protocol, shots, agent)
            for protocol in config.protocols
            for shots in SHOTS.get(protocol, (protocols.PROTOCOLS[protocol].train_shots,))
            for agent in config.agents
        ]
        used = memory_of_steps(config.out / "memory.json")
        write_json(config.out / "table.json", {"cells": cells, "memory_bytes": used, "versions": versions()})
        text = sinusoid_report.markdown(cells, used)
        (config.out / "table.md").write_text(text)
    print(text)


def cell(config: SinusoidTableConfig, protocol: ProtocolName, train_shots: int, agent: str) -> dict[str, Any]:
    """The results of one agent under one protocol: read if already there, otherwise trained and evaluated."""
    run_config = sinusoid.resolve(
        SinusoidConfig(
            config.out,
            protocol,
            agent,
            num_iterations=config.num_iterations,
            train_shots=train_shots,
            eval_tasks=config.eval_tasks,
        )
    )
    settings = {k: v for k, v in dataclasses.asdict(run_config).items() if k not in ("run_dir", "seed", "resume", "overwrite")}
    settings = json.loads(json.dumps(settings | {"seeds": list(range(config.num_seeds))}))
    path = config.out / "cells" / f"{protocol}-{train_shots}-{agent}.json"
    if path.is_file():
        stored = load_json(path)
        if stored["settings"] == settings:
            return stored
    result = {"settings": settings} | train_and_test(run_config, settings["seeds"])
    write_json(path, result)
    return result


def train_and_test(config: SinusoidConfig, seed_list: list[int]) -> dict[str, Any]:
    """Meta-train all seeds together, then measure errors on held-out tasks.

    Seeds that ended with non-finite parameters are named in "lost_seeds" and left out of means and intervals.
    """
    learner = sinusoid.build(config, config.train_shots or 1).learner
    label = f"{config.protocol} {config.train_shots} {config.agent}"
    began = time.monotonic()
    with Progress(config.num_iterations or 0, 0, label) as progress:
        states, _ = seeds.train(
            learner,
            seed_list,
            config.num_iterations or 0,
            select=sinusoid.selector(config),
            select_every=config.checkpoint_every,
            on_progress=progress.update,
        )
    seconds = time.monotonic() - began
    tasks = envs.held_out_tasks(sinusoid.build(config, 1).family, config.eval_tasks)
    lost = [seed for i, seed in enumerate(seed_list) if not finite(jax.tree.map(lambda x, i=i: x[i], states))]
    result: dict[str, Any] = {"seconds": round(seconds, 1), "task_hash": task_hash(tasks), "lost_seeds": lost}
    names = ("mse_mean", "mse_ci95", "mse_per_seed", "diverged")
    result |= {name: {} for name in names}
    for shots in supervised.TEST_SHOTS:
        tested = sinusoid.build(config, shots, test=True).learner
        errors = [
            supervised.held_out_errors(tested, jax.tree.map(lambda x, i=i: x[i], states), tasks) for i in range(len(seed_list))
        ]
        counted = [error for error, seed in zip(errors, seed_list, strict=True) if seed not in lost] or errors
        diverged = [int(np.sum(error[:, -1] > 100)) for error in errors]
        per_seed = np.mean(errors, axis=1)
        values = (np.mean(counted, axis=(0, 1)).tolist(), bootstrap_ci95(counted).tolist(), per_seed.tolist(), diverged)
        for name, value in zip(names, values, strict=True):
            result[name][str(shots)] = value
    return result


def finite(state: Any) -> bool:
    """Whether every number in a state is finite."""
    return all(bool(np.all(np.isfinite(leaf))) for leaf in jax.tree.leaves(state))


def memory_of_steps(path: Path) -> dict[str, dict[str, int]]:
    """Bytes of one meta-iteration (25 tasks, 10 points) for some numbers of inner steps; kept in ``path``."""
    if path.is_file() and (stored := load_json(path))["versions"] == versions():
        return stored["bytes"]
    used: dict[str, dict[str, int]] = {}
    for name, agent, remat in (("maml", "maml", False), ("maml, rematerialised", "maml", True), ("imaml", "imaml", False)):
        used[name] = {}
        for steps in MEMORY_STEPS:
            config = sinusoid.resolve(SinusoidConfig(Path("."), agent=agent, num_inner_steps=steps, remat=remat))
            used[name][str(steps)] = memory.peak_bytes(sinusoid.build(config, config.train_shots or 1).learner)
    write_json(path, {"bytes": used, "versions": versions()})
    return used


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(parse(SinusoidTableConfig, args, "python -m experiments.sinusoid_table"))


if __name__ == "__main__":
    main()
