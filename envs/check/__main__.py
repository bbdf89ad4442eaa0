"""``python -m envs.check ID``: whether a task family is what the agents rely on, one line per check."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from envs.check import FIRST, THEN, findings
from envs.options import from_flags
from envs.registration import construct, find

EPILOG = "Exits with 0 if all is well, 1 if a check fails, 2 if there is no such family or option."


_PROG = "metarl check" if Path(sys.argv[0]).stem == "metarl" else "python -m envs.check"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.exit(_refuse(message))


def main(args: Sequence[str] | None = None) -> int:
    """Check one family and print what was found; returns the exit code."""
    parser = _Parser(prog=_PROG, description=__doc__.partition(": ")[2], epilog=EPILOG)
    parser.add_argument("id", metavar="ID", help="such as metarl/Navigation2D-v0, or my_module:my/Env-v0 for your own")
    parser.add_argument("--horizon", type=int, metavar="STEPS", help="another horizon than the family's own")
    parser.add_argument(
        "--env-options", nargs="+", default=[], metavar="NAME=VALUE", help="for the family's constructor, such as arms=10"
    )
    given = parser.parse_args(args)
    try:
        family = construct(find(given.id), **from_flags(given.horizon, given.env_options))
    except ValueError as error:
        return _refuse(str(error))
    logging.getLogger("jax._src.callback").setLevel(logging.CRITICAL)  # its tracebacks: one line of ours says the same
    failed = done = 0
    for finding in findings(family):
        done += 1
        failed += finding.failure is not None
        if finding.failure is not None:
            print(f"FAILED  {finding.check}: {finding.failure}", flush=True)
        elif finding.note is not None:
            print(f"note    {finding.check}: {finding.note}", flush=True)
        else:
            print(f"ok      {finding.check}", flush=True)
    left = len(FIRST) + len(THEN) - done
    print(f"{given.id}: {done} checks, {failed} failed" + (f", {left} not reached" if left else ""))
    return 1 if failed else 0


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
