"""The pages of the site, and the code in them."""

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parent.parent.parent / "docs"
FENCE = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OPTIONS = re.compile(r"\A(?:---\n.*?^---\n|(?::[^\n]*\n)+)", re.DOTALL | re.MULTILINE)


class Cell(NamedTuple):
    """A code cell: its options, as text, and its code."""

    options: str
    code: str


def executed() -> list[Path]:
    """The pages whose cells are run, in the order of their names."""
    return [path for path in sorted(DOCS.rglob("*.md")) if path.read_text().startswith("---\nfile_format: mystnb")]


def cells(page: Path) -> list[Cell]:
    """The code cells of a page, in order."""
    found = []
    for body in FENCE.findall(page.read_text()):
        options = OPTIONS.match(body)
        found.append(Cell(options.group() if options else "", body[options.end() :] if options else body))
    return found
