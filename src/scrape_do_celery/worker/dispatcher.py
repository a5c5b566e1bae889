"""The dispatcher: brings back what is due, in the main process of every worker."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from celery.worker.state import revoked

from scrape_do_celery import routing
from scrape_do_celery.runs import AppContext, StepMessage, batched
from scrape_do_celery.runs.reporting import deliver, find_revoked, start_draft
from scrape_do_celery.store import CANCEL, DEADLINE, DuePart, DueRun, ops
from scrape_do_celery.store.rejecting import has_rejected
from scrape_do_celery.store.states import next_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

log = logging.getLogger(__name__)

#: Seconds of sleep between two looks, shortest and longest.
SHORTEST, LONGEST = 0.02, 1.0
#: Parts handed out at a look: so many take Redis less than 5 ms.
LIMIT = 200
#: Seconds after which the running jobs of another account count as forgotten by its workers.
UNATTENDED_AFTER = 120.0
#: How long the store stays this application's after the last word of its last worker.
NAMESPACE_LEASE = 30


class Dispatcher(threading.Thread):
    """Claim what is due and publish its step messages until stopped."""

    def __init__(self, app_context: AppContext) -> None:
        super().__init__(name="scrape-do-dispatcher", daemon=True)
        self._app_context = app_context
        self._halt = threading.Event()
        self._namespace_until = 0.0
        self._revoked: set[str] = set()
        self._unattended: set[str] = set()
        self._asking = threading.Thread()

    def run(self) -> None:
        """Looks, publishes, sleeps. Nothing that goes wrong in one look ends it."""
        wait = SHORTEST
        while not self._halt.wait(wait):
            try:
                wait = self.dispatch_due()
            except Exception as error:
                wait = LONGEST
                log.warning("the dispatcher will look again: %s", type(error).__name__, exc_info=_unexpected(error))

    def dispatch_due(self) -> float:
        """One look; seconds until the next."""
        store, settings = self._app_context.store, self._app_context.settings
        if not self._owns_namespace():
            return LONGEST
        self._revoke()
        look = store.run(
            ops.plan_polling(store.keys, settings.account_id, settings.poll_max_interval, settings.auth_grace)
        )
        if look.use_list:
            self._app_context.publish(routing.POLL_JOB_LIST, [settings.account_id])
        due = store.run(ops.claim_due(store.keys, limit=LIMIT, cap=settings.max_dispatched_parts))
        if due.dropped:
            log.warning("%d due entries had no record and were dropped", due.dropped)
        for message in messages_for(due.parts):
            self._app_context.publish(message.step, message.ids)
        for run in due.runs:
            if run.accepted and run.outcome is None:
                _isolated(run, self._expire_or_aggregate)
        self._ask_celery(
            [run for run in due.runs if not run.accepted or run.outcome is not None],
            {part.part_id.run_id for part in due.parts if not part.stop_requested},
            due.now,
        )
        moments = [look.next_at]
        if due.parts or due.runs or due.next_at is None or due.next_at > due.now:
            # Else the step messages under way are as many as may be.
            moments.append(due.next_at)
        wait = min((moment - due.now for moment in moments if moment is not None), default=LONGEST)
        return min(LONGEST, max(SHORTEST, wait))

    def _owns_namespace(self) -> bool:
        """Whether the store is still this application's."""
        if time.monotonic() > self._namespace_until:
            store, mine = self._app_context.store, self._app_context.application
            holder = store.run(ops.claim_namespace(store.keys, mine, NAMESPACE_LEASE))
            if holder != mine:
                log.error("the store is served by another application now (%s): this worker publishes no more", holder)
                self._namespace_until = 0.0
                return False
            self._namespace_until = time.monotonic() + NAMESPACE_LEASE / 3
            self._warn_unattended_accounts()
            self._search_for_rejected()
        return True

    def _warn_unattended_accounts(self) -> None:
        """Says, once an account, that its runs wait for a worker with its token."""
        store, mine = self._app_context.store, self._app_context.settings.account_id
        found = store.run(ops.find_unattended_accounts(store.keys, mine, UNATTENDED_AFTER))
        for account in set(found) - self._unattended:
            self._unattended.add(account)
            log.warning(
                "runs of the account %s wait for a worker with its token; this worker's account is %s", account, mine
            )

    def _search_for_rejected(self) -> None:
        """Have the job list read for the jobs of purchases that the API rejected."""
        store, account = self._app_context.store, self._app_context.settings.account_id
        if store.run(has_rejected(store.keys, account)):
            self._app_context.publish(routing.REPORT_ORPHANS, [account])

    def _revoke(self) -> None:
        """Cancels runs whose Celery id was revoked: Celery tells workers, and nobody else."""
        for task_id in set(revoked) - self._revoked:
            self._app_context.request_stop(task_id, CANCEL)
            self._revoked.add(task_id)

    def _expire_or_aggregate(self, run: DueRun) -> None:
        if run.left:
            self._app_context.request_stop(run.run_id, DEADLINE)
        else:
            self._app_context.publish(routing.AGGREGATE_RUN, [run.run_id])

    def _ask_celery(self, runs: list[DueRun], live: set[str], now: float) -> None:
        """Drafts, deliveries and revoked ids, in a thread of their own: a result backend that is away may take long.

        While one asks, the others are left; they are due again.
        """
        if (runs or live) and not self._asking.is_alive():
            self._asking = threading.Thread(target=self._run_deferred_checks, args=(runs, live, now), daemon=True)
            self._asking.start()

    def _run_deferred_checks(self, runs: list[DueRun], live: set[str], now: float) -> None:
        # A worker that was told of a revocation may be gone by now.
        for run_id in find_revoked(self._app_context, sorted(live)):
            self._app_context.request_stop(run_id, CANCEL)
        for run in runs:
            if run.accepted:
                _isolated(run, lambda run: deliver(self._app_context, run.run_id, redelivery=run.dispatches > 1))
            else:
                _isolated(run, lambda run: start_draft(self._app_context, run.run_id, now))

    def stop(self) -> None:
        """Ends the thread, after the look that is under way."""
        self._halt.set()
        if self.is_alive():
            self.join(timeout=5)


def messages_for(parts: Iterable[DuePart]) -> Iterator[StepMessage]:
    """The messages for what is due: many parts a message, but one alone whose last step died."""
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


def _isolated(run: DueRun, act: Callable[[DueRun], None]) -> None:
    """Lets what goes wrong with one run, which is published again, not keep the others waiting."""
    try:
        act(run)
    except Exception:
        log.exception("run %s could not be brought on", run.run_id)


def _unexpected(error: Exception) -> bool:
    """Whether a traceback helps: a server that is away needs none."""
    return (
        not isinstance(error, OSError)
        and "redis" not in type(error).__module__
        and "kombu" not in type(error).__module__
    )
