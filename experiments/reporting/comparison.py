"""What compare shows: evaluated runs, checked to be comparable and pooled over the seeds of each agent."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError
from experiments.cli.flags import flag
from experiments.reporting.intervals import algorithm_ci95, bootstrap_ci95, hurt_over_seeds, iqm
from experiments.reporting.measures import measures_over_seeds
from experiments.reporting.tables import tasks_of
from experiments.reporting.tails import improvement, tails
from experiments.reporting.way import ways
from experiments.runs.folder import EXECUTION, NOT_SETTINGS, load_json, read_config
from experiments.runs.metrics_file import sound_lines
from experiments.runs.sweep_folder import combination_folders, combination_of, runs_in
from metarl.gains import BY_CHANCE

# What must be the same for a comparison to mean anything, and how to say it.
MUST_AGREE = {
    "env": "task families",
    "task_hash": "held-out tasks (task_hash)",
    "protocol": "protocols",
    "horizon": "horizons of evaluation",
}
# What must be the same among agents that adapt alike; those that adapt otherwise use other numbers of episodes.
MUST_AGREE_WITHIN_KIND = {"episodes": "episode budgets"}
MUST_AGREE_WITHIN_AGENT = {
    "adapts_by": "ways of adapting",
    "episodes": "episode budgets",
    "step_scale": "step-size schedules",
    "iteration": "meta-iterations trained",
}

# Settings that seeds of one another may differ in.
FREE = ("seed", "seeds", "eval_tasks", "eval_steps", "eval_episodes", "checkpoint_every", "log_every", *EXECUTION)
# Names that evaluation.json had before.
OLD_NAMES = {
    "mean_action_mean": "greedy_mean",
    "mean_action_ci95": "greedy_ci95",
    "mean_action_returns": "greedy_returns",
}
SUPERVISED_STEPS = (1, 5, 10)  # the published points of a supervised curve
MEASURES = {"returns": "Return", "mse": "Mean squared error", "accuracy": "Accuracy"}


class Run(NamedTuple):
    """One evaluated run.

    Attributes:
        folder: where it lies.
        config: its config.json.
        result: its evaluation.json.
        lines: its metrics.jsonl.
    """

    folder: Path
    config: dict[str, Any]
    result: dict[str, Any]
    lines: list[dict[str, Any]]


class Comparison(NamedTuple):
    """Comparable runs.

    Attributes:
        title: one line.
        rows: agent -> what `over_seeds` or `errors_over_seeds` gives.
        runs: agent -> its runs, one per seed.
        measure: what runs are measured by: "returns", "mse" or "accuracy".
        improvement: agent -> other agent -> `experiments.reporting.tails.improvement` after the last step of each; empty for
            supervised runs.
        way: agent -> how far it has got between no adaptation and the oracle, see `experiments.reporting.way.ways`; empty
            without an oracle, and for supervised runs.
    """

    title: str
    rows: dict[str, dict[str, Any]]
    runs: dict[str, list[Run]]
    measure: str
    improvement: dict[str, dict[str, dict[str, Any]]]
    way: dict[str, dict[str, dict[str, Any] | None]]

    @property
    def supervised(self) -> bool:
        """Whether runs are measured by errors, or accuracy, rather than returns."""
        return self.measure != "returns"


def gather(folders: tuple[Path, ...]) -> Comparison:
    """Read runs, refuse what cannot be compared, and pool the seeds of each agent.

    Raises:
        UserError: no runs, runs that were not evaluated, or not alike.
    """
    if not folders:
        raise UserError("give at least one run folder.")
    runs = [run for folder in folders for run in read_runs(folder)]
    refuse_unlike(runs)
    refuse_other_settings(runs)
    runs, left_out = finite_everywhere(runs)
    like = runs[0].result
    measure = next((name for name in MEASURES if name in like), None)
    if measure is None:
        raise UserError(
            f"{runs[0].folder} is a {like['env']} run; compare has tables for meta-RL, sinusoid and few-shot runs only."
        )
    by_agent: dict[str, list[Run]] = {}
    for run in runs:
        by_agent.setdefault(run.result["agent"], []).append(run)
    pool = over_seeds if measure == "returns" else partial(errors_over_seeds, measure=measure)
    rows = {agent: pool([run.result for run in its]) for agent, its in by_agent.items()}
    title = f"{MEASURES[measure]} on {like['env']}, {tasks_of(like)}"
    if left_out:
        title += f" ({left_out} more gave some run numbers that are not finite)"
    if measure != "returns":
        return Comparison(title, rows, by_agent, measure, {}, {})
    returns = {agent: [np.asarray(run.result["returns"]) for run in its] for agent, its in by_agent.items()}
    return Comparison(title, rows, by_agent, measure, improvements(by_agent), ways(returns, like.get("of_task")))


def improvements(by_agent: dict[str, list[Run]]) -> dict[str, dict[str, dict[str, Any]]]:
    """How often each agent does better than each other one, after the last step of both."""
    last = {agent: [np.asarray(run.result["returns"])[:, -1] for run in its] for agent, its in by_agent.items()}
    of_task = next(iter(by_agent.values()))[0].result.get("of_task")
    return {
        agent: {other: improvement(last[agent], last[other], of_task) for other in last if other != agent} for agent in last
    }


def finite_everywhere(runs: list[Run]) -> tuple[list[Run], int]:
    """The runs with those rows of their evaluations that are finite in all of them, and how many rows are left out.

    An evaluation has rows for the tasks that were finite there, and "not_finite" says which of the asked ones were not.
    """
    lost = set().union(*(run.result.get("not_finite", ()) for run in runs))
    return [run._replace(result=_without(run.result, lost)) for run in runs] if lost else runs, len(lost)


def _without(result: dict[str, Any], lost: set[int]) -> dict[str, Any]:
    asked = result["num_tasks"] + len(result.get("not_finite", ()))
    there = sorted(set(range(asked)) - set(result.get("not_finite", ())))
    kept = [row for row, task in enumerate(there) if task not in lost]
    if not kept:
        raise UserError("no held-out task gave finite numbers in all of these runs; compare fewer of them.")
    pick = lambda rows: [rows[row] for row in kept]
    per_task = {name: pick(result[name]) for name in ("returns", "greedy_returns", "gain_se", "of_task") if result.get(name)}
    measures = {
        name: measure | {which: pick(measure[which]) for which in ("values", "greedy_values")}
        for name, measure in result.get("measures", {}).items()
    }
    result = {name: value for name, value in result.items() if name != "classes"}  # means over tasks that may be lost now
    return result | per_task | {"num_tasks": len(kept)} | ({"measures": measures} if measures else {})


def read_runs(folder: Path) -> list[Run]:
    """The runs of a folder; each combination of a sweep counts as an agent of its own, called by its settings."""
    runs = [Run(run, read_config(run), read_evaluation(run), read_lines(run)) for run in find_runs(folder)]
    if not combination_folders(folder):
        return runs
    return [run._replace(result=run.result | {"agent": f"{run.result['agent']} {combination_of(run.folder)}"}) for run in runs]


def find_runs(folder: Path) -> list[Path]:
    """The folder itself if it is a run, the runs directly inside it, or those of a sweep."""
    if (folder / "config.json").is_file():
        return [folder]
    if combination_folders(folder):
        return runs_in(folder)
    inside = sorted(path.parent for path in folder.glob("*/config.json"))
    if not inside:
        raise UserError(f"{folder} is not a run and holds none.")
    return inside


def read_evaluation(run: Path) -> dict[str, Any]:
    """A run's evaluation.json."""
    path = run / "evaluation.json"
    if not path.is_file():
        raise UserError(f"{run} has not been evaluated; run {command_line('evaluate')} --run-dir {run}")
    return {OLD_NAMES.get(name, name): value for name, value in load_json(path).items()}


