"""What it costs that a run shows its progress: the runner's calls of about a second against one long compiled call."""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

from experiments.benchmark import timing, workloads
from experiments.train import train

ALLOWED = 0.03  # chunks may be slower by this much
WARM = 0.25  # of the iterations: before that the runner is still finding how many make a second


def measure(*, quick: bool, rounds: int, seconds: float) -> dict[str, Any]:
    """Seconds per meta-iteration of navigation, in turn: a whole training run, files and all, and one call of the same length.

    Returns:
        ``chunked`` and ``unchunked`` (`timing.spread`), ``slower``: by how much the first is slower, a share of the second.
    """
    size: dict[str, Any] = {"num_tasks": 20, "num_episodes": 20, "horizon": 100}
    if quick:
        size = {"num_tasks": 2, "num_episodes": 3, "horizon": 6, "hidden_sizes": (8,)}
    workload = workloads.reinforcement("navigation", "metarl/Navigation2D-v0", **size)
    run = workloads.start(workload)
    count = max(8, timing.length(run, seconds))
    chunked, unchunked = [], []
    for _ in range(rounds):
        chunked.append(_run(size, count))
        unchunked.append(timing.per_iteration(run, count))
    slower = timing.spread([a / b - 1 for a, b in zip(chunked, unchunked, strict=True)])
    return {
        "iterations": count,
        "chunked": timing.spread(chunked),
        "unchunked": timing.spread(unchunked),
        "slower": slower,
        "kept": slower["median"] <= ALLOWED,
    }


def _run(size: dict[str, Any], count: int) -> float:
    """Seconds per meta-iteration of a run of ``python -m experiments.train``, by its own metrics.jsonl, once it is warm."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        config = workloads.settings(
            "metarl/Navigation2D-v0", **size, num_iterations=count, checkpoint_every=count, eval_tasks=0, run_dir=run_dir
        )
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
            train(config)
        lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    start = round(WARM * count)
    return (lines[-1]["time/seconds"] - lines[start - 1]["time/seconds"]) / (count - start)
