"""The times at which a clock halts on its way, because work becomes due."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from scrape_do_celery.store import PartId
from scrape_do_celery.store.commands.stats import ReadClock
from scrape_do_celery.store.keys import RUN_ENTRY
from scrape_do_celery.store.scans import list_due_entries, read_waiting_part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.store import Store
    from scrape_do_celery.testing.sandbox import Sandbox

#: Seconds by which the clock goes past each event, because times are rounded to a ten-thousandth of a second.
_JUST = 0.001


class UpcomingEvent(NamedTuple):
    """An event, `after` seconds from now.

    `is_poll` marks the poll of a job that has ended at Scrape.do. `is_deadline` marks the deadline of a run, or the end
    of a job.
    """

    after: float
    is_poll: bool = False
    is_deadline: bool = False


class UpcomingEvents:
    """The coming events of the store and the sandbox."""

    def __init__(self, store: Store, sandbox: Sandbox) -> None:
        self._store, self._sandbox = store, sandbox

    def next(self, *, least: float) -> float:
        """Return the seconds until the next event; for an event that may recur, return `least` or more."""
        return min(
            (event.after if event.is_deadline else max(least, event.after) for event in self._all()), default=math.inf
        )

    def next_poll(self) -> float:
        """Return the seconds until the next poll of a job that has ended by now."""
        return min((event.after for event in self._all() if event.is_poll), default=math.inf)

    def _all(self) -> Iterator[UpcomingEvent]:
        now = self._store.run(ReadClock())
        going_on = {job["id"]: job["ends_in"] for job in self._sandbox.jobs() if job["ends_in"] is not None}
        yield from (UpcomingEvent(seconds + _JUST, is_deadline=True) for seconds in going_on.values())
        for name, moment in list_due_entries(self._store):
            after = max(0.0, moment - now) + _JUST
            if name.endswith(f":{RUN_ENTRY}"):
                yield UpcomingEvent(after, is_deadline=True)
            elif (is_poll := self._is_poll(name, going_on)) is not None:
                yield UpcomingEvent(after, is_poll=is_poll)

    def _is_poll(self, name: str, going_on: dict[str, float]) -> bool | None:
        """Tell whether a part waits for the poll of an ended job; return None if its poll would see nothing new yet."""
        part = read_waiting_part(self._store, PartId.parse(name))
        if not part.is_running:
            return False
        if part.job_id in going_on and not part.stop_requested:
            return None
        return part.job_id not in going_on
