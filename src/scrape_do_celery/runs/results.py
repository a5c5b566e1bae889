"""Read the results of a run from the store, in input order, a few at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrape_do_celery.errors import EncryptionKeyError, RefusedValueError, ResultExpiredError, RunNotFoundError
from scrape_do_celery.rules.ordering import decide_order
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.parts import ReadJob, ReadPartSpec
from scrape_do_celery.store.commands.runs import ReadRun
from scrape_do_celery.store.request_inputs import targets_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence, Sized

    from scrape_do_celery.models import JobDetails, TaskDetails
    from scrape_do_celery.store import PartId, PartRecord, RunRecord, RunSpec, Store

#: Contents in memory at a time while a run is streamed, at most.
_CHUNK = 25


@dataclass(frozen=True, slots=True)
class PartReader:
    """A reader of one part, with its job, its targets, and the URLs that the job's summary names."""

    part_id: PartId
    record: PartRecord
    job: JobDetails
    #: None for a plugin, and if the targets are gone. Then the tasks stay in the order of the job.
    targets: list[str] | None
    #: URLs by position in the store; an empty text if the summary names no URL
    named: list[str]
    #: whether the request had `return_json=True`; None if the request is gone
    return_json: bool | None = None

    def iter_tasks(self, store: Store) -> Iterator[TaskDetails]:
        """Yield the stored tasks in the input order of the job's summary. Leave out tasks that were never fetched.

        Raises:
            ResultExpiredError: tasks were stored, and have expired.
        """
        positions, _ = self.decide_order({})
        for _, task in self.read_stored(store, positions):
            yield task

    def read_tasks(self, store: Store) -> tuple[list[TaskDetails], bool]:
        """Return the stored tasks in input order, and whether their own URLs and the summary prove that order.

        Raises:
            ResultExpiredError: as `tasks`.
        """
        tasks = dict(self.read_stored(store, range(len(self.named))))
        positions, proven = self.decide_order({at: task.url for at, task in tasks.items() if not task.gone})
        return [tasks[at] for at in positions if at in tasks], proven

    def successful_indexes(self, store: Store) -> set[int] | None:
        """Return the indexes of the targets that have a page; None if nothing proves the order of the tasks.

        Without any page, no order is needed.

        Raises:
            ResultExpiredError: as `tasks`.
        """
        own: dict[int, str] = {}
        pages: set[int] = set()
        for at, task in self.read_stored(store, range(len(self.named))):
            if not task.gone:
                own[at] = task.url
            if task.has_page:
                pages.add(at)
        if not pages:
            return set()
        positions, proven = self.decide_order(own)
        return {index for index, at in enumerate(positions) if at in pages} if proven else None

    def decide_order(self, own: Mapping[int, str]) -> tuple[list[int], bool]:
        """Return the position of each target's task, and whether the URLs prove all positions, as `decide_order`."""
        if self.targets is None:
            return list(range(len(self.named))), False
        return decide_order(self.targets, self.named, own)

    def read_stored(self, store: Store, positions: Sequence[int]) -> Iterator[tuple[int, TaskDetails]]:
        """Yield the stored tasks at some positions, each with its position, in this order.

        Raises:
            ResultExpiredError: fewer tasks were found than were stored.
        """
        found: set[int] = set()
        for start in range(0, len(positions), _CHUNK):
            for at, task in self.read_chunk(store, positions[start : start + _CHUNK]):
                found.add(at)
                yield at, task
        self.check_complete(found)

    def read_chunk(self, store: Store, positions: Sequence[int]) -> Iterator[tuple[int, TaskDetails]]:
        """Yield the stored tasks at some positions by one command. Each task knows whether JSON was requested."""
        tasks = store.run(ReadContents(self.part_id, positions))
        for at, task in zip(positions, tasks, strict=True):
            if task is not None:
                yield at, task.model_copy(update={"return_json": self.return_json})

    def check_complete(self, found: Sized) -> None:
        """Raise if these positions of stored tasks are not all.

        Raises:
            ResultExpiredError: fewer tasks were found than were stored.
        """
        if len(found) < self.record.stored_ok + self.record.stored_failed:
            raise self.expired_error()

    def expired_error(self) -> ResultExpiredError:
        """Return the error for tasks that were stored, and are gone."""
        run_id = self.part_id.run_id
        return _expired_error(run_id, f"the contents of run {run_id}", "they expired (SCRAPE_DO_RESULT_TTL), or ")


