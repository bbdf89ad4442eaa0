"""``python -m experiments.studies.navigation``: 2D navigation as in Finn et al. 2017, every agent, and published returns."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import agents
from agents.agent import hyperparameters
from experiments import train
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.compare import CompareConfig, compare
from experiments.reporting import claims, comparison
from experiments.reporting.claims import Claim, clearly_above
from experiments.reporting.intervals import told_by_chance
from experiments.reporting.tables import Table, estimates, markdown, number, share, show
from experiments.runs.folder import write_json
from experiments.runs.seed_folders import seed_folder, seed_folders
from experiments.studies.approximations import note_on_imaml
from experiments.training.config import KIND, train_config
from experiments.training.suggested import suggested
from metarl.gains import CLEARLY

ENV = "metarl/Navigation2D-v0"
# What is not the family's own (`envs.families.training.NAVIGATION`, with its sources) or train's default. Marks: P read in the
# paper (Section 5.3, Appendix A.2), C in its released code (cbfinn/maml_rl).
PROTOCOL: dict[str, Any] = {
    "horizon": 100,  # P, C
    "gamma": 0.99,  # C, the algorithm's default
    "gae_lambda": 1.0,  # C
    "hidden_sizes": (64, 64),  # P and C have 100, 100 with ReLU; this, with tanh, is tristandeleu/pytorch-maml-rl's and ProMP's
    "activation": "tanh",
    "eval_tasks": 100,  # C has 40 goals
    "eval_episodes": 40,  # P
    "eval_steps": 3,  # P
    "checkpoint_every": 50,
}
AGENTS = tuple(name for name in agents.registered() if KIND in agents.find(name).serves)


class Published(NamedTuple):
    """Returns after 0..3 inner steps; None where none is printed."""

    agent: str
    source: str
    returns: tuple[float | None, ...]


PUBLISHED = (
    Published("maml", "Finn et al. 2017, Table 4", (-40.41, -11.68, -3.33, -3.23)),
    Published("context vector", "Finn et al. 2017, Table 4", (-42.42, -13.90, -5.17, -3.18)),
    Published("meta-sgd", "Li et al. 2017, fixed start", (None, -8.64, None, None)),
)
NOTE = (
    "In brackets 95 % bootstrap intervals over tasks, for these seeds. hurt: share of tasks worse after three steps than "
    f"before by {CLEARLY} standard errors, of which {{chance}}."
)
MAML, META_SGD = PUBLISHED[0].returns, PUBLISHED[2].returns


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
    names = AGENTS if config.all else config.agents
    at_least(config, num_seeds=1, num_iterations=0, eval_tasks=1)
    for name in names:
        if name not in AGENTS:
            raise UserError(f"--agents has {name!r}; known: {', '.join(AGENTS)}.")
    for name in names:
        for run in runs_of(config, name):
            print(f"\n{name}: seeds {run.seed} to {run.seed + run.seeds - 1}", flush=True)
            train.train(run)
    folders = tuple(seed_folder(config.out / name, seed) for name in names for seed in range(config.num_seeds))
    compare(CompareConfig(folders, config.out, html=True))
    gathered = comparison.gather(folders)
    rows, promised = gathered.rows, promises(gathered.rows)
    steps = {agent: trained_on(runs[0].lines) for agent, runs in gathered.runs.items()}
    write_json(config.out / "promises.json", [claim._asdict() for claim in promised])
    (config.out / "navigation.md").write_text(f"{markdown(wide(rows, steps))}\n{claims.markdown(promised)}")
    show(narrow(rows))
    claims.show(promised)


def runs_of(config: NavigationConfig, agent: str) -> list[Any]:
    """The seeds of one agent that its folder has, resumed, and those that it lacks."""
    folder = config.out / agent
    settings = suggested(ENV, agent) | PROTOCOL | {"eval_tasks": config.eval_tasks}
    if config.num_iterations is not None:
        settings["num_iterations"] = config.num_iterations
    there = len([seed for seed in seed_folders(folder) if seed < config.num_seeds])
    parts = [(0, there, True), (there, config.num_seeds - there, False)]
    return [
        train_config(run_dir=folder, env=ENV, agent=agent, seed=first, seeds=count, resume=resume, **settings)
        for first, count, resume in parts
        if count
    ]


def trained_on(lines: list[dict[str, Any]]) -> int:
    """Environment steps in metrics.jsonl."""
    return int(lines[-1]["time/env_steps"]) if lines else 0


def promises(rows: dict[str, Any]) -> list[Claim]:
    """What is promised of the agents that are there; each text names the numbers and the agent that keeps it.

    Args:
        rows: agent -> what `experiments.reporting.comparison.over_seeds` gives.
    """
    mean = {agent: row["return_mean"] for agent, row in rows.items()}
    by_gradient = {agent: m for agent, m in mean.items() if rows[agent]["adapts_by"] in ("gradient", "one batch")}
    found = []
    if "maml" in mean:
        found.append(Claim(f"maml after one step {mean['maml'][1]:.2f}, published {MAML[1]}", mean["maml"][1] >= MAML[1]))
        for other in ("pretrained", "random"):
            if other in mean:
                which, ours, theirs = last_intervals(rows["maml"], rows[other])
                text = f"maml above {other} after three steps: intervals {which} from {ours[0]:.2f} and up to {theirs[1]:.2f}"
                found.append(Claim(text, clearly_above(ours, theirs)))
    if by_gradient:
        best = max(by_gradient, key=lambda agent: by_gradient[agent][3])
        text = f"a gradient agent after three steps: {best} {mean[best][3]:.2f}, published maml {MAML[3]}"
        found.append(Claim(text, mean[best][3] > MAML[3]))
    others = {agent: m for agent, m in mean.items() if agent != "oracle"}
    if others:
        best = max(others, key=lambda agent: others[agent][1])
        unit = "episode" if rows[best]["adapts_by"] == "memory" else "inner step"
        text = f"an agent after one step: {best} {mean[best][1]:.2f} (one {unit}), published meta-sgd {META_SGD[1]}"
        found.append(Claim(text, mean[best][1] > META_SGD[1]))
    if others and "oracle" in mean:
        best = max(others, key=lambda agent: max(others[agent]))
        text = f"the oracle, {mean['oracle'][0]:.2f}, bounds all: the best other return is {best}'s {max(mean[best]):.2f}"
        found.append(Claim(text, mean["oracle"][0] >= max(mean[best])))
    return found


def last_intervals(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, list[float], list[float]]:
    """What two agents' last intervals are for, and the intervals: the algorithms' where both have several seeds."""
    if one.get("algorithm_ci95") and other.get("algorithm_ci95"):
        return "for the algorithms (over seeds and tasks)", one["algorithm_ci95"][-1], other["algorithm_ci95"][-1]
    return "for these seeds (over tasks)", one["return_ci95"][-1], other["return_ci95"][-1]


def wide(rows: dict[str, Any], steps: dict[str, int]) -> Table:
    """Our returns with intervals and the published ones, for a file.

    Args:
        rows: agent -> what `experiments.reporting.comparison.over_seeds` gives.
        steps: agent -> environment steps each seed was trained on.
    """
    headings = ("agent", "seeds", "trained on", "episodes used", "0 steps", "1 step", "2 steps", "3 steps")
    lines = [
        (
            agent,
            str(len(row["seeds"])),
            f"{steps[agent] / 1e6:.1f} M steps",
            used(row),
            *estimates(row["return_mean"], row["return_ci95"]),
            number(row["greedy_mean"][-1]),
            share(row["hurt"]),
        )
        for agent, row in rows.items()
    ]
    lines += [(f"published {p.agent} ({p.source})", "", "", "", *printed(p), "", "") for p in PUBLISHED]
    caption = NOTE.format(chance=told_by_chance())
    if "imaml" in rows:
        known = hyperparameters(agents.find("imaml"), KIND)
        defaults = {name: parameter.default for name, parameter in known.items()}
        caption += f" {note_on_imaml(defaults | suggested(ENV, 'imaml'))}"
    return Table((*headings, "3, greedy", "hurt"), lines, caption=caption)


def narrow(rows: dict[str, Any]) -> Table:
    """Mean returns after 0..3 steps (episodes, for agents with memory), ours and the published ones, for the terminal."""
    lines = [(f"{agent} ({len(row['seeds'])})", used(row), *map(number, row["return_mean"])) for agent, row in rows.items()]
    lines += [(f"published {p.agent}", "", *printed(p)) for p in PUBLISHED]
    title = "2D navigation: mean return after 0..3 inner steps (rl2: episodes)"
    return Table(("agent (seeds)", "episodes used", *map(str, range(4))), lines, title)


def used(row: dict[str, Any]) -> str:
    """Episodes used by each point of an agent's curve."""
    return ", ".join(map(str, row["episodes"]))


def printed(published: Published) -> list[str]:
    """A cell for each of its returns."""
    return ["" if value is None else number(value) for value in published.returns]


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    navigation(parse(NavigationConfig, args, command_line("studies.navigation")))


if __name__ == "__main__":
    main()
