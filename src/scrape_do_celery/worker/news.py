"""Telling of runs that have moved: signals for this process, Celery events for whoever monitors."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from scrape_do_celery.runs.host import host
from scrape_do_celery.runs.status import RunStatus
from scrape_do_celery.signals import run_changed
from scrape_do_celery.store import ops

if TYPE_CHECKING:
    from scrape_do_celery.runs import Producer
    from scrape_do_celery.worker.monitor import Monitor

log = logging.getLogger(__name__)

#: Seconds between two looks, and runs that are told of at a time.
_EVERY, _MOST = 1.0, 100


class News(threading.Thread):
    """Tells of what has moved until it is stopped. Of each move, one worker tells."""

    def __init__(self, producer: Producer, monitor: Monitor | None = None) -> None:
        super().__init__(name="scrape-do-news", daemon=True)
        self._producer, self._monitor = producer, monitor
        self._halt = threading.Event()

    def run(self) -> None:
        """Looks, tells, sleeps. Nothing that goes wrong in one look ends it."""
        more = False
        while not self._halt.wait(0 if more else _EVERY):
            try:
                more = self.tell()
            except Exception as error:  # noqa: BLE001 (stores and brokers fail in many ways; what was not told is told later)
                more = False
                log.info("news of runs will be told later: %s", type(error).__name__)

    def tell(self) -> bool:
        """One look; whether there is more to be told."""
        store = self._producer.store
        moved = store.run(ops.moved(store.keys, _MOST))
        if not moved.run_ids:
            return False
        looks = store.run_all([ops.view(store.keys, run_id) for run_id in moved.run_ids])
        found = [record for record in looks if record is not None]
        # What cannot be read here is told by a worker with the key.
        records = [record for record in found if record.locked is None]
        untold = {record.run_id for record in found if record.locked is not None}
        host().tidy()
        untold |= {record.run_id for record in records if not self._told(RunStatus.of(record))}
        host().tidy()
        if self._monitor is not None:
            self._monitor.tell(records)
        store.run(ops.told(store.keys, moved.mark, [run_id for run_id in moved.run_ids if run_id not in untold]))
        return len(moved.run_ids) == _MOST

    def _told(self, status: RunStatus) -> bool:
        answers = run_changed.send(sender=self._producer.app, status=status)
        return not any(isinstance(answer, Exception) for _, answer in answers)

    def stop(self) -> None:
        """Ends the thread, after the look that is under way."""
        self._halt.set()
        if self.is_alive():
            self.join(timeout=5)
