"""The dispatcher: publishes steps of due parts and runs, in the main process of every worker."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from celery.worker.state import revoked

from scrape_do_celery import routing
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.errors.base import describe_error
from scrape_do_celery.local_variables import clear_locals
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.rules.states import next_step
from scrape_do_celery.runs import AppContext, StepMessage, batched
from scrape_do_celery.runs.timing import PASS_INTERVAL
from scrape_do_celery.steps.celery_results import cancel_revoked_run, find_revoked
from scrape_do_celery.steps.deliver import deliver_run
from scrape_do_celery.steps.once import OnceFilter
from scrape_do_celery.steps.scrape import start_draft
from scrape_do_celery.steps.store_health import is_full
from scrape_do_celery.steps.waiting_parts import warn_other_account
from scrape_do_celery.store import DEADLINE
from scrape_do_celery.store.commands.dispatch import ClaimDue, ClaimNamespace, Due, DuePart, DueRun, RewindTimes
from scrape_do_celery.store.commands.polling import FindUnattendedAccounts, PlanPolling
from scrape_do_celery.store.commands.prices import ClaimAccountReading
from scrape_do_celery.store.commands.purchases import HasRejected
from scrape_do_celery.store.commands.stats import ReadAccounts
from scrape_do_celery.store.retention import NAMESPACE_TTL
from scrape_do_celery.worker.shared_accounts import SharedAccountWatch
from scrape_do_celery.worker.threads import PassThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scrape_do_celery.worker.late_checks import LateStoreCheck

log = get_logger(__name__)

#: Seconds of sleep between two passes, at least.
SHORTEST = 0.02
#: Entries of the due set claimed per pass, at most. Redis needs less than 5 ms for this number.
LIMIT = 200
#: Seconds after which overdue polls of another account mean that no worker polls its running jobs.
UNATTENDED_AFTER = 120.0


class Dispatcher(PassThread):
    """The thread that claims due parts and runs and publishes their step messages until stopped."""

    def __init__(
        self, app_context: AppContext, interval: float = PASS_INTERVAL, late_check: LateStoreCheck | None = None
    ) -> None:
        super().__init__("scrape-do-dispatcher", interval, SHORTEST)
        self._app_context = app_context
        self._namespace_until, self._late_check = 0.0, late_check
        #: This clock does not count the sleep of the machine. A `POST` that is under way sleeps as well.
        self._read_time = app_context.timing.loop_time or time.monotonic
        self._passed_at: float | None = None
        self._revoked: set[str] = set()
        self._once = OnceFilter()
        self._shared_accounts = SharedAccountWatch(app_context)
        self._asking = threading.Thread()

    def do_pass(self) -> float:
        """Dispatch due work. After an error, try again in the next pass."""
        try:
            return self.dispatch_due()
        except Exception as error:
            clear_locals(error)
            log.warning(
                "a pass of the dispatcher failed: %s; the next pass repeats its work",
                describe_error(error),
                exc_info=_needs_traceback(error),
                extra=log_fields("dispatch_failed"),
            )
            return self.interval

    def dispatch_due(self) -> float:
        """Do one pass. Return the seconds until the next pass."""
        store, settings = self._app_context.store, self._app_context.settings
        if not self._may_dispatch():
            return self.interval
        self._cancel_revoked()
        look = store.run(PlanPolling(settings.account_id, settings.poll_max_interval, settings.auth_grace))
        if look.use_list:
            self._app_context.publish(routing.POLL_JOB_LIST, [settings.account_id])
        due = self._claim_due()
        if due.dropped:
            log.warning(
                "%d due entries had no record and were dropped", due.dropped, extra=log_fields("due_entries_dropped")
            )
        if due.was_set_back:
            self._rewind_times()
        for message in messages_for(due.parts):
            self._app_context.publish(message.step, message.ids)
        for run in due.runs:
            if run.accepted and run.outcome is None:
                _act_alone(run, self._expire_or_aggregate)
        self._ask_celery(
            [run for run in due.runs if not run.accepted or run.outcome is not None],
            {part.part_id.run_id for part in due.parts if not part.stop_requested},
            due.now,
        )
        moments = [look.next_at]
        if due.parts or due.runs or due.next_at is None or due.next_at > due.now:
            # Otherwise the maximum of step messages is under way, and a due entry is no reason for an early pass.
            moments.append(due.next_at)
        wait = min((moment - due.now for moment in moments if moment is not None), default=self.interval)
        return min(self.interval, max(SHORTEST, wait))

    def _claim_due(self) -> Due:
        """Claim due work, and advance the watched clock by the time that this process has seen pass.

        The time of this call is kept before the call: if its reply is lost, the time in between does not count twice.
        """
        now, before = self._read_time(), self._passed_at
        self._passed_at = now
        own_elapsed = 0.0 if before is None else now - before
        cap = self._app_context.settings.max_dispatched_parts
        return self._app_context.store.run(ClaimDue(limit=LIMIT, cap=cap, own_elapsed=own_elapsed))

    def _rewind_times(self) -> None:
        """Rewind the times in the store. The note of the step stays until this is done, also if this process dies."""
        if seconds := self._app_context.store.run(RewindTimes()):
            log.warning(
                "the clock of the store's server was set back by %.0f s; the due times in the store were set back as "
                "well; check the server's clock and its time synchronization",
                seconds,
                extra=log_fields("clock_set_back"),
            )

    @property
    def is_asking(self) -> bool:
        """Whether the thread that asks Celery is still at work on runs of a pass."""
        return self._asking.is_alive()

    def _may_dispatch(self) -> bool:
        """Return whether the store was checked, and belongs to this application."""
        if self._late_check is not None and self._late_check.has_passed():
            self._late_check = None
        return self._late_check is None and self._owns_namespace()

    def _owns_namespace(self) -> bool:
        """Renew the namespace lease if it is time. Return whether the store still belongs to this application."""
        if time.monotonic() > self._namespace_until:
            store, mine = self._app_context.store, self._app_context.application
            holder = store.run(ClaimNamespace(mine))
            if holder != mine:
                log.error(
                    "the store is served by another application now (%s): this worker publishes nothing; give each "
                    "application its own SCRAPE_DO_KEY_PREFIX",
                    holder,
                    extra=log_fields("namespace_lost"),
                )
                self._namespace_until = 0.0
                return False
            self._namespace_until = time.monotonic() + NAMESPACE_TTL / 3
            self._warn_unattended_accounts()
            self._shared_accounts.check()
            self._search_for_rejected()
            self._read_account()
        return True

    def _warn_unattended_accounts(self) -> None:
        """Warn, once per account, that runs of the account wait for a worker with its token."""
        store, mine = self._app_context.store, self._app_context.settings.account_id
        found = store.run(FindUnattendedAccounts(mine, UNATTENDED_AFTER))
        for account in found:
            warn_other_account(self._once, account, mine)

    def _search_for_rejected(self) -> None:
        """If the API has rejected purchases, publish the step that searches the job list for their jobs."""
        store, account = self._app_context.store, self._app_context.settings.account_id
        if store.run(HasRejected(account)):
            self._app_context.publish(routing.REPORT_ORPHANS, [account])

    def _read_account(self) -> None:
        """If jobs are bought for the account, and its figures are old, publish the step that reads them."""
        store, account = self._app_context.store, self._app_context.settings.account_id
        if account not in store.run(ReadAccounts()):
            return
        try:
            is_mine = store.run(ClaimAccountReading(account))
        except StoreUnavailableError as error:
            if not is_full(error):
                raise
            return
        if is_mine:
            self._app_context.publish(routing.READ_ACCOUNT, [account])

    def _cancel_revoked(self) -> None:
        """Cancel runs whose Celery id was revoked. Celery announces a revocation to workers only."""
        for task_id in set(revoked) - self._revoked:
            cancel_revoked_run(self._app_context, task_id)
            self._revoked.add(task_id)

    def _expire_or_aggregate(self, run: DueRun) -> None:
        if run.left:
            self._app_context.request_stop(run.run_id, DEADLINE)
        else:
            self._app_context.publish(routing.AGGREGATE_RUN, [run.run_id])

    def _ask_celery(self, runs: list[DueRun], live: set[str], now: float) -> None:
        """Check drafts, deliveries and revoked ids in another thread: a result backend that is away may answer late.

        While such a thread is at work, further runs are left out and become due again.
        """
        if (runs or live) and not self.is_asking:
            self._asking = threading.Thread(target=self._run_deferred_checks, args=(runs, live, now), daemon=True)
            self._asking.start()

    def _run_deferred_checks(self, runs: list[DueRun], live: set[str], now: float) -> None:
        # The worker that received a revocation may be gone by now.
        for run_id in find_revoked(self._app_context, sorted(live)):
            cancel_revoked_run(self._app_context, run_id)
        for run in runs:
            if run.accepted:
                _act_alone(run, lambda run: deliver_run(self._app_context, run.run_id, redelivery=run.dispatches > 1))
            else:
                _act_alone(run, lambda run: start_draft(self._app_context, run.run_id, now))


def messages_for(parts: Iterable[DuePart]) -> Iterator[StepMessage]:
    """Yield the messages for due parts: many parts per message, but a part alone if its last step died."""
    together: dict[str, list[str]] = {}
    for part in parts:
        step = next_step(part.state, stop_requested=part.stop_requested, cancel_sent=part.cancel_sent)
        if step is None:
            continue
        if part.attempts:
            yield StepMessage(step, (str(part.part_id),))
        else:
            together.setdefault(step, []).append(str(part.part_id))
    for step, part_ids in together.items():
        for batch in batched(part_ids):
            yield StepMessage(step, batch)


def _act_alone(run: DueRun, act: Callable[[DueRun], None]) -> None:
    """Act on one run, and log an error: the run is published again, and the other runs must not wait for it."""
    try:
        act(run)
    except Exception as error:
        clear_locals(error)
        log.exception(
            "could not continue run %s; its step message is published again",
            run.run_id,
            extra=log_fields("run_not_continued", run_id=run.run_id),
        )


def _needs_traceback(error: Exception) -> bool:
    """Return whether a traceback helps. A server that is away needs none."""
    return (
        not isinstance(error, (OSError, StoreUnavailableError))
        and "redis" not in type(error).__module__
        and "kombu" not in type(error).__module__
    )
