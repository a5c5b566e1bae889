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
from scrape_do_celery.runtime.survey import Surveyor, names_its_targets
from scrape_do_celery.store import ops, owning
from scrape_do_celery.store.spec import targets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.client import ScrapeDoAsyncAPIClient
    from scrape_do_celery.models import JobDetails, JobsListResponse
    from scrape_do_celery.store import Member, Store
    from scrape_do_celery.store.owning import Standing, Suspect

_CALLS = 10
_ANY = ["https://any.example/"]
#: What a task costs at least, and with the dearest options; some domains cost more.
CHEAPEST = JobCreationRequest(targets=_ANY).estimated_credits()
DEAREST = JobCreationRequest(targets=_ANY, super=True, render=RenderOptions()).estimated_credits()


class KeptError(Exception):
    """The job is not stopped: it is a run's, or may yet be."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A job that no run owns. `suitor` may yet: the part that bought the same targets and does not know its job.

    `former` owned it, and has ended without it: its cancel was not answered, or it was taken out of work. `seekers`
    looked for a job with its targets in vain: it may be what they bought.
    `each` is what a task of it cost, where one tells. `targets` are their digests, None where they are not shown.
    """

    job: JobDetails
    targets: JobDigests | None
    suitor: Member | None = None
    former: Member | None = None
    seekers: tuple[Member, ...] = ()
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
class NoOrphan:
    """A job that was asked for and is no orphan, and why. `ended`: it cannot cost any more."""

    job_id: str
    why: str
    ended: bool = False


class Strays:
    """The account's jobs, held against the store."""

    def __init__(self, client: ScrapeDoAsyncAPIClient, store: Store, account: str) -> None:
        self._client, self._store, self._account = client, store, account

    def all(self) -> list[Orphan]:
        """Every orphan, in the order in which they began."""
        running = list(asyncio.run(Surveyor(self._list).running()).values())
        with ThreadPoolExecutor(_CALLS) as pool:
            # What a run at work owns need not be read.
            seen = list(pool.map(self._read, [job for job in running if self._whose(job.job_id).owner is None]))
            found = [one for one in self._judge_all(seen) if isinstance(one, Orphan)]
            return sorted(pool.map(self._priced, found), key=_start)

    def chosen(self, job_ids: Sequence[str]) -> tuple[list[Orphan], list[NoOrphan]]:
        """Those of the jobs that are orphans, and those that are none."""
        with ThreadPoolExecutor(_CALLS) as pool:
            seen = list(pool.map(self._find, dict.fromkeys(job_ids)))
            judged = self._judge_all([job for job in seen if not isinstance(job, NoOrphan)])
            orphans = list(pool.map(self._priced, [one for one in judged if isinstance(one, Orphan)]))
        return sorted(orphans, key=_start), [one for one in (*seen, *judged) if isinstance(one, NoOrphan)]

    def stop(self, orphan: Orphan) -> bool:
        """Whether the job was running until now, and is stopped; False where it had just ended.

        Raises:
            KeptError: it is a run's, or may yet be.
            ScrapeDoError: the API did not do it.
        """
        job_id = orphan.job.job_id
        if orphan.targets is None:
            raise KeptError("its targets cannot be read yet, and so not whose it may be")
        # Once more, and only now: since the first look a run may have bought the same targets, or have adopted the job.
        standing = self._whose(job_id, orphan.targets.coarse)
        if standing.owner:
            raise KeptError(f"it belongs to run {standing.owner.run_id}")
        suitor = None if standing.former else standing.suitor or orphan.suitor
        if suitor:
            raise KeptError(f"it may belong to run {suitor.run_id}, which looks for its job")
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

    def _find(self, job_id: str) -> JobDetails | NoOrphan:
        try:
            return self._client.get_job(job_id)
        except (AsyncAPINotFoundError, AsyncAPIBadRequestError) as error:
            return NoOrphan(job_id, f"the API does not know it: {error}")

    def _judge_all(self, jobs: Sequence[JobDetails]) -> list[Orphan | NoOrphan]:
        # The order matters. From before its `POST` a purchase is unresolved, and the step that resolves it is the one
        # that writes the job's owner down. So of a job that was seen: either its part is still among the suspects, or
        # its owner, which is read after them, is there. Asked the other way round, a purchase that is resolved between
        # the two questions would make an orphan of a job that has just got its owner.
        suspects = self._suspects() if jobs else []
        return [self._judge(job, suspects) for job in jobs]

    def _judge(self, job: JobDetails, suspects: Sequence[Suspect]) -> Orphan | NoOrphan:
        urls = (task.url for task in named_tasks(job))
        targets = JobDigests.from_urls(urls) if names_its_targets(job) else None
        orphan = Orphan(job, targets)
        suspect = next((one.member for one in suspects if self._may_have_bought(one, orphan)), None)
        standing = self._whose(job.job_id, targets.coarse if targets else "")
        if standing.owner:
            return NoOrphan(job.job_id, f"it belongs to run {standing.owner.run_id}")
        if job.is_terminal:
            return NoOrphan(job.job_id, f"it has ended: {job.status}", ended=True)
        if standing.former:
            # It was nobody else's purchase.
            return replace(orphan, former=standing.former)
        return replace(orphan, suitor=standing.suitor or suspect, seekers=standing.seekers)

    def _may_have_bought(self, suspect: Suspect, orphan: Orphan) -> bool:
        if orphan.targets is not None and suspect.fingerprint == orphan.targets.strict:
            return True
        spec = self._store.run(ops.part_spec(self._store.keys, suspect.member))
        if spec is None or spec.request.plugin is not None or orphan.targets is None:
            # Only the number of tasks can be compared: tasks of a plugin do not show what was asked of them.
            return suspect.targets == orphan.tasks and (orphan.targets is None or spec is not None)
        targets = targets_of(spec.request)
        # An answer may not name all tasks of its job. A job without another's URL may be the part's.
        is_like = PartDigests.from_targets(targets).compare(orphan.targets) is not Likeness.NONE
        return is_like or TargetSet(targets).may_have(orphan.targets)

    def _whose(self, job_id: str, coarse: str = "") -> Standing:
        return self._store.run(owning.whose(self._store.keys, self._account, job_id, coarse))

    def _suspects(self) -> list[Suspect]:
        found: list[Suspect] = []
        cursor = None
        while cursor != ops.START:
            cursor, some = self._store.run(owning.suspects(self._store.keys, cursor or ops.START))
            found += some
        return found

    def _priced(self, orphan: Orphan) -> Orphan:
        """The orphan, with what one of its pages cost; failures cost nothing, and tell nothing."""
        done = [task.task_id for task in orphan.job.tasks if task.status == JobStatus.SUCCESS]
        try:
            return replace(orphan, each=self._client.get_task(orphan.job.job_id, done[0]).cost) if done else orphan
        except (AsyncAPINotFoundError, AsyncAPIGoneError):
            return orphan


def _start(orphan: Orphan) -> tuple[bool, float, str]:
    started = orphan.job.start_time
    return started is None, started.timestamp() if started else 0.0, orphan.job.job_id
