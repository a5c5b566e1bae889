"""Looking at all running jobs of the account at once, by its job list: a request for a hundred of them."""

from __future__ import annotations

import asyncio
import logging
import uuid
from itertools import count
from typing import TYPE_CHECKING

from celery import Task, shared_task

from scrape_do_celery import routing
from scrape_do_celery.client.calls import MAX_PAGE_SIZE
from scrape_do_celery.errors import AsyncAPIRateLimitError, ScrapeDoError
from scrape_do_celery.models.enums import RUNNING
from scrape_do_celery.runs import Bell
from scrape_do_celery.runs.reporting import revoked_among
from scrape_do_celery.runtime import Runtime
from scrape_do_celery.runtime.leases import LeaseLostError, while_kept
from scrape_do_celery.runtime.survey import more_pages
from scrape_do_celery.runtime.troubles import is_auth
from scrape_do_celery.store import CANCEL, Member, ops

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

#: Seconds until a sweep is tried again after an error of the API.
_AGAIN = 2.0
#: Jobs that are looked at by themselves after a sweep that failed.
_SOME = 50


@shared_task(name=routing.SWEEP_JOBS, **routing.BELL)
def sweep_jobs(self: Task, accounts: list[str]) -> None:
    """Looks at every running job of an account; those that the list no longer shows are looked at by themselves."""
    runtime = Runtime.of(self.app)
    if runtime.settings.account_id in accounts:
        runtime.run(sweep(runtime))


async def sweep(runtime: Runtime) -> None:
    """One look through the list, unless another step is at it, or nothing is due any more."""
    turn = _Turn(runtime)
    if not await turn.take():
        return
    try:
        await while_kept(
            _all_pages(runtime, turn), turn.take, runtime.settings.lease_seconds, "the look at running jobs"
        )
    except LeaseLostError:
        return
    except ScrapeDoError as error:
        await _trouble(runtime, error)
        if not is_auth(error) and not isinstance(error, AsyncAPIRateLimitError):
            # A list that fails for long must not keep jobs from being seen to end.
            await turn.hand_some_over()
        await turn.take(_AGAIN)
        return
    ended = await turn.hand_over(ops.RING)
    await asyncio.to_thread(runtime.producer.ring_all, [Bell(routing.POLL_JOBS, tuple(ended))] if ended else [])
    while len(ended) == ops.MOST:
        # A crowd is the tickers': they bring what is paid for on in the order of its remaining life.
        ended = await turn.hand_over()


class _Turn:
    """The right to sweep, kept while pages come."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._token, self.requests = runtime, uuid.uuid4().hex, 0

    async def take(self, seconds: float | None = None) -> bool:
        """Whether the sweep is ours, for as long as a lease, or for so many seconds."""
        store, settings = self._runtime.store, self._runtime.settings
        return await store.run(
            ops.sweep(store.keys, settings.account_id, self._token, seconds or settings.lease_seconds)
        )

    async def hand_over(self, ring: float = 0.0) -> list[str]:
        """What was not seen, handed over; the caller has so many seconds to ring for it."""
        store, account = self._runtime.store, self._runtime.settings.account_id
        op = ops.unseen(store.keys, account, self._token, requests=self.requests, ring=ring)
        return await self._runtime.write(op)

    async def hand_some_over(self) -> None:
        """A few of those that were due are looked at by themselves."""
        store, account = self._runtime.store, self._runtime.settings.account_id
        await self._runtime.write(ops.some(store.keys, account, self._token, _SOME))


async def _all_pages(runtime: Runtime, turn: _Turn) -> None:
    for status in RUNNING:
        for page in count(1):
            answer = await runtime.list_jobs(page=page, page_size=MAX_PAGE_SIZE, status=status)
            turn.requests += 1
            await _note(runtime, status, [job.job_id for job in answer.jobs])
            if not more_pages(answer, page):
                break


async def _note(runtime: Runtime, status: str, job_ids: Sequence[str]) -> None:
    if not job_ids:
        return
    store, settings = runtime.store, runtime.settings
    owners = await store.run(ops.owners(store.keys, job_ids))
    members = [Member.parse(owner) for owner in owners if owner]
    if members:
        await store.run(ops.seen(store.keys, settings.account_id, status, members, runtime.intervals))
        await asyncio.to_thread(_revoke, runtime, sorted({member.run_id for member in members}))


def _revoke(runtime: Runtime, run_ids: Sequence[str]) -> None:
    """Cancels runs whose Celery id was revoked, where the worker that was told is gone."""
    producer = runtime.producer
    for run_id in revoked_among(producer, run_ids):
        if members := producer.store.run(ops.wish(producer.store.keys, run_id, CANCEL)):
            producer.ring(routing.CANCEL_RUN, members)


async def _trouble(runtime: Runtime, error: ScrapeDoError) -> None:
    """What an error says about all calls is said to all."""
    log.warning("the running jobs could not be looked at: %s: %s", runtime.settings.api_url, error)
    await runtime.tell_all(error)
