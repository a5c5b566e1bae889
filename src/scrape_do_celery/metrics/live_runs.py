"""A counter of the live runs, which counts between the scrapes and in small pages, to keep the load on Redis low."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from scrape_do_celery.log_fields import log_fields
from scrape_do_celery.store.commands.arguments import START
from scrape_do_celery.store.commands.stats import CountLiveRuns, LiveRunCount, ReadAccounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.store import Store

log = logging.getLogger(__name__)

#: Rest between two counts: seconds at least, and as a multiple of the duration of the last count.
_REST, _TIMES = 1.0, 50.0


class LiveRunCounter(threading.Thread):
    """A thread that counts live runs until it is stopped. Its rests are fifty times as long as its counts."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name="scrape-do-live-runs", daemon=True)
        self._store, self._clock = store, clock
        self._halt = threading.Event()
        self._last: tuple[LiveRunCount, float] | None = None

    def run(self) -> None:
        """Count and rest until stopped. An error of Redis in one count does not end the thread."""
        rest = 0.0
        while not self._halt.wait(rest):
            began = self._clock()
            try:
                self.count_once()
            except RedisError as error:
                log.warning(
                    "could not count the live runs: %s; the next count follows later",
                    type(error).__name__,
                    extra=log_fields("live_runs_not_counted"),
                )
            rest = max(_REST, _TIMES * (self._clock() - began))

    def count_once(self) -> LiveRunCount:
        """Count the live runs. Keep and return the count."""
        store, found = self._store, LiveRunCount()
        for account in (None, *store.run(ReadAccounts())):
            page = store.run(CountLiveRuns(account))
            found.add(page)
            while page.cursor != START:
                page = store.run(CountLiveRuns(account, page.cursor))
                found.add(page)
        self._last = found.close(), self._clock()
        return found

    def last_count(self) -> tuple[LiveRunCount, float] | None:
        """Return the last count of live runs and its age in seconds, or None before the first count."""
        return None if self._last is None else (self._last[0], self._clock() - self._last[1])

    def stop(self) -> None:
        """Stop the thread. Wait up to 5 seconds for the count that is under way."""
        self._halt.set()
        if self.is_alive():
            self.join(timeout=5)
