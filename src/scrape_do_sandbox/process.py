"""Start and stop a sandbox in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from scrape_do_sandbox.control_client import SandboxControl

if TYPE_CHECKING:
    from types import TracebackType

_READY = "scrape-do sandbox listening on "


class SandboxError(RuntimeError):
    """The sandbox did not start."""


class SandboxProcess(SandboxControl):
    """A sandbox in a process of its own, on a free port. The options are those of the command line, times in seconds.

    `with` or `start()` starts it. The sandbox ends with the process that started it.
    """

    def __init__(
        self, task_seconds: float = 0.3, *, start_timeout: float = 20.0, port: int = 0, **options: Any
    ) -> None:
        # The command line has no flag for a tuple, so these options are set when the server runs.
        self._late = {name: value for name, value in options.items() if isinstance(value, (tuple, list))}
        flags = {name: value for name, value in options.items() if name not in self._late}
        self._command = _make_command({"task_seconds": task_seconds, "port": port, **flags})
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Start the sandbox and wait until it listens.

        Raises:
            SandboxError: If it does not listen within `start_timeout` seconds; the message has its output.
        """
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        line = self._first_line(self._process)
        if not line.startswith(_READY):
            self.stop()
            raise SandboxError(f"The sandbox did not start: {line.strip() or 'the sandbox printed nothing'}")
        self.url = line.removeprefix(_READY).strip()
        if self._late:
            self.configure(**self._late)
        return self

    def _first_line(self, process: subprocess.Popen[str]) -> str:
        # If the timer kills the process, its end of the pipe closes and the read returns an empty line.
        timer = threading.Timer(self._start_timeout, process.kill)
        timer.start()
        try:
            return process.stdout.readline() if process.stdout else ""
        finally:
            timer.cancel()

    @property
    def pid(self) -> int:
        """The process id, for tests that stop or kill the process."""
        return self._process.pid if self._process else 0

    def stop(self, timeout: float = 10.0) -> int | None:
        """Stop the sandbox; return its exit code, or None if it was not running.

        Args:
            timeout: Seconds after which the process is killed.
        """
        process, self._process = self._process, None
        if process is None:
            return None
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout)
        process.kill()
        code = process.wait()
        if process.stdout:
            process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _make_command(options: dict[str, Any]) -> list[str]:
    command = [sys.executable, "-m", "scrape_do_sandbox", "--parent-pid", str(os.getpid())]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            command.append(flag)
        elif value is not None and value is not False:
            command += [flag, str(value)]
    return command
