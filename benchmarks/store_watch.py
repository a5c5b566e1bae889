"""Watch a store as a reader does: the time at which each page, and the outcome of each run, can be read."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self

from scrape_do_celery.store import PartId

if TYPE_CHECKING:
    from scrape_do_celery.store import Store

_PAUSE = 0.001


class StoreWatch(AbstractContextManager["StoreWatch"]):
    """A thread that reads the store while the context lasts. Times are in seconds since 1970, and never early."""

    def __init__(self, store: Store) -> None:
        self._store, self._over = store, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._sizes: dict[PartId, int] = {}
        #: part -> position -> time of its page
        self.pages: dict[PartId, dict[int, float]] = {}
        #: part -> time of the outcome of its run
        self.outcomes: dict[PartId, float] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def add(self, run_id: str) -> None:
        """Watch the first part of a run from now on, until the run has its outcome."""
        part_id = PartId(run_id, 0)
        self.pages[part_id], self._sizes[part_id] = {}, 0

    def check(self) -> None:
        """Raise RuntimeError if the thread has ended after an error."""
        if not self._thread.is_alive():
            raise RuntimeError("the thread that watches the store has ended")

    def _watch(self) -> None:
        while not self._over.wait(_PAUSE):
            self._look([part_id for part_id in list(self.pages) if part_id not in self.outcomes])

    def _look(self, parts: list[PartId]) -> None:
        keys = self._store.keys
        with self._store.client.pipeline(transaction=False) as pipe:
            for part_id in parts:
                pipe.hlen(keys.contents(part_id))
                pipe.hget(keys.run(part_id.run_id), "outcome")
            found: list[Any] = pipe.execute()
        now = time.time()
        for at, part_id in enumerate(parts):
            size, outcome = found[2 * at : 2 * at + 2]
            if size > self._sizes[part_id]:
                self._note_pages(part_id, size)
            if outcome is not None:
                self.outcomes[part_id] = now

    def _note_pages(self, part_id: PartId, size: int) -> None:
        positions = [int(one) for one in self._store.client.hkeys(self._store.keys.contents(part_id))]
        now = time.time()
        for position in positions:
            self.pages[part_id].setdefault(position, now)
        self._sizes[part_id] = size
