"""Return of each episode on new tasks, row by row: of agents that are trained where they are missing, and of planners."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments import train
from experiments.reporting.tables import NONE
from experiments.runs.folder import CONFIG
from experiments.training.config import train_config
from experiments.training.suggested import suggested

KEPT = ("return_mean", "return_ci95", "greedy_mean", "episodes")
Row = dict[str, Any]


def trained(env: str, agent: str, run_dir: Path, **settings: Any) -> Row:
    """Train an agent as the family suggests, going on with its folder if there is one; `kept` of its evaluation.

    Args:
        env: the family's id.
        agent: the agent's name.
        run_dir: the run's folder.
        **settings: of `TrainConfig` that are not the family's; None leaves one as it is.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    known = suggested(env, agent) | {"agent": agent} | given
    train.train(train_config(run_dir=run_dir, env=env, resume=(run_dir / CONFIG).is_file(), **known))
    return kept(json.loads((run_dir / "evaluation.json").read_text()))


def kept(evaluation: Mapping[str, Any]) -> Row:
    """What a row has of an evaluation."""
    return {key: evaluation[key] for key in KEPT if key in evaluation}


def cells(row: Row) -> list[str]:
    """Mean return of each episode with its interval if there is one, and in one cell what acting greedily returns."""
    ends = row.get("return_ci95", [None] * len(row["return_mean"]))
    means = [
        f"{mean:.2f}" + ("" if end is None else f" [{end[0]:.2f}, {end[1]:.2f}]")
        for mean, end in zip(row["return_mean"], ends, strict=True)
    ]
    greedy = row.get("greedy_mean")
    return [*means, NONE if greedy is None else " ".join(f"{value:.2f}" for value in greedy)]
