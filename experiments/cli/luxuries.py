"""What follows once results are safe, such as pictures and wandb: where it fails, one line says so, and work goes on."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

_said: set[str] = set()


@contextlib.contextmanager
def luxury(what: str, *written: Path) -> Iterator[None]:
    """Within it an exception leaves out the rest, with a warning on stderr, the same one once per process.

    Args:
        what: is left out, for the warning.
        written: files that are removed then, since they may be half written.
    """
    try:
        yield
    except Exception as error:
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        reason = next(iter(str(error).strip().splitlines()), "")
        line = f"warning: {what} is left out ({type(error).__name__}{': ' * bool(reason)}{reason}); the numbers are safe."
        if line not in _said:
            _said.add(line)
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                print(line, file=sys.stderr, flush=True)
