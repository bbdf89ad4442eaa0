"""Processes forked from one in which JAX ran: its threads are not there, so that the first computation would wait for ever."""

import os

from jax._src import xla_bridge  # no public function says whether JAX has begun

_began = _lost = False  # JAX, before the last fork; in this process, since one


def refuse_fork() -> None:
    """Raise RuntimeError, in one line, in a process where JAX can no longer work."""
    if _lost:
        raise RuntimeError(
            "this process was forked from one that had used JAX, which would hang here; start it by 'spawn': "
            "multiprocessing.get_context('spawn'), or vector_kwargs={'context': 'spawn'} in gymnasium.make_vec."
        )


def _before() -> None:
    global _began
    _began = xla_bridge.backends_are_initialized()


def _in_child() -> None:
    global _lost
    _lost = _lost or _began


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(before=_before, after_in_child=_in_child)
