"""Checking "not found" with the API itself, before a job or a task is believed to be gone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.rules.absence import AbsenceTracker
from scrape_do_celery.rules.fetch import AnswerFate, classify_answer

if TYPE_CHECKING:
    from scrape_do_celery.runtime.context import WorkerContext
    from scrape_do_celery.store import Claim

#: Seconds for which a check stands. Each one reads the whole job list, and a thousand tasks may be missing at once.
_STANDS = 10.0


class AbsenceCheck:
    """Tells whether "not found" is believed. One for each process, because only a process sees many jobs fail alike."""

    def __init__(self, tracker: AbsenceTracker | None = None) -> None:
        self.tracker = tracker or AbsenceTracker()
        self._lock = asyncio.Lock()
        #: the store's time of the last check, how far back it went, and the jobs that it saw; None where it failed
        self._checked: tuple[float, datetime, frozenset[str] | None] | None = None

    async def is_believed(
        self, context: WorkerContext, claim: Claim, error: ScrapeDoError, *, of_task: bool = False
    ) -> bool:
        """Whether an answer 404 or 410 is the API's word.

        The API's own body is believed at once, unless many jobs are not found at the same time. Then the API must
        answer for itself, and a job must be missing from its list. Of a task the list says nothing, so an answer that
        is not the API's own is believed only where the whole job is missing.
        """
        job_id, now = claim.part.job_id or "", claim.now
        self.tracker.note(job_id, now, absent=True)
        is_unconfirmed = classify_answer(error) is AnswerFate.UNCONFIRMED
        if not is_unconfirmed and not self.tracker.is_widespread(now):
            return True
        listed = await self._listed_jobs(context, claim)
        if listed is None:
            return False
        return job_id.lower() not in listed or (of_task and not is_unconfirmed)

    def note_answer(self, claim: Claim) -> None:
        """Remember that the API answered for the part's job."""
        self.tracker.note(claim.part.job_id or "", claim.now, absent=False)

    async def _listed_jobs(self, context: WorkerContext, claim: Claim) -> frozenset[str] | None:
        """The ids on the job list in lower case; None where the API does not answer for itself."""
        since = (claim.part.bought_at or claim.now) - context.settings.api_clock_tolerance
        back_to = datetime.fromtimestamp(since, UTC)
        async with self._lock:
            last = self._checked
            if last is None or claim.now - last[0] > _STANDS or last[1] > back_to:
                self._checked = last = (claim.now, back_to, await _ask(context, back_to))
            return last[2]


async def _ask(context: WorkerContext, back_to: datetime) -> frozenset[str] | None:
    try:
        await context.call(context.client.get_user_info)
        listing = await context.job_list.read_listing(asyncio.get_running_loop().time(), back_to)
    except ScrapeDoError as error:
        await context.apply_to_all_workers(error)
        return None
    return frozenset(listing.jobs) if listing.complete else None
