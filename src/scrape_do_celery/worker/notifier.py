"""Announce changed runs and warn of budgets, by signals in this process and by Celery events for monitors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.errors import NewerRecordError
from scrape_do_celery.errors.base import describe_error
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.runs.status import RunStatus
from scrape_do_celery.runs.timing import PASS_INTERVAL
from scrape_do_celery.signals import run_changed
from scrape_do_celery.store.commands.changes import AcknowledgeChangedRuns, TakeChangedRuns
from scrape_do_celery.store.commands.runs import ReadRunWait
from scrape_do_celery.store.newer_records import UnlessNewer
from scrape_do_celery.worker.budget_watch import BudgetWatch
from scrape_do_celery.worker.receivers import call_receivers
from scrape_do_celery.worker.threads import PassThread

if TYPE_CHECKING:
    from scrape_do_celery.runs import AppContext
    from scrape_do_celery.worker.task_events import TaskEventSender

log = get_logger(__name__)

#: Runs per pass, at most.
_BATCH_LIMIT = 100


class ChangeNotifier(PassThread):
    """The thread that announces changed runs, and warns of budgets, until stopped. One worker announces each change."""

    def __init__(
        self, app_context: AppContext, events: TaskEventSender | None = None, interval: float = PASS_INTERVAL
    ) -> None:
        super().__init__("scrape-do-notifier", interval, interval)
        self._app_context, self._events = app_context, events
        self._budgets = BudgetWatch(app_context)

    def do_pass(self) -> float:
        """Announce one batch. If more changes wait, return 0. After an error, try again in the next pass."""
        self._warn_of_budgets()
        try:
            return 0.0 if self.notify_once() else self.interval
        except Exception as error:  # noqa: BLE001 (stores and brokers fail in many ways)
            log.info(
                "could not announce changed runs: %s; the next pass announces them",
                describe_error(error),
                extra=log_fields("runs_not_announced"),
            )
            return self.interval

    def _warn_of_budgets(self) -> None:
        try:
            self._budgets.check()
        except Exception as error:  # noqa: BLE001 (stores fail in many ways)
            log.info(
                "could not read the budgets: %s; a later pass does",
                describe_error(error),
                extra=log_fields("budgets_not_read"),
            )

    def notify_once(self) -> bool:
        """Announce one batch. Return whether more changes wait."""
        store = self._app_context.store
        changed = store.run(TakeChangedRuns(_BATCH_LIMIT))
        if not changed.run_ids:
            return False
        account = self._app_context.settings.account_id
        read = store.run_all([UnlessNewer(ReadRunWait(run_id, account)) for run_id in changed.run_ids])
        newer = {answer.run_id for answer in read if isinstance(answer, NewerRecordError)}
        known = [answer for answer in read if answer is not None and not isinstance(answer, NewerRecordError)]
        found = [(record, RunStatus.from_record(record, wait)) for record, wait in known]
        # A worker with the encryption key, or of the newer version, announces a run that this worker cannot read.
        readable = [(record, status) for record, status in found if not record.lacks_key]
        untold = newer | {record.run_id for record, _ in found if record.lacks_key}
        values = [{"status": status} for _, status in readable]
        answers = call_receivers(run_changed, self._app_context.app, values)
        untold |= {status.run_id for (_, status), is_told in zip(readable, answers, strict=True) if not is_told}
        if self._events is not None:
            self._events.send(readable)
        store.run(
            AcknowledgeChangedRuns(changed.receipt, [run_id for run_id in changed.run_ids if run_id not in untold])
        )
        return len(changed.run_ids) == _BATCH_LIMIT
