"""The times at which a clock halts on its way, because work becomes due."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from scrape_do_celery.store import PartId, PartState, ops
from scrape_do_celery.store.keys import RUN_ENTRY

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
        self._client: Any = store.client

    def next(self, *, least: float) -> float:
        """Return the seconds until the next event; for an event that may recur, return `least` or more."""
        return min(
            (event.after if event.is_deadline else max(least, event.after) for event in self._all()), default=math.inf
        )

    def next_poll(self) -> float:
        """Return the seconds until the next poll of a job that has ended by now."""
        return min((event.after for event in self._all() if event.is_poll), default=math.inf)

    def _all(self) -> Iterator[UpcomingEvent]:
        now = self._store.run(ops.clock())
        going_on = {job["id"]: job["ends_in"] for job in self._sandbox.jobs() if job["ends_in"] is not None}
        yield from (UpcomingEvent(seconds + _JUST, is_deadline=True) for seconds in going_on.values())
        for name, moment in self._due():
            after = max(0.0, moment - now) + _JUST
            if name.endswith(f":{RUN_ENTRY}"):
                yield UpcomingEvent(after, is_deadline=True)
            elif (is_poll := self._is_poll(name, going_on)) is not None:
                yield UpcomingEvent(after, is_poll=is_poll)

    def _due(self) -> Iterator[tuple[str, float]]:
        client, keys = self._client, self._store.keys
        accounts = client.smembers(keys.accounts)
        for key in (keys.due, *(keys.poll_set(account.decode()) for account in accounts)):
            for name, moment in client.zrange(key, 0, -1, withscores=True):
                yield name.decode(), moment

    def _is_poll(self, name: str, going_on: dict[str, float]) -> bool | None:
        """Tell whether a part waits for the poll of an ended job; return None if its poll would see nothing new yet."""
        part_id, client, keys = PartId.parse(name), self._client, self._store.keys
        state, job = client.hmget(keys.part(part_id.run_id, part_id.part), "state", "job")
        if state is None or state.decode() != PartState.RUNNING:
            return False
        if job is not None and job.decode() in going_on and not client.hexists(keys.run(part_id.run_id), "stop_reason"):
            return None
        return job is None or job.decode() not in going_on
