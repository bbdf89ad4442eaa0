"""The live progress bar; plain lines now and then where output is not a terminal."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from experiments.cli.luxuries import luxury

SHOWN = "the progress"  # which nobody may read any more, as in ``train | head``: no reason to end a training
LONGEST_SILENCE = 30.0  # seconds between plain lines, or a twentieth of the run if that is sooner


class Progress:
    """A context manager that shows iteration, score before and after adaptation, steps per second and time left."""

    def __init__(self, total: int, completed: int, label: str = "iteration"):
        self._total, self._plain_from, self._label = total, completed, label
        self._skipped, self._spoke = 0, time.monotonic()
        self._began: tuple[float, int] | None = None  # after compilation
        console = Console()
        self._live = console.is_terminal
        self._bar = RichProgress(
            *([] if label == "iteration" else [TextColumn(label)]),
            MofNCompleteColumn(),  # together at most 80 columns wide
            BarColumn(bar_width=10),
            TextColumn("{task.fields[scores]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("train", total=total, completed=completed, scores="compiling ...")
        if not self._live and completed < total:
            with luxury(SHOWN):
                print(f"{label} {completed}/{total}  compiling ...", flush=True)

    def __enter__(self) -> "Progress":
        """Start drawing."""
        with luxury(SHOWN):
            self._bar.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        """Stop drawing."""
        with luxury(SHOWN):
            self._bar.stop()

    def tell(self, line: str) -> None:
        """Print a line; training begins after it."""
        with luxury(SHOWN):
            self._bar.console.print(line, highlight=False, soft_wrap=True)
        self._began = (time.monotonic(), self._plain_from)

    def update(self, iteration: int, row: dict[str, Any] | None = None) -> None:
        """Show the iteration and, if given, the newest row of metrics."""
        scores = ""
        if row:
            scores = f"pre {row['meta/pre']:.2f} post {row['meta/post']:.2f} " if "meta/pre" in row else ""
            scores += f"{row['time/steps_per_second'] / 1000:,.0f}k env steps/s"
            self._skipped += row["outer/skipped"]
            scores += f" {self._skipped} skipped" if self._skipped else ""
        with luxury(SHOWN):
            self._bar.update(self._task, completed=iteration, scores=scores)
        silent = time.monotonic() - self._spoke
        due = iteration - self._plain_from >= self._total / 20 or silent >= LONGEST_SILENCE or iteration == self._total
        if not self._live and due:
            with luxury(SHOWN):
                print(f"{self._label} {iteration}/{self._total}  {scores}{self._left(iteration)}".rstrip(), flush=True)
            self._plain_from, self._spoke = iteration, time.monotonic()

    def _left(self, iteration: int) -> str:
        """Time left at the speed since training began, as h:mm:ss."""
        if self._began is None or iteration == self._total:
            return ""
        since, first = self._began
        seconds = round((time.monotonic() - since) / max(iteration - first, 1) * (self._total - iteration))
        return f"  {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"
