"""What came of a sweep: a table and a picture of how each setting did on training tasks. Held-out tasks choose nothing here."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.cli.luxuries import luxury
from experiments.reporting import figures
from experiments.reporting.intervals import t_interval95
from experiments.reporting.tables import NONE, Table, interval, markdown, number, show
from experiments.runs.folder import load_json, write_json
from experiments.runs.metrics_file import sound_lines
from experiments.runs.sweep_folder import SWEEP, folder_name, runs_in, shown

SHARE = 0.1  # of the meta-iterations, the last ones, that a run is judged by


class Row(NamedTuple):
    """What came of one combination.

    Attributes:
        values: setting -> value.
        folder: its name.
        scores: `score` of each seed.
        skipped: updates that were not finite and so dropped, of all seeds.
    """

    values: dict[str, Any]
    folder: str
    scores: list[float]
    skipped: int

    @property
    def mean(self) -> float:
        """Over the seeds; -inf where one has none, so that it is never the best."""
        return float(np.mean(self.scores)) if self.scores and all(map(math.isfinite, self.scores)) else -math.inf


def score(lines: list[dict[str, Any]]) -> float:
    """Mean of ``meta/post`` over the last tenth of the meta-iterations, on the tasks that training drew; nan if none counted.

    >>> round(score([{"iteration": i, "meta/post": float(i)} for i in range(1, 21)]), 3), score([])
    (19.5, nan)
    """
    begins = (1 - SHARE) * lines[-1]["iteration"] if lines else 0
    last = [line["meta/post"] for line in lines if line["iteration"] > begins and "meta/post" in line]
    return float(np.mean(last)) if last else math.nan


def rows_of(parent: Path) -> list[Row]:
    """Every combination of a sweep, in the order of its settings."""
    rows = []
    for values in _product(load_json(parent / SWEEP)["sweep"]):
        folder = folder_name(values)
        files = [run / "metrics.jsonl" for run in runs_in(parent / folder)]
        lines = [sound_lines(path.read_bytes())[1] if path.is_file() else [] for path in files]
        skipped = sum(line.get("outer/skipped", 0) for each in lines for line in each)
        rows.append(Row(values, folder, [score(each) for each in lines], skipped))
    return rows


def _product(sweep: dict[str, list[Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{}]
    for name, values in sweep.items():
        found = [each | {name: value} for each in found for value in values]
    return found


def same_sums(rows: list[Row]) -> bool:
    """Whether scores can be compared: returns of other horizons are sums over other numbers of steps."""
    return len({row.values.get("horizon") for row in rows}) == 1


def best_of(rows: list[Row]) -> Row | None:
    """The combination with the greatest mean score on training tasks; None if none was finite, or they are not `same_sums`."""
    if not same_sums(rows):
        return None
    best = max(rows, key=lambda row: row.mean)
    return best if math.isfinite(best.mean) else None


def table_of(rows: list[Row]) -> Table:
    """A row per combination, the best one marked."""
    best, skipped = best_of(rows), any(row.skipped for row in rows)
    headings = [*rows[0].values, "training score", "t interval over seeds", "seeds", *["updates skipped"] * skipped, ""]
    cells = []
    for row in rows:
        mean, low, high = t_interval95(row.scores)
        settled = [number(mean) if math.isfinite(mean) else NONE, interval((low, high)) if math.isfinite(low) else NONE]
        counts = [str(len(row.scores)), *[str(row.skipped)] * skipped]
        cells.append([*map(shown, row.values.values()), *settled, *counts, "best" if row is best else ""])
    caption = f"Score after adaptation on training tasks, mean of the last {SHARE:.0%} of the meta-iterations."
    if not same_sums(rows):
        caption += " None is called best: returns of other horizons are sums over other numbers of steps."
    return Table(headings, cells, title="Sweep", words=(len(headings) - 1,), caption=caption)


def write(parent: Path) -> None:
    """Print the table of a sweep; write sweep.md and sweep.png, and what is in them into sweep.json."""
    rows = rows_of(parent)
    table, best = table_of(rows), best_of(rows)
    results = [{**row._asdict(), "scores": [each if math.isfinite(each) else None for each in row.scores]} for row in rows]
    about = {"results": results, "best": None if best is None else best.folder}
    write_json(parent / SWEEP, load_json(parent / SWEEP) | about)
    (parent / "sweep.md").write_text(markdown(table))
    show(table)
    with luxury("sweep.png", parent / "sweep.png"):
        figures.sweep(parent / "sweep.png", [(row.values, *t_interval95(row.scores)) for row in rows])
    if best is not None:
        print(f"best on training tasks: {parent / best.folder}")
    print(f"wrote {', '.join(name for name in ('sweep.md', 'sweep.png') if (parent / name).is_file())} to {parent}")
