"""Check "not found" with the API itself, before a job or a task counts as gone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.rules.absence import AbsenceTracker
from scrape_do_celery.rules.fetch import AnswerFate, classify_answer

if TYPE_CHECKING:
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim

#: Seconds for which a check is valid. A check reads the whole job list, and a thousand tasks may be missing at once.
_STANDS = 10.0


class AbsenceCheck:
    """The check of answers "not found". A process has one for all jobs, to see that many jobs fail at the same time."""

    def __init__(self, tracker: AbsenceTracker | None = None) -> None:
        self.tracker = tracker or AbsenceTracker()
        self._lock = asyncio.Lock()
        #: the store's time of the last check, the start time back to which it read, and the job ids that it saw; None
        #: instead of the ids if the check failed
        self._checked: tuple[float, datetime, frozenset[str] | None] | None = None

    async def is_believed(
        self, context: WorkerContext, claim: Claim, error: ScrapeDoError, *, of_task: bool = False
    ) -> bool:
        """Tell whether an answer 404 or 410 is believed.

        An answer with the API's own body is believed at once, unless many jobs are not found at the same time. In that
        case, the API must answer a request for the account, and the job must be missing from the job list. The list
        shows no tasks: for a task with the API's own body, the request is enough. An answer without the API's own body
        is believed only if the whole job is missing from the list.
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
        """Return the job ids of the job list in lower case; None if the API does not answer, or not in full."""
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
