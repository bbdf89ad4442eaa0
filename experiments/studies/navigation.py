"""``python -m experiments.studies.navigation``: 2D navigation as in Finn et al. 2017, every agent, and published returns."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments import train
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.compare import CompareConfig, compare
from experiments.reporting import comparison
from experiments.reporting.tables import interval, number
from experiments.runs.folder import write_json
from experiments.runs.seed_folders import seed_folder, seed_folders
from experiments.studies import navigation_promises
from experiments.training.config import TrainConfig

ENV = "metarl/Navigation2D-v0"
# Marks: P read in the paper (Section 5.3, Appendix A.2), C in its released code (cbfinn/maml_rl), T chosen here by what agents
# reached on tasks of the training distribution.
PROTOCOL: dict[str, Any] = {
    "num_tasks": 20,  # P; C has 40
    "num_episodes": 20,  # P, C
    "horizon": 100,  # P, C
    "gamma": 0.99,  # C, the algorithm's default
    "gae_lambda": 1.0,  # C
    "hidden_sizes": (64, 64),  # P and C have 100, 100 with ReLU; this, with tanh, is tristandeleu/pytorch-maml-rl's and ProMP's
    "activation": "tanh",
    "initial_std": 0.7,  # T, in a second round: 0.5 had looked as good on few seeds; rllab's default is 1
    "eval_tasks": 100,  # C has 40 goals
    "eval_episodes": 40,  # P
    "eval_steps": 3,  # P
    "checkpoint_every": 50,
}
INNER: dict[str, Any] = {
    "inner_lr": 0.1,  # P; C has 0.5
    "num_inner_steps": 1,  # P, C
    "test_step_scale": (1.0, 0.5),  # P, C: halved after the first step
}
ADAM: dict[str, Any] = {"outer_lr": 2e-3, "num_iterations": 300}  # T; P has up to 500 iterations of a trust region
# rl2 and the oracle learn from fewer episodes of more tasks (ProMP's RL2 runs have 2 trials of 2 episodes on each of 100). T.
BY_PPO: dict[str, Any] = {"num_tasks": 40, "num_episodes": 2, "initial_std": 1.0, "outer_lr": 2e-3, "outer_schedule": "linear"}

SETTINGS: dict[str, dict[str, Any]] = {
    "maml": INNER | ADAM,
    "maml-trpo": INNER | {"max_kl": 0.01, "num_iterations": 60},  # P, C: KL 0.01; C has 100 iterations
    "promp": INNER | {"outer_lr": 2e-3, "num_iterations": 60},  # five optimiser steps each; the rest as in Rothfuss et al. 2019
    "e-maml": INNER | ADAM,
    "fomaml": INNER | ADAM,
    "reptile": INNER | ADAM | {"num_inner_steps": 3},
    "imaml": INNER | ADAM | {"num_inner_steps": 5, "num_iterations": 100},
    "anil": INNER | ADAM,
    "cavia": INNER | ADAM | {"inner_lr": 1.0},  # Zintgraf et al. 2019, C: lmzintgraf/cavia
    "meta-sgd": INNER | ADAM,
    "maml++": INNER | ADAM | {"num_inner_steps": 3},
    "rl2": BY_PPO | {"trial_episodes": 4, "num_iterations": 400},
    "pretrained": INNER | ADAM | {"num_iterations": 600},  # each draws half of what maml's draws
    "random": INNER | {"num_iterations": 1},  # nothing is trained
    "oracle": BY_PPO | {"num_iterations": 200},
}


@dataclasses.dataclass(frozen=True)
class NavigationConfig:
    """Train and evaluate agents on 2D navigation, several seeds each, and put published returns beside ours.

    Finished agents are kept: the same command goes on where it was stopped.
    """

    out: Path
    """Each agent's runs are written to out/AGENT/seed-0 and so on, the table to out."""
    agents: tuple[str, ...] = ("maml", "pretrained", "random")
    """Which agents."""
    all: bool = False
    """Every agent."""
    num_seeds: int = 3
    """Seeds 0, 1, ... of each agent, trained together."""
    num_iterations: int | None = None
    """Meta-iterations for every agent instead of its own number, for a quick try."""
    eval_tasks: int = PROTOCOL["eval_tasks"]
    """Held-out tasks."""


