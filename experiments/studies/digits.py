"""``python -m experiments.studies.digits``: few-shot classification of scikit-learn's digits, agent beside agent."""

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

import agents
from agents.agent import Kind
from experiments import few_shot
from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.few_shot import FewShotConfig, few_shot_config
from experiments.reporting.comparison import errors_over_seeds
from experiments.reporting.tables import Table, counted, markdown, percent, percents, show
from experiments.runs import checkpoint
from experiments.runs.folder import load_json, lock, made_with, write_json
from experiments.supervised import evaluation
from experiments.supervised.few_shot_data import DIGITS
from experiments.training import without_folders
from experiments.training.progress import Progress
from experiments.training.settings import flat

KIND: Kind = "classification"
AGENTS = tuple(name for name in agents.registered() if KIND in agents.find(name).serves)
BY_DEFAULT = ("maml", "fomaml", "meta-sgd", "anil", "reptile", "imaml", "protonet", "multitask", "pretrained", "random")
# Chosen before anything was trained, and not tuned: neither on held-out classes nor otherwise.
SETTINGS: dict[str, Any] = {"num_tasks": 4, "query_shots": 5}
OUTER = {"outer_lr": 2e-3, "outer_schedule": "cosine"}  # of those that learn
BY_GRADIENT = {"num_inner_steps": 3, "inner_lr": 0.2}
OF_AGENT: dict[str, dict[str, Any]] = {
    **{name: BY_GRADIENT for name in ("maml", "fomaml", "anil", "meta-sgd", "maml++", "random")},
    "reptile": {"num_inner_steps": 5, "inner_lr": 0.1},
    "imaml": {"num_inner_steps": 5, "inner_lr": 0.2, "curvature": "gauss-newton", "cg_damping": 0.0},
    "cavia": {"num_inner_steps": 3, "inner_lr": 1.0, "context_size": 16},
    "pretrained": {"inner_lr": 0.2},
    "multitask": {"inner_lr": 0.2},
}
CONV = "conv"
STEPS = (0, 1, 3, 10)  # of the adaptation curves, in the table


@dataclasses.dataclass(frozen=True)
class DigitsConfig:
    """Train agents on tasks of ten kinds of digits' images and compare them on digits that none has seen.

    What is finished stays: the same command goes on where it was interrupted.
    """

    out: Path
    """Folder for digits.md and one file per agent in cells/."""
    agents: tuple[str, ...] = BY_DEFAULT
    """Which agents, with an MLP; cavia, maml++ and mann are there, too."""
    conv: tuple[str, ...] = ("protonet",)
    """Which agents with convolutions, too."""
    ways: int = 5
    """N: classes per task, out of 12 in training and of 8 at test."""
    shots: int = 1
    """K: support images of each class in training."""
    test_shots: tuple[int, ...] = (1, 5)
    """The same at test."""
    num_seeds: int = 3
    """Seeds 0, 1, ... of each agent, trained together in one compiled program."""
    num_iterations: int = 500
    """Meta-iterations."""
    eval_tasks: int = 400
    """Held-out tasks."""


def run(config: DigitsConfig) -> None:
    """Train what is missing, then write and print the table of the agents asked for."""
    at_least(config, num_seeds=1, num_iterations=1, eval_tasks=2)
    for flag, names in (("--agents", config.agents), ("--conv", config.conv)):
        for name in names:
            if name not in AGENTS:
                raise UserError(f"{flag} has {name!r}; known: {', '.join(AGENTS)}.")
    if not config.agents + config.conv:
        raise UserError("--agents and --conv name no agent; leave the flags out for all.")
    (config.out / "cells").mkdir(parents=True, exist_ok=True)
    with lock(config.out):
        cells = {name: cell_of(config, name, None) for name in config.agents}
        cells |= {f"{name} with conv": cell_of(config, name, CONV) for name in config.conv}
        (config.out / "digits.md").write_text(document(config, cells))
    show(table(cells, brief=True))
    print(f"wrote {config.out / 'digits.md'}")


def run_of(config: DigitsConfig, agent: str, network: str | None) -> FewShotConfig:
    """The settings of an agent's run, but for its seed."""
    fields = ("ways", "shots", "test_shots", "num_iterations", "eval_tasks")
    given = {name: getattr(config, name) for name in fields} | SETTINGS | OF_AGENT.get(agent, {})
    given |= OUTER if "optimizer" in agents.find(agent).uses else {}
    return few_shot.resolve(few_shot_config(run_dir=config.out, data=DIGITS, agent=agent, network=network, **given))


def cell_of(config: DigitsConfig, agent: str, network: str | None) -> dict[str, Any]:
    """An agent's seeds, trained and tested, or as its file says: settings, accuracies, the time it took, what made it.

    Raises:
        UserError: the file is of other settings.
    """
    run_config = run_of(config, agent, network)
    used = {name: value for name, value in flat(run_config, KIND).items() if name not in ("run_dir", "seed")}
    settings = json.loads(json.dumps(used | {"num_seeds": config.num_seeds}))
    path = config.out / "cells" / f"{agent if network is None else f'{agent}-{network}'}.json"
    if path.is_file():
        stored = load_json(path)
        other = [name for name in settings if stored.get("settings", {}).get(name) != settings[name]]
        if other:
            raise UserError(f"{path} was made with another {other[0]}; give another --out, or delete it.")
        return stored
    began, cpu = time.monotonic(), time.process_time()
    with Progress(config.num_iterations, 0, path.stem) as progress:
        learner = few_shot.build(run_config).learner
        seeds = range(config.num_seeds)
        states, _ = without_folders.train(learner, seeds, config.num_iterations, on_progress=progress.update)
    built = few_shot.build_for_test(run_config)
    tasks, _ = few_shot.held_out_tasks(built[config.test_shots[0]].family, config.eval_tasks)
    results: list[dict[str, Any]] = [{"seed": seed, "accuracy": {}} for seed in seeds]
    for shots, each in built.items():
        measured = evaluation.held_out_measures(each.learner, tasks, (evaluation.ACCURACY,))
        for result in results:
            state = jax.tree.map(lambda x, seed=result["seed"]: x[seed], states)
            result["accuracy"][str(shots)] = measured(state)["accuracy"].round(4).tolist()
    split = built[config.test_shots[0]].family.split
    found = {
        "settings": settings,
        "results": results,
        "minutes": round((time.monotonic() - began) / 60, 2),
        "core_minutes": round((time.process_time() - cpu) / 60, 2),
        "split": split._asdict(),
        "task_hash": few_shot.digest(built[config.test_shots[0]].family, tasks),
        "key": checkpoint.KEY_OF_EVALUATION,
        "cores": len(os.sched_getaffinity(0)),
        "made_with": made_with(),
    }
    write_json(path, found)
    return json.loads(json.dumps(found))


