"""Announce changed runs, by signals in this process and by Celery events for monitors."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from scrape_do_celery.runs.hooks import hooks
from scrape_do_celery.runs.status import RunStatus
from scrape_do_celery.signals import run_changed
from scrape_do_celery.store.commands.changes import AcknowledgeChangedRuns, TakeChangedRuns
from scrape_do_celery.store.commands.runs import ReadRun

if TYPE_CHECKING:
    from scrape_do_celery.runs import AppContext
    from scrape_do_celery.worker.task_events import TaskEventSender

log = logging.getLogger(__name__)

#: Seconds between two passes, and runs per pass, at most.
_EVERY, _BATCH_LIMIT = 1.0, 100


class ChangeNotifier(threading.Thread):
    """The thread that announces changed runs until stopped. Each change is announced by one worker."""

    def __init__(self, app_context: AppContext, events: TaskEventSender | None = None) -> None:
        super().__init__(name="scrape-do-notifier", daemon=True)
        self._app_context, self._events = app_context, events
        self._halt = threading.Event()

    def run(self) -> None:
        """Announce and sleep in turns. An error in one pass does not end the thread."""
        more = False
        while not self._halt.wait(0 if more else _EVERY):
            try:
                more = self.notify_once()
            except Exception as error:  # noqa: BLE001 (stores and brokers fail in many ways)
                more = False
                log.info("Could not announce changed runs (%s); the next pass will retry.", type(error).__name__)

    def notify_once(self) -> bool:
        """Announce one batch. Return whether more changes wait."""
        store = self._app_context.store
        changed = store.run(TakeChangedRuns(_BATCH_LIMIT))
        if not changed.run_ids:
            return False
        looks = store.run_all([ReadRun(run_id) for run_id in changed.run_ids])
        found = [record for record in looks if record is not None]
        # A worker with the encryption key announces a run that this worker cannot read.
        records = [record for record in found if record.unreadable is None]
        untold = {record.run_id for record in found if record.unreadable is not None}
        hooks().close_connections()
        untold |= {record.run_id for record in records if not self._signal(RunStatus.from_record(record))}
        hooks().close_connections()
        if self._events is not None:
            self._events.send(records)
        store.run(
            AcknowledgeChangedRuns(changed.receipt, [run_id for run_id in changed.run_ids if run_id not in untold])
        )
        return len(changed.run_ids) == _BATCH_LIMIT

    def _signal(self, status: RunStatus) -> bool:
        answers = run_changed.send(sender=self._app_context.app, status=status)
        return not any(isinstance(answer, Exception) for _, answer in answers)

    def stop(self) -> None:
        """End the thread after its current pass. Wait at most 5 seconds for the end."""
        self._halt.set()
        if self.is_alive():
            self.join(timeout=5)
