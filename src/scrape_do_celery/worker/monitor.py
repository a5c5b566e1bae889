"""Telling Flower, and whoever else listens to Celery's events, of runs that no message stands for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from scrape_do_celery import routing
from scrape_do_celery.runs.status import RunStatus
from scrape_do_celery.store import RunState
from scrape_do_celery.store.about import shown_as

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrape_do_celery.store import RunRecord

log = logging.getLogger(__name__)


class Monitor:
    """Sends events while the task events of this worker are on (`-E`, or Flower, which switches them on)."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    @property
    def is_on(self) -> bool:
        """Whether somebody is to be told."""
        events = self._consumer.event_dispatcher
        return events is not None and events.enabled and (not events.groups or "task" in events.groups)

    def tell(self, records: Iterable[RunRecord]) -> None:
        """An event for each run that goes on. One that is lost is followed by the next."""
        if not self.is_on:
            return
        found = [event for record in records if (event := event_of(record)) is not None]
        app = self._consumer.app
        try:
            # Over a connection of the pool: the consumer's own is its thread's.
            with app.events.default_dispatcher(hostname=self._consumer.hostname) as dispatcher:
                for kind, fields in found:
                    dispatcher.send(kind, **fields)
        except (KombuError, RedisError, OSError) as error:
            log.info("monitors were not told of %d runs: %s", len(found), type(error).__name__)


def event_of(record: RunRecord) -> tuple[str, dict[str, Any]] | None:
    """The event of a run that goes on, or was canceled; None of one whose end its own task tells.

    Celery makes a state of any event `task-...` it does not know, which stands until SUCCESS or FAILURE come. Not even
    REVOKED takes its place: a run that was revoked is told of as canceled.
    """
    status = RunStatus.of(record)
    if record.accepted is None or (status.state.is_outcome and status.state is not RunState.CANCELED):
        return None
    shown = shown_as(record.run_id, record.summary)
    fields: dict[str, Any] = {
        "uuid": record.run_id,
        "name": routing.SCRAPE,
        "args": shown["argsrepr"],
        "kwargs": shown["kwargsrepr"],
        "result": _progress(status),
        "run": status.to_json(),
    }
    return f"task-{status.state.value}", fields


def _progress(status: RunStatus) -> str:
    text = f"{status.done} of {status.total} tasks done"
    return f"{text}, {status.failed} failed" if status.failed else text