def table(cells: dict[str, dict[str, Any]], *, brief: bool = False) -> Table:
    """A row per agent and number of shots; ``brief`` leaves out what a terminal has no room for."""
    rows = []
    for agent, cell in cells.items():
        pooled = errors_over_seeds(cell["results"], "accuracy")
        for shots, means in pooled["accuracy_mean"].items():
            intervals, of_algorithm = (pooled[f"accuracy_{name}"][shots] for name in ("ci95", "algorithm_ci95"))
            ends = [f"{percent(means[k])}" if brief else f"{percent(means[k])} {percents(intervals[k])}" for k in STEPS]
            last = percents(of_algorithm[STEPS[-1]]) if of_algorithm else "-"
            rows.append((agent, shots, *ends, *([] if brief else [last])))
    steps = [counted(k, "step") for k in STEPS]
    headings = ("agent", "shots", *steps, *([] if brief else [f"{STEPS[-1]} steps, other seeds"]))
    return Table(headings, rows, "Accuracy on held-out digits")


def document(config: DigitsConfig, cells: dict[str, dict[str, Any]]) -> str:
    """The table with what it means and what made it."""
    first = next(iter(cells.values()))
    made = [cell["made_with"] for cell in cells.values()]
    days = sorted({each["started"][:10] for each in made})
    versions = sorted({f"jax {each['versions']['jax']}, Python {each['python']}, {each['device']['kind']}" for each in made})
    used = sum(cell["core_minutes"] for cell in cells.values())
    steps, split = f"{STEPS[-1]} steps, other seeds", first["split"]
    text = (
        f"# Few-shot classification of handwritten digits\n\n"
        f"Accuracy on {config.eval_tasks} tasks of {config.ways} ways from classes that training never saw; chance is "
        f"{percent(1 / config.ways)}. scikit-learn's 1,797 images of 8 x 8 pixels, upright and turned by a quarter as further "
        f"classes. Trained on {', '.join(split['train'])}; held out {', '.join(split['held_out'])} (SHA-256 of their images "
        f"{split['held_out_hash'][:16]}). Classes and their labels are drawn anew for every task; support and query share no "
        f"image. Trained with {counted(config.shots, 'image')} of each class, seeds 0 to "
        f"{config.num_seeds - 1}, {config.num_iterations} meta-iterations of {SETTINGS['num_tasks']} tasks with "
        f"{SETTINGS['query_shots']} query images of each class; tested with as many query images. The network is an MLP of "
        "64 and 64 units, or where it says so `conv`.\n\n"
        f'In brackets 95 % bootstrap intervals over the held-out tasks, for these seeds; the column "{steps}" is the '
        f"interval over seeds and tasks, for seeds that were not run, too. Tasks are drawn from "
        f"{len(split['held_out'])} held-out classes: the intervals are of these classes. Settings are in "
        "`experiments/studies/digits.py`, chosen beforehand and not tuned, and the budget is small: the table shows that the "
        "machinery works and what its baselines give, not which method is best.\n\n"
        "`protonet` (Snell et al. 2017) and `mann` read the support set at one go, which counts as step 1. `pretrained` is one "
        "network trained on all tasks at once without an inner loop: labels change from task to task, so what it can learn is "
        "that all are equally likely. `multitask`, a shared trunk with a head for each of 100 fixed tasks, is the baseline of "
        "transfer learning here. `random` is not trained. `oracle` has no place: tasks have no parameters to be shown.\n\n"
    )
    ending = (
        f"\n`{command_line('studies.digits')} --out DIR`; {' to '.join(dict.fromkeys([days[0], days[-1]]))}; "
        f"{'; '.join(versions)}, {first['cores']} cores; {used:.0f} core-minutes in all.\n"
    )
    return text + markdown(table(cells)) + beside_random(cells) + ending


def beside_random(cells: dict[str, dict[str, Any]]) -> str:
    """Which agents have a higher mean than the one that is not trained, by shots and steps; empty where it is not there."""
    if "random" not in cells:
        return ""
    means = {agent: errors_over_seeds(cell["results"], "accuracy")["accuracy_mean"] for agent, cell in cells.items()}
    lines = []
    for shots, untrained in means["random"].items():
        for k in STEPS[1:]:
            above = [agent for agent, mean in means.items() if mean[shots][k] > untrained[k]]
            lines.append(f"- {counted(int(shots), 'shot')}, {counted(k, 'step')}: {', '.join(above) or 'none'}")
    return (
        "\nMeans above that of `random`, which has the same network and inner steps without training:\n\n"
        + "\n".join(lines)
        + "\n"
    )


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(parse(DigitsConfig, args, command_line("studies.digits")))


if __name__ == "__main__":
    main()
