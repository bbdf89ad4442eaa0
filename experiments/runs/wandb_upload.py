"""Uploading wandb runs beside the training: a process of its own follows the files that the runs are written to.

``python -m experiments.runs.wandb_upload`` is that process. It reads one folder of a run per line, uploads each with ``wandb
beta sync --live``, and says on its last line of output whether that worked. Whatever the server does, the training goes on;
what could not be uploaded is named in one warning when the training's process ends, and lies complete in the run folder.
"""

import atexit
import contextlib
import netrc
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli.later import Later

if TYPE_CHECKING:
    import wandb
else:
    wandb = Later("wandb")

ANSWERED = "the server answers"  # the first thing the uploader says, if so
DONE = "done"  # what the uploader says when all is uploaded
END = "end"  # what it is told when the training's process ends in order; a killed one says nothing
GRACE = 5.0  # seconds that the training's process waits, at its end, for uploads under way
CHECK_TIMEOUT = 10.0  # seconds for the server to answer at all
LINGER = 3600.0  # seconds after the training's end that a stalled upload is left to go on
LOG = "upload.log"

_uploaders: list["_Uploader"] = []  # at most one in a process


def wanted(mode: str | None, *, in_sweep: bool) -> bool:
    """Whether to upload: when WANDB_MODE or a sweep asks for it, or by default when an account is set up."""
    if mode is None:
        return in_sweep or has_account()
    return mode in ("online", "shared")


def has_account() -> bool:
    """Whether a key for the wandb server lies in the environment or in the netrc file. Asks no one."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    files = [os.environ.get("NETRC"), "~/.netrc", "~/_netrc"]
    host = urllib.parse.urlsplit(_server()).hostname or ""
    for name in filter(None, files):
        try:
            if netrc.netrc(os.path.expanduser(name)).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def begin(folder: Path) -> None:
    """Upload the run that is being written to ``folder``. Returns at once."""
    if not _uploaders:
        _uploaders.append(_Uploader(folder.parent / LOG))
        atexit.register(_uploaders[0].end)
    _uploaders[0].add(folder)


class _Uploader:
    """The uploading process, seen from the training's."""

    def __init__(self, log: Path):
        self._folders: list[Path] = []
        self._said: list[str] = []
        self._log = log
        command = [sys.executable, "-P", "-m", __name__]  # -P: whatever lies in the current folder
        home = str(Path(__file__).resolve().parents[__name__.count(".")])
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))}
        with open(log, "w") as errors:
            # A session of its own: Ctrl-C ends the training, and what it wrote is still uploaded.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=env,
                start_new_session=True,
            )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.append(line.strip())

    def add(self, folder: Path) -> None:
        self._folders.append(folder)
        self._say(str(folder.resolve()))

    def end(self) -> None:
        """Wait a little for uploads under way; one line on stderr if they failed or are not through.

        There is no waiting for a server that has not even answered.
        """
        self._say(END)
        with contextlib.suppress(BrokenPipeError):  # it has given up
            assert self._process.stdin is not None
            self._process.stdin.close()
        if self._said or self._process.poll() is not None:
            self._listener.join(timeout=GRACE)
        if self._listener.is_alive():
            answered = "" if self._said else "the server has not answered yet; "
            trouble = f"are not uploaded yet ({answered}it goes on in the background); should that fail"
        else:
            outcome = self._said[-1] if self._said else f"see {self._log}"
            if outcome == DONE:
                return
            trouble = f"were not uploaded ({outcome})"
        folders = " ".join(dict.fromkeys(str(folder.parent) for folder in self._folders))
        joint = ", " if "should" in trouble else "; nothing is lost: "
        print(f"warning: wandb runs {trouble}{joint}upload them later with: wandb sync {folders}", file=sys.stderr)

    def _say(self, line: str) -> None:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):  # it has given up; `end` says why
            return


def _server() -> str:
    return wandb.setup().settings.base_url


def check_server() -> str | None:
    """None if the server answers and knows the key, otherwise what is wrong."""
    try:
        urllib.request.urlopen(_server(), timeout=CHECK_TIMEOUT).close()
    except urllib.error.HTTPError:
        pass  # it answered
    except (OSError, ValueError) as error:
        return f"{_server()} cannot be reached: {getattr(error, 'reason', error)}"
    try:
        wandb.Api(timeout=int(CHECK_TIMEOUT))  # asks the server whose key this is
    except Exception as error:
        print(error, file=sys.stderr)
        return f"{_server()} refused the key or asked for one; run wandb login"
    return None


def main() -> int:
    """The uploading process."""
    os.nice(10)  # the training comes first
    os.environ["WANDB_MODE"] = "online"
    trouble = check_server()
    if trouble:
        print(trouble, file=sys.stderr, flush=True)  # to the log; the training may be over
        with contextlib.suppress(BrokenPipeError):
            print(trouble, flush=True)
        return 1
    print(ANSWERED, flush=True)
    folders, live, orderly = [], [], False
    for line in sys.stdin:
        orderly = line.strip() == END
        if orderly:
            break
        folders.append(line.strip())
        live.append(_sync("--live", line.strip()))
    if not orderly:  # the training was killed; its files will never say that they are complete
        time.sleep(1.0)
        for process in live:
            process.terminate()
        live = [_sync("--no-skip-synced", folder) for folder in folders]
    until = time.monotonic() + LINGER
    failed = [folder for folder, process in zip(folders, live, strict=True) if not _uploaded(folder, process, until)]
    if orderly:
        with contextlib.suppress(BrokenPipeError):
            print(f"{len(failed)} of {len(folders)} failed" if failed else DONE, flush=True)
    return bool(failed)


def _sync(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "wandb", "beta", "sync", *arguments]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr)


def _uploaded(folder: str, process: subprocess.Popen, until: float) -> bool:
    try:
        process.wait(timeout=max(until - time.monotonic(), 0.0))
    except subprocess.TimeoutExpired:
        process.terminate()
    return any(Path(folder).glob("*.wandb.synced"))  # how wandb marks what it has uploaded


if __name__ == "__main__":
    sys.exit(main())
