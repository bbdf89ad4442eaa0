"""One run on several hosts: how its processes join, agree and leave. Without --hosts, all of this is for one process.

Process 0 alone reads and writes the run folder, and its settings count. The others compute the same program, on their own
devices; `jax.distributed` moves the data.
"""

import contextlib
import signal
import time
import traceback
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.cli.errors import UserError, host_errors
from experiments.cli.signals import Stopped
from experiments.distributed import heartbeat, relay, rendezvous
from experiments.distributed.rendezvous import LOOPBACK, Place

Result = TypeVar("Result")
USAGE = "give auto, or ADDRESS:PORT,PROCESSES,PROCESS such as node0:1234,2,0"


def place(hosts: str) -> Place:
    """What the flag says: where the processes meet, and which of them this one is.

    Raises:
        UserError: it says nothing sensible.
    """
    if hosts == "auto":
        return _launched()
    try:
        meeting_place, count, process = hosts.split(",")
        address, port = meeting_place.rsplit(":", 1)
        found = Place(address.strip("[]"), int(port), int(count), int(process))
    except ValueError as error:
        raise UserError(f"--hosts is {hosts!r}; {USAGE}.") from error
    if not (found.address and 0 < found.port < 2**16 and 0 <= found.process < found.num_processes):
        raise UserError(f"--hosts is {hosts!r}: ports go from 1 to 65535, processes from 0 to PROCESSES - 1; {USAGE}.")
    return found


def _launched() -> Place:
    """As JAX finds it in the environment of a launcher."""
    # What `jax.distributed.initialize` calls when it is given nothing; JAX has no public name for it.
    from jax._src.clusters import ClusterEnv

    try:
        address, count, process, devices = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, 300)
    except (RuntimeError, OSError, KeyError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UserError(f"--hosts auto: {first_line}; or {USAGE}.") from error
    if address is None or count is None or process is None:
        raise UserError(
            "--hosts auto finds no launcher that JAX knows (SLURM, Open MPI, Kubernetes, Cloud TPU); " + USAGE + "."
        )
    host, port = address.rsplit(":", 1)
    return Place(host, int(port), count, process, list(devices) if devices else None)


class Group:
    """The processes of one run, seen from one of them. `ALONE` is the group of a single process."""

    def __init__(self, line: heartbeat.Lifeline | None = None):
        """``line`` connects this process with the others; None where there are none."""
        self._line = line

    def is_first(self) -> bool:
        """Whether this process is the one that reads, writes and decides."""
        return self._line is None or self._line.process == 0

    def announce(self, value: Result) -> Result:
        """Process 0's value, something that JSON can hold, in all processes; the others wait for it."""
        return value if self._line is None else self._line.announce(value)

    def meet(self) -> None:
        """Return when every process has come here. Collectives, unlike this, may give up on one that is minutes late."""
        if self._line is not None:
            self._line.meet()

    def agree(self, decided: int, received: str | None) -> tuple[int, str | None]:
        """What process 0 decided, and the name of the signal that any process has received, if one has."""
        if self._line is None:
            return decided, received
        number = int(signal.Signals[received]) if received else 0
        if number and self._line.process != 0:
            self._line.tell(signal=number)
        decided, number = self._line.announce([decided, number or self._line.signal])
        return decided, signal.Signals(number).name if number else None

    def broadcast(self, tree: Any) -> Any:
        """Process 0's arrays, bit for bit; in the others ``tree`` tells shapes and types."""
        if self._line is None:
            return tree
        arrays = jax.tree.map(np.asarray, tree)
        self.meet()
        sent = multihost_utils.broadcast_one_to_all(jax.tree.map(lambda x: np.frombuffer(x.tobytes(), np.uint8), arrays))
        return jax.tree.map(lambda x, like: np.frombuffer(x.tobytes(), like.dtype).reshape(like.shape), sent, arrays)

    def note_checkpoint(self, iteration: int) -> None:
        """What a process says about resuming, should another one be lost."""
        if self._line is not None:
            self._line.checkpoint = iteration


ALONE = Group()


@contextlib.contextmanager
def joined(hosts: str | None, seconds: float) -> Iterator[Group]:
    """Be one of the processes that ``--hosts`` names. Before anything computes.

    What goes wrong in one process ends all of them, each with one line.

    Args:
        hosts: the flag; None for a run of a single process.
        seconds: to wait for the others at the start.
    """
    if not seconds >= 0:
        raise UserError(f"--hosts-wait is {seconds}, but must be at least 0.")
    here = place(hosts) if hosts else None
    if here is None or here.num_processes == 1:
        yield ALONE
        return
    if here.process == 0:
        links = rendezvous.gather(here, seconds)
        port = rendezvous.free_port()
        coordinator = f"{here.address}:{port}"
        for link in links.values():
            link.send(coordinator=port)
    else:
        link, welcome = rendezvous.come(here, seconds)
        links = {0: link}
        coordinator = f"{LOOPBACK}:{relay.start(here.address, welcome['coordinator'])}"
    line = heartbeat.Lifeline(here.process, links)
    with _ending_together(line):
        jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM away from us
        jax.distributed.initialize(
            coordinator,
            here.num_processes,
            here.process,
            local_device_ids=here.local_devices,
            cluster_detection_method="deactivate",
            coordinator_bind_address=f"{here.interface}:{coordinator.rsplit(':', 1)[1]}",
        )
        if jax.device_count() != jax.local_device_count() * here.num_processes:
            raise UserError("--hosts: the processes have different numbers of devices; give all the same.")
        yield Group(line)


@contextlib.contextmanager
def _ending_together(line: heartbeat.Lifeline) -> Iterator[None]:
    """Whatever ends one process ends all."""
    me = f"process {line.process}"
    try:
        with host_errors():
            yield
    except (UserError, OSError) as error:
        line.fail(f"{me} stopped: {error}", 2, f"error: {error}")
    except KeyboardInterrupt:
        line.fail(f"{me} was interrupted", 130)
    except SystemExit as stop:
        if stop.code:
            line.fail(f"{me} stopped", 2, str(stop.code) if isinstance(stop.code, str) else "")
        _end(line)
        raise
    except Stopped:
        _end(line)
        raise
    except BaseException as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            time.sleep(heartbeat.SILENCE + 5)  # most likely a collective without its peer, which the watcher reports
        text = traceback.format_exc()
        line.fail(f"{me} failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}", 1, text.rstrip())
    else:
        _end(line)


def _end(line: heartbeat.Lifeline) -> None:
    """The orderly end: the others wait until process 0 has nothing left to do."""
    line.end()
    jax.distributed.shutdown()
