"""``python -m experiments.navigation``: 2D navigation as in Finn et al. 2017, every agent, beside the published returns."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments import comparison, navigation_promises, train
from experiments.command import UserError, at_least, one_line_errors, parse
from experiments.compare import CompareConfig, compare
from experiments.comparison_table import interval, number
from experiments.config import TrainConfig
from experiments.run_folder import write_json
from experiments.seed_folders import seed_folders

ENV = "metarl/Navigation2D-v0"
# Marks: P read in the paper (Section 5.3, Appendix A.2), C in its released code (cbfinn/maml_rl), T chosen here on tasks of the
# training distribution, never on held-out ones.
PROTOCOL: dict[str, Any] = {
    "num_tasks": 20,  # P; C has 40
    "num_episodes": 20,  # P, C
    "horizon": 100,  # P, C
    "gamma": 0.99,  # C, the algorithm's default
    "gae_lambda": 1.0,  # C
    "hidden_sizes": (64, 64),  # P and C have 100, 100 with ReLU; this, with tanh, is tristandeleu/pytorch-maml-rl's and ProMP's
    "activation": "tanh",
    "initial_std": 0.7,  # T; rllab's default is 1
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
    "pretrained": INNER | ADAM,
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
        print(f"\n{name}: {config.num_seeds} seeds", flush=True)
        train.train(settings_of(config, name))
    folders = tuple(config.out / name for name in names)
    compare(CompareConfig(folders, config.out, html=True))
    rows = comparison.gather(folders).rows
    promises = navigation_promises.check(rows)
    write_json(config.out / "promises.json", promises)
    (config.out / "navigation.md").write_text(markdown(rows, promises))
    print_table(rows)
    for promise in promises:
        print(f"{'kept' if promise['kept'] else 'MISSED'}: {promise['text']}")


def settings_of(config: NavigationConfig, agent: str) -> TrainConfig:
    """The run of all seeds of one agent; resumed where its folder has some already."""
    folder = config.out / agent
    settings = PROTOCOL | SETTINGS[agent] | {"eval_tasks": config.eval_tasks}
    if config.num_iterations is not None:
        settings["num_iterations"] = config.num_iterations
    return TrainConfig(
        run_dir=folder, env=ENV, agent=agent, seeds=config.num_seeds, resume=bool(seed_folders(folder)), **settings
    )


def markdown(rows: dict[str, Any], promises: list[dict[str, Any]]) -> str:
    """Our returns and the published ones, and which promises hold."""
    lines = ["| agent | seeds | 0 steps | 1 step | 2 steps | 3 steps | 3 steps, mean action | hurt |", "|---" * 8 + "|"]
    for agent, row in rows.items():
        cells = [f"{number(m)} {interval(ci)}" for m, ci in zip(row["return_mean"], row["return_ci95"], strict=True)]
        lines.append(
            f"| {agent} | {len(row['seeds'])} | {' | '.join(cells)} | {number(row['mean_action_mean'][-1])} "
            f"| {row['hurt_by_step'][-1]:.0%} |"
        )
    for published in navigation_promises.PUBLISHED:
        cells = ["" if value is None else number(value) for value in published.returns]
        lines.append(f"| published {published.agent} ({published.source}) | | {' | '.join(cells)} | | |")
    lines += ["", *(f"- {'kept' if promise['kept'] else 'MISSED'}: {promise['text']}" for promise in promises)]
    return "\n".join(lines) + "\n"


def print_table(rows: dict[str, Any]) -> None:
    """Returns after 0..3 steps with intervals, ours and the published ones."""
    table = Table(title="2D navigation: return after 0..3 inner steps, [95 % interval]")
    table.add_column("agent (seeds)")
    for k in range(4):
        table.add_column(str(k), justify="right")
    for agent, row in rows.items():
        cells = [f"{number(m)}\n{interval(ci)}" for m, ci in zip(row["return_mean"], row["return_ci95"], strict=True)]
        table.add_row(f"{agent} ({len(row['seeds'])})", *cells)
    for published in navigation_promises.PUBLISHED:
        cells = ["" if value is None else number(value) for value in published.returns]
        table.add_row(f"published {published.agent}", *cells)
    Console().print(table)


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    navigation(parse(NavigationConfig, args, "python -m experiments.navigation"))


if __name__ == "__main__":
    main()
