"""Search for the job of a purchase in doubt: the candidates of one part."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scrape_do_celery.errors import AsyncAPIGoneError, AsyncAPINotFoundError, AsyncAPIUnparsableResponseError
from scrape_do_celery.models import UndetailedTaskResponse
from scrape_do_celery.models.urls import is_web_url
from scrape_do_celery.rules.reconciliation import (
    Candidate,
    SearchEvidence,
    StartOrder,
    carries,
    hides_marker,
    latest_order,
    read_back_to,
    started_relative_to,
)
from scrape_do_celery.rules.targets import Likeness, PartDigests, TargetSet, named_tasks
from scrape_do_celery.steps.job_list import names_its_targets
from scrape_do_celery.store.commands.arguments import START
from scrape_do_celery.store.commands.ownership import (
    NoteUnowned,
    ReadJobOwners,
    ReadUnresolvedPurchases,
    ScanConflictingParts,
    ScanUnresolvedParts,
)
from scrape_do_celery.store.commands.parts import ReadPartSpec
from scrape_do_celery.store.request_inputs import targets_of
from scrape_do_celery.store.sentinels import demotion_delay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scrape_do_celery.models import JobDetails, TaskDetails
    from scrape_do_celery.rules.targets import JobDigests
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.steps.job_list import JobListing
    from scrape_do_celery.store import Claim


#: Errors of a call for one job or task after which the other jobs are still read.
_UNREAD = (AsyncAPINotFoundError, AsyncAPIGoneError, AsyncAPIUnparsableResponseError)
#: Parts whose targets are read if the store lost writes. Any part beyond them counts as a possible buyer of the job.
_MAX_PARTS_READ: Final = 1_000


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of one search: the candidates, the earliest first, their jobs by id, and the evidence."""

    candidates: list[Candidate]
    jobs: dict[str, JobDetails]
    evidence: SearchEvidence


class _CandidateReader:
    """The reader that selects the candidates of one part from a listing."""

    def __init__(self, context: WorkerContext, claim: Claim, order_of: Callable[[JobDetails], StartOrder]) -> None:
        self._context, self._total, self._order_of = context, claim.part.total, order_of
        request = claim.spec().request
        targets = targets_of(request)
        self.targets, self.digests, self._forms = targets, PartDigests.from_targets(targets), TargetSet(targets)
        #: whether the part uses a plugin; it is not known what the tasks of a plugin show instead of a URL
        self.is_plugin = request.plugin is not None
        #: whether nothing distinguishes the part's job from other jobs, while the API refused the `POST`
        self._is_blind = self.is_plugin and claim.part.refused and not claim.part.marker
        #: whether each job that may be the part's was read, so that the listing can prove its absence
        self.complete = True

    async def read_candidates(self, jobs: Iterable[JobDetails]) -> list[tuple[JobDetails, Likeness]]:
        """Select the jobs that have the part's targets. Return each with all its details, and its likeness."""
        if self._is_blind:
            return []
        return [found for job in jobs if (found := await self._read_candidate(job))]

    async def _read_candidate(self, job: JobDetails) -> tuple[JobDetails, Likeness] | None:
        known = self._context.job_list.digests_of(job)
        if known is not None and not self.is_plugin and self._is_other(known):
            return None
        try:
            whole = await self._context.call(self._context.client.get_job, job.job_id)
        except _UNREAD:
            # The job is too young to be shown, expired, or unreadable. A listing with such a job proves no absence.
            self.complete = False
            return None
        if self.is_plugin:
            return self._with_size(job, whole)
        named = whole if names_its_targets(whole) else await self._with_targets(job, whole)
        if named is None:
            return None
        likeness = self.digests.compare(self._context.job_list.remember(named))
        if likeness is not Likeness.NONE:
            return named, likeness
        if self._forms.has_all(task.url for task in named_tasks(named)):
            self._note_possible(job, whole)
        return None

    def _is_other(self, digests: JobDigests) -> bool:
        return self.digests.compare(digests) is Likeness.NONE and not self._forms.may_have(digests)

    def _note_possible(self, *answers: JobDetails) -> None:
        """Note a job that names only targets of the part, but not each target once.

        The answers may lack tasks of the job, or name repeated attempts. So a listing with such a job proves no
        absence, unless the job began long before the intent.
        """
        if latest_order(*map(self._order_of, answers)) is not StartOrder.BEFORE:
            self.complete = False

    def _with_size(self, job: JobDetails, whole: JobDetails) -> tuple[JobDetails, Likeness] | None:
        tasks = len(whole.task_ids) or len(whole.tasks)
        if tasks == self._total:
            return whole, Likeness.STRICT
        if tasks == 0:
            self.complete = False
        elif tasks < self._total and not (whole.is_terminal and whole.task_ids):
            # An answer without task ids may have a summary that is cut.
            self._note_possible(job, whole)
        return None

    async def _with_targets(self, job: JobDetails, whole: JobDetails) -> JobDetails | None:
        """Complete a job that does not name its targets, from its tasks; None if it is not shown to be the part's."""
        tasks = {task.task_id: task for task in named_tasks(whole)}
        if not self._forms.has_all(task.url for task in tasks.values()):
            return None
        missing = [task_id for task_id in whole.task_ids if task_id not in tasks]
        needed = max(0, self._total - len(tasks))
        for task_id in missing[:needed]:
            task = await self._task(whole.job_id, task_id)
            if task is None:
                # The task does not show its target, so the job may be the part's.
                self.complete = False
                return None
            if not self._forms.has_all([task.url]):
                return None
            tasks[task_id] = UndetailedTaskResponse(task_id=task_id, url=task.url, status=task.status)
        if not tasks:
            # A job that names no task may be the part's, or any other's.
            self.complete = False
            return None
        # Some servers name more ids than they have tasks. So a surplus id counts only if a task answers to it.
        surplus = await self._task(whole.job_id, missing[needed]) if missing[needed:] else None
        if surplus is not None:
            if self._forms.has_all([surplus.url]):
                self._note_possible(job, whole)
            return None
        return whole.model_copy(update={"tasks": list(tasks.values()), "task_ids": list(tasks)})

    async def _task(self, job_id: str, task_id: str) -> TaskDetails | None:
        """Return a task that shows its target; None if this id has no such task."""
        try:
            task = await self._context.call(self._context.client.get_task, job_id, task_id)
        except _UNREAD:
            return None
        return task if is_web_url(task.url) else None

    async def is_marked(self, job: JobDetails, marker: str, order: StartOrder) -> bool:
        """Return whether the job's tasks show the part's marker."""
        for task_id in job.named_task_ids[:1]:
            try:
                task = await self._context.call(self._context.client.get_task, job.job_id, task_id)
            except _UNREAD:
                self.complete = False
                return False
            if hides_marker(task.webhook_url) and order is not StartOrder.BEFORE:
                # A server may show the webhook late, masked, or never. So the job may still be the part's.
                self.complete = False
            return carries(task.webhook_url, marker)
        # A job that names no task yet does not show whether it has the marker.
        self.complete = False
        return False


