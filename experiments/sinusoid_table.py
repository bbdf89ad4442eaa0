"""``python -m experiments.sinusoid_table``: agents x protocols x seeds on sinusoids, beside the published numbers."""

import dataclasses
import datetime
import itertools
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import agents
import envs
from experiments import memory, protocols, published, seeds, sinusoid, supervised
from experiments.command import UserError, at_least, load_json, one_line_errors, parse
from experiments.progress import Progress
from experiments.protocols import ProtocolName
from experiments.published import PUBLISHED, Key
from experiments.run_folder import lock, versions, write_json
from experiments.sinusoid import SinusoidConfig
from experiments.statistics import bootstrap_ci95, task_hash

SHOTS = {"meta-sgd": (5, 10, 20)}  # numbers of training points, where a protocol has several
COLUMNS = {  # test points and inner steps
    "maml": ((5, 0), (5, 1), (5, 5), (5, 10), (10, 1)),
    "meta-sgd": ((5, 1), (10, 1), (20, 1)),
    "cavia": ((10, 0), (10, 1), (10, 10)),
    "jang": ((20, 0), (20, 1), (20, 4)),
}
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
        text = markdown(cells, used)
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
    """Meta-train all seeds together, then measure errors on held-out tasks."""
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
    result: dict[str, Any] = {"seconds": round(seconds, 1), "task_hash": task_hash(tasks)}
    names = ("mse_mean", "mse_ci95", "mse_per_seed", "diverged")
    result |= {name: {} for name in names}
    for shots in supervised.TEST_SHOTS:
        tested = sinusoid.build(config, shots, test=True).learner
        errors = [
            supervised.held_out_errors(tested, jax.tree.map(lambda x, i=i: x[i], states), tasks) for i in range(len(seed_list))
        ]
        per_seed = np.mean(errors, axis=1)
        diverged = [int(np.sum(error[:, -1] > 100)) for error in errors]
        values = (per_seed.mean(axis=0).tolist(), bootstrap_ci95(errors).tolist(), per_seed.tolist(), diverged)
        for name, value in zip(names, values, strict=True):
            result[name][str(shots)] = value
    return result


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


def results_of(cells: list[dict[str, Any]]) -> dict[Key, tuple[float, float, float]]:
    """(mean, low, high) of every cell, test shots and number of steps."""
    results = {}
    for found in cells:
        settings = found["settings"]
        for shots, means in found["mse_mean"].items():
            for steps, mean in enumerate(means):
                key = Key(settings["protocol"], settings["train_shots"], settings["agent"], int(shots), steps)
                results[key] = (mean, *found["mse_ci95"][shots][steps])
    return results


def markdown(cells: list[dict[str, Any]], used: dict[str, dict[str, int]]) -> str:
    """The whole table: one section per protocol, published numbers with verdicts, promises, memory."""
    results = results_of(cells)
    settings = cells[0]["settings"]
    lines = [
        "# Sinusoid regression",
        "",
        f"Mean squared error on {settings['eval_tasks']} held-out tasks, mean over {len(settings['seeds'])} seeds, with a 95 % "
        "bootstrap interval over tasks stratified over seeds; beside it the published number and how it is known: "
        "P read in the paper, S in search results, M from memory.",
        "",
        f"`python -m experiments.sinusoid_table`, {datetime.date.today()}, jax {versions()['jax']}, Python "
        f"{platform.python_version()}, {jax.devices()[0].device_kind}.",
    ]
    for protocol, group in itertools.groupby(cells, lambda found: found["settings"]["protocol"]):
        lines += ["", *section(protocol, list(group), results)]
    lines += ["", "## Published numbers", "", "| cell | ours | published | |", "|---|---|---|---|"]
    for key, number in PUBLISHED.items():
        if key in results:
            name = f"{key.protocol} protocol, {key.agent}, {key.train_shots} → {key.test_shots} points, {key.steps} steps"
            ours = f"{results[key][0]:.3f}"
            lines.append(
                f"| {name} | {ours} | {number.value} ({number.mark}, {number.source}) "
                f"| {published.verdict(number, results[key][0])} |"
            )
    lines += ["", "## Promises", "", "| | |", "|---|---|"]
    words = {True: "kept", False: "**not kept**", None: "not measured in this table"}
    lines += [f"| {claim.text} | {words[claim.kept]} |" for claim in published.claims(results)]
    lines += ["", "## Memory of one meta-iteration, MiB, by the compiler's own analysis (25 tasks, 10 points)", ""]
    lines += ["| inner steps | " + " | ".join(map(str, MEMORY_STEPS)) + " |", "|---" * (len(MEMORY_STEPS) + 1) + "|"]
    for name, row in used.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[str(steps)] / 2**20:.2f}" for steps in MEMORY_STEPS) + " |")
    return "\n".join(lines) + "\n"


def section(protocol: str, cells: list[dict[str, Any]], results: dict[Key, tuple[float, float, float]]) -> list[str]:
    """One protocol: a row per agent and number of training points."""
    columns = COLUMNS[protocol]
    heads = [f"{shots} points, {steps} step{'s' * (steps != 1)}" for shots, steps in columns]
    lines = [f"## Protocol {protocol}", "", "| agent | trained on | inner steps | iterations | " + " | ".join(heads) + " |"]
    lines.append("|---" * (len(heads) + 4) + "|")
    for found in cells:
        settings = found["settings"]
        row = [settings["agent"], f"{settings['train_shots']} points", str(settings["num_inner_steps"])]
        row.append(f"{settings['num_iterations']:,}")
        for shots, steps in columns:
            key = Key(protocol, settings["train_shots"], settings["agent"], shots, steps)
            mean, low, high = results[key]
            text = f"{mean:#.3g} [{low:#.3g}, {high:#.3g}]"
            if key in PUBLISHED:
                text += f"; published {PUBLISHED[key].value} {PUBLISHED[key].mark}"
            row.append(text)
        lines.append("| " + " | ".join(row) + " |")
    return lines


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(parse(SinusoidTableConfig, args, "python -m experiments.sinusoid_table"))


if __name__ == "__main__":
    main()
