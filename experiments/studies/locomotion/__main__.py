"""``python -m experiments.studies.locomotion --robot NAME --all --out DIR``: agents on legged robots, hours unattended."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from experiments import train
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.reporting import run_rows
from experiments.reporting.tables import markdown, show
from experiments.runs.folder import CONFIG, read_config, write_json
from experiments.studies.locomotion import table
from experiments.studies.locomotion.protocol import AGENTS, MAIN, PROTOCOL, ROBOTS, settings_of
from experiments.training.config import TrainConfig, train_config


@dataclasses.dataclass(frozen=True)
class LocomotionConfig:
    """Train and evaluate agents on the tasks of one robot and write one table of all that is there.

    Finished runs are kept: the same command, on the same folder, goes on where it was stopped, also on another machine.
    """

    robot: Literal["half-cheetah", "ant", "hopper", "walker", "humanoid"]
    """Whose tasks."""
    out: Path
    """Each run is written to out/TASK/AGENT/seed-S, the tables to out."""
    tasks: tuple[str, ...] = ()
    """Which experiments: dir and vel, for the ant also goal, for hopper and walker params; all if not given."""
    agents: tuple[str, ...] = MAIN
    """Which agents: promp, maml-trpo and so on."""
    all: bool = False
    """Every agent."""
    num_seeds: int = 1
    """Seeds 0, 1, ... of each agent, one after the other."""
    horizon: int = PROTOCOL["horizon"]
    """Steps of an episode: 100 in ProMP's code, 200 in Finn et al. 2017; other than 100 goes to out/TASK-HORIZON."""
    num_tasks: int | None = None
    """Tasks per meta-iteration for every agent instead of its own number."""
    num_iterations: int | None = None
    """Meta-iterations for every agent instead of its own number."""
    eval_tasks: int = PROTOCOL["eval_tasks"]
    """Held-out tasks."""
    train: bool = True
    """--no-train writes the tables of what is there."""


def locomotion(config: LocomotionConfig) -> None:
    """Train what is missing, seed after seed, then write the tables."""
    at_least(config, num_iterations=0, eval_tasks=1, num_seeds=1, horizon=1, num_tasks=1)
    experiments = ROBOTS[config.robot]
    names = tuple(AGENTS) if config.all else config.agents
    for flag, given, known in (("tasks", config.tasks, experiments), ("agents", names, AGENTS)):
        for name in given:
            if name not in known:
                raise UserError(f"--{flag} has {name!r}; known: {', '.join(known)}.")
    for seed in range(config.num_seeds if config.train else 0):
        for agent in names:
            for task in config.tasks or tuple(experiments):
                print(f"\n{config.robot}, {task}: {agent}, seed {seed}", flush=True)
                train.train(run_of(config, task, agent, seed))
    rows = []
    for folder in sorted(config.out.glob("*/*/")):
        runs = [run for run in sorted(folder.glob("seed-*/")) if (run / "evaluation.json").is_file()]
        if runs:
            horizon = int(read_config(runs[0])["settings"]["horizon"])
            rows += [row | {"task": folder.parent.name, "horizon": horizon} for row in run_rows.rows_of(*runs)]
    if not rows:
        raise UserError(f"{config.out} holds no finished run; leave out --no-train.")
    rows.sort(key=lambda row: (row["task"], list(AGENTS).index(row["agent"])))
    write_json(config.out / "returns.json", {"robot": config.robot, "rows": rows})
    (config.out / "returns.md").write_text(markdown(table.wide(config.robot, rows)))
    show(table.narrow(config.robot, rows))


def run_of(config: LocomotionConfig, task: str, agent: str, seed: int) -> TrainConfig:
    """What trains one seed of an agent on one experiment, going on with its folder if there is one."""
    experiment = ROBOTS[config.robot][task]
    name = task if config.horizon == PROTOCOL["horizon"] else f"{task}-{config.horizon}"
    folder = config.out / name / agent / f"seed-{seed}"
    settings: dict[str, Any] = settings_of(experiment, agent)
    settings |= {"eval_tasks": config.eval_tasks, "horizon": config.horizon}
    for setting in ("num_iterations", "num_tasks"):
        if getattr(config, setting) is not None:
            settings[setting] = getattr(config, setting)
    return train_config(
        run_dir=folder, env=experiment.env, agent=agent, seed=seed, resume=(folder / CONFIG).is_file(), **settings
    )


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    locomotion(parse(LocomotionConfig, args, command_line("studies.locomotion")))


if __name__ == "__main__":
    main()
