"""A user's mistake is one line and no traceback, in every command."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import envs
import experiments
from experiments.cli.signals import GO_ON, Stopped, Terminated, ended_by_sigterm, leave

MAX_LINE = 1000  # characters; what a user or a file says may be longer


class UserError(Exception):
    """A mistake the user can mend; the message says what is wrong and what to do, in one line."""

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """A message without line breaks, whatever it quotes; the middle of a long one is left out.

    >>> len(one_line("x" * 100_000))
    1000
    """
    text = " ".join(text.splitlines())
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE // 2 - 5]} ... {text[-MAX_LINE // 2 :]}"


def one_line_errors(main: Callable[..., None]) -> Callable[..., None]:
    """Print a `UserError`, or what an ordinary environment failed with, as one line on stderr and exit with 2.

    Training that was asked to stop, and has saved itself, exits with 0. Elsewhere Ctrl-C exits with 130 and SIGTERM with 143.
    """

    @functools.wraps(main)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            if experiments.refused:
                raise UserError(experiments.refused)
            with ended_by_sigterm(), host_errors():
                main(*args, **kwargs)
        except (UserError, OSError) as error:
            print(f"error: {one_line(str(error))}", file=sys.stderr)
            sys.exit(2)
        except Stopped as stopped:
            print(stopped)
        except KeyboardInterrupt as interrupt:
            print(f"interrupted; {GO_ON}", file=sys.stderr)
            leave(143 if isinstance(interrupt, Terminated) else 130)

    return wrapped


@contextlib.contextmanager
def host_errors() -> Iterator[None]:
    """Raise what an environment on the host failed with, in the middle of a compiled program, as a `UserError`."""
    try:
        yield
    except (ValueError, RuntimeError) as error:  # which of the two JAX chooses depends on how the program was called
        message = envs.host_error(error)
        if message is None:
            raise
        raise UserError(message) from error


def shown(value: Any) -> str:
    """A value in one line of at most 80 characters, for messages."""
    return " ".join(repr(value).split())[:80]
