"""Check the durability and the free memory of the store from time to time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.steps.once import OnceFilter

if TYPE_CHECKING:
    from scrape_do_celery.store import AsyncStore

log = get_logger(__name__)

#: Seconds for which an answer about durability is valid, and an answer about memory.
_DURABLE_FOR, _MEMORY_FOR = 2.0, 1.0
#: Shares of the store's memory limit above which no job is bought, and no page is fetched.
BUY_BELOW, FETCH_BELOW = 0.80, 0.95
#: The policy of a full store that refuses writes. Any other policy deletes keys.
NO_EVICTION = "noeviction"
#: Seconds until a full store is checked again.
FULL_STORE_DELAY = 5.0


def is_full(error: Exception) -> bool:
    """Return whether the full store refused a write."""
    return isinstance(error, StoreUnavailableError) and error.reason == "OOM"


@dataclass
class StoreHealth:
    """The durability and the memory of the store. An answer is reused as long as it is valid."""

    store: AsyncStore
    _durable: bool = False
    _durable_until: float = 0.0
    _used: float = 0.0
    _used_until: float = 0.0
    _policy: str = NO_EVICTION
    _once: OnceFilter = field(default_factory=OnceFilter)
    _told: set[float] = field(default_factory=set)
    #: Callers that find an answer too old at the same time send one request.
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def is_durable(self) -> bool:
        """Return whether a restart of the server loses no acknowledged write. If the server does not say, it may."""
        async with self._asking:
            if time.monotonic() > self._durable_until:
                self._durable = await self._ask_durable()
                self._durable_until = time.monotonic() + _DURABLE_FOR
            return self._durable

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
            info = await self.store.client.info("memory")
        except ResponseError:
            return 0.0  # the server does not report its memory, but refuses writes when it is full
        self._policy = info.get("maxmemory_policy", NO_EVICTION)
        return _used_share(info)

    async def _ask_durable(self) -> bool:
        try:
            if (await self.store.client.info("server")).get("redis_mode") == "cluster":
                # The slot may move to a node that syncs no write, and a replica that this node does not count may take
                # over.
                return False
            found = await self.store.client.config_get("*append*")
            replicas = (await self.store.client.info("replication")).get("connected_slaves", 0)
        except ResponseError:
            return False
        # A replica that takes over may lack the last writes, even if the server synced every write.
        always = found.get("appendfsync") == "always" and found.get("no-appendfsync-on-rewrite") != "yes"
        return found.get("appendonly") == "yes" and always and not int(replicas)


def _used_share(info: dict[str, Any]) -> float:
    limit = int(info.get("maxmemory", 0))
    return int(info.get("used_memory", 0)) / limit if limit else 0.0
