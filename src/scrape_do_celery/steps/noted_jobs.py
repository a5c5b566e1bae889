"""Find the job of a purchase in doubt by its deliveries, which name the job before the part knows its id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from scrape_do_celery.errors import APIConnectionError, AsyncAPIError, AsyncAPIRateLimitError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.models import JobDetails, JobStatus
from scrape_do_celery.models.ids import same_id
from scrape_do_celery.rules.api_errors import is_client_error
from scrape_do_celery.rules.reconciliation import Resolution, SearchEvidence, StartOrder, decide, started_relative_to
from scrape_do_celery.steps.candidates import CandidateReader
from scrape_do_celery.steps.job_search import find_ambiguity, select_unowned_jobs
from scrape_do_celery.store.commands.deliveries import DropDeliveries, ReadDeliveries
from scrape_do_celery.store.commands.ownership import ReadJobOwners

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scrape_do_celery.rules.targets import Likeness
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim
    from scrape_do_celery.store.commands.deliveries import DeliveryNote

    StartOrderReader = Callable[[JobDetails], StartOrder]

log = get_logger(__name__)

#: Noted jobs that one step reads at most. Anybody who knows the URL of the webhook can make notes.
_MOST: Final = 3


class NotedJobs(NamedTuple):
    """The result of a search among noted jobs."""

    #: the job to adopt; None if there is none
    job: JobDetails | None = None
    #: whether a delivery has proven that a job exists, although none of the noted jobs can be adopted
    is_bought: bool = False


async def search_noted_jobs(context: WorkerContext, claim: Claim) -> NotedJobs:
    """Search the part's own job among the jobs that deliveries have named. Each job is read once.

    If the header of a delivery was right, only the API can have sent it. Its job is the part's own if the job shows the
    part's targets. If the job shows other targets, the part has been bought all the same, so it must not be bought
    again. Any other note is no more than an entry of the job list.

    An error about a noted job stops no search. Otherwise, anybody who knows the URL of the webhook could note an id
    that the API refuses. If the API refuses all calls, the search of the list tells.

    Raises:
        AsyncAPIRateLimitError: If the API asked for a pause.
    """
    if not claim.has_webhooks:
        return NotedJobs()
    notes = (await context.store.run(ReadDeliveries(claim.part_id))).notes
    is_bought = bool(claim.part.proven_purchase) or any(note.is_proven for note in notes)
    chosen = _choose_notes(notes)
    if not chosen:
        return NotedJobs(None, is_bought)
    owners = await context.store.run(ReadJobOwners([note.job_id for note in chosen]))
    order_of = await _make_order(context, claim)
    reader = CandidateReader(context, claim, order_of)
    for note, owner in zip(chosen, owners, strict=True):
        is_free = owner in {None, str(claim.part_id)}
        try:
            found = await reader.read_candidate(_as_listed(note)) if is_free else None
            if found is not None and (note.is_proven or await _is_own(context, claim, reader, order_of, found)):
                return NotedJobs(found[0])
            # A job that cannot be read yet is read again if the API has named it.
            is_kept = note.is_proven and not reader.complete
        except AsyncAPIRateLimitError:
            raise
        except (APIConnectionError, AsyncAPIError) as error:
            is_kept = note.is_proven or not is_client_error(error)
        if not is_kept:
            if note.is_proven:
                log.warning(
                    "%s: a webhook with the right header named job %s, which does not show the part's targets; the "
                    "part is not bought again, and ends in doubt unless the job list shows its job",
                    claim.part_id,
                    note.job_id,
                    extra=log_fields("noted_job_refused", claim.part_id),
                )
            await context.store.run(DropDeliveries(claim.part_id, notes=_notes_of(notes, note)))
        reader.complete = True
    return NotedJobs(None, is_bought)


def _choose_notes(notes: Sequence[DeliveryNote]) -> list[DeliveryNote]:
    """Return one note for each of a few jobs. Notes whose header was right go first."""
    found: dict[str, DeliveryNote] = {}
    for note in sorted(notes, key=lambda note: not note.is_proven):
        found.setdefault(note.job_id.lower(), note)
    return list(found.values())[:_MOST]


def _notes_of(notes: Sequence[DeliveryNote], of: DeliveryNote) -> list[DeliveryNote]:
    return [note for note in notes if same_id(note.job_id, of.job_id)]


def _as_listed(note: DeliveryNote) -> JobDetails:
    """Return a job as a list would show it that names no more than ids."""
    return JobDetails(job_id=note.job_id, status=JobStatus.QUEUING)


async def _make_order(context: WorkerContext, claim: Claim) -> StartOrderReader:
    """Return the function that compares the start of a job with the first intent of the part."""
    tolerance, ahead = context.settings.api_clock_tolerance, await context.store_clock_offset()
    offset = None if ahead is None else context.job_list.api_clock_offset(ahead, tolerance)
    return lambda job: started_relative_to(job, claim.first_intent(offset), offset, tolerance)


async def _is_own(
    context: WorkerContext,
    claim: Claim,
    reader: CandidateReader,
    order_of: StartOrderReader,
    found: tuple[JobDetails, Likeness],
) -> bool:
    """Return whether a job that anybody may have noted is the part's own, by the rules for jobs of the list."""
    for seen, sighted in await select_unowned_jobs(context, claim, [found[0]]):
        candidate = await reader.make_candidate(seen, found[1], order_of(seen))
        ambiguity, alike = await find_ambiguity(context, claim, [candidate], reader, sighted)
        evidence = SearchEvidence.of_one_job(
            purchases=claim.part.purchases,
            marker=bool(claim.part.marker),
            ambiguity=ambiguity,
            alike=alike,
            refused=claim.part.refused,
        )
        return decide([candidate], evidence)[0] is Resolution.ADOPT
    return False
