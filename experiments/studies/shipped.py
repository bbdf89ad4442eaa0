"""``python -m experiments.studies.shipped --out DIR``: table and pictures of the trained agents that come with metarl."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import envs
from agents import find
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import parse
from experiments.evaluation import film, shipped
from experiments.reporting import comparison, figures
from experiments.reporting.tables import Table, estimates, markdown, number, show
from experiments.runs.folder import CONFIG, load_json

HEADINGS = ("agent", "seed", "env steps", "minutes", "before", "1 step", "2 steps", "3 steps", "3, greedy")
TASKS = 40  # looked through for two that differ


@dataclasses.dataclass(frozen=True)
class ShippedConfig:
    """Draw the learning and adaptation curves of the agents in experiments/pretrained, by family, and write their table.

    Nothing is trained. With --films new episodes are played: a strip of frames and a film of the first agent of each family
    that adapts by gradients.
    """

    out: Path
    """FAMILY.png, FAMILY-frames.png, FAMILY.gif and shipped.md are written here."""
    only: tuple[str, ...] = ()
    """These families only, such as HalfCheetahDir; all if not given."""
    films: bool = False
    """Play and draw episodes, too."""


def pictures(config: ShippedConfig) -> None:
    """Write everything."""
    families: dict[str, list[str]] = {}
    for name in shipped.names():
        families.setdefault(name.split("/")[0], []).append(name)
    for family in config.only:
        if family not in families:
            raise UserError(f"--only has {family!r}; there are {', '.join(families) or 'none'}.")
    config.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for family, names in families.items():
        if config.only and family not in config.only:
            continue
        results = {name.split("/")[1]: comparison.read_evaluation(shipped.FOLDER / name) for name in names}
        training = {name.split("/")[1]: lines_of(name) for name in names}
        pooled = {agent: comparison.over_seeds([result]) for agent, result in results.items()}
        figures.comparison(config.out / f"{family}.png", next(iter(results.values())), pooled, training)
        rows += [cells(name) for name in names]
        adapting = [name for name in names if find(name.split("/")[1]).adapts_by == "gradient"]
        if config.films and adapting:
            draw_films(config.out / family, adapting[0])
    table = Table(HEADINGS, rows, "Trained agents that come with metarl")
    (config.out / "shipped.md").write_text(markdown(table))
    means = [tuple(cell.partition(" [")[0] for cell in row) for row in rows]  # a terminal has no room for intervals
    show(table._replace(rows=means))


def cells(name: str) -> tuple[str, ...]:
    """A row: what was trained, for how long, and returns on held-out tasks with their intervals."""
    folder = shipped.FOLDER / name
    about, result, curves = (load_json(folder / file) for file in (CONFIG, "evaluation.json", "curves.json"))
    minutes = curves[str(result["seed"])]["minutes"]
    return (
        f"`{name}`",
        str(result["seed"]),
        f"{about['env_steps'] / 1e6:.1f} M",
        number(minutes[0]) if minutes else "",
        *estimates(result["return_mean"], result["return_ci95"]),
        number(result["greedy_mean"][-1]),
    )


def lines_of(name: str) -> list[list[dict[str, Any]]]:
    """The learning curves of each seed, as lines of metrics.jsonl."""
    curves = load_json(shipped.FOLDER / name / "curves.json").values()
    return [
        [{"time/env_steps": steps, "meta/post": post} for steps, post in zip(curve["env_steps"], curve["post"], strict=True)]
        for curve in curves
    ]


def draw_films(path: Path, name: str) -> None:
    """A strip of frames and a film, if the family can be drawn."""
    agent = shipped.pretrained(name)
    if not envs.family.can_render(agent.family):
        return
    tasks = envs.held_out_tasks(agent.family, TASKS)
    film.strip(path.with_name(f"{path.name}-frames.png"), agent, tasks)
    film.write(path.with_name(f"{path.name}.gif"), agent, tasks)


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    pictures(parse(ShippedConfig, args, command_line("studies.shipped")))


if __name__ == "__main__":
    main()
