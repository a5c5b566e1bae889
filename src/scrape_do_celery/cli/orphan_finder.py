"""Jobs of the account that still run and that no run owns: which they are, what they may cost, and their end."""

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
from scrape_do_celery.models import JobCreationRequest, RenderOptions
from scrape_do_celery.models.enums import JobStatus, is_terminal
from scrape_do_celery.rules.targets import JobDigests, Likeness, PartDigests, TargetSet, named_tasks
from scrape_do_celery.runtime.job_list import JobListReader, names_its_targets
from scrape_do_celery.store import ops, ownership
from scrape_do_celery.store.options import targets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.client import ScrapeDoAsyncAPIClient
    from scrape_do_celery.models import JobDetails, JobsListResponse
    from scrape_do_celery.store import PartId, Store
    from scrape_do_celery.store.ownership import JobOwnership, UnresolvedPart

_CALLS = 10
_ANY = ["https://any.example/"]
#: What a task costs at least, and with the dearest options; some domains cost more.
CHEAPEST = JobCreationRequest(targets=_ANY).estimated_credits()
DEAREST = JobCreationRequest(targets=_ANY, super=True, render=RenderOptions()).estimated_credits()


class StillOwnedError(Exception):
    """The job is not stopped: it is a run's, or may yet be."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A running job that no run owns.

    `claimant` may yet own it: the part that bought the same targets and does not know its job. `previous_owner` owned
    it and ended without it: its cancel was not answered, or it was taken out of work. The parts `searched_by`
    searched for a job with its targets and found none: the job may be what they bought.
    `each` is what a task of it cost, where one tells. `targets` are their digests, None where they are not shown.
    """

    job: JobDetails
    targets: JobDigests | None
    claimant: PartId | None = None
    previous_owner: PartId | None = None
    searched_by: tuple[PartId, ...] = ()
    each: float | None = None

    @property
    def tasks(self) -> int:
        """How many tasks it has."""
        return len(self.job.task_ids) or len(self.job.tasks)

    @property
    def done(self) -> int:
        """How many of them have ended."""
        return sum(is_terminal(task.status) for task in self.job.tasks)

    @property
    def credits(self) -> tuple[float, float]:
        """The least and the most that it may cost."""
        return self.tasks * (self.each or CHEAPEST), self.tasks * (self.each or DEAREST)


@dataclass(frozen=True, slots=True)
class NotAnOrphan:
    """A job that was asked for and is no orphan, and why. `ended`: it cannot cost any more."""

    job_id: str
    why: str
    ended: bool = False


