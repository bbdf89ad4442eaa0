"""``python -m experiments.studies.darkroom``: agents in dark rooms beside who knows the task, and who searches for it."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

import envs
from experiments.cli.command_line import command_line
from experiments.cli.errors import one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.evaluation import evaluate, load
from experiments.reporting.tables import Table, markdown, show
from experiments.runs.folder import write_json
from experiments.studies.darkroom import planners
from experiments.studies.gridworld.episode_rows import Row, cells, kept, trained

EPISODES = 4  # as on VariBAD's grid
MOST_TASKS = 100  # of a kind, the first in the family's order, where there are more
STARTS = 5  # draws per task and spiral, where episodes start anywhere
PLAYED = 20  # trials on each task, or episodes per inner step
ON_TRAINING = "evaluation_training_tasks.json"  # beside evaluation.json, which is of held-out ones
USUAL = {"size": 9, "held_out": "apart"}  # options that the families have anyway
EVALUATION: dict[str, Any] = {"eval_steps": EPISODES - 1, "eval_episodes": PLAYED}
AGENTS: dict[str, dict[str, Any]] = {  # name of a row -> the agent, and what of it is not as the family suggests
    "rl2": {"agent": "rl2"},
    "rl2-transformer": {"agent": "rl2", "memory": "transformer"},
    "varibad": {"agent": "varibad"},
    "maml": {"agent": "maml"},
    "promp": {"agent": "promp"},
    "pretrained": {"agent": "pretrained"},
    "oracle": {"agent": "oracle"},
}


@dataclasses.dataclass(frozen=True)
class DarkroomConfig:
    """Train agents in a dark room, and put their return of each of four episodes beside those of players who know the room.

    Both on tasks that were trained on and on tasks held out. Agents that adapt by gradients have more than an episode between
    two that are counted, as the table says. Finished runs are kept: the same command goes on where it was stopped.
    """

    out: Path
    """Runs are written to out/rl2 and so on; the table to out/darkroom.md and out/darkroom.json."""
    env: Literal["DarkRoom", "DarkKeyDoor"] = "DarkRoom"
    """A goal that pays at every step, or a key and then a door that pay once each."""
    size: int = 9
    """Cells along a wall."""
    held_out: Literal["apart", "same"] = "apart"
    """Whether tasks for evaluation are never trained on, or all tasks are both."""
    agents: tuple[Literal["rl2", "rl2-transformer", "varibad", "maml", "promp", "pretrained", "oracle"], ...] = (
        "rl2",
        "rl2-transformer",
    )
    """Which are trained; rl2 remembers by a GRU, rl2-transformer by attention."""
    seed: int = 0
    """Of their training."""
    num_iterations: int | None = None
    """Meta-iterations instead of the family's own number, for a quick try."""
    num_tasks: int | None = None
    """Tasks per meta-iteration instead of the family's own number."""


def darkroom(config: DarkroomConfig) -> None:
    """Train what is missing, and write the table."""
    at_least(config, size=3, num_iterations=0, num_tasks=1, seed=0)
    env = f"metarl/{config.env}-v0"
    options = {name: getattr(config, name) for name, usual in USUAL.items() if getattr(config, name) != usual}
    family: Any = envs.make(env, **options)
    kinds = {"training": family.train_list.tasks, "held out": family.held_out_list}
    if config.held_out == "same":
        kinds = {"all": family.held_out_list}
    kinds = {kind: jax.tree.map(lambda leaf: leaf[:MOST_TASKS], tasks) for kind, tasks in kinds.items()}
    own: dict[str, Any] = {"seed": config.seed, "num_iterations": config.num_iterations, "num_tasks": config.num_tasks}
    own |= {"env_options": tuple(f"{name}={value}" for name, value in options.items())}
    last = list(kinds)[-1]
    number = len(jax.tree.leaves(kinds[last])[0])
    rows: list[Row] = [row for kind, tasks in kinds.items() for row in planned(family, kind, tasks)]
    for name in config.agents:
        run_dir, settings = config.out / name, AGENTS[name]
        row = trained(env, run_dir=run_dir, eval_tasks=number, **settings, **EVALUATION, **own)
        if last != "all":
            rows.append({"player": name, "tasks": "training", **on_tasks(run_dir, kinds["training"])})
        rows.append({"player": name, "tasks": last, **row})
    rows.sort(key=lambda row: list(kinds).index(row["tasks"]))
    write_json(config.out / "darkroom.json", {"env": env, "env_options": options, "rows": rows})
    table = table_of(config, family, rows)
    (config.out / "darkroom.md").write_text(markdown(table))
    show(table)


def planned(family: Any, kind: str, tasks: Any) -> list[Row]:
    """Rows of the players who know the room."""
    starts = STARTS if len(jax.tree.leaves(family.task_space)) > 1 else 1  # a room with a goal alone starts in the middle
    knows = {
        "known task": functools.partial(planners.all_known, family),
        "search": lambda task: planners.nothing_known(family),
    }
    if kind == "training" and starts == 1:
        possible = jax.vmap(functools.partial(planners.all_known, family))(tasks).possible.any(axis=0)
        knows["search of training goals"] = lambda task: planners.Belief(possible, jnp.zeros((), jnp.int32))
    found = {name: planners.mean_returns(family, tasks, belief, EPISODES, starts) for name, belief in knows.items()}
    return [{"player": name, "tasks": kind, "return_mean": means.tolist()} for name, means in found.items()]


def on_tasks(run_dir: Path, tasks: Any) -> Row:
    """`kept` of the evaluation of a finished run on other tasks than those held out, leaves [M, ...]; made once."""
    path, finished = run_dir / ON_TRAINING, json.loads((run_dir / "evaluation.json").read_text())["iteration"]
    if path.is_file():
        before = json.loads(path.read_text())
        if before["iteration"] == finished:
            return before["row"]
    number = len(jax.tree.leaves(tasks)[0])
    agent = load(run_dir, num_episodes=PLAYED)
    listed = [jax.tree.unflatten(jax.tree.structure(tasks), one) for one in zip(*jax.tree.leaves(tasks), strict=True)]
    agent = agent._replace(family=envs.with_tasks(agent.family, held_out=listed))
    row = kept(evaluate(agent, num_tasks=number, num_steps=EPISODES - 1))
    write_json(path, {"iteration": finished, "row": row})
    return row


def table_of(config: DarkroomConfig, family: Any, rows: Sequence[Row]) -> Table:
    """Mean return of each counted episode, with intervals over tasks; what samples, and what acts greedily."""
    body = [
        [row["player"], row["tasks"], " ".join(map(str, row.get("episodes", range(EPISODES)))), *cells(row)] for row in rows
    ]
    headings = ("player", "tasks", "episodes before", *(f"score {e}" for e in range(EPISODES)), "greedy")
    room = f"{config.env}, {config.size} x {config.size}, {family.horizon} steps"
    title = f"{room}: mean return of an episode, 95% interval over tasks"
    return Table(headings, body, title, words=(0, 1, 2))


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    darkroom(parse(DarkroomConfig, args, command_line("studies.darkroom")))


if __name__ == "__main__":
    main()
