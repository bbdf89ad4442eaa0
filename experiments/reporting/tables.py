"""Tables of text: one type, shown on the terminal, written as Markdown or as HTML, and the forms that numbers have in them."""

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import rich.table
from rich import box
from rich.console import Console
from rich.text import Text

NONE = "-"  # where there is no such number
LINE: tuple[str, ...] = ()  # a row without cells: a gap between groups of rows; Markdown has none


class Table(NamedTuple):
    """A table, ready to print.

    Attributes:
        headings: [C], one per column.
        rows: [R][C] cells, which may have several lines, or `LINE`.
        title: one line, above the table on the terminal and in HTML; what stands above a Markdown table is its document's.
        words: the columns set left; all others hold numbers and are set right. Markdown leaves that to its reader.
        caption: lines below the table; HTML leaves them to its page.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    words: Sequence[int] = (0,)
    caption: str = ""


def markdown(table: Table) -> str:
    """The table and its caption, with a line end after each."""
    head = _markdown_row(table.headings) + "|---" * len(table.headings) + "|\n"
    body = "".join(_markdown_row(row) for row in table.rows if row)
    return head + body + f"\n{table.caption}\n" * bool(table.caption)


def _markdown_row(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|").replace("\n", "<br>") for cell in row) + " |\n"


def show(table: Table, least_width: int = 0) -> None:
    """Print the table. Where the terminal is too narrow cells are folded, so that no number is cut.

    Args:
        table: what to print.
        least_width: columns to take even where the terminal has fewer; a file, which has 80, is as wide as it needs to be.
    """
    shown = rich.table.Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, heading in enumerate(table.headings):
        shown.add_column(Text(heading), justify="left" if i in table.words else "right", overflow="fold")
    for row in table.rows:
        if row:
            shown.add_row(*map(Text, row))
        else:
            shown.add_section()
    console = Console(width=max(Console().width, least_width))
    if table.title:
        console.print(Text(table.title, style="bold"))
    console.print(shown)
    if table.caption:
        console.print(Text(table.caption), soft_wrap=True)


def html(table: Table, wrap: Sequence[int] = ()) -> str:
    """A ``<table>``, its title as caption.

    Args:
        table: its words are of class text; the first row and those after a `LINE` are of class first.
        wrap: columns whose cells may break into lines, of class wrap.
    """
    columns = range(len(table.headings))
    classes = ["text " * (i in table.words) + "wrap" * (i in wrap) for i in columns]
    kinds = [f' class="{names.strip()}"' if names else "" for names in classes]
    head = "".join(f'<th scope="col"{kinds[i]}>{escape(table.headings[i])}</th>' for i in columns)
    body, first = [], True
    for row in table.rows:
        if row:
            cells = "".join(f"<td{kinds[i]}>{escape(row[i])}</td>" for i in columns)
            body.append(f'<tr class="first">{cells}</tr>' if first else f"<tr>{cells}</tr>")
        first = not row
    title = f"<caption>{escape(table.title)}</caption>" * bool(table.title)
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def number(value: float) -> str:
    """Two decimals; none where they would mean nothing, and three digits of what they would hide.

    >>> number(-3.234), number(1234567.8), number(0.000123)
    ('-3.23', '1,234,568', '0.000123')
    """
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if 0 < abs(value) < 0.005 else f"{value:.2f}"


def digits(value: float, count: int = 3) -> str:
    """So many significant digits, zeros at the end included."""
    return f"{value:.{count}g}" if abs(value) >= 10 ** (count - 1) else f"{value:#.{count}g}"


def interval(low_and_high: Sequence[float]) -> str:
    """[low, high]."""
    return f"[{number(low_and_high[0])}, {number(low_and_high[1])}]"


def estimates(means: Sequence[float], intervals: Sequence[Sequence[float]]) -> list[str]:
    """A cell for each mean [K] and its interval [K][2]."""
    return [f"{number(mean)} {interval(ends)}" for mean, ends in zip(means, intervals, strict=True)]


def share(value: float | None) -> str:
    """A share in per cent, or the sign for what is not known."""
    return NONE if value is None else f"{value:.0%}"


def percent(value: float) -> str:
    """A share of examples, to a tenth of a per cent."""
    return f"{value:.1%}"


def percents(low_and_high: Sequence[float]) -> str:
    """[low, high]."""
    return f"[{percent(low_and_high[0])}, {percent(low_and_high[1])}]"


def tasks_of(result: dict[str, Any]) -> str:
    """How many held-out tasks an evaluation had, and how often each if they are all there are.

    >>> tasks_of({"num_tasks": 40}), tasks_of({"num_tasks": 4, "of_task": [0, 1, 0, 1]})
    ('40 held-out tasks', '2 held-out tasks, each evaluated 2 times')
    """
    distinct = len(set(result.get("of_task") or range(result["num_tasks"])))
    times = f"{result['num_tasks'] / distinct:.3g}"
    words = counted(distinct, "held-out task")
    return words if times == "1" else f"{words}, each evaluated {times} times"


def counted(count: int, noun: str) -> str:
    """1 step, 2 steps."""
    return f"{count} {noun}{'s' * (count != 1)}"
