"""Trainings as processes of their own that can be killed, each forked from one that has imported everything: a second instead
of five for each start. Run as a script it is that process: it trains for each line of its input.
"""

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

SINGLE = {name: "1" for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}  # a process with threads cannot be forked


class Forker:
    """One training at a time."""

    def __init__(self):
        home = str(Path(__file__).parents[3])
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | SINGLE | {"PYTHONPATH": home},
        )

    def start(self, log: Path, *args: object) -> int:
        """Begin ``experiments.train`` with these flags; its output goes to ``log``. Returns the process id."""
        self._process.stdin.write(json.dumps([str(log), *map(str, args)]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self) -> int:
        """Wait for its end: the exit code, or the negative number of the signal that killed it."""
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def serve() -> None:
    from experiments import train

    for line in sys.stdin:
        log, *args = json.loads(line)
        pid = os.fork()
        if pid == 0:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os._exit(exit_code(train.main, args))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def exit_code(main, args) -> int:
    code = 0
    try:
        main(args)
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    serve()
