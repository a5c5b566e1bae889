"""Reading a run's results out of the store, in input order, a few at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.errors import ResultExpiredError
from scrape_do_celery.models import JobDetails, TaskDetails, order
from scrape_do_celery.store import Member, RunRecord, ops
from scrape_do_celery.store.spec import targets_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrape_do_celery.runs.producer import Producer

#: Contents in memory at a time while a run is streamed.
_CHUNK = 25


def jobs_by_part(producer: Producer, record: RunRecord) -> dict[int, JobDetails]:
    """The jobs that the run has so far, by part, in the order of the parts."""
    store = producer.store
    found = {n: store.run(ops.job(store.keys, record.member(n))) for n in range(len(record.parts))}
    return {number: job for number, job in found.items() if job is not None}


def tasks(producer: Producer, record: RunRecord) -> Iterator[TaskDetails]:
    """The stored tasks in input order; those that were never fetched are left out.

    Raises:
        ResultExpiredError: there were some, and their life has passed.
    """
    for number in range(len(record.parts)):
        yield from part_tasks(producer, record, number)


def part_tasks(producer: Producer, record: RunRecord, number: int) -> Iterator[TaskDetails]:
    """As `tasks`, of one part."""
    positions, _ = input_order(producer, record, number)
    found = 0
    for task in _contents(producer, record.member(number), positions):
        found += 1
        yield task
    if found < record.parts[number].got_done + record.parts[number].got_failed:
        raise ResultExpiredError(f"the contents of run {record.run_id} have passed their life", record.run_id)


def order_verified(producer: Producer, record: RunRecord) -> bool:
    """Whether every task is proven, by its URL, to be the one of its target."""
    return all(input_order(producer, record, number)[1] for number in range(len(record.parts)))


def input_order(producer: Producer, record: RunRecord, number: int) -> tuple[list[int], bool]:
    """Positions of a part's tasks in the order of its targets, and whether their URLs prove it."""
    store, member = producer.store, record.member(number)
    job = store.run(ops.job(store.keys, member))
    if job is None:
        return [], True
    spec = store.run(ops.part_spec(store.keys, member))
    ids = job.task_ids or [task.task_id for task in job.tasks]
    urls = {task.task_id: task.url for task in job.tasks}
    if spec is None or spec.request.plugin is not None:
        return list(range(len(ids))), False
    return order(targets_of(spec.request), [urls.get(i, "") for i in ids])


def _contents(producer: Producer, member: Member, positions: Sequence[int]) -> Iterator[TaskDetails]:
    store = producer.store
    for start in range(0, len(positions), _CHUNK):
        chunk = positions[start : start + _CHUNK]
        yield from (task for task in store.run(ops.contents(store.keys, member, chunk)) if task is not None)
