"""metrics.jsonl: one JSON object per line, only ever appended to, and valid after any crash."""

import json
import os
import sys
from pathlib import Path
from typing import Any


class JsonLines:
    """An open metrics.jsonl. After a crash, lines already written keep their bytes and are not written again."""

    last_iteration: int
    last_seconds: float

    def __init__(self, path: Path):
        """Open ``path``, dropping an incomplete last line and what a power cut may have left at the end.

        Whole lines among what is dropped are kept beside it, in a file called ``.damaged``, and a warning says so.
        """
        whole = path.read_bytes() if path.exists() else b""
        size, rows = sound_lines(whole)
        rest = whole[size:]
        if rest.rstrip(b"\0").count(b"\n"):
            aside = path.with_name(path.name + ".damaged")
            aside.write_bytes(rest)
            where = f"{path} is damaged after line {len(rows)}"
            print(f"warning: {where}; the rest of it is now in {aside.name}.", file=sys.stderr, flush=True)
        self.path = path
        self._note(rows)
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - held open as long as the run
        self._size = size
        if rest:
            self._file.truncate(size)

    def write(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Append the rows of later iterations than the last line's; returns those.

        Raises:
            OSError: the disk is full or fails; the file ends with the last whole line before these.
        """
        new = [row for row in rows if row["iteration"] > self.last_iteration]
        data = b"".join(json.dumps(row).encode() + b"\n" for row in new)
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
        except OSError:
            self._file.truncate(self._size)
            raise
        if new:
            self._size += len(data)
            self.last_iteration = new[-1]["iteration"]
        return new

    def forget(self, iteration: int) -> None:
        """Remove the lines of later iterations: they will be others."""
        whole = self.path.read_bytes()
        rows = sound_lines(whole)[1]
        kept = [row for row in rows if row["iteration"] <= iteration]
        if len(kept) < len(rows):
            self._size = len(b"".join(whole.splitlines(keepends=True)[: len(kept)]))
            self._file.truncate(self._size)
            self._note(kept)

    def _note(self, rows: list[dict[str, Any]]) -> None:
        last = rows[-1] if rows else {"iteration": 0, "time/seconds": 0.0}
        self.last_iteration, self.last_seconds = int(last["iteration"]), float(last["time/seconds"])

    def sync(self) -> None:
        """Return when the disk has all lines."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def sound_lines(whole: bytes) -> tuple[int, list[dict[str, Any]]]:
    """The complete lines up to the first that is no row of metrics: their length in bytes, and the rows."""
    size = 0
    rows: list[dict[str, Any]] = []
    for line in whole.splitlines(keepends=True):
        try:
            row = json.loads(line)
            later = row["iteration"] > (rows[-1]["iteration"] if rows else 0) and row["time/seconds"] >= 0
        except (ValueError, TypeError, KeyError):  # UnicodeDecodeError is a ValueError
            break
        if not line.endswith(b"\n") or not later:
            break
        size += len(line)
        rows.append(row)
    return size, rows
