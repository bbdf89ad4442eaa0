"""``python -m experiments.studies.gridworld``: memory agents on VariBAD's grid beside exact planners, and what is believed."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import envs
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.evaluation import load
from experiments.reporting.tables import Table, markdown, show
from experiments.runs.folder import write_json
from experiments.studies.gridworld import beliefs, planners
from experiments.studies.gridworld.episode_rows import cells, trained

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
        own = {"seed": config.seed, "num_iterations": config.num_iterations, "num_tasks": config.num_tasks}
        rows[name] = trained(ENV, name, config.out / name, eval_tasks=number, **EVALUATION, **own)
    write_json(config.out / "gridworld.json", {"env": ENV, "rows": rows})
    table = table_of(rows)
    (config.out / "gridworld.md").write_text(markdown(table))
    show(table)
    if "varibad" in config.agents:
        agent = load(config.out / "varibad")
        tasks = envs.held_out_tasks(family, number)
        task = type(tasks)(*(leaf[config.goal] for leaf in tasks))
        beliefs.picture(config.out / "beliefs.png", beliefs.trial_of(agent, task, EPISODES))


def table_of(rows: dict[str, Any]) -> Table:
    """Mean return of each episode, a row per player, with intervals over goals; what samples, and what acts greedily."""
    headings = ("player", *(f"episode {e + 1}" for e in range(EPISODES)), "greedy")
    title = "VariBAD's grid: mean return of each episode over 21 goals, 95% interval"
    return Table(headings, [[name, *cells(row)] for name, row in rows.items()], title)


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    gridworld(parse(GridworldConfig, args, command_line("studies.gridworld")))


if __name__ == "__main__":
    main()
