"""Find running jobs of the account that no run owns, compute their cost, and cancel them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scrape_do_celery.errors import (
    AsyncAPIBadRequestError,
    AsyncAPIGoneError,
    AsyncAPINotAcceptableError,
    AsyncAPINotFoundError,
    AsyncAPIUnparsableResponseError,
)
from scrape_do_celery.models.prices import find_price, host_of
from scrape_do_celery.models.statuses import JobStatus, is_terminal
from scrape_do_celery.rules.targets import JobDigests, Likeness, PartDigests, TargetSet, named_tasks
from scrape_do_celery.steps.job_list import JobListReader, names_its_targets
from scrape_do_celery.store.commands.arguments import START
from scrape_do_celery.store.commands.ownership import ReadJobOwnership, ScanUnresolvedParts
from scrape_do_celery.store.commands.parts import ReadPartSpec
from scrape_do_celery.store.request_inputs import targets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.client import ScrapeDoAsyncAPIClient
    from scrape_do_celery.models import JobDetails, JobsListResponse
    from scrape_do_celery.store import PartId, Store
    from scrape_do_celery.store.commands.ownership import JobOwnership, UnresolvedPart

_CALLS = 10


class StillOwnedError(Exception):
    """A refusal to cancel a job, because it belongs to a run or may yet belong to one."""


@dataclass(frozen=True, slots=True)
class OrphanJob:
    """A running job that no run owns.

    `claimant`: the part that bought the same targets, does not know its job, and may yet own this one.
    `previous_owner`: the part that owned the job and ended without it, because its cancel was not answered or because
    the part was taken out of work. `searched_by`: parts that searched for a job with these targets and found none; they
    may have bought the job. `each`: credits of one task, if a finished task shows them. `targets`: digests of the job's
    targets, None if the API does not show the targets.
    """

    job: JobDetails
    targets: JobDigests | None
    claimant: PartId | None = None
    previous_owner: PartId | None = None
    searched_by: tuple[PartId, ...] = ()
    each: float | None = None

    @property
    def tasks(self) -> int:
        """Number of the job's tasks."""
        return len(self.job.task_ids) or len(self.job.tasks)

    @property
    def done(self) -> int:
        """Number of the job's tasks that have ended."""
        return sum(is_terminal(task.status) for task in self.job.tasks)

    @property
    def credits(self) -> tuple[float, float]:
        """The least and the most credits that the job may cost, by the published prices.

        The options of the job are not known, and a task may lack its URL.
        """
        if self.each:
            return self.tasks * self.each, self.tasks * self.each
        hosts = [host_of(task.url) for task in self.job.tasks[: self.tasks]]
        hosts += [""] * (self.tasks - len(hosts))
        least = sum(find_price(host, has_super=False, has_render=False).least for host in hosts)
        return least, sum(find_price(host, has_super=True, has_render=True).price for host in hosts)


@dataclass(frozen=True, slots=True)
class NotAnOrphan:
    """A job that was named and is no orphan, with the reason. `ended`: the job cannot cost any more."""

    job_id: str
    why: str
    ended: bool = False


