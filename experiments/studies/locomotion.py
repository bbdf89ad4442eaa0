"""``python -m experiments.studies.locomotion --robot NAME --out DIR``: legged robots as in Finn et al. 2017."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from experiments import train
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.reporting import comparison
from experiments.reporting.tables import Table, estimates, markdown, number, show
from experiments.runs.folder import CONFIG, write_json
from experiments.training.config import TrainConfig, train_config

# Marks: P read in Finn et al. 2017 (Section 5.3, Appendix A.2), C in its released code (cbfinn/maml_rl).
PROTOCOL: dict[str, Any] = {
    "num_tasks": 40,  # P, C
    "num_episodes": 20,  # P, C
    "horizon": 200,  # P, C
    "gamma": 0.99,  # C
    "hidden_sizes": (100, 100),  # P, C
    "activation": "relu",  # P, C
    "initial_std": 1.0,  # C, rllab's default
    "eval_tasks": 40,  # C
    "eval_steps": 3,  # P
    "checkpoint_every": 10,
}
INNER: dict[str, Any] = {
    "num_inner_steps": 1,  # P, C
    "inner_lr": 0.1,  # P, C
    "test_step_scale": (1.0, 0.5),  # P, C: halved after the first step
}
# How each agent learns, and for how long it was published. ProMP's code (Rothfuss et al. 2019) has 1001 iterations of promp and
# 501 of rl2, with 100 tasks, two episodes and PPO; lambda and the standard deviation there are ours.
AGENTS: dict[str, dict[str, Any]] = {
    "maml-trpo": INNER | {"max_kl": 0.01, "num_iterations": 500},  # P, C: KL 0.01; P: up to 500 iterations
    "promp": INNER | {"outer_lr": 1e-3, "num_iterations": 1001, "hidden_sizes": (64, 64), "activation": "tanh"},
    "maml": INNER | {"outer_lr": 1e-3, "num_iterations": 1000},  # Adam instead of a trust region; ours
    "rl2": {
        "num_tasks": 100,
        "num_episodes": 1,
        "trial_episodes": 2,
        "outer_lr": 1e-3,
        "gae_lambda": 0.95,
        "initial_std": 0.5,
        "hidden_sizes": (64, 64),
        "activation": "tanh",
        "num_iterations": 501,
        "eval_episodes": 5,  # trials per held-out task; ours
    },
    "pretrained": INNER | {"outer_lr": 1e-3, "num_iterations": 1000},  # P: a baseline; its settings are ours
    "random": INNER | {"num_iterations": 1},
}
# Minutes of two CPU cores: half of the tasks, half of the horizon, a fifth of the iterations, larger steps. Ours.
SHORT: dict[str, Any] = {
    "num_tasks": 20,
    "num_episodes": 20,
    "horizon": 100,
    "inner_lr": 0.5,
    "initial_std": 0.5,
    "hidden_sizes": (64, 64),
    "activation": "tanh",
    "num_iterations": 100,
}
SHORT_OF: dict[str, dict[str, Any]] = {
    "maml-trpo": SHORT | {"max_kl": 0.05},
    "rl2": {"num_tasks": 80, "num_iterations": 300},
    "random": SHORT | {"num_iterations": 1},
}


class Experiment(NamedTuple):
    """One published experiment: a family, what differs from PROTOCOL, and returns printed for 0..3 steps, with their source."""

    env: str
    changes: dict[str, Any] = {}  # noqa: RUF012 - never changed
    published: tuple[float, ...] = ()
    source: str = ""


# robot -> task -> experiment. Returns are printed for the half-cheetah's direction (P, Table 5, "MAML"), else there are curves.
ROBOTS: dict[str, dict[str, Experiment]] = {
    "half-cheetah": {
        "dir": Experiment("metarl/HalfCheetahDir-v0", {}, (-50.69, 293.19, 313.48, 315.65), "MAML, Finn et al. 2017"),
        "vel": Experiment("metarl/HalfCheetahVel-v0"),
    },
    "ant": {
        "dir": Experiment("metarl/AntDir-v0", {"num_episodes": 40}),  # P: 40 episodes for forward/backward
        "vel": Experiment("metarl/AntVel-v0"),
        "goal": Experiment("metarl/AntGoal-v0"),
    },
}
NOTE = "Short runs on a CPU: not to be compared with published ones. rl2's steps are episodes."


@dataclasses.dataclass(frozen=True)
class LocomotionConfig:
    """Train and evaluate agents on the tasks of one robot and put published returns beside ours.

    Finished runs are kept: the same command goes on where it was stopped.
    """

    robot: Literal["half-cheetah", "ant"]
    """Whose tasks."""
    out: Path
    """Each run is written to out/TASK/AGENT, the table to out."""
    tasks: tuple[str, ...] = ("dir",)
    """Which experiments: dir, vel and, for the ant, goal."""
    agents: tuple[str, ...] = ("maml-trpo",)
    """Which agents: maml-trpo (as published), promp, maml, rl2, pretrained, random."""
    short: bool = False
    """A short run for a CPU: fewer tasks, half of the horizon, few iterations; not to be compared with published returns."""
    seed: int = 0
    """Of every run."""
    num_iterations: int | None = None
    """Meta-iterations for every agent instead of its own number."""
    eval_tasks: int = PROTOCOL["eval_tasks"]
    """Held-out tasks."""


def locomotion(config: LocomotionConfig) -> None:
    """Train what is missing, then write the table."""
    at_least(config, num_iterations=0, eval_tasks=1)
    experiments = ROBOTS[config.robot]
    for flag, names, known in (("tasks", config.tasks, experiments), ("agents", config.agents, AGENTS)):
        for name in names:
            if name not in known:
                raise UserError(f"--{flag} has {name!r}; known: {', '.join(known)}.")
    rows = []
    for task in config.tasks:
        for agent in config.agents:
            settings = settings_of(config, task, experiments[task], agent)
            print(f"\n{config.robot}, {task}: {agent}", flush=True)
            train.train(settings)
            pooled = comparison.gather((settings.run_dir,)).rows[agent]
            rows.append(
                {"task": task, "agent": agent, "iterations": settings.num_iterations, "horizon": settings.horizon} | pooled
            )
    write_json(config.out / "returns.json", {"rows": rows, "short": config.short})
    table = table_of(config, rows)
    (config.out / "returns.md").write_text(markdown(table))
    show(table)


def settings_of(config: LocomotionConfig, task: str, experiment: Experiment, agent: str) -> TrainConfig:
    """What trains one agent on one experiment."""
    folder = config.out / task / agent
    settings = PROTOCOL | AGENTS[agent] | experiment.changes | {"eval_tasks": config.eval_tasks}
    if config.short:
        settings |= SHORT_OF.get(agent, SHORT)
    if config.num_iterations is not None:
        settings["num_iterations"] = config.num_iterations
    return train_config(
        run_dir=folder, env=experiment.env, agent=agent, seed=config.seed, resume=(folder / CONFIG).is_file(), **settings
    )


def table_of(config: LocomotionConfig, rows: list[dict[str, Any]]) -> Table:
    """Our returns after 0..K steps with their intervals, and after those of each task the published ones, if there are any."""
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        lines += [cells(row) for row in rows if row["task"] == task]
        if ROBOTS[config.robot][task].published:
            lines.append(published_cells(task, ROBOTS[config.robot][task]))
    num_steps = PROTOCOL["eval_steps"]
    headings = ("task", "agent", "trained for", *(f"{k} steps" for k in range(num_steps + 1)))
    title = f"{config.robot}: mean held-out return after 0..{num_steps} inner steps"
    return Table(headings, lines, title, words=(0, 1, 2), caption=NOTE * config.short)


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Task, agent, what it was trained for, and returns after 0..K steps with their intervals."""
    trained = f"{row['iterations']} iterations, horizon {row['horizon']}"
    return row["task"], row["agent"], trained, *estimates(row["return_mean"], row["return_ci95"])


def published_cells(task: str, experiment: Experiment) -> tuple[str, ...]:
    """The same of what is printed elsewhere."""
    horizon = PROTOCOL["horizon"]
    return task, f"published ({experiment.source})", f"horizon {horizon}", *map(number, experiment.published)


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    locomotion(parse(LocomotionConfig, args, command_line("studies.locomotion")))


if __name__ == "__main__":
    main()
