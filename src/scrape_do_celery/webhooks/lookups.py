"""Answers of the store that many deliveries need, and that stay valid for a while."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from redis.exceptions import ResponseError

from scrape_do_celery.rules.waits import FETCH_BELOW, used_share
from scrape_do_celery.store.commands.deliveries import ReadDeliveryTarget

if TYPE_CHECKING:
    from scrape_do_celery.store import PartId, Store
    from scrape_do_celery.store.commands.deliveries import DeliveryTarget

#: Parts whose targets are remembered. A part has up to 1,000 targets.
_TARGETS: Final = 128
#: Seconds for which an answer about memory is valid.
_MEMORY_FOR: Final = 1.0


class TargetCache:
    """The targets of the parts that got the last deliveries. Threads may share it."""

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, threading.Lock()
        self._found: OrderedDict[PartId, DeliveryTarget] = OrderedDict()

    def find(self, part_id: PartId) -> DeliveryTarget | None:
        """Return the target of a part that was read before, or None."""
        with self._lock:
            if part_id in self._found:
                self._found.move_to_end(part_id)
            return self._found.get(part_id)

    def read(self, part_id: PartId) -> DeliveryTarget | None:
        """Read the target of a part. Remember the target if its job is known, because the job decides the rest."""
        target = self._store.run(ReadDeliveryTarget(part_id))
        with self._lock:
            self._found.pop(part_id, None)
            if target is not None and target.job_id:
                self._found[part_id] = target
            if len(self._found) > _TARGETS:
                self._found.popitem(last=False)
        return target


class StoreMemory:
    """The share of the store's memory that is used. Threads may share it."""

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, threading.Lock()
        self._used = self._used_until = 0.0

    def is_full(self) -> bool:
        """Return whether the store is too full for pages. One thread asks, and the others take the last answer."""
        if time.monotonic() > self._used_until and self._lock.acquire(blocking=False):
            try:
                self._used = self._ask_used()
                self._used_until = time.monotonic() + _MEMORY_FOR
            finally:
                self._lock.release()
        return self._used >= FETCH_BELOW

    def _ask_used(self) -> float:
        try:
            info = self._store.call_server(lambda client: client.info("memory"))
        except ResponseError:
            return 0.0  # the server does not report its memory, but refuses writes when it is full
        return used_share(info.get("used_memory"), info.get("maxmemory"))
