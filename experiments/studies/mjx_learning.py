"""``python -m experiments.studies.mjx_learning --out DIR``: the same training on MJX and on native MuJoCo, small."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import train
from experiments.cli.command_line import command_line
from experiments.cli.errors import one_line_errors
from experiments.cli.flags import at_least, parse
from experiments.reporting.comparison import read_lines
from experiments.reporting.intervals import t_interval95
from experiments.reporting.tables import Table, interval, markdown, number, show
from experiments.runs.folder import CONFIG, write_json
from experiments.runs.seed_folders import seed_folder
from experiments.training.config import train_config
from experiments.training.suggested import suggested

BACKENDS = ("native", "mjx")
PARTS = 3  # of training, that are averaged


@dataclasses.dataclass(frozen=True)
class MjxLearningConfig:
    """Train promp on both backends with the same seeds and settings and compare the learning curves.

    They cannot be equal: physics that rounds otherwise is another physics after some steps. They should agree on average.
    """

    out: Path
    """Runs are written to out/native/seed-0 and so on, the table to out."""
    env: str = "metarl/HalfCheetahVel-v0"
    """A legged family."""
    num_seeds: int = 5
    """Seeds 0, 1, ... trained together."""
    num_iterations: int = 30
    """Meta-iterations."""
    num_tasks: int = 4
    """M."""
    num_episodes: int = 5
    """N."""
    horizon: int = 40
    """T; short, since MJX takes a thousand times a GPU's time here."""
    outer_lr: float = 5e-3
    """Step size of Adam; large, so that there is something to see after so few iterations."""


def mjx_learning(config: MjxLearningConfig) -> None:
    """Train what is missing, then write the table."""
    at_least(config, num_seeds=2, num_iterations=PARTS, num_tasks=1, num_episodes=1, horizon=1)
    shared: dict[str, Any] = suggested(config.env, "promp") | {
        name: getattr(config, name) for name in ("num_iterations", "num_tasks", "num_episodes", "horizon", "outer_lr")
    }
    curves = {}
    for backend in BACKENDS:
        folder = config.out / backend
        print(f"\n{backend}", flush=True)
        train.train(
            train_config(
                run_dir=folder,
                env=config.env,
                agent="promp",
                seeds=config.num_seeds,
                env_options=(f"backend={backend}",),
                eval_tasks=0,
                resume=(seed_folder(folder, 0) / CONFIG).is_file(),
                **shared,
            )
        )
        curves[backend] = np.stack([curve(seed_folder(folder, seed)) for seed in range(config.num_seeds)])
    found = rows(curves)
    write_json(config.out / "mjx_learning.json", {"rows": found})
    table = table_of(config, found)
    (config.out / "mjx_learning.md").write_text(markdown(table))
    show(table)


def curve(run_dir: Path) -> np.ndarray:
    """Returns after adaptation [iterations] of a run."""
    return np.array([line["meta/post"] for line in read_lines(run_dir)])


def rows(curves: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Means over parts of training with intervals over seeds, for each backend and for their difference, seed by seed.

    Args:
        curves: backend -> [seeds, iterations].
    """
    found = []
    iterations = np.array_split(np.arange(curves["native"].shape[1]), PARTS)
    for part in iterations:
        means = {backend: values[:, part].mean(axis=1) for backend, values in curves.items()}
        means["difference"] = means["mjx"] - means["native"]
        row: dict[str, Any] = {"iterations": [int(part[0]) + 1, int(part[-1]) + 1]}
        found.append(row | {name: t_interval95(values.tolist()) for name, values in means.items()})
    return found


def table_of(config: MjxLearningConfig, found: list[dict[str, Any]]) -> Table:
    """Both curves and their difference."""
    columns = (*BACKENDS, "difference")
    lines = [
        (
            "{} to {}".format(*row["iterations"]),
            *(f"{number(row[name][0])} {interval(row[name][1:])}" for name in columns),
        )
        for row in found
    ]
    title = f"promp on {config.env}: return after one step in training, t intervals over {config.num_seeds} seeds"
    return Table(("iterations", *columns), lines, title)


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    mjx_learning(parse(MjxLearningConfig, args, command_line("studies.mjx_learning")))


if __name__ == "__main__":
    main()
