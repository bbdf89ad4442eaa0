"""The manners of the storage libraries below orbax: they log, print and phrase errors that are handled here in one line."""

import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LONGEST = 120  # characters of another library's message that are shown


def reserve(folder: Path, size: int) -> None:
    """Make sure that the disk has room for ``size`` bytes, which are free again afterwards.

    Raises:
        OSError: it has not.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS; a full disk then shows when the checkpoint is written
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, size)


def os_error(error: BaseException) -> OSError | None:
    """What the operating system refused, if that is what a message of tensorstore is about."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return OSError(int(code[1]), os.strerror(int(code[1]))) if code else None


def first_line(error: BaseException) -> str:
    """The first line of a message, shortened."""
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    return first if len(first) <= LONGEST else first[:LONGEST] + " ..."


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the tracebacks that orbax logs, and tensorstore prints, of errors that reach the caller anyway."""
    if sys.unraisablehook is not _report_no_closed_loops:
        _hooks.append(sys.unraisablehook)
        sys.unraisablehook = _report_no_closed_loops
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


_hooks: list[Callable[..., Any]] = [sys.__unraisablehook__]  # the last is asked


def _report_no_closed_loops(report: Any) -> None:
    # After one array of a checkpoint fails, threads of tensorstore tell an event loop that is gone about the others, some of
    # them after orbax has returned: the hook stays.
    if not (isinstance(report.exc_value, RuntimeError) and str(report.exc_value) == "Event loop is closed"):
        _hooks[-1](report)
