"""A local stand-in for JAX's coordinator that never hangs up.

The coordination agent inside JAX aborts its process, with a C++ stack, in the same millisecond in which the connection to the
coordinator closes. An agent that talks to the coordinator through this relay sees silence instead, for which it waits 100
seconds: time to say in one line what happened, and to leave.
"""

import contextlib
import socket
import threading

from experiments.distributed.rendezvous import LOOPBACK


def start(address: str, port: int) -> int:
    """Relay connections to ``address:port`` until the process ends; returns the port on this machine to connect to."""
    server = socket.create_server((LOOPBACK, 0))
    _thread(_serve, server, address, port)
    return server.getsockname()[1]


def _serve(server: socket.socket, address: str, port: int) -> None:
    kept = []  # a socket that nothing refers to would be closed, and the agent would notice
    while True:
        near, _ = server.accept()
        kept.append(near)
        try:
            far = socket.create_connection((address, port), timeout=30)
        except OSError:
            continue
        far.settimeout(None)
        kept.append(far)
        _thread(_copy, near, far)
        _thread(_copy, far, near)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


def _thread(function, *args) -> None:
    threading.Thread(target=function, args=args, daemon=True).start()
