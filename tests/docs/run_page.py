"""``python tests/docs/run_page.py PAGE``: run the cells of one page as its notebook would, in one process."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # as a script

from tests.docs.pages import cells


def main(page: Path) -> None:
    """Run every cell in the folder of the page."""
    os.environ["MPLBACKEND"] = "Agg"
    os.chdir(page.parent)
    names: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(cells(page)):
        exec(compile(cell.code, f"{page.name}, cell {number}", "exec"), names)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
