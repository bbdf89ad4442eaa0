"""``python -m experiments.studies.bandits``: the Bernoulli bandits of Duan et al. 2016 (RL2), planners, printed totals."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

import envs
from experiments import train
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.reporting import claims
from experiments.reporting.intervals import task_hash
from experiments.reporting.tables import markdown, show
from experiments.runs.folder import write_json
from experiments.runs.seed_folders import seed_folder, seed_folders
from experiments.studies.bandits import planners
from experiments.studies.bandits.settings import MEMORIES, PROTOCOL, SETTINGS
from experiments.studies.bandits.table import PUBLISHED, promise, reached, table_of
from experiments.training.config import TrainConfig, train_config

ENV = "metarl/BernoulliBandit-v0"
KEY_OF_TUNING = 0xC0FFEE  # of the training bandits that UCB1's weight is tuned on


@dataclasses.dataclass(frozen=True)
class BanditsConfig:
    """Train rl2 on Bernoulli bandits and put its totals on held-out ones beside those of planners and the printed ones.

    Finished runs are kept: the same command goes on where it was stopped.
    """

    out: Path
    """Runs are written to out/n10-k5/seed-0 and so on, the table to out."""
    pulls: tuple[int, ...] = (10,)
    """n: pulls per bandit, each with each number of arms."""
    arms: tuple[int, ...] = (5, 10)
    """k: arms."""
    memories: tuple[Literal["gru", "lstm", "lru", "transformer", "hypernetwork"], ...] = ("gru",)
    """Of rl2, a row each; hypernetwork is that of a gru."""
    num_seeds: int = 1
    """Seeds 0, 1, ... of each, trained together."""
    num_iterations: int | None = None
    """Meta-iterations instead of the settings' own, for a quick try."""
    num_tasks: int | None = None
    """Bandits per meta-iteration instead of the settings' own."""
    eval_tasks: int = 1000
    """Held-out bandits; the paper has 1,000."""


def bandits(config: BanditsConfig) -> None:
    """Train what is missing, then play the planners on the same bandits and write the table."""
    at_least(config, pulls=1, arms=2, num_seeds=1, num_iterations=0, num_tasks=1, eval_tasks=2)
    cells = [(pulls, arms) for pulls in config.pulls for arms in config.arms]
    if not cells:
        raise UserError("--pulls and --arms need at least one number each, such as --pulls 10 --arms 5 10.")
    if not config.memories:
        raise UserError(f"--memories needs at least one of {', '.join(MEMORIES)}.")
    results = []
    for pulls, arms in cells:
        for memory in config.memories:
            for run in runs_of(config, pulls, arms, memory):
                seeds = f"seeds {run.seed} to {run.seed + (run.seeds or 1) - 1}"
                print(f"\n{pulls} pulls of {arms} arms, {row_of(memory)}: {seeds}", flush=True)
                train.train(run)
        results.append(cell(config, pulls, arms))
    write_json(config.out / "bandits.json", {"env": ENV, "cells": results})
    table, promised = table_of(results), [claim for result in results if (claim := promise(result))]
    (config.out / "bandits.md").write_text(markdown(table) + claims.markdown(promised))
    show(table)
    claims.show(promised)


def row_of(memory: str) -> str:
    """How the table calls rl2 with a memory."""
    return "rl2" if memory == "gru" else f"rl2, {memory}"


def folder_of(config: BanditsConfig, pulls: int, arms: int, memory: str) -> Path:
    """Where the seeds of a cell are."""
    return config.out / (f"n{pulls}-k{arms}" if memory == "gru" else f"n{pulls}-k{arms}-{memory}")


def runs_of(config: BanditsConfig, pulls: int, arms: int, memory: str) -> list[TrainConfig]:
    """The seeds that a cell's folder has, resumed, and those that it lacks."""
    folder = folder_of(config, pulls, arms, memory)
    settings = PROTOCOL | SETTINGS[max(least for least in SETTINGS if least <= pulls)] | MEMORIES[memory]
    settings |= {"trial_episodes": pulls, "env_options": (f"arms={arms}",)}
    settings |= {"eval_tasks": config.eval_tasks, "eval_steps": pulls - 1}
    for name in ("num_iterations", "num_tasks"):
        if getattr(config, name) is not None:
            settings[name] = getattr(config, name)
    there = len([seed for seed in seed_folders(folder) if seed < config.num_seeds])
    parts = [(0, there, True), (there, config.num_seeds - there, False)]
    return [
        train_config(run_dir=folder, env=ENV, seed=first, seeds=count, resume=resume, **settings)
        for first, count, resume in parts
        if count
    ]


def cell(config: BanditsConfig, pulls: int, arms: int) -> dict[str, Any]:
    """One row of the paper's table: everyone on the same held-out bandits.

    Raises:
        UserError: an evaluation is of other bandits than the family's held-out ones.
    """
    family = envs.make(ENV, arms=arms)
    tasks = envs.held_out_tasks(family, config.eval_tasks)
    keys = jax.random.split(jax.random.key(KEY_OF_TUNING), planners.TUNING_TASKS)
    tuning, mean = np.asarray(jax.vmap(family.sample_task)(keys).mean), np.asarray(tasks.mean)
    rows = {}
    for name, (planner, about) in planners.planners(arms, pulls, tuning).items():
        rows[name] = summary(planners.play(planner, mean, pulls)) | about
    for memory in config.memories:
        totals = totals_of(config, folder_of(config, pulls, arms, memory), task_hash(tasks))
        rows[row_of(memory)] = summary(np.mean(totals, axis=0)) | {"by_seed": [float(total.mean()) for total in totals]}
    published = PUBLISHED.get((pulls, arms), {})
    return {
        "pulls": pulls,
        "arms": arms,
        "instances": config.eval_tasks,
        "task_hash": task_hash(tasks),
        "best_arm": float(pulls * mean.max(axis=1).mean()),
        "rows": rows,
        "published": published,
        "reached": reached(rows["rl2"], published["rl2"]) if published and "rl2" in rows else None,
    }


def totals_of(config: BanditsConfig, folder: Path, expected: str) -> list[np.ndarray]:
    """Total rewards [M] of each seed.

    Raises:
        UserError: an evaluation is of other bandits than those expected.
    """
    totals = []
    for seed in range(config.num_seeds):
        path = seed_folder(folder, seed) / "evaluation.json"
        evaluation = json.loads(path.read_text())
        if evaluation["task_hash"] != expected:
            raise UserError(f"{path} is of other bandits; use the --eval-tasks it was made with, or another --out.")
        totals.append(np.sum(evaluation["returns"], axis=1))  # the sum over episodes of one pull each
    return totals


def summary(totals: np.ndarray) -> dict[str, float]:
    """Mean of totals [M] and its standard error over bandits."""
    return {"mean": float(totals.mean()), "standard_error": float(totals.std(ddof=1) / np.sqrt(len(totals)))}


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    bandits(parse(BanditsConfig, args, command_line("studies.bandits")))


if __name__ == "__main__":
    main()
