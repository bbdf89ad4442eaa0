"""``python -m experiments.compare DIR [DIR ...] --out OUT``: agents and seeds in one table and one picture."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from experiments import plots
from experiments.command import UserError, flag, load_json, one_line_errors, parse
from experiments.run_folder import NOT_SETTINGS, read_config, write_json
from experiments.statistics import bootstrap_ci95, iqm

# What must be the same for a comparison to mean anything, and how to say it.
MUST_AGREE = {
    "env": "task families",
    "task_hash": "held-out tasks (task_hash)",
    "episodes": "episode budgets",
    "protocol": "protocols",
}

FREE = ("seed", "eval_tasks", "checkpoint_every", "log_every")  # settings that seeds of one another may differ in


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Compare evaluated runs: held-out adaptation per agent over its seeds, with 95 % intervals."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, or folders that hold run folders."""
    out: Path
    """Where table.json, table.md and comparison.png are written."""


def compare(config: CompareConfig) -> None:
    """Group the runs by agent; print and write one table and one picture."""
    if not config.runs:
        raise UserError("give at least one run folder.")
    runs = [run for folder in config.runs for run in find_runs(folder)]
    results = [read_evaluation(run) for run in runs]
    refuse_unlike(runs, results)
    refuse_other_settings(runs)
    by_agent: dict[str, list[int]] = {}
    for i, result in enumerate(results):
        by_agent.setdefault(result["agent"], []).append(i)
    if not {"returns", "mse"} & set(results[0]):
        raise UserError(f"{runs[0]} is a {results[0]['env']} run; compare has tables for meta-RL and sinusoid runs only.")
    if "returns" in results[0]:
        rows = {agent: over_seeds([results[i] for i in indices]) for agent, indices in by_agent.items()}
        lines = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in runs]
        training = {agent: [lines[i] for i in indices] for agent, indices in by_agent.items()}
        headings = [f"step {k} ({episodes} episodes)" for k, episodes in enumerate(results[0]["episodes"])]
        means = {agent: (row["return_mean"], row["return_ci95"]) for agent, row in rows.items()}
        title = f"Held-out return on {results[0]['env']}, {results[0]['num_tasks']} tasks"
    else:
        rows = {agent: errors_over_seeds([results[i] for i in indices]) for agent, indices in by_agent.items()}
        headings = [f"{shots}-shot, step {k}" for shots in results[0]["mse_mean"] for k in (1, 5, 10)]
        means = {agent: select_errors(row) for agent, row in rows.items()}
        title = f"Held-out mean squared error on {results[0]['env']}, {results[0]['num_tasks']} tasks"
    config.out.mkdir(parents=True, exist_ok=True)
    seeds = {agent: len(indices) for agent, indices in by_agent.items()}
    write_json(config.out / "table.json", {"runs": [str(run) for run in runs], "title": title, "agents": rows})
    (config.out / "table.md").write_text(markdown(title, headings, means, seeds))
    if "returns" in results[0]:
        plots.comparison(config.out / "comparison.png", results[0], rows, training)
    else:
        plots.error_comparison(config.out / "comparison.png", rows)
    print_table(title, headings, means, seeds)
    print(f"wrote {config.out}/table.md, table.json and comparison.png")


def find_runs(folder: Path) -> list[Path]:
    """The folder itself if it is a run, or the runs directly inside it."""
    if (folder / "config.json").is_file():
        return [folder]
    inside = sorted(path.parent for path in folder.glob("*/config.json"))
    if not inside:
        raise UserError(f"{folder} is not a run and holds none.")
    return inside


def read_evaluation(run: Path) -> dict[str, Any]:
    """A run's evaluation.json."""
    path = run / "evaluation.json"
    if not path.is_file():
        raise UserError(f"{run} has not been evaluated; run python -m experiments.evaluate --run-dir {run}")
    return load_json(path)