def navigation(config: NavigationConfig) -> None:
    """Train what is missing, then write the table, the comparison and its page."""
    names = tuple(SETTINGS) if config.all else config.agents
    at_least(config, num_seeds=1, num_iterations=0, eval_tasks=1)
    for name in names:
        if name not in SETTINGS:
            raise UserError(f"--agents has {name!r}; known: {', '.join(SETTINGS)}.")
    for name in names:
        for run in runs_of(config, name):
            print(f"\n{name}: seeds {run.seed} to {run.seed + run.seeds - 1}", flush=True)
            train.train(run)
    folders = tuple(seed_folder(config.out / name, seed) for name in names for seed in range(config.num_seeds))
    compare(CompareConfig(folders, config.out, html=True))
    gathered = comparison.gather(folders)
    rows, promises = gathered.rows, navigation_promises.check(gathered.rows)
    steps = {agent: trained_on(runs[0].lines) for agent, runs in gathered.runs.items()}
    write_json(config.out / "promises.json", promises)
    (config.out / "navigation.md").write_text(markdown(rows, steps, promises))
    print_table(rows)
    for promise in promises:
        print(f"{'kept' if promise['kept'] else 'MISSED'}: {promise['text']}")


def runs_of(config: NavigationConfig, agent: str) -> list[Any]:
    """The seeds of one agent that its folder has, resumed, and those that it lacks."""
    folder = config.out / agent
    settings = PROTOCOL | SETTINGS[agent] | {"eval_tasks": config.eval_tasks}
    if config.num_iterations is not None:
        settings["num_iterations"] = config.num_iterations
    there = len([seed for seed in seed_folders(folder) if seed < config.num_seeds])
    parts = [(0, there, True), (there, config.num_seeds - there, False)]
    return [
        TrainConfig(run_dir=folder, env=ENV, agent=agent, seed=first, seeds=count, resume=resume, **settings)
        for first, count, resume in parts
        if count
    ]


def trained_on(lines: list[dict[str, Any]]) -> int:
    """Environment steps in metrics.jsonl."""
    return int(lines[-1]["time/env_steps"]) if lines else 0


def markdown(rows: dict[str, Any], steps: dict[str, int], promises: list[dict[str, Any]]) -> str:
    """Our returns and the published ones, and which promises hold.

    Args:
        rows: agent -> what `experiments.reporting.comparison.over_seeds` gives.
        steps: agent -> environment steps each seed was trained on.
        promises: what `experiments.studies.navigation_promises.check` gives.
    """
    headings = ("agent", "seeds", "trained on", "episodes used", "0 steps", "1 step", "2 steps", "3 steps")
    lines = ["| " + " | ".join((*headings, "3, mean action", "hurt")) + " |", "|---" * (len(headings) + 2) + "|"]
    for agent, row in rows.items():
        cells = [f"{number(m)} {interval(ci)}" for m, ci in zip(row["return_mean"], row["return_ci95"], strict=True)]
        used = ", ".join(map(str, row["episodes"]))
        lines.append(
            f"| {agent} | {len(row['seeds'])} | {steps[agent] / 1e6:.1f} M steps | {used} | {' | '.join(cells)} "
            f"| {number(row['mean_action_mean'][-1])} | {row['hurt_by_step'][-1]:.0%} |"
        )
    for published in navigation_promises.PUBLISHED:
        cells = ["" if value is None else number(value) for value in published.returns]
        lines.append(f"| published {published.agent} ({published.source}) | | | | {' | '.join(cells)} | | |")
    lines += ["", *(f"- {'kept' if promise['kept'] else 'MISSED'}: {promise['text']}" for promise in promises)]
    return "\n".join(lines) + "\n"


def print_table(rows: dict[str, Any]) -> None:
    """Mean returns after 0..3 steps (episodes, for agents with memory), ours and the published ones."""
    table = Table(title="2D navigation: mean return after 0..3 inner steps (rl2: episodes)")
    for heading in ("agent (seeds)", "episodes used", *map(str, range(4))):
        table.add_column(heading, justify="left" if heading.startswith("agent") else "right")
    for agent, row in rows.items():
        used = ", ".join(map(str, row["episodes"]))
        table.add_row(f"{agent} ({len(row['seeds'])})", used, *map(number, row["return_mean"]))
    for published in navigation_promises.PUBLISHED:
        cells = ["" if value is None else number(value) for value in published.returns]
        table.add_row(f"published {published.agent}", "", *cells)
    Console().print(table)


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    navigation(parse(NavigationConfig, args, command_line("studies.navigation")))


if __name__ == "__main__":
    main()