async def search_for_job(context: WorkerContext, claim: Claim) -> SearchResult | None:
    """Search the whole job list once. Return None if the store's clock could not be read in time.

    Raises:
        ScrapeDoError: If a call of the API failed.
    """
    part, job_list, tolerance = claim.part, context.job_list, context.settings.api_clock_tolerance
    # The listing must begin after the claim, whose times are compared with the intent.
    claimed = asyncio.get_running_loop().time()
    store_clock_offset = await context.store_clock_offset()
    if store_clock_offset is None:
        return None
    back_to = read_back_to(claim.first_intent(0.0), job_list.api_clock_offset(store_clock_offset, tolerance), tolerance)
    listing = await job_list.read_listing(claimed, back_to)
    api_clock_offset = job_list.api_clock_offset(store_clock_offset, tolerance)
    sightings = await _read_unowned_jobs(context, claim, listing)
    unowned = [job for job, _ in sightings]

    def order_of(job: JobDetails) -> StartOrder:
        return started_relative_to(job, claim.first_intent(api_clock_offset), api_clock_offset, tolerance)

    listed = {job.job_id.lower(): order_of(job) for job in unowned}
    reader = _CandidateReader(context, claim, order_of)
    found = await reader.read_candidates(unowned)
    found.sort(key=lambda candidate: _start_order(candidate[0]))
    candidates = []
    for job, likeness in found:
        # A single start time proves nothing. The list and the job's own answer must agree before a job counts as older.
        order = latest_order(listed[job.job_id.lower()], order_of(job))
        is_marked = bool(part.marker) and await reader.is_marked(job, part.marker, order)
        candidates.append(Candidate(job.job_id, order, is_marked, likeness is Likeness.STRICT))
    ids = {candidate.job_id.lower() for candidate in candidates}
    sighted = max((position for job, position in sightings if job.job_id.lower() in ids), default=0)
    evidence = await _gather_evidence(context, claim, candidates, reader, listing, sighted)
    return SearchResult(candidates, {job.job_id: job for job, _ in found}, evidence)


