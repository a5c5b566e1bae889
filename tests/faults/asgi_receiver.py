"""Serve the ASGI face on the socket with this number, in processes that are forked again when they die."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from contextlib import suppress

import uvicorn

from tests.faults.receiver_apps import asgi_app

_PROCESSES = 2
_DEATH_SIGNAL = 1


def main() -> None:
    """Fork processes that serve until SIGTERM, and replace dead processes."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    children = {_fork_server(listener) for _ in range(_PROCESSES)}

    def end(*_: object) -> None:
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        pid, _ = os.wait()
        children.discard(pid)
        children.add(_fork_server(listener))


def _fork_server(listener: socket.socket) -> int:
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    uvicorn.Server(uvicorn.Config(asgi_app, log_level="warning")).run(sockets=[listener])
    os._exit(0)


if __name__ == "__main__":
    main()
