"""Redis-protocol servers, and what they tell of themselves."""

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
    """A new server of the embedded kind; it ends with the context, or with the process that started it."""

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
        """The URL of one of its databases."""
        return f"{self._server.url.rpartition('/')[0]}/{database}"

    def open(self, database: int) -> redis.Redis:
        """A client of another database than the first."""
        return redis.Redis.from_url(self.url(database))

    def info(self, name: str) -> Any:
        """One figure of `INFO all`."""
        return self.client.info("all")[name]

    @property
    def memory(self) -> int:
        """Bytes that it holds now."""
        return int(self.client.info("memory")["used_memory"])

    @property
    def bytes_in(self) -> int:
        """Bytes that it was sent since its start."""
        return int(self.client.info("stats")["total_net_input_bytes"])

    @property
    def commands(self) -> int:
        """Commands that it carried out since its start."""
        return int(self.client.info("stats")["total_commands_processed"])

    @property
    def process(self) -> psutil.Process:
        """Its process."""
        return psutil.Process(self._server.pid)

    @property
    def script_seconds(self) -> float:
        """The time that all scripts took since its start."""
        return float(self.client.info("commandstats").get("cmdstat_evalsha", {"usec": 0})["usec"]) / 1e6


class MemoryPeak(AbstractContextManager["MemoryPeak"]):
    """The most that a server held while the context lasted, in bytes: `peak`, and `before` it began."""

    def __init__(self, server: RedisServer) -> None:
        self._server, self._over = server, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before = self.peak = 0

    @property
    def growth(self) -> int:
        """Peak over what it held before."""
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
        # The server's own mark counts where it moved: then it was set in here.
        self.peak = max(self.peak, ever if ever > self._highest else 0)

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE):
            self.peak = max(self.peak, self._server.memory)

    def _ever(self) -> int:
        return int(self._server.client.info("memory")["used_memory_peak"])
