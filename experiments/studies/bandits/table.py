"""The printed totals of Duan et al. 2016 (RL2) on Bernoulli bandits, and ours beside them in one table."""

from typing import Any

from rich.console import Console
from rich.table import Table

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


def markdown(results: list[dict[str, Any]]) -> str:
    """The table of `print_table`."""
    headings, rows = table_of(results)
    lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows), "", *notes_of(results)]) + "\n"


def print_table(results: list[dict[str, Any]]) -> None:
    """Total reward, ours with standard errors over bandits, and the printed ones in brackets."""
    headings, rows = table_of(results)
    table = Table(title="Bernoulli bandits: total reward, standard error, [printed total]")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == headings[0] else "right")
    for row in rows:
        table.add_row(*(text.replace("[", r"\[") for text in row))
    console = Console()
    console.print(table)
    for note in notes_of(results):
        console.print(note, highlight=False, markup=False)


def table_of(results: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headings, and one row per method."""
    names = list(dict.fromkeys(name for result in results for name in (*result["rows"], *result["published"])))
    names.sort(key=lambda name: name == "rl2")
    rows = []
    for name in names:
        cells = [name]
        for result in results:
            ours, printed = result["rows"].get(name), result["published"].get(name)
            parts = [f"{ours['mean']:.2f} ± {ours['standard_error']:.2f}"] if ours else []
            cells.append(" ".join([*parts, *([f"[{printed}]"] if printed is not None else [])]))
        rows.append(cells)
    return ["method", *(f"n={result['pulls']}, k={result['arms']}" for result in results)], rows


def notes_of(results: list[dict[str, Any]]) -> list[str]:
    """One line per cell: the bounds, and whether rl2 reached what is printed."""
    lines = []
    for result in results:
        rows, known = result["rows"], [f"always the best arm {result['best_arm']:.2f}"]
        if "bayes-optimal" in rows:
            known.append(f"expected of the Bayes-optimal {rows['bayes-optimal']['expected']:.3f}")
        known.append(f"UCB1 with weight {rows['ucb1']['weight']}")
        if result["reached"] is not None:
            verdict = "reached" if result["reached"] else "NOT REACHED"
            known.append(f"printed total of RL2 less one standard error: {verdict}")
        lines.append(f"- n={result['pulls']}, k={result['arms']}: {'; '.join(known)}")
    return lines
