"""Read the reasons of the failed tasks of a run, once, when its outcome is decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scrape_do_celery.models import JobStatus
from scrape_do_celery.models.reasons import OTHER, FailureReason, describe_failure, group_reasons
from scrape_do_celery.redaction import redact_texts
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.parts import ReadPartSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import PartId, RunRecord

#: Tasks that are read at most. A failed task may have a page, such as the one of a 404.
_MOST_READ: Final = 100
#: Contents in memory at a time.
_CHUNK: Final = 10


async def read_reasons(
    context: WorkerContext, record: RunRecord, jobs: Mapping[int, JobDetails]
) -> list[FailureReason]:
    """Return the reasons of the failed tasks of all parts, grouped. Tasks that are not read count as others."""
    failed = sum(part.stored_failed for part in record.parts)
    if not failed:
        return []
    found: list[str] = []
    read = 0
    for number, job in jobs.items():
        wanted, of_part = record.parts[number].stored_failed, 0
        positions = _likely_first(job)[: _MOST_READ - read]
        for start in range(0, len(positions), _CHUNK):
            if of_part >= wanted:
                break
            chunk = positions[start : start + _CHUNK]
            reasons = await _read_failures(context, record.part_id(number), chunk)
            found, of_part, read = found + reasons, of_part + len(reasons), read + len(chunk)
    return group_reasons(await _without_secrets(context, record, found), failed - len(found))


def _likely_first(job: JobDetails) -> list[int]:
    """Return the positions of tasks: first the tasks that failed by the summary, so that few pages are read."""
    status = {task.task_id: task.status for task in job.tasks}
    return sorted(range(len(job.task_ids)), key=lambda at: status.get(job.task_ids[at]) == JobStatus.SUCCESS)


async def _read_failures(context: WorkerContext, part_id: PartId, positions: Sequence[int]) -> list[str]:
    tasks = await context.store.run(ReadContents(part_id, positions))
    return [describe_failure(task) for task in tasks if task is not None and not task.is_success]


async def _without_secrets(context: WorkerContext, record: RunRecord, reasons: list[str]) -> list[str]:
    """Return the reasons without the token and the values of headers, cookies and body, which the API may quote."""
    token = "" if context.settings.api_key is None else context.settings.api_key.get_secret_value()
    try:
        spec = await context.store.run(ReadPartSpec(record.part_id(0)))
    except ValueError:
        spec = None
    # Without the request, nothing shows which values are secret.
    return [OTHER] * len(reasons) if spec is None else redact_texts(reasons, spec.request, token)
