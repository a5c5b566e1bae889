"""Send Celery task events for live runs, for which no message waits. Flower and other monitors show the events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from scrape_do_celery import routing
from scrape_do_celery.errors.base import describe_error
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.redaction import message_reprs
from scrape_do_celery.store import RunState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrape_do_celery.runs.status import RunStatus
    from scrape_do_celery.store import RunRecord

log = get_logger(__name__)


class TaskEventSender:
    """A sender of events, while the task events of this worker are on (`-E`, or Flower, which switches them on)."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    @property
    def is_on(self) -> bool:
        """Whether a monitor listens."""
        events = self._consumer.event_dispatcher
        return events is not None and events.enabled and (not events.groups or "task" in events.groups)

    def send(self, runs: Iterable[tuple[RunRecord, RunStatus]]) -> None:
        """Send an event for each live run. The next change of a run makes up for a lost event."""
        if not self.is_on:
            return
        found = [event for record, status in runs if (event := event_for_run(record, status)) is not None]
        app = self._consumer.app
        try:
            # Use a connection of the pool: the connection of the consumer belongs to the thread of the consumer.
            with app.events.default_dispatcher(hostname=self._consumer.hostname) as dispatcher:
                for kind, fields in found:
                    dispatcher.send(kind, **fields)
        except (KombuError, RedisError, OSError) as error:
            log.info(
                "could not send task events of %d runs: %s; monitors show these runs late",
                len(found),
                describe_error(error),
                extra=log_fields("task_events_not_sent"),
            )


def event_for_run(record: RunRecord, status: RunStatus) -> tuple[str, dict[str, Any]] | None:
    """Return the event of a live or canceled run. Return None for a draft, and if the delivery announces the end.

    Celery makes a state of every unknown event `task-...`. The state stands until SUCCESS or FAILURE, and REVOKED does
    not replace it. For this reason a revoked run is announced as canceled.
    """
    if record.accepted is None or (status.state.is_outcome and status.state is not RunState.CANCELED):
        return None
    shown = message_reprs(record.run_id, record.summary)
    fields: dict[str, Any] = {
        "uuid": record.run_id,
        "name": routing.SCRAPE,
        "args": shown["argsrepr"],
        "kwargs": shown["kwargsrepr"],
        "result": status.progress_text(),
        "run": status.to_json(),
    }
    return f"task-{status.state.value}", fields
