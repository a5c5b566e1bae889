"""Receivers of webhooks, each in one process of a real server."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from contextlib import AbstractContextManager, ExitStack, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from benchmarks import measure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: The path of the receiver, in front of the segment that a webhook adds.
PATH: Final = "/hooks"
_READY, _STOP, _FORBIDDEN = 60.0, 20.0, 403
# Eight threads, as asynchronous faces have: each delivery waits for the disk of the store.
_GUNICORN = ("gunicorn", "--workers", "1", "--threads", "8", "--log-level", "warning", "--bind", "127.0.0.1:{port}")
_UVICORN = ("uvicorn", "--log-level", "warning", "--no-access-log", "--port", "{port}")
#: Name of a face -> the module that `python -m` runs, with its arguments.
FACES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "django": (*_GUNICORN, "benchmarks.django_app:application"),
        "django async": (*_UVICORN, "benchmarks.django_app:asgi_application"),
        "flask": (*_GUNICORN, "benchmarks.flask_app:app"),
        "wsgi": (*_GUNICORN, "scrape_do_celery.webhooks.wsgi:app"),
        "asgi": (*_UVICORN, "scrape_do_celery.webhooks.asgi:app"),
        "command": ("scrape_do_celery", "webhook", "--port", "{port}"),
    }
)


def find_ports(number: int) -> list[int]:
    """Return different ports of this machine that are free now."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [int(listener.getsockname()[1]) for listener in listeners]


class Receiver(AbstractContextManager["Receiver"]):
    """A receiver that runs while the context lasts. It answers after `until_ready`."""

    def __init__(self, face: str, port: int, environment: Mapping[str, str], folder: Path) -> None:
        self._face, self.port, self._environment, self._folder = face, port, environment, folder
        self._log = folder / f"receiver {face}.log"

    def __enter__(self) -> Self:
        words = [word.format(port=self.port) for word in FACES[self._face]]
        environment = {**os.environ, **self._environment, "BENCHMARK_FACE": self._face}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", *words],
                env=environment,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP)
        # Kill the whole session, because children of a dead main process must not remain.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def until_ready(self) -> Self:
        """Wait until the server answers."""
        measure.until(self._answers, _READY, f"the receiver {self._face} answers")
        return self

    @property
    def pid(self) -> int:
        """The id of the server's main process."""
        return self._process.pid

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"the receiver {self._face} ended:\n{self._log.read_text(errors='replace')[-3_000:]}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            connection.request("POST", f"{PATH}/nobody")
            return connection.getresponse().status == _FORBIDDEN
        return False