async def _gather_evidence(  # noqa: PLR0913, PLR0917 (one argument for each source of evidence)
    context: WorkerContext,
    claim: Claim,
    candidates: Sequence[Candidate],
    reader: _CandidateReader,
    listing: JobListing,
    sighted: int,
) -> SearchEvidence:
    part, settings = claim.part, context.settings
    ambiguity, alike = await _find_ambiguity(context, claim, candidates, reader, sighted) if candidates else ("", 1)
    return SearchEvidence(
        # A `POST` may begin long after its intent. So its begin is also estimated as its end minus its deadline.
        intent=max(claim.watched - claim.age, (part.in_doubt_since or 0.0) - settings.submit_deadline),
        began=claim.watched,
        complete=reader.complete and listing.complete,
        not_found_at=part.not_found_at,
        purchases=part.purchases,
        visibility_delay=settings.submit_deadline
        + settings.submit_visibility_grace
        + (demotion_delay(context.store.client) if part.intent_lost else 0.0),
        min_gap=settings.submit_visibility_grace / 2,
        marker=bool(part.marker),
        ambiguity=ambiguity,
        alike=alike,
        refused=part.refused,
        outlived=claim.is_outlived,
    )


async def _read_unowned_jobs(context: WorkerContext, claim: Claim, listing: JobListing) -> list[tuple[JobDetails, int]]:
    """Select the jobs that no other part owns and that nothing proves to be older than the intent.

    Return each job with the position of its first sighting in the order of all intents. Owner keys live longer than the
    API keeps a job, so they name each job that any run has bought.
    """
    jobs = list(listing.jobs.values())
    if not jobs:
        return []
    store = context.store
    owners = await store.run(ReadJobOwners([job.job_id for job in jobs]))
    free = [job for job, owner in zip(jobs, owners, strict=True) if owner in {None, str(claim.part_id)}]
    if not free:
        return []
    account = context.settings.account_id
    seen = await context.write(NoteUnowned(account, [job.job_id for job in free]))
    return [(job, position) for job, position in zip(free, seen, strict=True) if position >= claim.part.first_order]


async def _find_ambiguity(
    context: WorkerContext, claim: Claim, candidates: Sequence[Candidate], reader: _CandidateReader, sighted: int
) -> tuple[str, int]:
    """Return why an equal job may not be the part's own, and the number of purchases that may have bought such a job.

    The reason is empty if there is no doubt. The number counts purchases of similar targets, the part's own included.
    """
    if context.settings.shared_account:
        return "other programs buy on this account, and the request had no webhook to carry a marker", 1
    if reader.is_plugin:
        return "tasks of a plugin do not show its parameters", 1
    store, digests = context.store, reader.digests
    others = await store.run(ReadUnresolvedPurchases(claim, context.settings.account_id, digests, sighted))
    alike = 1 + others.similar
    if others.equal:
        named = " ".join(map(str, others.equal))
        return f"another purchase of the same targets was never resolved: {named}", alike
    if (claim.part.intent_lost or others.may_lack_some) and not any(candidate.strict for candidate in candidates):
        other = await _similar_part(context, claim, digests)
        return (
            f"the store lost writes, and {other} may have bought a job with similar targets" if other else ""
        ), alike
    if not claim.part.intent_lost:
        return "", alike
    conflicting = await _conflicting_part(context, claim, digests)
    why = f"the store lost writes, and another run has the same targets with other options: {conflicting}"
    return (why if conflicting else ""), alike


async def _similar_part(context: WorkerContext, claim: Claim, digests: PartDigests) -> str:
    """Name a run with similar targets whose purchase the store may have lost; empty if there is none."""
    store, cursor, read = context.store, "", 0
    while cursor != START:
        cursor, found = await store.run(ScanUnresolvedParts(cursor or START))
        for other in found:
            if other.part_id == claim.part_id:
                continue
            read += 1
            spec = await store.run(ReadPartSpec(other.part_id)) if read <= _MAX_PARTS_READ else None
            if read > _MAX_PARTS_READ or (spec is not None and digests.is_like(targets_of(spec.request))):
                return f"run {other.part_id.run_id}"
    return ""


async def _conflicting_part(context: WorkerContext, claim: Claim, digests: PartDigests) -> str:
    store = context.store
    cursor, conflicting = await store.run(ScanConflictingParts(claim, digests))
    while not conflicting and cursor != START:
        cursor, conflicting = await store.run(ScanConflictingParts(claim, digests, cursor))
    return conflicting


def _start_order(job: JobDetails) -> tuple[bool, float, str]:
    return job.start_time is None, job.start_time.timestamp() if job.start_time else 0.0, job.job_id
