"""The printed totals of Duan et al. 2016 (RL2) on Bernoulli bandits, and ours beside them in one table."""

from typing import Any

from experiments.reporting.claims import Claim
from experiments.reporting.tables import Table

# Duan et al. 2016, Table 1 (P): total reward, mean of 1,000 bandits; (pulls, arms) -> by method.
METHODS = ("random", "gittins", "thompson", "ucb1", "greedy", "rl2")
PUBLISHED: dict[tuple[int, int], dict[str, float]] = {
    cell: dict(zip(METHODS, totals, strict=True))
    for cell, totals in {
        (10, 5): (5.0, 6.6, 5.7, 6.7, 6.6, 6.7),
        (10, 10): (5.0, 6.6, 5.5, 6.7, 6.6, 6.7),
        (10, 50): (5.1, 6.5, 5.2, 6.6, 6.5, 6.8),
        (100, 5): (49.9, 78.3, 74.7, 78.0, 74.8, 78.7),
        (100, 10): (49.9, 82.8, 76.7, 82.4, 77.1, 83.5),
        (100, 50): (49.8, 85.2, 64.5, 84.3, 78.0, 84.9),
        (500, 5): (249.8, 405.8, 402.0, 405.8, 380.6, 401.6),
        (500, 10): (249.0, 437.8, 429.5, 437.1, 395.0, 432.5),
        (500, 50): (249.6, 463.7, 427.2, 457.6, 402.8, 438.9),
    }.items()
}


def reached(ours: dict[str, Any], published: float) -> bool:
    """Whether ours is at most one standard error below the printed total."""
    return ours["mean"] + ours["standard_error"] >= published


def promise(result: dict[str, Any]) -> Claim | None:
    """That rl2 reaches the printed total; None where none is printed."""
    if result["reached"] is None:
        return None
    text = f"rl2 with {name_of(result)}: {estimate(result['rows']['rl2'])}, printed {result['published']['rl2']}"
    return Claim(f"{text} less one standard error", result["reached"])


def table_of(results: list[dict[str, Any]]) -> Table:
    """Total reward, a row per method: ours with standard errors over bandits, and the printed ones in brackets."""
    names = list(dict.fromkeys(name for result in results for name in (*result["rows"], *result["published"])))
    names.sort(key=lambda name: name.startswith("rl2"))
    rows = []
    for name in names:
        cells = [name]
        for result in results:
            ours, printed = result["rows"].get(name), result["published"].get(name)
            parts = [estimate(ours)] if ours else []
            cells.append(" ".join([*parts, *([f"[{printed}]"] if printed is not None else [])]))
        rows.append(cells)
    title = "Bernoulli bandits: total reward, standard error, [printed total]"
    caption = "\n".join(f"- {bounds(result)}" for result in results)
    return Table(("method", *map(name_of, results)), rows, title, caption=caption)


def name_of(result: dict[str, Any]) -> str:
    """Pulls n and arms k of a cell."""
    return f"n={result['pulls']}, k={result['arms']}"


def estimate(row: dict[str, Any]) -> str:
    """A mean total and its standard error."""
    return f"{row['mean']:.2f} ± {row['standard_error']:.2f}"


def bounds(result: dict[str, Any]) -> str:
    """What is known of a cell's bandits: the best that can be done, and what UCB1 was tuned to."""
    rows, known = result["rows"], [f"always the best arm {result['best_arm']:.2f}"]
    if "bayes-optimal" in rows:
        known.append(f"expected of the Bayes-optimal {rows['bayes-optimal']['expected']:.3f}")
    known.append(f"UCB1 with weight {rows['ucb1']['weight']}")
    return f"{name_of(result)}: {'; '.join(known)}"
