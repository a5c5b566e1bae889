"""Check "not found" with the API itself, before a job or a task counts as gone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scrape_do_celery.rules.absence import AbsenceTracker
from scrape_do_celery.rules.fetch import AnswerFate, classify_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.store import Claim

    #: reads the ids of the account's jobs in lower case, back to a start time; None if the API does not answer in full
    ReadJobIds = Callable[[datetime], Awaitable[frozenset[str] | None]]

#: Seconds for which a check is valid. A check reads the whole job list, and a thousand tasks may be missing at once.
_STANDS = 10.0


class AbsenceCheck:
    """The check of answers "not found". A process has one for all jobs, to see that many jobs fail at the same time.

    A start time may differ by `tolerance` seconds from the time of the purchase.
    """

    def __init__(self, tracker: AbsenceTracker | None = None, *, tolerance: float) -> None:
        self.tracker, self._tolerance = tracker or AbsenceTracker(), tolerance
        self._lock = asyncio.Lock()
        #: the watched clock at the last check, the start time back to which it read, and the job ids that it saw; None
        #: instead of the ids if the check failed
        self._checked: tuple[float, datetime, frozenset[str] | None] | None = None

    async def is_believed(
        self, claim: Claim, error: ScrapeDoError, read_job_ids: ReadJobIds, *, of_task: bool = False
    ) -> bool:
        """Return whether an answer 404 or 410 is believed.

        An answer with the API's own body is believed at once, unless many jobs are not found at the same time. In that
        case, the API must answer a request for the account, and the job must be missing from the job list. The list
        shows no tasks: for a task with the API's own body, the request is enough. An answer without the API's own body
        is believed only if the whole job is missing from the list.
        """
        job_id, now = claim.part.job_id or "", claim.watched
        self.tracker.note(job_id, now, absent=True)
        is_unconfirmed = classify_answer(error) is AnswerFate.UNCONFIRMED
        if not is_unconfirmed and not self.tracker.is_widespread(now):
            return True
        listed = await self._listed_jobs(claim, read_job_ids)
        if listed is None:
            return False
        return job_id.lower() not in listed or (of_task and not is_unconfirmed)

    def note_answer(self, claim: Claim) -> None:
        """Remember that the API answered for the part's job."""
        self.tracker.note(claim.part.job_id or "", claim.watched, absent=False)

    async def _listed_jobs(self, claim: Claim, read_job_ids: ReadJobIds) -> frozenset[str] | None:
        """Return the job ids of the job list in lower case; None if the API does not answer, or not in full."""
        since = (claim.part.bought_at or claim.now) - self._tolerance
        back_to = datetime.fromtimestamp(since, UTC)
        async with self._lock:
            last = self._checked
            if last is None or claim.watched - last[0] > _STANDS or last[1] > back_to:
                self._checked = last = (claim.watched, back_to, await read_job_ids(back_to))
            return last[2]
