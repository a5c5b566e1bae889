"""Check the durability and the free memory of the store from time to time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.rules.waits import BUY_BELOW, FETCH_BELOW, NO_EVICTION, used_share
from scrape_do_celery.steps.once import OnceFilter
from scrape_do_celery.store.sentinels import is_watched

if TYPE_CHECKING:
    from scrape_do_celery.store import AsyncStore

log = get_logger(__name__)

#: Seconds for which an answer about durability is valid, and an answer about memory.
_DURABLE_FOR, _MEMORY_FOR = 2.0, 1.0
#: Seconds until a full store is checked again.
FULL_STORE_DELAY = 5.0


def is_full(error: Exception) -> bool:
    """Return whether the full store refused a write."""
    return isinstance(error, StoreUnavailableError) and error.reason == "OOM"


@dataclass
class StoreHealth:
    """The durability and the memory of the store. An answer is reused as long as it is valid."""

    store: AsyncStore
    _durable_process: str = ""
    _durable_until: float = 0.0
    _used: float = 0.0
    _used_until: float = 0.0
    _policy: str = NO_EVICTION
    _once: OnceFilter = field(default_factory=OnceFilter)
    _told: set[float] = field(default_factory=set)
    #: Callers that find an answer too old at the same time send one request.
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def find_durable_process(self) -> str:
        """Return the id of the server process if a restart of it loses no acknowledged write; an empty text otherwise.

        A server that does not say may lose writes.
        """
        async with self._asking:
            if time.monotonic() > self._durable_until:
                self._durable_process = await self._ask_durable()
                self._durable_until = time.monotonic() + _DURABLE_FOR
            return self._durable_process

    async def is_below(self, below: float) -> bool:
        """Return whether the store is below this share of its memory limit. A store without a limit always is.

        A store that deletes keys when it is full counts as full for purchases: marks of purchases would be among them.
        """
        if time.monotonic() > self._used_until:
            async with self._asking:
                if time.monotonic() > self._used_until:
                    self._used = await self._ask_used()
                    self._used_until = time.monotonic() + _MEMORY_FOR
        if below == BUY_BELOW and self._policy != NO_EVICTION:
            self._warn_eviction()
            return False
        room = self._used < below
        if room:
            self._told.discard(below)
        elif below not in self._told:
            self._told.add(below)
            what = "fetching pauses" if below == FETCH_BELOW else "no job is bought"
            log.error(
                "the store uses %.0f %% of its memory limit: %s until less is used; raise maxmemory, or wait for pages "
                "to expire; do not flush the store, because it holds paid pages",
                100 * self._used,
                what,
                extra=log_fields("store_nearly_full"),
            )
        return room

    def note_write_refused(self) -> None:
        """Note that the full store refused a write.

        For `FULL_STORE_DELAY` seconds, this process buys and fetches nothing.
        """
        self._used, self._used_until = 1.0, time.monotonic() + FULL_STORE_DELAY

    def _warn_eviction(self) -> None:
        if self._once.is_first("eviction", self._policy):
            log.error(
                "maxmemory-policy is %s, which may delete the marks of purchases: no job is bought until it is "
                "noeviction",
                self._policy,
                extra=log_fields("store_evicts"),
            )

    async def _ask_used(self) -> float:
        try:
            info = await self.store.call_server(lambda client: client.info("memory"))
        except ResponseError:
            return 0.0  # the server does not report its memory, but refuses writes when it is full
        self._policy = info.get("maxmemory_policy", NO_EVICTION)
        return used_share(info.get("used_memory"), info.get("maxmemory"))

    async def _ask_durable(self) -> str:
        if is_watched(self.store.client):
            return ""  # sentinels may promote a replica that is not connected at this moment
        try:
            server, replication, config = await self.store.call_server(_read_facts)
        except ResponseError:
            return ""
        if server.get("redis_mode") == "cluster":
            # The slot may move to a node that syncs no write, and a replica that is not counted here may take over.
            return ""
        # A replica that takes over may lack the last writes, even if the server synced every write. A replica that
        # was cut off may come back within the life of the backlog, and take over before it is counted again.
        replicas = int(replication.get("connected_slaves", 0)) or int(replication.get("repl_backlog_active", 0))
        always = config.get("appendfsync") == "always" and config.get("no-appendfsync-on-rewrite") != "yes"
        # After a failover, an old connection still reaches the server that was demoted. Its word about the successor
        # would hide that the successor's last writes can be lost: an intent among them is a second purchase.
        is_primary = replication.get("role") == "master"
        is_durable = config.get("appendonly") == "yes" and always and is_primary and not replicas
        return str(server.get("run_id", "")) if is_durable else ""


async def _read_facts(client: Any) -> list[Any]:
    """Read all facts on one connection: facts of two servers behind one address would vouch for neither."""
    async with client.pipeline(transaction=False) as pipeline:
        pipeline.info("server")
        pipeline.info("replication")
        pipeline.config_get("*append*")
        facts: list[Any] = await pipeline.execute()
        return facts
