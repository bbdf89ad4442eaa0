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
from experiments.cli.luxuries import luxury
from experiments.evaluation import film, shipped
from experiments.reporting import comparison, figures
from experiments.reporting.intervals import told_by_chance
from experiments.reporting.tables import Table, estimates, markdown, number, share, show
from experiments.runs.folder import CONFIG, load_json
from experiments.studies.locomotion.protocol import AGENTS
from metarl.gains import CLEARLY

RETURNS = ("before", "1 step", "2 steps", "3 steps")
HEADINGS = ("agent (seeds)", "iterations", "env steps", "minutes", *RETURNS, "last, greedy", "hurt")
NARROW = (0, 2, 4, 5, 7, 8)  # what a terminal has room for, without intervals: one step and three
NOTE = (
    "Mean return on held-out tasks before adaptation and after 1, 2, 3 inner steps (of rl2: in the 1st, 2nd, ... episode) "
    "with 95 % bootstrap intervals over tasks. Environment steps and minutes, on a machine shared with other work, are of "
    "one seed. Agents in code font come with their parameters; of the others returns are kept. "
    f"hurt: share of tasks worse after the last step by {CLEARLY} standard errors, {{chance}}; - where the "
    "evaluation is from before these were recorded."
)
ORDER = tuple(AGENTS)
TASKS = 40  # looked through for two that differ


@dataclasses.dataclass(frozen=True)
class ShippedConfig:
    """Draw learning and adaptation curves of the agents in experiments/pretrained, by family, and write their table.

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
    for name in shipped.recorded():
        families.setdefault(name.split("/")[0], []).append(name)
    for family in config.only:
        if family not in families:
            raise UserError(f"--only has {family!r}; there are {', '.join(families) or 'none'}.")
    config.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for family, names in families.items():
        if config.only and family not in config.only:
            continue
        names.sort(key=lambda name: (*ORDER, name.split("/")[1]).index(name.split("/")[1]))
        results = {name.split("/")[1]: shipped.evaluations(name) for name in names}
        training = {name.split("/")[1]: lines_of(name) for name in names}
        pooled = {agent: comparison.over_seeds(of_seeds) for agent, of_seeds in results.items()}
        picture = config.out / f"{family}.png"
        with luxury(picture.name, picture):
            figures.comparison(picture, next(iter(results.values()))[0], pooled, training)
        rows += [cells(name, pooled[name.split("/")[1]]) for name in names]
        adapting = [name for name in names if find(name.split("/")[1]).adapts_by == "gradient" and name in shipped.names()]
        if config.films and adapting:
            with luxury(f"the film of {family}"):
                draw_films(config.out / family, adapting[0])
    table = Table(HEADINGS, rows, "Trained agents that come with metarl", caption=NOTE.format(chance=told_by_chance()))
    (config.out / "shipped.md").write_text(markdown(table))
    show(
        table._replace(
            headings=[HEADINGS[i] for i in NARROW], rows=[[row[i].partition(" [")[0] for i in NARROW] for row in rows]
        )
    )


def cells(name: str, pooled: dict[str, Any]) -> tuple[str, ...]:
    """A row: what was trained, for how long, and returns on held-out tasks over all seeds with their intervals."""
    about, curves = (load_json(shipped.FOLDER / name / file) for file in (CONFIG, "curves.json"))
    minutes = [curve["minutes"][0] for curve in curves.values() if curve["minutes"]]
    shown = estimates(pooled["return_mean"], pooled["return_ci95"])[: len(RETURNS)]
    greedy = pooled["greedy_mean"]
    return (
        f"{f'`{name}`' if name in shipped.names() else name} ({len(pooled['seeds'])})",
        str(about["iteration"]),
        f"{about['env_steps'] / 1e6:.1f} M",
        f"{max(minutes):.0f}" if minutes else "",
        *shown,
        *[""] * (len(RETURNS) - len(shown)),
        number(greedy[-1]) if greedy else "",
        share(pooled["hurt"]),
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