class OrphanFinder:
    """The account's jobs, held against the store."""

    def __init__(self, client: ScrapeDoAsyncAPIClient, store: Store, account: str) -> None:
        self._client, self._store, self._account = client, store, account

    def all(self) -> list[Orphan]:
        """Every orphan, in the order in which they began."""
        running = list(asyncio.run(JobListReader(self._list).running_jobs()).values())
        with ThreadPoolExecutor(_CALLS) as pool:
            # What a run at work owns need not be read.
            seen = list(pool.map(self._read, [job for job in running if self._ownership(job.job_id).owner is None]))
            found = [one for one in self._classify_all(seen) if isinstance(one, Orphan)]
            return sorted(pool.map(self._with_cost, found), key=_start)

    def chosen(self, job_ids: Sequence[str]) -> tuple[list[Orphan], list[NotAnOrphan]]:
        """Those of the jobs that are orphans, and those that are none."""
        with ThreadPoolExecutor(_CALLS) as pool:
            seen = list(pool.map(self._find, dict.fromkeys(job_ids)))
            classified = self._classify_all([job for job in seen if not isinstance(job, NotAnOrphan)])
            orphans = list(pool.map(self._with_cost, [one for one in classified if isinstance(one, Orphan)]))
        return sorted(orphans, key=_start), [one for one in (*seen, *classified) if isinstance(one, NotAnOrphan)]

    def cancel_orphan(self, orphan: Orphan) -> bool:
        """Whether the job was running until now, and is stopped; False where it had just ended.

        Raises:
            StillOwnedError: it is a run's, or may yet be.
            ScrapeDoError: the API did not do it.
        """
        job_id = orphan.job.job_id
        if orphan.targets is None:
            raise StillOwnedError("its targets cannot be read yet, and so not whose it may be")
        # Once more, and only now: a run may have bought the same targets since, or have adopted the job.
        current = self._ownership(job_id, orphan.targets.coarse)
        if current.owner:
            raise StillOwnedError(f"it belongs to run {current.owner.run_id}")
        claimant = None if current.previous_owner else current.claimant or orphan.claimant
        if claimant:
            raise StillOwnedError(f"it may belong to run {claimant.run_id}, which searches for its job")
        try:
            self._client.cancel_job(job_id)
        except AsyncAPINotAcceptableError:
            return False
        return True

    async def _list(self, **filters: Any) -> JobsListResponse:
        return self._client.list_jobs(**filters)

    def _read(self, job: JobDetails) -> JobDetails:
        try:
            return self._client.get_job(job.job_id)
        except (AsyncAPINotFoundError, AsyncAPIGoneError, AsyncAPIUnparsableResponseError):
            # Too young to be shown, or unreadable: then what the list says is all there is.
            return job

    def _find(self, job_id: str) -> JobDetails | NotAnOrphan:
        try:
            return self._client.get_job(job_id)
        except (AsyncAPINotFoundError, AsyncAPIBadRequestError) as error:
            return NotAnOrphan(job_id, f"the API does not know it: {error}")

    def _classify_all(self, jobs: Sequence[JobDetails]) -> list[Orphan | NotAnOrphan]:
        # The order matters. From before its `POST` a purchase is unresolved, and the step that resolves it is the one
        # that writes the job's owner down. So of a job that was seen: either its part is still unresolved, or
        # its owner, which is read after them, is there. Asked the other way round, a purchase that is resolved between
        # the two questions would make an orphan of a job that has just got its owner.
        unresolved = self._unresolved_parts() if jobs else []
        return [self._classify(job, unresolved) for job in jobs]

    def _classify(self, job: JobDetails, unresolved: Sequence[UnresolvedPart]) -> Orphan | NotAnOrphan:
        urls = (task.url for task in named_tasks(job))
        targets = JobDigests.from_urls(urls) if names_its_targets(job) else None
        orphan = Orphan(job, targets)
        part = next((one.part_id for one in unresolved if self._may_have_bought(one, orphan)), None)
        current = self._ownership(job.job_id, targets.coarse if targets else "")
        if current.owner:
            return NotAnOrphan(job.job_id, f"it belongs to run {current.owner.run_id}")
        if job.is_terminal:
            return NotAnOrphan(job.job_id, f"it has ended: {job.status}", ended=True)
        if current.previous_owner:
            # It was nobody else's purchase.
            return replace(orphan, previous_owner=current.previous_owner)
        return replace(orphan, claimant=current.claimant or part, searched_by=current.searched_by)

    def _may_have_bought(self, part: UnresolvedPart, orphan: Orphan) -> bool:
        if orphan.targets is not None and part.fingerprint == orphan.targets.strict:
            return True
        spec = self._store.run(ops.part_spec(self._store.keys, part.part_id))
        if spec is None or spec.request.plugin is not None or orphan.targets is None:
            # Only the number of tasks can be compared: tasks of a plugin do not show what was asked of them.
            return part.targets == orphan.tasks and (orphan.targets is None or spec is not None)
        targets = targets_of(spec.request)
        # An answer may not name all tasks of its job. A job without another's URL may be the part's.
        is_like = PartDigests.from_targets(targets).compare(orphan.targets) is not Likeness.NONE
        return is_like or TargetSet(targets).may_have(orphan.targets)

    def _ownership(self, job_id: str, coarse: str = "") -> JobOwnership:
        return self._store.run(ownership.read_job_ownership(self._store.keys, self._account, job_id, coarse))

    def _unresolved_parts(self) -> list[UnresolvedPart]:
        found: list[UnresolvedPart] = []
        cursor = None
        while cursor != ops.START:
            cursor, some = self._store.run(ownership.scan_unresolved_parts(self._store.keys, cursor or ops.START))
            found += some
        return found

    def _with_cost(self, orphan: Orphan) -> Orphan:
        """Add the cost of one of its pages to an orphan; failures cost nothing, and tell nothing."""
        done = [task.task_id for task in orphan.job.tasks if task.status == JobStatus.SUCCESS]
        try:
            return replace(orphan, each=self._client.get_task(orphan.job.job_id, done[0]).cost) if done else orphan
        except (AsyncAPINotFoundError, AsyncAPIGoneError):
            return orphan


def _start(orphan: Orphan) -> tuple[bool, float, str]:
    started = orphan.job.start_time
    return started is None, started.timestamp() if started else 0.0, orphan.job.job_id