def read_lines(run: Path) -> list[dict[str, Any]]:
    """A run's metrics.jsonl; none if it was not trained."""
    path = run / "metrics.jsonl"
    return sound_lines(path.read_bytes())[1] if path.is_file() else []


def adapts_by(result: dict[str, Any]) -> str:
    """How an agent adapts: "gradient", "one batch", "memory" or "nothing"."""
    return result.get("adapts_by", "gradient")


def refuse_unlike(runs: list[Run]) -> None:
    """Refuse runs that were not evaluated alike."""
    of_kind: dict[str, Run] = {}
    of_agent: dict[str, Run] = {}
    seen: dict[tuple[str, int], Path] = {}
    for run in runs:
        agent, seed = run.result["agent"], run.result["seed"]
        _refuse_different(runs[0], run, MUST_AGREE)
        _refuse_different(of_agent.setdefault(agent, run), run, MUST_AGREE_WITHIN_AGENT)
        _refuse_different(of_kind.setdefault(adapts_by(run.result), run), run, MUST_AGREE_WITHIN_KIND)
        if (agent, seed) in seen:
            raise UserError(f"{seen[agent, seed]} and {run.folder} are both {agent} with seed {seed}; give one of them.")
        seen[agent, seed] = run.folder


def _refuse_different(one: Run, other: Run, names: dict[str, str]) -> None:
    for name, words in names.items():
        values = [_said(run, name) for run in (one, other)]
        if values[0] != values[1] and not (name == "horizon" and None in values):  # older evaluations do not say theirs
            raise UserError(
                f"{one.folder} and {other.folder} differ in their {words}: {values[0]} and {values[1]}; evaluate both alike."
            )


