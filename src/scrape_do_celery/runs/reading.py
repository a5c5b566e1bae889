"""Reading a run's results out of the store, in input order, a few at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrape_do_celery.errors import ResultExpiredError
from scrape_do_celery.models import JobDetails, TaskDetails, order
from scrape_do_celery.rules.ids import targets_of_tasks
from scrape_do_celery.store import Member, PartRecord, RunRecord, RunSpec, Store, ops
from scrape_do_celery.store.spec import targets_of

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Contents in memory at a time while a run is streamed.
_CHUNK = 25


@dataclass(frozen=True, slots=True)
class PartReader:
    """What it takes to read one part: its job, and the positions of its tasks in the order of its targets."""

    member: Member
    record: PartRecord
    job: JobDetails
    positions: list[int]
    verified: bool

    def tasks(self, store: Store) -> Iterator[TaskDetails]:
        """The stored tasks in input order; those that were never fetched are left out.

        Raises:
            ResultExpiredError: there were some, and their life has passed.
        """
        for _, task in self._placed(store):
            yield task

    def good(self, store: Store) -> set[int]:
        """The places in input order of the targets that have a page, or whose page an answer contained.

        Raises:
            ResultExpiredError: as `tasks`.
        """
        return {place for place, task in self._placed(store) if task.has_page}

    def _placed(self, store: Store) -> Iterator[tuple[int, TaskDetails]]:
        found = 0
        for start in range(0, len(self.positions), _CHUNK):
            chunk = self.positions[start : start + _CHUNK]
            tasks = store.run(ops.contents(store.keys, self.member, chunk))
            for place, task in enumerate(tasks, start):
                if task is not None:
                    found += 1
                    yield place, task
        if found < self.record.got_done + self.record.got_failed:
            run_id = self.member.run_id
            raise ResultExpiredError(f"the contents of run {run_id} have passed their life", run_id)


def readers(store: Store, record: RunRecord) -> Iterator[PartReader]:
    """A reader for each part that has a job, in the order of the parts."""
    for number, job in jobs_by_part(store, record).items():
        member = record.member(number)
        positions, verified = _input_order(job, store.run(ops.part_spec(store.keys, member)))
        yield PartReader(member, record.parts[number], job, positions, verified)


def jobs_by_part(store: Store, record: RunRecord) -> dict[int, JobDetails]:
    """The jobs that the run has so far, by part, in the order of the parts."""
    found = {n: store.run(ops.job(store.keys, record.member(n))) for n in range(len(record.parts))}
    return {number: job for number, job in found.items() if job is not None}


def _input_order(job: JobDetails, spec: RunSpec | None) -> tuple[list[int], bool]:
    """Positions of a job's tasks in the order of its targets, and whether their URLs prove it."""
    ids = job.task_ids or [task.task_id for task in job.tasks]
    if spec is None or spec.request.plugin is not None:
        return list(range(len(ids))), False
    urls = {task.task_id: task.url for task in job.tasks}
    targets = targets_of_tasks(ids, targets_of(spec.request))
    return order(targets, [urls.get(task_id, "") for task_id in ids])
