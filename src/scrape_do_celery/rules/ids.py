"""Decide about the task ids of a part."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

from scrape_do_celery.models import JobDetails, JobStatus, TaskDetails, UndetailedTaskResponse
from scrape_do_celery.rules.targets import distinct_targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Sized

#: Prefix of the placeholder ids of targets for which the API named no task.
UNNAMED: Final = "-unnamed-target-"


def unite_ids(known: Iterable[str], named: Iterable[str], limit: int) -> tuple[list[str], int]:
    """Merge ids. Return the ids of a part in the order of their positions, and the number of dropped ids.

    Known ids keep their positions, because pages may be stored there. Ids that differ only in letter case are one id.
    Ids beyond `limit` are surplus: 100,000 ids for one target must not cost 100,000 requests.
    """
    united: dict[str, str] = {}
    for task_id in (*known, *named):
        united.setdefault(task_id.lower(), task_id)
    return list(islice(united.values(), limit)), max(0, len(united) - limit)


def targets_of_tasks(ids: Sized, targets: Sequence[str]) -> list[str]:
    """Return one target for each task that the API made. A server may make a single task of equal targets."""
    if len(ids) == len(targets):
        return list(targets)
    distinct = distinct_targets(targets)
    return distinct if len(ids) == len(distinct) else list(targets)


def pad_ids(ids: Sequence[str], total: int) -> list[str]:
    """Return the ids, and a placeholder for each target without a named task."""
    return [*ids, *(f"{UNNAMED}{position}" for position in range(len(ids), total))]


def is_placeholder(task_id: str) -> bool:
    """Return whether an id is the placeholder of a target without a named task."""
    return task_id.startswith(UNNAMED)


def position_tasks(job: JobDetails, known: Sequence[str], total: int) -> tuple[JobDetails, int]:
    """Return the job with exactly the ids and the summary of its part, and the number of dropped ids.

    `known`: the ids that were named before. `total`: the number of targets.
    """
    named = [*job.task_ids, *(task.task_id for task in job.tasks)]
    ids, surplus = unite_ids(known, named, total or len(named))
    if ids == job.task_ids and len(job.tasks) <= len(ids):
        return job, surplus
    spelling = {task_id.lower(): task_id for task_id in ids}
    tasks: dict[str, UndetailedTaskResponse] = {}
    for task in job.tasks:
        if (task_id := spelling.get(task.task_id.lower())) is not None:
            tasks.setdefault(task_id, task.model_copy(update={"task_id": task_id}))
    return job.model_copy(update={"task_ids": ids, "tasks": list(tasks.values())}), surplus


def pad_job(job: JobDetails, targets: Sequence[str]) -> JobDetails:
    """Return the job with a failed placeholder for each target without a named task.

    A placeholder has the URL of its target if the summary shows which targets are missing.
    """
    ids = pad_ids(job.task_ids, len(targets))
    added = ids[len(job.task_ids) :]
    missing = list((Counter(targets) - Counter(task.url for task in job.tasks)).elements())
    urls = missing if len(missing) == len(added) else [""] * len(added)
    placeholders = [
        UndetailedTaskResponse(task_id=task_id, url=url, status=JobStatus.ERROR)
        for task_id, url in zip(added, urls, strict=True)
    ]
    return job.model_copy(update={"task_ids": ids, "tasks": [*job.tasks, *placeholders]})


def unnamed_task(job: JobDetails, task_id: str) -> TaskDetails:
    """Make the failed task for a target without a named task."""
    url = next((task.url for task in job.tasks if task.task_id == task_id), "")
    why = f"job {job.job_id} named no task for this target"
    return TaskDetails(task_id=task_id, job_id=job.job_id, url=url, status=JobStatus.ERROR, error_message=why)


def make_created_job(job_id: str, task_ids: Iterable[str]) -> JobDetails:
    """Make the job that the answer to its `POST` describes, so that pages are readable before the first poll.

    Which target a task belongs to is not known yet: the pages tell.
    """
    return JobDetails(job_id=job_id, status=JobStatus.QUEUING, task_ids=list(task_ids))
