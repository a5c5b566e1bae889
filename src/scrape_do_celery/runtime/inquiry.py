"""Looking for the job of a purchase whose answer was lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrape_do_celery.doubt import Age, Evidence, Match, age, carries, read_back_to
from scrape_do_celery.errors import AsyncAPIGoneError, AsyncAPINotFoundError
from scrape_do_celery.models import JobStatus, UndetailedTaskResponse
from scrape_do_celery.models.urls import fingerprint, normalise
from scrape_do_celery.runtime.survey import names_its_targets
from scrape_do_celery.store import ops
from scrape_do_celery.store.spec import inputs_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.runtime.process import Runtime
    from scrape_do_celery.store import Claim


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What one look showed: the jobs that may be the part's, the one that began first ahead, and what is known."""

    matches: list[Match]
    jobs: dict[str, JobDetails]
    known: Evidence


class _Reading:
    """The reading of a survey for one part."""

    def __init__(self, runtime: Runtime, claim: Claim) -> None:
        self._runtime, self._claim = runtime, claim
        request = claim.spec().request
        #: None for a plugin: what its tasks show instead of a URL is not known
        self._targets = None if request.plugin else fingerprint(inputs_of(request))
        self._urls = set() if request.plugin else {normalise(url) for url in inputs_of(request)}
        self.complete = True

    async def matching(self, jobs: Iterable[JobDetails]) -> list[JobDetails]:
        """Those of the jobs that have the part's targets, with all that the API tells of them."""
        return [whole for job in jobs if (whole := await self._match(job))]

    async def _match(self, job: JobDetails) -> JobDetails | None:
        surveyor, known = self._runtime.surveyor, self._runtime.surveyor.targets_of(job)
        if known is not None and self._targets is not None and known != self._targets:
            return None
        try:
            whole = await self._runtime.call(self._runtime.client.get_job, job.job_id)
        except AsyncAPINotFoundError:
            # Too young to be shown, or expired meanwhile: either way it was not read.
            self.complete = False
            return None
        if not names_its_targets(whole):
            named = await self._named(whole)
            if named is None:
                return None
            whole = named
        return whole if surveyor.remember(whole) == self._targets or self._targets is None else None

    async def _named(self, job: JobDetails) -> JobDetails | None:
        """A job that does not name its targets, with what its tasks say; None once one of them is not the part's."""
        tasks = []
        for task_id in job.task_ids:
            try:
                task = await self._runtime.call(self._runtime.client.get_task, job.job_id, task_id)
            except (AsyncAPINotFoundError, AsyncAPIGoneError):
                self.complete = False
                return None
            if self._urls and not task.url:
                # It says nothing at all: it may be the part's, and may not.
                self.complete = False
                return None
            if self._urls and normalise(task.url) not in self._urls:
                return None
            tasks.append(UndetailedTaskResponse(task_id=task_id, url=task.url, status=task.status))
        return job.model_copy(update={"tasks": tasks})

    async def is_marked(self, job: JobDetails, marker: str) -> bool:
        """Whether the job's tasks show the part's marker."""
        for task_id in job.task_ids[:1]:
            try:
                task = await self._runtime.call(self._runtime.client.get_task, job.job_id, task_id)
            except (AsyncAPINotFoundError, AsyncAPIGoneError):
                self.complete = False
                return False
            if not task.webhook_url and not task.is_terminal:
                # It may not be shown yet.
                self.complete = False
            return carries(task.webhook_url, marker)
        # A job that names no task yet tells nothing.
        self.complete = False
        return False


async def inquire(runtime: Runtime, claim: Claim) -> Inquiry | None:
    """One look through the whole job list; None where the store's clock could not be read in time.

    Raises:
        ScrapeDoError: the API did not answer as it should.
    """
    part, surveyor = claim.part, runtime.surveyor
    store_ahead = await runtime.store_ahead()
    if store_ahead is None:
        return None
    intent = part.first_intent or claim.now
    survey = await surveyor.survey(claim.now - store_ahead, read_back_to(intent, surveyor.api_ahead(store_ahead)))
    api_ahead = surveyor.api_ahead(store_ahead)
    suspects, filling = await _suspects(runtime, claim, survey.jobs.values())
    ages = {job.job_id: age(job, intent, api_ahead) for job in suspects}
    reading = _Reading(runtime, claim)
    found = await reading.matching(job for job in suspects if ages[job.job_id] is not Age.OLDER)
    if found and not part.marker:
        # Only now does it matter what else looks the same.
        found += await reading.matching(job for job in suspects if ages[job.job_id] is Age.OLDER)
    found.sort(key=_start)
    matches = [
        Match(job.job_id, ages[job.job_id], bool(part.marker) and await reading.is_marked(job, part.marker))
        for job in found
    ]
    complete = reading.complete and not filling
    known = await _evidence(runtime, claim, survey.began + store_ahead, matches, complete=complete)
    return Inquiry(matches, {job.job_id: job for job in found}, known)


async def _evidence(
    runtime: Runtime, claim: Claim, began: float, matches: Sequence[Match], *, complete: bool
) -> Evidence:
    part, settings = claim.part, runtime.settings
    return Evidence(
        # A `POST` that began long after its intent ended later than its deadline after that.
        intent=max(part.intent or claim.now, (part.doubted or 0.0) - settings.submit_deadline),
        began=began,
        complete=complete,
        absent_at=part.absent_at,
        purchases=part.intents,
        patience=settings.submit_deadline + settings.submit_settle,
        apart=settings.submit_settle / 2,
        marker=bool(part.marker),
        distrust=await _distrust(runtime, claim) if matches else "",
    )


async def _suspects(
    runtime: Runtime, claim: Claim, jobs: Collection[JobDetails]
) -> tuple[list[JobDetails], list[JobDetails]]:
    """Jobs that no run owns: those with as many tasks as the part has targets, and those that may still grow to it."""
    total = claim.part.total
    sized = {job.job_id: (len(job.task_ids) or len(job.tasks) or total) for job in jobs}
    maybe = [job for job in jobs if sized[job.job_id] == total or _is_filling(job, sized[job.job_id], total)]
    if not maybe:
        return [], []
    owners = await runtime.store.run(ops.owners(runtime.store.keys, [job.job_id for job in maybe]))
    free = [job for job, owner in zip(maybe, owners, strict=True) if owner in {None, str(claim.member)}]
    whole = [job for job in free if sized[job.job_id] == total]
    return whole, [job for job in free if sized[job.job_id] != total]


def _is_filling(job: JobDetails, tasks: int, total: int) -> bool:
    return job.status == JobStatus.QUEUING and tasks < total


async def _distrust(runtime: Runtime, claim: Claim) -> str:
    if runtime.settings.shared_account:
        return "others buy on this account, and the request had no webhook that could carry a marker"
    if claim.spec().request.plugin:
        return "tasks of a plugin do not show what was asked of it"
    if other := await runtime.store.run(ops.doubts(runtime.store.keys, claim)):
        return f"an earlier purchase of the same targets was never resolved: {other}"
    rival = await _rival(runtime, claim) if claim.part.lost else ""
    return f"the store lost writes, and another run has the same targets with other options: {rival}" if rival else ""


async def _rival(runtime: Runtime, claim: Claim) -> str:
    cursor, rival = await runtime.store.run(ops.rivals(runtime.store.keys, claim))
    while not rival and cursor != ops.START:
        cursor, rival = await runtime.store.run(ops.rivals(runtime.store.keys, claim, cursor))
    return rival


def _start(job: JobDetails) -> tuple[bool, float, str]:
    return job.start_time is None, job.start_time.timestamp() if job.start_time else 0.0, job.job_id
