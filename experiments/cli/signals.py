"""SIGTERM and Ctrl-C during training: finish what is running, save, and leave in peace."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Stopped(Exception):
    """Training ended early because it was asked to, with everything saved; the message says how to go on."""


class Terminated(KeyboardInterrupt):
    """SIGTERM where there is nothing to finish: it ends a command as Ctrl-C does."""


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within it SIGTERM raises `Terminated` in the main thread, so that files are closed and a line is said."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StopSignals:
    """A context manager within which SIGTERM and SIGINT set ``received`` to their name instead of ending the process.

    The second of them has its usual effect at once. Outside the main thread nothing changes.
    """

    def __init__(self) -> None:
        """Nothing received yet."""
        self.received: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: Any) -> None:
        """Signals have their usual effect again."""
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        self._restore()
        print(f"\n{self.received}: finishing what is running, then saving (again: at once) ...", file=sys.stderr, flush=True)

    def _restore(self) -> None:
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)
