"""The parts that the demo starts and stops: a server, a site, the sandbox, a worker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import redis

from examples.demo.site import closed_port, site
from scrape_do_celery import embedded
from scrape_do_sandbox import SandboxError, SandboxProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from celery.result import AsyncResult

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".demo"
_READY = "ready."
#: Seconds for the start and the stop, and the lines of the log to show. The stop is short, because a prefork child that
#: is stopped while it reports may wait for half a minute.
_START, _STOP, _TAIL = 30.0, 5.0, 25


class DemoError(RuntimeError):
    """A part that the demo needs did not work."""


class Parts(AbstractContextManager["Parts"]):
    """All parts of the demo. When the context ends, every part is stopped, after any error as well."""

    def __init__(self, *, live: bool) -> None:
        self.live = live
        self.site = self.refused = ""
        self._stack = ExitStack()
        self._worker: subprocess.Popen[bytes] | None = None
        self._sandbox_pid = 0
        self._has_given_store = False

    def __enter__(self) -> Self:
        try:
            self._start(self._stack)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def _start(self, stack: ExitStack) -> None:
        self.folder = stack.enter_context(_own_folder())
        self.log = self.folder / "worker.log"
        self._environment(stack)
        if not self.live:
            self.site = stack.enter_context(site())
            self.refused = f"http://127.0.0.1:{stack.enter_context(closed_port())}/"
            self._sandbox(stack)
        stack.callback(self._stop_worker)
        self._start_worker()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _undisturbed():
            if isinstance(error, Exception):
                self.show_log()
            self._stack.close()

    def _environment(self, stack: ExitStack) -> None:
        """Prepare a server, with a queue and keys of the demo's own.

        The demo and other workers must not take each other's jobs.
        """
        name = f"scrape_do_demo_{self.folder.name}"
        os.environ |= {"SCRAPE_DO_QUEUE": name, "SCRAPE_DO_KEY_PREFIX": name, "TITLES_DIR": str(HOME / "titles")}
        os.environ |= {"SCRAPE_DO_POLL_INITIAL_INTERVAL": "0.3", "SCRAPE_DO_POLL_MAX_INTERVAL": "5"}
        if os.environ.get("SCRAPE_DO_REDIS_URL"):
            begin("store", "yours, at SCRAPE_DO_REDIS_URL")
            say("used")
            stack.callback(_sweep, name)
            self._has_given_store = True
            return
        begin("store", "an embedded Redis-protocol server")
        server = embedded.ensure(self.folder / "redis", tie_to_parent=True, appendfsync="always")
        stack.callback(server.stop)
        os.environ["SCRAPE_DO_REDIS_URL"] = server.url
        for other in ("SCRAPE_DO_BROKER_URL", "SCRAPE_DO_RESULT_BACKEND"):
            os.environ.pop(other, None)
        say(f"pid {server.pid}")

    def _sandbox(self, stack: ExitStack) -> None:
        begin("sandbox", "a local Scrape.do")
        try:
            sandbox = stack.enter_context(SandboxProcess(task_seconds=1.0, spread=0.8))
        except SandboxError as error:
            raise DemoError(str(error)) from error
        os.environ |= {"SCRAPE_DO_API_URL": sandbox.url, "SCRAPE_DO_API_KEY": "any-token-will-do"}
        self._sandbox_pid = sandbox.pid
        say(f"{sandbox.url}, pid {sandbox.pid}")

    def _start_worker(self) -> None:
        celery = [sys.executable, "-m", "celery", "-A", "worker", "worker", "--concurrency=2", "--loglevel=INFO"]
        celery += ["--without-mingle", "--without-gossip", "-n", f"demo-{os.getpid()}@%h"]
        command = [sys.executable, "-m", "examples.demo.tied", str(os.getpid()), *celery]
        begin("worker", "celery -A worker worker")
        with self.log.open("ab") as log:
            # The worker has a session of its own, so that Ctrl-C reaches only the demo, which stops parts in order.
            self._worker = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)  # noqa: S603
        until = time.monotonic() + _START
        while _READY not in self.log.read_text(errors="replace"):
            self.check()
            if time.monotonic() > until:
                raise DemoError(f"the worker was not ready after {_START:g} s")
            time.sleep(0.05)
        say(f"pid {self._worker.pid}, log in {self.log.relative_to(ROOT)}")

    def check(self) -> None:
        """Raise DemoError if the worker or the sandbox has ended."""
        if self._worker is not None and self._worker.poll() is not None:
            raise DemoError(f"the worker ended with {self._worker.returncode}")
        if self._sandbox_pid and os.waitid(os.P_PID, self._sandbox_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            raise DemoError("the sandbox ended")

    def forget_later(self, *results: AsyncResult) -> None:
        """Remove Celery's results from the user's server when the demo ends."""
        for result in results if self._has_given_store else ():
            self._stack.callback(_forget, result)

    def _stop_worker(self) -> None:
        worker = self._worker
        if worker is None:
            return
        worker.terminate()
        with suppress(subprocess.TimeoutExpired):
            worker.wait(_STOP)
        with suppress(ProcessLookupError, PermissionError):
            # If the worker has died without its pool processes, end these as well.
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def show_log(self) -> None:
        """Print the end of the worker's log."""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL:] if self.log.exists() else []
        sys.stderr.write("\n".join(["", f"--- the last lines of {HOME.name}/worker.log", *lines, "---", ""]))


def begin(name: str, text: str) -> None:
    """Name a part before it is started; `say` ends the line."""
    sys.stdout.write(f"  {name:<9} {text} ... ")
    sys.stdout.flush()


def say(text: str) -> None:
    """End the line about a part."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Yield a folder for this demo alone. Its log is kept as the log of the last demo."""
    HOME.mkdir(exist_ok=True)
    for old in HOME.glob("[0-9]*-*"):
        if not _lives(int(old.name.partition("-")[0])):
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=HOME))
    try:
        yield folder
    finally:
        with suppress(FileNotFoundError):
            (folder / "worker.log").replace(HOME / "worker.log")
        shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _forget(result: AsyncResult) -> None:
    with suppress(redis.RedisError):
        result.forget()


def _sweep(prefix: str) -> None:
    """Delete the demo's keys from the user's server."""
    from scrape_do_celery import Settings

    settings = Settings()
    for url in (settings.redis_url, settings.broker_url, settings.result_backend):
        with suppress(redis.RedisError, ValueError), redis.Redis.from_url(url) as client:
            if keys := list(client.scan_iter(f"*{prefix}*", count=1000)):
                client.unlink(*keys)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore further Ctrl-C while parts are stopped; each stop has a deadline of its own."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
