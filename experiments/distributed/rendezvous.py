"""How the processes of a run find one another: they come to process 0, which waits until all are there."""

import errno
import select
import socket
import time
from typing import Any, NamedTuple

from experiments.cli.errors import UserError
from experiments.distributed.heartbeat import Link

GREETING = "metarl hosts 1"
RETRY = 0.5  # seconds
LOOPBACK = "127.0.0.1"


class Place(NamedTuple):
    """Where the processes meet, and which of them this one is."""

    address: str
    port: int
    num_processes: int
    process: int
    local_devices: list[int] | None = None  # those that a launcher leaves to this process; all if None

    @property
    def interface(self) -> str:
        """Where process 0 listens: on this machine only, if that is where all processes are."""
        return LOOPBACK if self.address in (LOOPBACK, "localhost") else "0.0.0.0"

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def gather(place: Place, seconds: float) -> dict[int, Link]:
    """In process 0: wait for the others, and give the link to each.

    Raises:
        UserError: the port cannot be had, or somebody is missing after ``seconds``. Those that came are told.
    """
    until = time.monotonic() + seconds
    links: dict[int, Link] = {}
    strangers: list[Link] = []
    with _server(place) as server:
        while len(links) < place.num_processes - 1:
            left = until - time.monotonic()
            if left <= 0:
                here = ", ".join(map(str, [0, *sorted(links)]))
                reason = f"only process {here} of {place.num_processes} came to {place} within {seconds:.0f} s"
                return _send_away(links, f"--hosts: {reason}; start the others, or correct their number.")
            waiting: list[Any] = [server, *strangers, *links.values()]
            readable, _, _ = select.select(waiting, [], [], left)
            for process in [process for process, link in links.items() if link in readable]:
                links.pop(process).close()  # it has nothing to say yet: it is gone, and may come again
            if server in readable:
                strangers.append(Link(server.accept()[0]))
            for link in [link for link in strangers if link in readable]:
                messages = link.receive()
                if messages != []:
                    strangers.remove(link)
                    _admit(link, messages, links, place)
    return links


def _server(place: Place) -> socket.socket:
    try:
        return socket.create_server((place.interface, place.port), backlog=place.num_processes)
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
        raise UserError(f"--hosts: port {place.port} of this machine {why}; give all processes another.") from error


def _admit(link: Link, messages: list[dict[str, Any]] | None, links: dict[int, Link], place: Place) -> None:
    """Take a newcomer in, or tell it why not; strangers are not worth an answer."""
    greeting: dict[str, Any] = messages[0] if messages else {}
    process, of = int(greeting.get("process", 0)), greeting.get("of")
    if greeting.get("greeting") != GREETING:
        return link.close()
    if of == place.num_processes and process not in links:
        links[process] = link
        return
    if of == place.num_processes:
        refused = f"process {process} is there already; give each process a number of its own."
    else:
        refused = f"process {process} expects {of} processes, process 0 {place.num_processes}; give all the same number."
    link.send(refused=refused)
    link.close()


def _send_away(links: dict[int, Link], reason: str) -> dict[int, Link]:
    for link in links.values():
        link.send(refused=reason.removeprefix("--hosts: "))
        link.close()
    raise UserError(reason)


def come(place: Place, seconds: float) -> tuple[Link, dict[str, Any]]:
    """In the others: go to process 0; gives the link to it and its first message, once everybody is there.

    Raises:
        UserError: nobody answers within ``seconds``, or process 0 refuses.
    """
    link = Link(_connect(place, seconds))
    link.send(greeting=GREETING, process=place.process, of=place.num_processes)
    messages: list[dict[str, Any]] | None = []
    until = time.monotonic() + seconds + 10  # process 0 may have come later, and it will say so when it gives up
    while not messages:
        readable, _, _ = select.select([link], [], [], max(0.0, until - time.monotonic()))
        messages = link.receive() if readable else None
        if messages is None:
            link.close()
            raise UserError(f"--hosts: process 0 at {place} went away, or is none of metarl; start all processes again.")
    if "refused" in messages[0]:
        link.close()
        raise UserError(f"--hosts: {messages[0]['refused']}")
    return link, messages[0]


def _connect(place: Place, seconds: float) -> socket.socket:
    until = time.monotonic() + seconds
    while True:
        try:
            connection = socket.create_connection((place.address, place.port), timeout=max(1.0, until - time.monotonic()))
            connection.settimeout(None)
            return connection
        except OSError as error:  # refused, no route, or a name that does not resolve yet
            if time.monotonic() + RETRY >= until:
                raise UserError(
                    f"--hosts: nobody answers at {place} after {seconds:.0f} s ({error.strerror or error}); "
                    "is process 0 running, and is this its address?"
                ) from error
        time.sleep(RETRY)


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]
