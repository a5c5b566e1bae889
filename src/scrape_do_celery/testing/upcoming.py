"""Where a clock halts on its way: the moments at which something is to be done."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from scrape_do_celery.store import PartId, PartState, ops
from scrape_do_celery.store.keys import RUN_ENTRY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.store import Store
    from scrape_do_celery.testing.sandbox import Sandbox

#: What is due in a ten-thousandth of a second is due: scores are rounded.
_JUST = 0.001


class UpcomingEvent(NamedTuple):
    """Seconds from now. `is_poll`: of a job that has ended at Scrape.do; `is_deadline`: of a run, or end of a job."""

    after: float
    is_poll: bool = False
    is_deadline: bool = False


class UpcomingEvents:
    """The moments that the store and the sandbox have before them."""

    def __init__(self, store: Store, sandbox: Sandbox) -> None:
        self._store, self._sandbox = store, sandbox
        self._client: Any = store.client

    def next(self, *, least: float) -> float:
        """Seconds until the next one; `least` at least, where it is one that may come again and again."""
        return min(
            (event.after if event.is_deadline else max(least, event.after) for event in self._all()), default=math.inf
        )

    def next_poll(self) -> float:
        """Seconds until the next look at a job that has ended by now."""
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
        """Whether a part waits for a look at a job that has ended; None where nothing would be seen yet."""
        part_id, client, keys = PartId.parse(name), self._client, self._store.keys
        state, job = client.hmget(keys.part(part_id.run_id, part_id.part), "state", "job")
        if state is None or state.decode() != PartState.RUNNING:
            return False
        if job is not None and job.decode() in going_on and not client.hexists(keys.run(part_id.run_id), "stop_reason"):
            return None
        return job is None or job.decode() not in going_on