def run_not_found_error(store: Store, run_id: str) -> RunNotFoundError:
    """Return the error for a run without a record. Its text names the store, because another one may have the run."""
    return RunNotFoundError(
        f"the store has no run {run_id} {store_text(store)}: the id is wrong, the run is not committed yet, or it has "
        "expired; another SCRAPE_DO_REDIS_URL or SCRAPE_DO_KEY_PREFIX shows other runs",
        run_id,
    )


def read_record(store: Store, run_id: str) -> RunRecord:
    """Return the record of a run.

    Raises:
        RunNotFoundError: the store has no such run (any more).
    """
    record = store.run(ReadRun(run_id))
    if record is None:
        raise run_not_found_error(store, run_id)
    return record


def store_text(store: Store) -> str:
    """Return where a store is, for error texts: its URL without a password, and its prefix."""
    return f"(store at {store.where}, prefix {store.keys.prefix})"


def part_readers(store: Store, record: RunRecord) -> Iterator[PartReader]:
    """Yield a reader for each part that has a job, in the order of the parts.

    Raises:
        ResultExpiredError: as `whole_jobs_by_part`.
    """
    for number, job in whole_jobs_by_part(store, record).items():
        yield make_reader(record, number, job, store.run(ReadPartSpec(record.part_id(number))))


def make_reader(record: RunRecord, number: int, job: JobDetails, spec: RunSpec | None) -> PartReader:
    """Return the reader of a part with this job. `spec` has the targets of the part, and is None if they are gone."""
    targets = None if spec is None or spec.request.plugin is not None else targets_of(spec.request)
    return_json = None if spec is None else spec.request.returns_json
    return PartReader(record.part_id(number), record.parts[number], job, targets, _named_urls(job), return_json)


def jobs_by_part(store: Store, record: RunRecord) -> dict[int, JobDetails]:
    """Return the jobs that the run has by now, by part, in the order of the parts."""
    found = {n: store.run(ReadJob(record.part_id(n))) for n in range(len(record.parts))}
    return {number: job for number, job in found.items() if job is not None}


def whole_jobs_by_part(store: Store, record: RunRecord) -> dict[int, JobDetails]:
    """Return the jobs as `jobs_by_part` does, if the store has lost no part, and no job of stored tasks.

    A part that is left out would look as if the part had no page, and its targets would be bought again.

    Raises:
        ResultExpiredError: the store has lost the record of a part or of a job.
    """
    if len(record.parts) < record.part_count:
        raise _expired_error(record.run_id, f"some parts of run {record.run_id}")
    found = jobs_by_part(store, record)
    for number, part in enumerate(record.parts):
        if part.has_contents and number not in found:
            raise _expired_error(record.run_id, f"the answers about job {part.job_id} of run {record.run_id}")
    return found


def _expired_error(run_id: str, what: str, why: str = "") -> ResultExpiredError:
    return ResultExpiredError(
        f"{what} are no longer in the store: {why}the server evicted or lost them; the API keeps pages about three "
        "days",
        run_id,
    )


def has_refused_values(store: Store, run_id: str) -> bool:
    """Return whether this process refuses a value that the steps of a run need. Its pages are not read."""
    record = store.run(ReadRun(run_id))
    if record is None:
        return False
    try:
        for number, part in enumerate(record.parts):
            store.run(ReadPartSpec(record.part_id(number)))
            store.run(ReadJob(record.part_id(number)))
            if isinstance(part.error, RefusedValueError):
                return True
    except EncryptionKeyError as error:
        return isinstance(error, RefusedValueError)
    return isinstance(record.unreadable, RefusedValueError)


def _named_urls(job: JobDetails) -> list[str]:
    """Return the URLs that the summary names, in the order of the job's task ids."""
    urls = {task.task_id: task.url for task in job.tasks}
    return [urls.get(task_id, "") for task_id in job.task_ids or urls]
