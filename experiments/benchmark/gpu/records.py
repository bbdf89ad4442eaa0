"""A part's findings, written whenever there is one more: a machine that is taken away takes nothing that was found."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from experiments.runs.folder import write_json

LEAST = 10.0  # seconds below which nothing is begun


class Deadline(NamedTuple):
    """When a part ends.

    Attributes:
        at: in seconds of `time.monotonic`.
    """

    at: float

    def left(self) -> float:
        """Seconds."""
        return self.at - time.monotonic()


def within(seconds: float) -> Deadline:
    """From now on."""
    return Deadline(time.monotonic() + seconds)


def while_there_is_time(items: Any, deadline: Deadline, found: dict[str, Any]) -> Iterator[Any]:
    """The items, as long as `LEAST` seconds are left; how many were not come to is noted in ``found``."""
    items = list(items)
    for i, item in enumerate(items):
        if deadline.left() < LEAST:
            found["not_measured"] = len(items) - i
            return
        yield item


def tried(work: Callable[[], Any]) -> Any:
    """What it gives, or ``{"failed": reason}`` in one line: one failure must not take with it what else can be found."""
    try:
        return work()
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:300]}


def record(path: Path, found: dict[str, Any]) -> None:
    """Write all that is known by now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
