"""Redis-protocol servers, and their figures."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self

import psutil
import redis

from scrape_do_celery import embedded

if TYPE_CHECKING:
    from pathlib import Path

    from scrape_do_celery.embedded import Fsync

_SAMPLE = 0.02


class RedisServer(AbstractContextManager["RedisServer"]):
    """A new embedded server, which ends with the context or with the process that started it."""

    def __init__(self, folder: Path, fsync: Fsync = "always") -> None:
        self._folder, self._fsync = folder, fsync

    def __enter__(self) -> Self:
        self._server = embedded.ensure(self._folder, tie_to_parent=True, appendfsync=self._fsync, timeout=60)
        self.client = redis.Redis.from_url(self._server.url)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._server.stop()

    def url(self, database: int = 0) -> str:
        """Return the URL of one of the databases."""
        return f"{self._server.url.rpartition('/')[0]}/{database}"

    def open(self, database: int) -> redis.Redis:
        """Return a client of another database than the first."""
        return redis.Redis.from_url(self.url(database))

    def info(self, name: str) -> Any:
        """Return one figure of `INFO all`."""
        return self.client.info("all")[name]

    @property
    def memory(self) -> int:
        """The memory in use, in bytes."""
        return int(self.client.info("memory")["used_memory"])

    @property
    def bytes_in(self) -> int:
        """Bytes received since the start."""
        return int(self.client.info("stats")["total_net_input_bytes"])

    @property
    def commands(self) -> int:
        """Commands executed since the start."""
        return int(self.client.info("stats")["total_commands_processed"])

    @property
    def process(self) -> psutil.Process:
        """The server's process."""
        return psutil.Process(self._server.pid)

    @property
    def script_seconds(self) -> float:
        """Seconds spent in all scripts since the start."""
        return float(self.client.info("commandstats").get("cmdstat_evalsha", {"usec": 0})["usec"]) / 1e6


class MemoryPeak(AbstractContextManager["MemoryPeak"]):
    """The memory peak of a server while the context lasts, in bytes: `peak`, and `before` for its start."""

    def __init__(self, server: RedisServer) -> None:
        self._server, self._over = server, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before = self.peak = 0

    @property
    def growth(self) -> int:
        """The peak minus the memory at the start of the context."""
        return self.peak - self.before

    def __enter__(self) -> Self:
        self._server.client.config_resetstat()
        self.before = self._server.memory
        self._highest = self._ever()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        ever = self._ever()
        # If the server's own peak has moved, it was reached in this context and counts.
        self.peak = max(self.peak, ever if ever > self._highest else 0)

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE):
            self.peak = max(self.peak, self._server.memory)

    def _ever(self) -> int:
        return int(self._server.client.info("memory")["used_memory_peak"])
