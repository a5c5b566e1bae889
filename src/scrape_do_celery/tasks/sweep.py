"""Looking at all running jobs of the account at once, by its job list: a request for a hundred of them."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from typing import TYPE_CHECKING

from celery import Task, shared_task

from scrape_do_celery import routing
from scrape_do_celery.client.endpoints import MAX_PAGE_SIZE
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.models.enums import RUNNING
from scrape_do_celery.rules.lifecycle import is_unknown
from scrape_do_celery.rules.listing import PageWalk
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.runs.reporting import find_revoked
from scrape_do_celery.runtime import WorkerContext
from scrape_do_celery.runtime.api_errors import is_auth
from scrape_do_celery.runtime.leases import LeaseLostError, while_renewed
from scrape_do_celery.runtime.loop import gather_or_cancel
from scrape_do_celery.store import CANCEL, PartId, ops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.models import JobDetails, JobsListResponse

log = logging.getLogger(__name__)

#: Seconds until a sweep is tried again after an error of the API.
_AGAIN = 2.0
#: Pages that are read at once, where the list tells how many there are.
_PAGES = 5
#: Runs of which the result backend is asked at once whether they were revoked.
_CHUNK = 500


@shared_task(name=routing.POLL_JOB_LIST, **routing.STEP_OPTIONS)
def poll_job_list(self: Task, accounts: list[str]) -> None:
    """Looks at every running job of an account; those that the list no longer shows are looked at by themselves."""
    context = WorkerContext.for_app(self.app)
    if context.settings.account_id in accounts:
        context.run(sweep(context))


async def sweep(context: WorkerContext) -> None:
    """One look through the list, unless another step is at it, or nothing is due any more."""
    turn = ListPoll(context)
    if not await turn.take():
        return
    try:
        await while_renewed(
            _all_pages(context, turn), turn.take, context.settings.lease_seconds, "the look at running jobs"
        )
    except LeaseLostError:
        return
    except ScrapeDoError as error:
        await _trouble(context, error)
        if not is_auth(error):
            # A list that fails for long must not keep jobs from being seen to end; nor must one that is cut by a 429
            # each time.
            await turn.hand_some_over()
        await turn.take(_AGAIN)
        return
    ended = await turn.hand_over(ops.REDISPATCH_MIN)
    await asyncio.to_thread(
        context.app_context.publish_all, [StepMessage(routing.POLL_JOBS, tuple(ended))] if ended else []
    )
    while len(ended) == ops.BATCH_LIMIT:
        # A crowd is the dispatchers': they bring what is paid for on in the order of its remaining life.
        ended = await turn.hand_over()
    _ask_celery(context, turn.runs)


class ListPoll:
    """The right to sweep, kept while pages come."""

    def __init__(self, context: WorkerContext) -> None:
        self._context, self._token = context, uuid.uuid4().hex
        #: runs whose jobs were seen to go on, and how many jobs were seen that are not ours
        self.runs: set[str] = set()
        self.foreign = 0

    async def take(self, seconds: float | None = None) -> bool:
        """Whether the sweep is ours, for as long as a lease, or for so many seconds."""
        store, settings = self._context.store, self._context.settings
        return await store.run(
            ops.acquire_list_poll(store.keys, settings.account_id, self._token, seconds or settings.lease_seconds)
        )

    async def hand_over(self, redispatch_after: float = 0.0) -> list[str]:
        """What was not seen, handed over; the caller has so many seconds to publish a step message for it."""
        store, account = self._context.store, self._context.settings.account_id
        command = ops.finish_list_poll(
            store.keys, account, self._token, others=self.foreign / MAX_PAGE_SIZE, redispatch_after=redispatch_after
        )
        return await self._context.write(command)

    async def hand_some_over(self) -> None:
        """A few of those that were due are looked at by themselves."""
        store, account = self._context.store, self._context.settings.account_id
        await self._context.write(ops.move_some_to_due(store.keys, account, self._token))

    async def note(self, status: str, jobs: Sequence[JobDetails]) -> None:
        """Notes that the list shows these jobs running."""
        store, settings = self._context.store, self._context.settings
        owners = await store.run(ops.owners(store.keys, [job.job_id for job in jobs])) if jobs else []
        part_ids = [PartId.parse(owner) for owner in owners if owner]
        self.foreign += len(jobs) - len(part_ids)
        unowned = [job.job_id for job, owner in zip(jobs, owners, strict=True) if not owner]
        if unowned:
            # A later purchase of the same targets has not bought them.
            await store.run(ops.note_unowned(store.keys, settings.account_id, unowned))
        self.runs.update(part_id.run_id for part_id in part_ids)
        if part_ids:
            await store.run(
                ops.mark_still_running(store.keys, settings.account_id, status, part_ids, self._context.intervals)
            )


async def _all_pages(context: WorkerContext, turn: ListPoll) -> None:
    async def read(status: str, page: int) -> JobsListResponse:
        answer = await context.job_list.read_page(page, status=status)
        # What has ended since the list was filtered is not running.
        await turn.note(status, [job for job in answer.jobs if _runs(job)])
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


def _runs(job: JobDetails) -> bool:
    """Whether an entry of the list tells that its job runs. An unknown status word tells nothing: the job is asked."""
    return not job.is_terminal and not is_unknown(job.status)


def _ask_celery(context: WorkerContext, run_ids: set[str]) -> None:
    """Cancels runs whose Celery id was revoked, where the worker that was told is gone.

    In a thread, and one at a time: a result backend that is away may take its time, and no look waits for it.
    """
    if run_ids and not context.asking.is_alive():
        context.asking = threading.Thread(target=_cancel_revoked, args=(context, sorted(run_ids)), daemon=True)
        context.asking.start()


def _cancel_revoked(context: WorkerContext, run_ids: Sequence[str]) -> None:
    app_context = context.app_context
    try:
        for start in range(0, len(run_ids), _CHUNK):
            for run_id in find_revoked(app_context, run_ids[start : start + _CHUNK]):
                app_context.request_stop(run_id, CANCEL)
    except Exception as error:  # noqa: BLE001 (backends fail in many ways; the next look asks again)
        log.warning("cannot ask for revoked runs: %s", type(error).__name__)


async def _trouble(context: WorkerContext, error: ScrapeDoError) -> None:
    """What an error says about all calls is said to all."""
    log.warning("the running jobs could not be looked at: %s: %s", context.settings.api_url, error)
    await context.apply_to_all_workers(error)
