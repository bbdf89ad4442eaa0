"""The tables of legged robots: returns after 0..K steps, and what is published, for a file and for the terminal."""

from typing import Any

from experiments.reporting.intervals import told_by_chance
from experiments.reporting.tables import Table, estimates, number, share
from experiments.studies.locomotion.protocol import ROBOTS
from metarl.gains import CLEARLY

NOTE = (
    "Mean return on held-out tasks after 0, 1, ... inner steps (rl2: episodes of a trial), with 95 % bootstrap intervals over "
    f"tasks; hurt: share of tasks worse after the last step than before the first by {CLEARLY} standard errors, of which "
    "{chance}. Environment steps and minutes are those of one seed."
)
SPEED = " m/s: the return after one step, per step of an episode, which is metres per second less a small cost of actions."
DIRECTION = "dir"  # the tasks whose return, per step, is a speed


def wide(robot: str, rows: list[dict[str, Any]]) -> Table:
    """Every column, for a file.

    Args:
        robot: whose.
        rows: see `experiments.reporting.run_rows`, with "task" and "horizon".
    """
    points = max(len(row["return_mean"]) for row in rows)
    headings = ("task", "agent (seeds)", "iterations", "env steps", "minutes", *_points(points), "last, greedy", "hurt", "m/s")
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        for row in (row for row in rows if row["task"] == task):
            returns = estimates(row["return_mean"], row["return_ci95"])
            greedy = row["greedy_mean"]
            lines.append(
                (
                    f"{task}, horizon {row['horizon']}",
                    f"{row['agent']} ({len(row['seeds'])})",
                    str(row["iterations"]),
                    f"{row['env_steps'] / 1e6:.1f} M",
                    f"{row['minutes']:.0f}",
                    *returns,
                    *[""] * (points - len(returns)),
                    number(greedy[-1]) if greedy else "",
                    share(row["hurt"]),
                    speed(robot, row),
                )
            )
        lines += published(robot, task, points)
    caption = NOTE.format(chance=told_by_chance()) + SPEED * any(line[-1] for line in lines)
    return Table(headings, lines, f"{robot}: held-out returns", words=(0, 1), caption=caption)


def narrow(robot: str, rows: list[dict[str, Any]]) -> Table:
    """For the terminal: means before adaptation, after one step and after the last."""
    lines = [
        (row["task"], f"{row['agent']} ({len(row['seeds'])})", *(number(row["return_mean"][k]) for k in _shown(row)))
        for row in rows
    ]
    return Table(("task", "agent (seeds)", "before", "1 step", "last"), lines, f"{robot}: held-out returns", words=(0, 1))


def speed(robot: str, row: dict[str, Any]) -> str:
    """Mean speed in the task's direction after one step, where rewards are that but for the cost of actions."""
    is_speed = robot == "half-cheetah" and row["task"].startswith(DIRECTION)
    return number(row["return_mean"][min(1, len(row["return_mean"]) - 1)] / row["horizon"]) if is_speed else ""


def published(robot: str, task: str, points: int) -> list[tuple[str, ...]]:
    """A line for what is printed elsewhere, if anything is; our longer episodes are compared with the same."""
    found = ROBOTS[robot][task.partition("-")[0]].published
    if found is None:
        return []
    returns = [number(value) for value in found.returns[:points]]
    padded = returns + [""] * (points - len(returns))
    per_step = number(found.returns[1] / found.horizon)
    return [(f"{task}: {found.caveat}", f"published ({found.source})", "", "", "", *padded, "", "", per_step)]


def _points(count: int) -> list[str]:
    return [f"{k} step{'s' * (k != 1)}" for k in range(count)]


def _shown(row: dict[str, Any]) -> tuple[int, int, int]:
    last = len(row["return_mean"]) - 1
    return 0, min(1, last), last