def refuse_unlike(runs: list[Path], results: list[dict[str, Any]]) -> None:
    """Refuse runs that were not evaluated alike."""
    for run, result in zip(runs, results, strict=True):
        for name, words in MUST_AGREE.items():
            if result.get(name) != results[0].get(name):
                raise UserError(
                    f"{runs[0]} and {run} differ in their {words}: {results[0].get(name)} and {result.get(name)}; "
                    "evaluate both alike."
                )
    seen: dict[tuple[str, int], Path] = {}
    for run, result in zip(runs, results, strict=True):
        agent, seed = result["agent"], result["seed"]
        if (agent, seed) in seen:
            raise UserError(f"{seen[agent, seed]} and {run} are both {agent} with seed {seed}; give one of them.")
        seen[agent, seed] = run


def refuse_other_settings(runs: list[Path]) -> None:
    """Refuse to pool runs of one agent that were trained with different settings: they are not seeds of one another."""
    first: dict[str, tuple[Path, dict[str, Any]]] = {}
    for run in runs:
        settings = {k: v for k, v in read_config(run)["settings"].items() if k not in (*NOT_SETTINGS, *FREE)}
        other, expected = first.setdefault(settings["agent"], (run, settings))
        for name, value in settings.items():
            if value != expected.get(name):
                raise UserError(
                    f"{other} and {run} are both {settings['agent']} but differ in {flag(name)}: {expected.get(name)} and "
                    f"{value}; compare runs that differ in their seed only."
                )


def over_seeds(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, interquartile mean and stratified interval of one agent over its seeds."""
    per_seed = [np.asarray(result["returns"]) for result in results]
    return {
        "seeds": [result["seed"] for result in results],
        "return_mean": np.mean([returns.mean(axis=0) for returns in per_seed], axis=0).tolist(),
        "return_ci95": bootstrap_ci95(per_seed).tolist(),
        "return_iqm": iqm(np.concatenate(per_seed)).tolist(),
    }


def errors_over_seeds(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The same for supervised runs, keyed by test shots."""
    per_seed = {shots: [np.asarray(result["mse"][shots]) for result in results] for shots in results[0]["mse"]}
    return {
        "seeds": [result["seed"] for result in results],
        "mse_mean": {s: np.mean([e.mean(axis=0) for e in errors], axis=0).tolist() for s, errors in per_seed.items()},
        "mse_ci95": {s: bootstrap_ci95(errors).tolist() for s, errors in per_seed.items()},
    }


def select_errors(row: dict[str, Any]) -> tuple[list[float], list[list[float]]]:
    """The published points of a supervised curve: 1, 5 and 10 steps for each number of test shots."""
    means = [row["mse_mean"][shots][k] for shots in row["mse_mean"] for k in (1, 5, 10)]
    intervals = [row["mse_ci95"][shots][k] for shots in row["mse_ci95"] for k in (1, 5, 10)]
    return means, intervals


def markdown(title: str, headings: list[str], means: dict[str, Any], seeds: dict[str, int]) -> str:
    """The table as Markdown."""
    lines = [f"{title}; mean [95 % interval].", "", "| agent | seeds | " + " | ".join(headings) + " |"]
    lines.append("|---|---|" + "---|" * len(headings))
    for agent, (mean, interval) in means.items():
        cells = [f"{m:.2f} [{low:.2f}, {high:.2f}]" for m, (low, high) in zip(mean, interval, strict=True)]
        lines.append(f"| {agent} | {seeds[agent]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def print_table(title: str, headings: list[str], means: dict[str, Any], seeds: dict[str, int]) -> None:
    """The table on the terminal, one line per agent and point, so that it fits any width."""
    table = Table(title=title)
    for heading, justify in (
        ("agent", "left"),
        ("seeds", "right"),
        ("after", "left"),
        ("mean", "right"),
        ("95 % interval", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for agent, (mean, interval) in means.items():
        for k, (heading, m, (low, high)) in enumerate(zip(headings, mean, interval, strict=True)):
            first = (agent, str(seeds[agent])) if k == 0 else ("", "")
            table.add_row(*first, heading, f"{m:.2f}", f"[{low:.2f}, {high:.2f}]", end_section=k == len(headings) - 1)
    Console().print(table)


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    compare(parse(CompareConfig, args, "python -m experiments.compare"))


if __name__ == "__main__":
    main()