def _said(run: Run, name: str) -> Any:
    if name == "horizon":  # of an older evaluation that of training, if it was given
        return run.result.get(name, run.config["settings"].get(name))
    return adapts_by(run.result) if name == "adapts_by" else run.result.get(name)


def refuse_other_settings(runs: list[Run]) -> None:
    """Refuse to pool runs of one agent that were trained with different settings: they are not seeds of one another."""
    first: dict[str, tuple[Path, dict[str, Any]]] = {}
    for run in runs:
        settings = {k: v for k, v in run.config["settings"].items() if k not in (*NOT_SETTINGS, *FREE)}
        if "start_from" in settings:  # each seed may have begun where another run's seed ended
            began = run.config.get("started_from") or {}
            settings["start_from"] = {name: began.get(name) for name in ("env", "agent", "iteration")}
        other, expected = first.setdefault(run.result["agent"], (run.folder, settings))
        for name, value in settings.items():
            if name in expected and value != expected[name]:  # older runs also name settings that their agent does not have
                raise UserError(
                    f"{other} and {run.folder} are both {settings['agent']} but differ in {flag(name)}: {expected[name]} "
                    f"and {value}; compare runs that differ in their seed only."
                )


def over_seeds(results: list[dict[str, Any]]) -> dict[str, Any]:
    """One agent over its seeds, at the episodes it used on the new task.

    Returns:
        seeds, adapts_by, episodes [K+1]; return_mean, return_ci95 (for these seeds), return_iqm [K+1, ...] over seeds and
        tasks, and what `tails` gives; algorithm_ci95 [K+1, 2], for seeds that were not drawn, None for one seed;
        seed_means [S][K+1] and seed_spread [K+1], their standard deviation (None for one seed); greedy_mean and
        greedy_ci95, or None; hurt_by_step [K+1] with hurt and hurt_ci95 of the last step, beside hurt_by_chance: the share of
        tasks that adaptation made clearly worse, None for evaluations from before standard errors were recorded;
        measures, name -> what `measures_over_seeds` gives.
    """
    per_seed = [np.asarray(result["returns"]) for result in results]
    seed_means = np.stack([returns.mean(axis=0) for returns in per_seed])
    errors = [np.asarray(result.get("gain_se") or np.full(np.shape(result["returns"]), np.nan), float) for result in results]
    modes = [np.asarray(result["greedy_returns"]) for result in results if result.get("greedy_returns")]
    has_modes, of_task = len(modes) == len(results), results[0].get("of_task")
    return {
        "seeds": [result["seed"] for result in results],
        "adapts_by": adapts_by(results[0]),
        "episodes": results[0]["episodes"],
        "return_mean": seed_means.mean(axis=0).tolist(),
        "return_ci95": bootstrap_ci95(per_seed, of_task).tolist(),
        "algorithm_ci95": _listed(algorithm_ci95(per_seed, of_task)),
        "return_iqm": iqm(np.concatenate(per_seed)).tolist(),
        **tails(per_seed, of_task),
        "greedy_mean": np.mean([m.mean(axis=0) for m in modes], axis=0).tolist() if has_modes else None,
        "greedy_ci95": bootstrap_ci95(modes, of_task).tolist() if has_modes else None,
        **hurt_over_seeds(per_seed, errors, of_task),
        "hurt_by_chance": float(np.mean([result.get("hurt_by_chance", BY_CHANCE) for result in results])),
        "seed_means": seed_means.tolist(),
        "seed_spread": seed_means.std(axis=0, ddof=1).tolist() if len(results) > 1 else None,
        "measures": measures_over_seeds(results),
    }


def errors_over_seeds(results: list[dict[str, Any]], measure: str = "mse") -> dict[str, Any]:
    """The same for supervised runs, keyed by test shots: mse_mean and so on, or accuracy_mean."""
    per_seed = {shots: [np.asarray(result[measure][shots]) for result in results] for shots in results[0][measure]}
    of_task = results[0].get("of_task")
    bounded = partial(_bounded, high=1.0 if measure == "accuracy" else np.inf)
    return {
        "seeds": [result["seed"] for result in results],
        f"{measure}_mean": {s: np.mean([e.mean(axis=0) for e in errors], axis=0).tolist() for s, errors in per_seed.items()},
        f"{measure}_ci95": {s: _listed(bounded(bootstrap_ci95(errors, of_task))) for s, errors in per_seed.items()},
        f"{measure}_algorithm_ci95": {s: _listed(bounded(algorithm_ci95(errors, of_task))) for s, errors in per_seed.items()},
    }


def _bounded(interval: np.ndarray | None, high: float) -> np.ndarray | None:
    """Squared errors are not below zero, and accuracies not above one, to where a stretched interval may reach."""
    return None if interval is None else np.clip(interval, 0, high)


def _listed(interval: np.ndarray | None) -> list[Any] | None:
    return None if interval is None else interval.tolist()