class OrphanFinder:
    """A comparison of the account's jobs with the store."""

    def __init__(self, client: ScrapeDoAsyncAPIClient, store: Store, account: str) -> None:
        self._client, self._store, self._account = client, store, account

    def find_all(self) -> list[OrphanJob]:
        """Return all orphans in the order of their start times."""
        running = list(asyncio.run(JobListReader(self._list_jobs).running_jobs()).values())
        with ThreadPoolExecutor(_CALLS) as pool:
            # A job that a live run owns is no orphan, so it costs no request.
            seen = list(
                pool.map(self._read_job, [job for job in running if self._read_ownership(job.job_id).owner is None])
            )
            found = [one for one in self._classify_all(seen) if isinstance(one, OrphanJob)]
            return sorted(pool.map(self._with_cost, found), key=_start_order)

    def find_chosen(self, job_ids: Sequence[str]) -> tuple[list[OrphanJob], list[NotAnOrphan]]:
        """Return the orphans among the named jobs, and the other named jobs."""
        with ThreadPoolExecutor(_CALLS) as pool:
            seen = list(pool.map(self._find_job, dict.fromkeys(job_ids)))
            classified = self._classify_all([job for job in seen if not isinstance(job, NotAnOrphan)])
            orphans = list(pool.map(self._with_cost, [one for one in classified if isinstance(one, OrphanJob)]))
        return sorted(orphans, key=_start_order), [one for one in (*seen, *classified) if isinstance(one, NotAnOrphan)]

    def cancel_orphan(self, orphan: OrphanJob) -> bool:
        """Cancel the job of an orphan at Scrape.do. Return False if the job had just ended.

        Raises:
            StillOwnedError: the job belongs to a run, or may yet belong to one.
            ScrapeDoError: the API did not cancel the job.
        """
        job_id = orphan.job.job_id
        if orphan.targets is None:
            raise StillOwnedError("the targets of the job cannot be read yet, so its run is unknown; try again later")
        # Read the ownership again right before the cancel: meanwhile a run may have bought the same targets, or have
        # adopted the job.
        current = self._read_ownership(job_id, orphan.targets.coarse)
        if current.owner:
            raise StillOwnedError(f"the job belongs to run {current.owner.run_id}")
        claimant = None if current.previous_owner else current.claimant or orphan.claimant
        if claimant:
            raise StillOwnedError(f"the job may belong to run {claimant.run_id}, which searches for its job")
        try:
            self._client.cancel_job(job_id)
        except AsyncAPINotAcceptableError:
            return False
        return True

    async def _list_jobs(self, **filters: Any) -> JobsListResponse:
        return self._client.list_jobs(**filters)

    def _read_job(self, job: JobDetails) -> JobDetails:
        try:
            return self._client.get_job(job.job_id)
        except (AsyncAPINotFoundError, AsyncAPIGoneError, AsyncAPIUnparsableResponseError):
            # The job is too young to be shown, or its answer is unreadable. Then only the entry of the list is known.
            return job

    def _find_job(self, job_id: str) -> JobDetails | NotAnOrphan:
        try:
            return self._client.get_job(job_id)
        except (AsyncAPINotFoundError, AsyncAPIBadRequestError) as error:
            return NotAnOrphan(job_id, f"the API does not know the job: {error}")

    def _classify_all(self, jobs: Sequence[JobDetails]) -> list[OrphanJob | NotAnOrphan]:
        # Read the unresolved parts first, then the owners of the jobs. A purchase is unresolved from before its `POST`
        # until the step that resolves it writes the job's owner. So each job that was seen has an unresolved part now,
        # or its owner can be read afterwards. In the other order, if a purchase was resolved between the two reads, a
        # job that has just got its owner would seem an orphan.
        unresolved = self._unresolved_parts() if jobs else []
        return [self._classify_job(job, unresolved) for job in jobs]

    def _classify_job(self, job: JobDetails, unresolved: Sequence[UnresolvedPart]) -> OrphanJob | NotAnOrphan:
        urls = (task.url for task in named_tasks(job))
        targets = JobDigests.from_urls(urls) if names_its_targets(job) else None
        orphan = OrphanJob(job, targets)
        part = next((one.part_id for one in unresolved if self._may_have_bought(one, orphan)), None)
        current = self._read_ownership(job.job_id, targets.coarse if targets else "")
        if current.owner:
            return NotAnOrphan(job.job_id, f"the job belongs to run {current.owner.run_id}")
        if job.is_terminal:
            return NotAnOrphan(job.job_id, f"the job has ended: {job.status}", ended=True)
        if current.previous_owner:
            # The previous owner bought the job, so no other part may claim it.
            return replace(orphan, previous_owner=current.previous_owner)
        return replace(orphan, claimant=current.claimant or part, searched_by=current.searched_by)

    def _may_have_bought(self, part: UnresolvedPart, orphan: OrphanJob) -> bool:
        if orphan.targets is not None and part.fingerprint == orphan.targets.strict:
            return True
        spec = self._store.run(ReadPartSpec(part.part_id))
        if spec is None or spec.request.plugin is not None or orphan.targets is None:
            # Only the number of tasks can be compared: tasks of a plugin do not show their parameters.
            return part.targets == orphan.tasks and (orphan.targets is None or spec is not None)
        targets = targets_of(spec.request)
        # An answer may not name all tasks of its job. If no URL of the job is foreign, the part may have bought it.
        is_like = PartDigests.from_targets(targets).compare(orphan.targets) is not Likeness.NONE
        return is_like or TargetSet(targets).may_have(orphan.targets)

    def _read_ownership(self, job_id: str, coarse: str = "") -> JobOwnership:
        return self._store.run(ReadJobOwnership(self._account, job_id, coarse))

    def _unresolved_parts(self) -> list[UnresolvedPart]:
        found: list[UnresolvedPart] = []
        cursor = None
        while cursor != START:
            cursor, some = self._store.run(ScanUnresolvedParts(cursor or START))
            found += some
        return found

    def _with_cost(self, orphan: OrphanJob) -> OrphanJob:
        """Add the cost of one successful task to an orphan. Failed tasks cost nothing, so they prove nothing."""
        done = [task.task_id for task in orphan.job.tasks if task.status == JobStatus.SUCCESS]
        try:
            return replace(orphan, each=self._client.get_task(orphan.job.job_id, done[0]).cost) if done else orphan
        except (AsyncAPINotFoundError, AsyncAPIGoneError):
            return orphan


def _start_order(orphan: OrphanJob) -> tuple[bool, float, str]:
    started = orphan.job.start_time
    return started is None, started.timestamp() if started else 0.0, orphan.job.job_id
