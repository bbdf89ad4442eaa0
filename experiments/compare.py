"""``python -m experiments.compare DIR [DIR ...] --out OUT``: agents and seeds in a table, a picture and a page."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro

from experiments.cli.command_line import command_line
from experiments.cli.errors import one_line_errors
from experiments.cli.flags import parse, with_paths
from experiments.cli.luxuries import luxury
from experiments.reporting import comparison_table, figures
from experiments.reporting.comparison import Comparison, gather
from experiments.reporting.html_page import page
from experiments.reporting.tables import markdown, show
from experiments.runs.folder import write_json


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Compare evaluated runs: held-out adaptation per agent over its seeds, with 95 % intervals."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, or folders that hold run folders."""
    out: Path
    """Where table.json, table.md and comparison.png are written."""
    html: bool = False
    """Also write comparison.html: one file with curves, tables and settings, for any browser, without network."""

    def __post_init__(self) -> None:
        """Take folders' names as text."""
        with_paths(self, "runs", "out")


def compare(config: CompareConfig) -> None:
    """Group the runs by agent; print and write one table and one picture."""
    comparison = gather(config.runs)
    table = comparison_table.cells(comparison)
    config.out.mkdir(parents=True, exist_ok=True)
    folders = [str(run.folder) for its in comparison.runs.values() for run in its]
    about = {"runs": folders, "title": comparison.title, "agents": comparison.rows, "improvement": comparison.improvement}
    about |= {"way": comparison.way}
    write_json(config.out / "table.json", about)
    beside = [found for found in (comparison_table.way(comparison), comparison_table.better(comparison)) if found]
    advice = comparison_table.advice(comparison)
    parts = [comparison_table.document(table), *map(markdown, beside), *([f"{advice}\n"] if advice else [])]
    (config.out / "table.md").write_text("\n".join(parts))
    for shown in (*comparison_table.narrow(table), *beside):
        show(shown)
    if advice:
        print(advice)
    picture, page = config.out / "comparison.png", config.out / "comparison.html"
    page.unlink(missing_ok=True)  # an earlier one, of other runs
    with luxury(picture.name, picture):
        draw(picture, comparison)
    if config.html:
        with luxury(page.name, page):
            write_page(config.out, comparison)
    names = [name for name in ("table.md", "table.json", picture.name, page.name) if (config.out / name).is_file()]
    print(f"wrote {', '.join(names)} to {config.out}")


def draw(path: Path, comparison: Comparison) -> None:
    """The picture."""
    if comparison.supervised:
        figures.error_comparison(path, comparison.rows, comparison.measure)
    else:
        like = next(iter(comparison.runs.values()))[0].result
        lines = {agent: [run.lines for run in its] for agent, its in comparison.runs.items()}
        figures.comparison(path, like, comparison.rows, lines)


def write_page(out: Path, comparison: Comparison) -> Path:
    """Write comparison.html into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "comparison.html"
    path.write_text(page(comparison), encoding="utf-8")
    return path


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    compare(parse(CompareConfig, args, command_line("compare")))


if __name__ == "__main__":
    main()
