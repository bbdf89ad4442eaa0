"""SIGTERM and Ctrl-C: training finishes what is running, saves, and leaves in peace; the second of them ends it at once.

Python calls its handlers in the main thread, between two instructions: not while that thread is inside a compiled program,
which may take minutes. `Watch` is a thread that sees the signals there as well.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

import experiments

GO_ON = "a training run goes on from its last checkpoint with --resume, other commands when given again"
GRACE = 0.7  # seconds between a signal that ends a command and the end of its process, if it has not ended by itself
READING = 0.3  # seconds that a line may take to be read; with `GRACE` well within the two seconds that are promised
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """Training ended early because it was asked to, with everything saved; the message says how to go on."""


class Terminated(KeyboardInterrupt):
    """SIGTERM where there is nothing to finish: it ends a command as Ctrl-C does."""


class Watch:
    """A thread that reads the signals of this process, from a pipe that Python's own C handler writes to at once.

    A signal that finishes a training (`StopSignals`) is noted there; any other ends the process after `GRACE` seconds, with 128
    and its number as exit status, unless the command has ended by then. What is on disk stands that, as it stands ``kill -9``.
    """

    def __init__(self) -> None:
        """Nothing is watched yet."""
        self.ending: signal.Signals | None = None
        self.finishing: StopSignals | None = None
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._over = threading.Event()

    def start(self) -> None:
        """Watch; only from the main thread."""
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._over.set()
        signal.set_wakeup_fd(self._before)
        os.close(self._write)

    def _watch(self) -> None:
        while numbers := os.read(self._read, 64):
            for number in numbers:
                if number in SIGNALS:
                    self._seen(signal.Signals(number))
        os.close(self._read)

    def _seen(self, number: signal.Signals) -> None:
        if self.finishing is not None and self.finishing.take(number):
            return
        self.ending = self.ending or number
        if not self._over.wait(GRACE):
            _say(f"{number.name}: ended in the midst of its work; {GO_ON}")
            _flush()
            os._exit(128 + number)


def _say(line: str) -> None:
    """Write to stderr, but wait no longer than `READING` seconds for somebody to read it."""
    writing = threading.Thread(target=print, args=(f"\n{line}",), kwargs={"file": sys.stderr, "flush": True}, daemon=True)
    writing.start()
    writing.join(READING)


def _flush() -> None:
    """Hand on what was printed, unless nobody reads it any more."""

    def flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()

    handing = threading.Thread(target=flush, daemon=True)
    handing.start()
    handing.join(READING)


_watch: Watch | None = None


def _only_here() -> None:
    """A forked child writes its signals into nobody's pipe."""
    if _watch is not None:
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_only_here)


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within it SIGTERM raises `Terminated` in the main thread, so that files are closed and a line is said.

    If the main thread does not get to that within `GRACE` seconds, being inside a compiled program, the process ends without.
    """
    global _watch

    def end(number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_code.co_name == "_xla_gc_callback":
            return  # JAX's, of the garbage collector: what is raised there is printed and lost; `Watch` ends the process
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outermost = _watch is None and experiments.is_command  # anybody else's process is not ours to end
    if signal.getsignal(signal.SIGINT) is experiments.ended_before_it_began:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.signal(signal.SIGTERM, end)
    if outermost:
        _watch = Watch()
        _watch.start()
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        # Also what the signal became on its way through a callback of a compiled program.
        ending = None if _watch is None else _watch.ending
        if ending == signal.SIGTERM and not isinstance(error, Terminated):
            raise Terminated from error
        if ending == signal.SIGINT and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if outermost and _watch is not None:
            _watch.stop()
            _watch = None


def leave(status: int) -> NoReturn:
    """End a command that was interrupted, in a process of its own at once.

    The threads of an interrupted program may still run: Python's own way out would wait for them, or take away what they use,
    which ends in a segmentation fault.
    """
    if experiments.is_command:
        _flush()
        os._exit(status)
    sys.exit(status)


class StopSignals:
    """A context manager within which SIGTERM and SIGINT set ``received`` to their name instead of ending the process.

    The second of them has its usual effect at once. Outside the main thread nothing changes.
    """

    def __init__(self) -> None:
        """Nothing received yet."""
        self.received: str | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._taken = threading.Lock()

    def __enter__(self) -> "StopSignals":
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._receive)
            if _watch is not None:
                _watch.finishing = self
        return self

    def __exit__(self, *exception: Any) -> None:
        """Signals have their usual effect again."""
        if _watch is not None:
            _watch.finishing = None
        self._restore()

    def take(self, number: signal.Signals) -> bool:
        """Note the first signal and say so; False for any later one."""
        if not self._taken.acquire(blocking=False):
            return False
        self.received = number.name
        _say(f"{self.received}: finishing what is running, then saving (again: at once) ...")
        return True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        if _watch is None or _watch.finishing is not self:
            self.take(signal.Signals(number))
        elif _watch.ending:  # the watching thread has counted the signals; here two may come as one
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    def _restore(self) -> None:
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)
