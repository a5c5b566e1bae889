"""Search for the job of a purchase in doubt: the candidates of one part."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scrape_do_celery.rules.reconciliation import (
    Candidate,
    SearchEvidence,
    StartOrder,
    latest_order,
    read_back_to,
    started_relative_to,
)
from scrape_do_celery.steps.candidates import CandidateReader
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
    from collections.abc import Sequence

    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.rules.targets import PartDigests
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.steps.job_list import JobListing
    from scrape_do_celery.store import Claim

#: Parts whose targets are read if the store lost writes. Any part beyond them counts as a possible buyer of the job.
_MAX_PARTS_READ: Final = 1_000


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The result of one search: the candidates, the earliest first, their jobs by id, and the evidence."""

    candidates: list[Candidate]
    jobs: dict[str, JobDetails]
    evidence: SearchEvidence


async def search_for_job(context: WorkerContext, claim: Claim, *, is_bought: bool = False) -> SearchResult | None:
    """Search the whole job list once. Return None if the store's clock could not be read in time.

    With `is_bought`, a delivery has proven that the job exists, so that no list can prove its absence.

    Raises:
        ScrapeDoError: If a call of the API failed.
    """
    job_list, tolerance = context.job_list, context.settings.api_clock_tolerance
    # The listing must begin after the claim, whose times are compared with the intent.
    claimed = asyncio.get_running_loop().time()
    store_clock_offset = await context.store_clock_offset()
    if store_clock_offset is None:
        return None
    back_to = read_back_to(claim.first_intent(0.0), job_list.api_clock_offset(store_clock_offset, tolerance), tolerance)
    listing = await job_list.read_listing(claimed, back_to)
    api_clock_offset = job_list.api_clock_offset(store_clock_offset, tolerance)
    sightings = await select_unowned_jobs(context, claim, list(listing.jobs.values()))
    unowned = [job for job, _ in sightings]

    def order_of(job: JobDetails) -> StartOrder:
        return started_relative_to(job, claim.first_intent(api_clock_offset), api_clock_offset, tolerance)

    listed = {job.job_id.lower(): order_of(job) for job in unowned}
    reader = CandidateReader(context, claim, order_of)
    reader.complete = not is_bought
    found = await reader.read_candidates(unowned)
    found.sort(key=lambda candidate: _start_order(candidate[0]))
    candidates = []
    for job, likeness in found:
        # A single start time proves nothing. The list and the job's own answer must agree before a job counts as older.
        order = latest_order(listed[job.job_id.lower()], order_of(job))
        candidates.append(await reader.make_candidate(job, likeness, order))
    ids = {candidate.job_id.lower() for candidate in candidates}
    sighted = max((position for job, position in sightings if job.job_id.lower() in ids), default=0)
    evidence = await _gather_evidence(context, claim, candidates, reader, listing, sighted)
    return SearchResult(candidates, {job.job_id: job for job, _ in found}, evidence)


async def _gather_evidence(  # noqa: PLR0913, PLR0917 (one argument for each source of evidence)
    context: WorkerContext,
    claim: Claim,
    candidates: Sequence[Candidate],
    reader: CandidateReader,
    listing: JobListing,
    sighted: int,
) -> SearchEvidence:
    part, settings = claim.part, context.settings
    ambiguity, alike = await find_ambiguity(context, claim, candidates, reader, sighted) if candidates else ("", 1)
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


async def select_unowned_jobs(
    context: WorkerContext, claim: Claim, jobs: Sequence[JobDetails]
) -> list[tuple[JobDetails, int]]:
    """Select the jobs that no other part owns and that nothing proves to be older than the intent.

    Return each job with the position of its first sighting in the order of all intents. Owner keys live longer than the
    API keeps a job, so they name each job that any run has bought.
    """
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


async def find_ambiguity(
    context: WorkerContext, claim: Claim, candidates: Sequence[Candidate], reader: CandidateReader, sighted: int
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
