"""Errors of orbax and of tensorstore below it: recognised, shortened to one line, and not logged besides.

A checkpoint that cannot be read or written is handled by `experiments.runs.checkpoint`, which says so itself.
"""

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
    """Check that the disk has room for ``size`` more bytes. They are taken and given back.

    Raises:
        OSError: there is no room.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS; a full disk then shows when the checkpoint is written
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, size)


def os_error(error: BaseException) -> OSError | None:
    """The operating system's error inside an error of tensorstore; None if there is none."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return OSError(int(code[1]), os.strerror(int(code[1]))) if code else None


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most `LONGEST` characters of it."""
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    return first if len(first) <= LONGEST else first[:LONGEST] + " ..."


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it nothing is logged. Orbax logs a traceback for every error that it also raises.

    From the first use on, errors of tensorstore's threads that come too late to matter are not printed either.
    """
    if sys.unraisablehook is not _report_no_closed_loops:
        _hooks.append(sys.unraisablehook)
        sys.unraisablehook = _report_no_closed_loops
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


_hooks: list[Callable[..., Any]] = [sys.__unraisablehook__]  # those that were there before; the last of them is used


def _report_no_closed_loops(report: Any) -> None:
    # When one array of a checkpoint cannot be read, tensorstore's threads report the others to an event loop that is closed by
    # then. Some do so after orbax has returned, so this hook stays.
    if not (isinstance(report.exc_value, RuntimeError) and str(report.exc_value) == "Event loop is closed"):
        _hooks[-1](report)
