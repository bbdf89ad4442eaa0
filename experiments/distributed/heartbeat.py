"""TCP connections between process 0 and the others of a run, whose closing tells at once that a process is gone.

They exist before JAX's own: a process that does not come, or a peer that dies, is one line here and an abort with a C++ stack
there. Messages are lines of JSON.
"""

import contextlib
import json
import os
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

SILENCE = 60.0  # seconds without a sign of life after which a process counts as gone; JAX's own limit, with the abort, is 100
GONE = 75  # exit status "temporary failure": starting again is all there is to do
_leaving = threading.Lock()


class Link:
    """One connection."""

    def __init__(self, connection: socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket, self._rest, self._sending = connection, b"", threading.Lock()
        self.heard = time.monotonic()

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def send(self, **message: Any) -> None:
        """Send; a peer that is gone is noticed by whoever receives from it."""
        with self._sending, contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that have arrived, perhaps none yet in full; None where the connection is closed or talks nonsense."""
        try:
            data = self._socket.recv(65536)
            *lines, self._rest = (self._rest + data).split(b"\n")
            messages = [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return None
        self.heard = time.monotonic()
        return messages if data and all(isinstance(message, dict) for message in messages) else None

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class Lifeline:
    """Watches the links of this process in a thread of its own: to all others in process 0, to process 0 in the others.

    Where a peer is gone, or says that it failed, the process prints one line and ends, whatever it is doing.

    Attributes:
        process: this one's number.
        checkpoint: iteration of the last checkpoint, for that line; None before the first.
        signal: the newest signal that another process reports to process 0; 0 if none.
    """

    def __init__(self, process: int, links: Mapping[int, Link]):
        self.process, self._links = process, links
        self.checkpoint: int | None = None
        self.signal = 0
        self._news = threading.Condition()
        self._announced: deque[Any] = deque()  # by process 0, and not taken yet
        self._ready = 0  # how often others said that they are
        self._met = 0  # how often all have met
        self._ending = False
        for link in links.values():
            link.heard = time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()

    def tell(self, **message: Any) -> None:
        """Send to every link."""
        for link in self._links.values():
            link.send(**message)

    def announce(self, value: Any) -> Any:
        """Process 0's value, in all processes, once it has one."""
        if self.process == 0:
            self.tell(announced=value)
            return value
        with self._news:
            self._news.wait_for(lambda: self._announced)
            return self._announced.popleft()

    def meet(self) -> None:
        """Return when every process has come here."""
        if self.process != 0:
            self.tell(ready=True)
        else:
            self._met += 1
            with self._news:
                self._news.wait_for(lambda: self._ready == self._met * len(self._links))
        self.announce(None)

    def end(self) -> None:
        """Let the others end, too. Closing connections no longer mean that anything is wrong."""
        if self.process == 0:
            self._ending = True
        self.announce("the end")

    def fail(self, reason: str, status: int, line: str | None = None) -> None:
        """End this process and the others: ``reason`` says which process failed and how, ``line`` is printed here instead."""
        self.tell(failed=reason, status=status)
        leave(f"error: {reason}" if line is None else line, status)

    def _watch(self) -> None:
        reported = 0.0
        while not self._ending:
            readable, _, _ = select.select(list(self._links.values()), [], [], SILENCE / 60)
            for process, link in self._links.items():
                messages = link.receive() if link in readable else []
                if messages is None:
                    return self._lost(f"process {process} is gone: its connection closed")
                for message in messages:
                    self._heed(message)
                if time.monotonic() - link.heard > SILENCE:
                    return self._lost(f"process {process} has given no sign of life for {SILENCE:.0f} s")
            if time.monotonic() - reported > SILENCE / 6:
                self.tell(alive=True)
                reported = time.monotonic()

    def _heed(self, message: dict[str, Any]) -> None:
        with self._news:
            self._ready += "ready" in message
            self.signal = message.get("signal", self.signal)
            if "announced" in message:
                self._announced.append(message["announced"])
                self._ending |= message["announced"] == "the end"
            self._news.notify_all()
        if "lost" in message:
            self._lost(message["lost"])
        if "failed" in message:
            self.fail(message["failed"], message["status"])

    def _lost(self, reason: str) -> None:
        if self._ending:
            return
        self.tell(lost=reason)  # from process 0 to those that had no connection to the lost one
        last = "" if self.checkpoint is None else f" with --resume; the last checkpoint is iteration {self.checkpoint}"
        leave(f"error: {reason}. Training stopped; start all processes again{last}.", GONE)


def leave(line: str, status: int) -> None:
    """Print one line and end the process at once: JAX's shutdown would wait for those that are gone. The first call wins."""
    _leaving.acquire()
    with contextlib.suppress(OSError):  # nobody may be reading
        sys.stdout.flush()
        show_cursor = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # a progress bar hides it
        print(f"{show_cursor}{line}", file=sys.stderr, flush=True)
    os._exit(status)
