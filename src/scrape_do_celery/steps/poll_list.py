"""Poll all running jobs of an account together, by its job list: one request for a hundred jobs."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

from scrape_do_celery import routing
from scrape_do_celery.client.job_filters import MAX_PAGE_SIZE
from scrape_do_celery.errors import ScrapeDoError, StoreUnavailableError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.models.statuses import RUNNING
from scrape_do_celery.rules.api_errors import is_auth
from scrape_do_celery.rules.lifecycle import is_unknown
from scrape_do_celery.rules.listing import PageWalk
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.breaker import apply_to_all_workers
from scrape_do_celery.steps.celery_results import cancel_revoked_run, find_revoked
from scrape_do_celery.steps.leases import LeaseLostError, while_renewed
from scrape_do_celery.steps.loop import call_in_caller, gather_or_cancel
from scrape_do_celery.store import PartId
from scrape_do_celery.store.commands import dispatch, polling
from scrape_do_celery.store.commands.ownership import NoteUnowned, ReadJobOwners
from scrape_do_celery.store.commands.polling import AcquireListPoll, FinishListPoll, MarkStillRunning, MoveSomeToDue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.models import JobDetails, JobsListResponse
    from scrape_do_celery.steps.context import WorkerContext

log = get_logger(__name__)

#: Seconds until the next list poll after an error of the API.
_AGAIN = 2.0
#: Pages that are read at once, if the list tells the number of its pages.
_PAGES = 5
#: Runs per query of the result backend for revoked ids.
_CHUNK = 500


async def poll_list(context: WorkerContext) -> None:
    """Poll all running jobs once by the list, unless another step does so or no job is due any more."""
    turn = ListPoll(context)
    if not await turn.take():
        return
    try:
        await while_renewed(
            _read_all_pages(context, turn), turn.take, context.settings.lease_seconds, "the poll of running jobs"
        )
    except LeaseLostError:
        return
    except StoreUnavailableError:
        # The API is not at fault.
        raise
    except ScrapeDoError as error:
        await _handle_error(context, error)
        if not is_auth(error):
            # If the list fails for long, or if a 429 cuts each list poll, some jobs must still be seen to end.
            await turn.hand_some_over()
        await turn.take(_AGAIN)
        return
    ended = await turn.hand_over(dispatch.REDISPATCH_MIN)
    await call_in_caller(
        context.app_context.publish_all, [StepMessage(routing.POLL_JOBS, tuple(ended))] if ended else []
    )
    while len(ended) == polling.BATCH_LIMIT:
        # The dispatchers publish the rest of a large number, and order paid jobs by their remaining life.
        ended = await turn.hand_over()
    await call_in_caller(_start_revocation_check, context, turn.runs)


class ListPoll:
    """The lease on the list poll of an account, renewed while pages come."""

    def __init__(self, context: WorkerContext) -> None:
        self._context, self._token = context, uuid.uuid4().hex
        #: runs whose jobs the list shows running, and the number of listed jobs that no run owns
        self.runs: set[str] = set()
        self.foreign = 0

    async def take(self, seconds: float | None = None) -> bool:
        """Acquire or renew the list poll, for `seconds` or for a lease. Return whether this step has the list poll."""
        store, settings = self._context.store, self._context.settings
        return await store.run(AcquireListPoll(settings.account_id, self._token, seconds or settings.lease_seconds))

    async def hand_over(self, redispatch_after: float = 0.0) -> list[str]:
        """Move a batch of parts that the list did not show to the due set, and return their ids.

        The caller has `redispatch_after` seconds to publish a step message for the parts.
        """
        account = self._context.settings.account_id
        command = FinishListPoll(
            account, self._token, others=self.foreign / MAX_PAGE_SIZE, redispatch_after=redispatch_after
        )
        return await self._context.write(command)

    async def hand_some_over(self) -> None:
        """Move a few parts that were due to the due set, so that their jobs are polled individually."""
        account = self._context.settings.account_id
        await self._context.write(MoveSomeToDue(account, self._token))

    async def note(self, status: str, jobs: Sequence[JobDetails]) -> None:
        """Record that the list shows these jobs running."""
        store, settings = self._context.store, self._context.settings
        owners = await store.run(ReadJobOwners([job.job_id for job in jobs])) if jobs else []
        part_ids = [PartId.parse(owner) for owner in owners if owner]
        self.foreign += len(jobs) - len(part_ids)
        unowned = [job.job_id for job, owner in zip(jobs, owners, strict=True) if not owner]
        if unowned:
            # The sighting proves that a later purchase of the same targets has not bought these jobs.
            await store.run(NoteUnowned(settings.account_id, unowned))
        self.runs.update(part_id.run_id for part_id in part_ids)
        if part_ids:
            await store.run(MarkStillRunning(settings.account_id, status, part_ids, self._context.intervals))


async def _read_all_pages(context: WorkerContext, turn: ListPoll) -> None:
    async def read(status: str, page: int) -> JobsListResponse:
        answer = await context.job_list.read_page(page, status=status)
        # Jobs that ended after the API filtered the list are not running.
        await turn.note(status, [job for job in answer.jobs if _is_running(job)])
        return answer

    for status in RUNNING:
        walk, answers = PageWalk(), [await read(status, 1)]
        while True:
            for answer in answers:
                walk.add(answer)
            if not walk.has_more:
                break
            ahead = max(1, min(_PAGES, answers[-1].total_pages - walk.page))
            answers = await gather_or_cancel(read(status, walk.page + n + 1) for n in range(ahead))
    context.job_list.check_refusals()


def _is_running(job: JobDetails) -> bool:
    """Return whether a list entry proves that its job runs. An unknown status word proves nothing."""
    return not job.is_terminal and not is_unknown(job.status)


def _start_revocation_check(context: WorkerContext, run_ids: set[str]) -> None:
    """Cancel runs whose Celery id was revoked, in case the worker that received the revocation is gone.

    A single thread does so: a result backend that is away may answer late, and no list poll waits for the answer.
    """
    if run_ids and not context.asking.is_alive():
        context.asking = threading.Thread(target=_cancel_revoked, args=(context, sorted(run_ids)), daemon=True)
        context.asking.start()


def _cancel_revoked(context: WorkerContext, run_ids: Sequence[str]) -> None:
    app_context = context.app_context
    try:
        for start in range(0, len(run_ids), _CHUNK):
            for run_id in find_revoked(app_context, run_ids[start : start + _CHUNK]):
                cancel_revoked_run(app_context, run_id)
    except Exception as error:  # noqa: BLE001 (backends fail in many ways; the next list poll asks again)
        log.warning(
            "could not ask the result backend for revoked runs: %s; the next list poll asks again",
            type(error).__name__,
            extra=log_fields("revocations_not_read"),
        )


async def _handle_error(context: WorkerContext, error: ScrapeDoError) -> None:
    """Log an error of a list poll. If the error concerns all calls, apply it to all workers."""
    log.warning(
        "the list poll of the running jobs failed: %s: %s; a later list poll follows",
        context.settings.api_url,
        error,
        extra=log_fields("list_poll_failed", account=context.settings.account_id),
    )
    await apply_to_all_workers(context, error)
