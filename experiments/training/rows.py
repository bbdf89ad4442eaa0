"""Rows of metrics: what a compiled call summed, as lines of metrics.jsonl."""

import math
from typing import Any

import jax
import numpy as np


def rows_of(
    sums: dict[str, np.ndarray], counted: np.ndarray, start: int, done: int, env_steps: int, log_every: int
) -> list[dict[str, Any]]:
    """One row per block: means over the iterations that count, and the environment steps so far.

    Iterations that were dropped are counted as ``outer/skipped``; where a whole block was, its row has no means.
    """
    rows = []
    for block in range(math.ceil((done - start) / log_every)):
        first, last = start + block * log_every, min(start + (block + 1) * log_every, done)
        count = int(counted[block])
        env_steps += int(sums["time/env_steps"][block])
        row: dict[str, Any] = {"iteration": last}
        if count:
            row |= {name: float(total[block]) / count for name, total in sorted(sums.items()) if name != "time/env_steps"}
        if last - first > count:
            row["outer/skipped"] = last - first - count
        rows.append(row | {"time/env_steps": env_steps})
    return rows


def add_times(rows: list[dict[str, Any]], called: float, returned: float, env_steps: int) -> None:
    """Wall-clock fields, spread evenly over the call that produced the rows."""
    per_second = (rows[-1]["time/env_steps"] - env_steps) / (returned - called)
    for i, row in enumerate(rows):
        row["time/seconds"] = round(called + (i + 1) / len(rows) * (returned - called), 3)
        row["time/steps_per_second"] = round(per_second)


def nonfinite(row: dict[str, Any], state: Any) -> list[str]:
    """What is non-finite among the last row's metrics or, failing that, in the state."""
    bad = [name for name, value in row.items() if not math.isfinite(value)]
    if bad:
        return bad
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [jax.tree_util.keystr(path) for path, leaf in leaves if not np.all(np.isfinite(leaf))]


def shown(rows: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """What the progress bar shows of the newest rows [S][blocks]: means over the seeds of their last rows, the steps per
    second of all together, and how many updates were skipped.
    """
    last = [row[-1] for row in rows]
    sound = [row for row in last if "meta/pre" in row]  # others were skipped as a whole
    scores = {name: sum(row[name] for row in sound) / len(sound) for name in ("meta/pre", "meta/post")} if sound else {}
    return scores | {
        "time/steps_per_second": sum(row["time/steps_per_second"] for row in last),
        "outer/skipped": sum(row.get("outer/skipped", 0) for each in rows for row in each),
    }
