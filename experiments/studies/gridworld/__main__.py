"""``python -m experiments.studies.gridworld``: memory agents on VariBAD's grid beside exact planners, and what is believed."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import envs
from experiments import train
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.evaluation import load
from experiments.reporting.tables import NONE, Table, markdown, show
from experiments.runs.folder import CONFIG, write_json
from experiments.studies.gridworld import beliefs, planners
from experiments.training.config import TrainConfig, train_config
from experiments.training.suggested import suggested

ENV = "metarl/GridNavigation-v0"
EPISODES = 4  # Zintgraf et al. 2020
EVALUATION: dict[str, Any] = {"eval_steps": EPISODES - 1, "eval_episodes": 20}


@dataclasses.dataclass(frozen=True)
class GridworldConfig:
    """Train memory agents on the 5 x 5 grid of VariBAD, and put their returns on its 21 goals beside those of planners.

    Four episodes of 15 steps on each goal. Finished runs are kept: the same command goes on where it was stopped.
    """

    out: Path
    """Runs are written to out/varibad and so on; table, gridworld.json and the picture of varibad's beliefs to out."""
    agents: tuple[Literal["varibad", "rl2"], ...] = ("varibad", "rl2")
    """Which are trained."""
    seed: int = 0
    """Of their training."""
    num_iterations: int | None = None
    """Meta-iterations instead of the family's own number, for a quick try."""
    num_tasks: int | None = None
    """Goals per meta-iteration instead of the family's own number."""
    goal: int = 0
    """Which of the held-out goals the picture is of."""


def gridworld(config: GridworldConfig) -> None:
    """Train what is missing, write the table, and draw."""
    family: Any = envs.make(ENV)
    number = len(planners.goals_of(family))
    at_least(config, num_iterations=0, num_tasks=1, seed=0, goal=0)
    if config.goal >= number:
        raise UserError(f"--goal is {config.goal}, but there are {number} goals: 0 to {number - 1}.")
    rows: dict[str, Any] = {
        "known goal": {"return_mean": [planners.known_goal(family)] * EPISODES},
        "posterior sampling": {"return_mean": planners.posterior_sampling(family, EPISODES).tolist()},
        "posterior sampling, staying where the goal is met": {
            "return_mean": planners.posterior_sampling(family, EPISODES, turns=True).tolist()
        },
    }
    for name in config.agents:
        run = run_of(config, name, number)
        train.train(run)
        evaluation = json.loads((run.run_dir / "evaluation.json").read_text())
        rows[name] = {
            key: evaluation[key] for key in ("return_mean", "return_ci95", "greedy_mean", "env_steps") if key in evaluation
        }
    write_json(config.out / "gridworld.json", {"env": ENV, "rows": rows})
    table = table_of(rows)
    (config.out / "gridworld.md").write_text(markdown(table))
    show(table)
    if "varibad" in config.agents:
        agent = load(config.out / "varibad")
        tasks = envs.held_out_tasks(family, number)
        task = type(tasks)(*(leaf[config.goal] for leaf in tasks))
        beliefs.picture(config.out / "beliefs.png", beliefs.trial_of(agent, task, EPISODES))


def run_of(config: GridworldConfig, name: str, number: int) -> TrainConfig:
    """What trains an agent, going on with its folder if there is one."""
    folder = config.out / name
    settings = suggested(ENV, name) | EVALUATION | {"agent": name, "seed": config.seed, "eval_tasks": number}
    for setting in ("num_iterations", "num_tasks"):
        if getattr(config, setting) is not None:
            settings[setting] = getattr(config, setting)
    return train_config(run_dir=folder, env=ENV, resume=(folder / CONFIG).is_file(), **settings)


def table_of(rows: dict[str, Any]) -> Table:
    """Mean return of each episode, a row per player, with intervals over goals; what samples, and what acts greedily."""
    cells = []
    for name, row in rows.items():
        ends = row.get("return_ci95", [None] * EPISODES)
        means = [
            f"{mean:.2f}" + ("" if end is None else f" [{end[0]:.2f}, {end[1]:.2f}]")
            for mean, end in zip(row["return_mean"], ends, strict=True)
        ]
        greedy = row.get("greedy_mean")
        cells.append([name, *means, NONE if greedy is None else " ".join(f"{value:.2f}" for value in greedy)])
    headings = ("player", *(f"episode {e + 1}" for e in range(EPISODES)), "greedy")
    return Table(headings, cells, "VariBAD's grid: mean return of each episode over 21 goals, 95% interval")


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    gridworld(parse(GridworldConfig, args, command_line("studies.gridworld")))


if __name__ == "__main__":
    main()
