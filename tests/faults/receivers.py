"""The receivers of the lab: real servers with the faces of webhooks on one socket, whose processes are killed.

The lab holds the socket, as a load balancer does: while a process is dead, its callers wait or go to another one.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

_ROOT = Path(__file__).parents[2]
KEY = "b7f5d0a1c6e94f3288ad1e5c7034b96e5d21f8a07c4e4b9d"
#: How deliveries are used: `hint` or `content`.
TRUSTS = ("hint", "content")
#: Seconds between two kills of a process, and seconds for which a process may be frozen instead.
_KILL_PAUSE, _FREEZE = (1.5, 8.0), (0.2, 1.5)
_FREEZE_SHARE = 0.25
_BACKLOG = 1024
#: A server of each kind. A dead process is forked again from a process that has imported everything.
_GUNICORN = ("-m", "gunicorn", "--preload", "--workers", "2", "--threads", "8", "--timeout", "20")
_SERVERS = {
    "wsgi": (*_GUNICORN, "--bind", "fd://{fd}", "tests.faults.receiver_apps:wsgi_app"),
    "asgi": ("-m", "tests.faults.asgi_receiver", "{fd}"),
}


class Receivers:
    """Servers of webhooks, each with processes that may be killed."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._folder, self._rng = folder, rng
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._running: list[subprocess.Popen[bytes]] = []
        self._frozen: list[tuple[float, int]] = []
        self._next_kill = float("inf")
        self.kills = 0

    @property
    def url(self) -> str:
        """The base URL of the webhooks."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/hooks"

    def settings(self, trust: str) -> dict[str, Any]:
        """Return the settings of an application whose webhooks these servers receive."""
        return {
            "webhook_base_url": self.url,
            "webhook_keys": KEY,
            "webhook_trust": trust,
            # A run whose deliveries are lost must still end within the time of a trial.
            "webhook_poll_max": 2.0,
        }

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the servers."""
        fd = self._socket.fileno()
        for name, arguments in _SERVERS.items():
            with (self._folder / f"receiver-{name}.log").open("ab") as log:
                self._running.append(
                    subprocess.Popen(
                        [sys.executable, *(argument.format(fd=fd) for argument in arguments)],
                        cwd=_ROOT,
                        env={**os.environ, **environment},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        pass_fds=(fd,),
                    )
                )
        self._plan_kill()

    def _plan_kill(self) -> None:
        self._next_kill = time.monotonic() + self._rng.uniform(*_KILL_PAUSE)

    def disturb_if_due(self) -> None:
        """Kill or freeze a process if its time has come, and resume frozen processes.

        Raises:
            RuntimeError: a server ended by itself.
        """
        now = time.monotonic()
        for entry in [entry for entry in self._frozen if entry[0] <= now]:
            self._frozen.remove(entry)
            _send_signal(entry[1], signal.SIGCONT)
        if now < self._next_kill:
            return
        self._plan_kill()
        for server in self._running:
            if server.poll() is not None:
                raise RuntimeError(f"a receiver ended with {server.returncode}: {self.read_logs()[-2000:]}")
        processes = [pid for server in self._running for pid in _list_children(server.pid)]
        if processes:
            pid = self._rng.choice(processes)
            is_frozen = self._rng.random() < _FREEZE_SHARE
            _send_signal(pid, signal.SIGSTOP if is_frozen else signal.SIGKILL)
            if is_frozen:
                self._frozen.append((now + self._rng.uniform(*_FREEZE), pid))
            else:
                self.kills += 1

    def read_logs(self) -> str:
        """Return what the servers have printed."""
        return "\n".join(file.read_text(errors="replace") for file in sorted(self._folder.glob("receiver-*.log")))

    def stop(self) -> None:
        """End all processes."""
        for _, pid in self._frozen:
            _send_signal(pid, signal.SIGCONT)
        for server in self._running:
            server.terminate()
        for server in self._running:
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _list_children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _send_signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
