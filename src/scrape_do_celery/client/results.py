"""The functions that make a `JobResult` of the tasks of an ended job. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tenacity import RetryCallState, retry_if_result, stop_after_attempt, wait_fixed

from scrape_do_celery.errors import AsyncAPIGoneError, AsyncAPINotFoundError, ScrapeDoError
from scrape_do_celery.models import JobDetails, JobLifecycleError, JobResult, JobStatus, TaskDetails
from scrape_do_celery.rules.lifecycle import give_up_task, settle_task
from scrape_do_celery.rules.ordering import decide_order
from scrape_do_celery.rules.polling import MAX_TASK_FETCHES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.models import JobCreationRequest, JobCreationResponse

TASK_PAUSE: Final = 0.5
"""Seconds between two fetches of a task that is not terminal although its job has ended."""


def with_task_ids(job: JobDetails, created: JobCreationResponse) -> JobDetails:
    """Return `job` with the task ids of its creation if the job does not name its tasks itself."""
    return job if job.task_ids else job.model_copy(update={"task_ids": created.task_ids})


def task_retry_policy() -> dict[str, Any]:
    """Return tenacity's arguments to fetch a task until it is terminal, at most `MAX_TASK_FETCHES` times."""
    return {
        "retry": retry_if_result(_is_unfinished),
        "wait": wait_fixed(TASK_PAUSE),
        "stop": stop_after_attempt(MAX_TASK_FETCHES),
        "retry_error_callback": _as_given_up,
    }


def as_gone_or_error(job: JobDetails, task_id: str, error: ScrapeDoError) -> TaskDetails | ScrapeDoError:
    """Return a gone task as data, and any other error unchanged. Only the API itself can say that a task is gone."""
    if isinstance(error, AsyncAPINotFoundError | AsyncAPIGoneError) and error.is_api_error:
        return gone_task(job, task_id, str(error))
    return error


def as_final_task(task: TaskDetails) -> TaskDetails:
    """Return the task in its final form. A task with content and an unknown status word has ended."""
    return settle_task(task, now=0.0, had_end=False) or task


def gone_task(job: JobDetails, task_id: str, reason: str) -> TaskDetails:
    """Make a stand-in for a task that the API no longer has."""
    url = next((task.url for task in job.tasks if task.task_id == task_id), "")
    return TaskDetails(
        task_id=task_id, job_id=job.job_id, url=url, status=JobStatus.ERROR, gone=True, error_message=reason
    )


def build_result(
    request: JobCreationRequest, job: JobDetails, outcomes: Sequence[TaskDetails | ScrapeDoError]
) -> JobResult:
    """Build the result of a job, with the tasks in the order of the input. Errors carry it as attribute `result`.

    Raises:
        JobLifecycleError: the job failed or was canceled.
        ScrapeDoError: a task could not be fetched.
    """
    tasks = [outcome for outcome in outcomes if isinstance(outcome, TaskDetails)]
    named = {task.task_id: task.url for task in job.tasks}
    own = {position: task.url for position, task in enumerate(tasks) if not task.gone}
    urls = [named.get(task.task_id, "") for task in tasks]
    positions, verified = decide_order(request.targets or [], urls, own)
    known = {"return_json": request.returns_json}
    ordered = [tasks[position].model_copy(update=known) for position in positions]
    result = JobResult(job=job, tasks=ordered, order_verified=verified)
    failures = [outcome for outcome in outcomes if isinstance(outcome, ScrapeDoError)]
    if job.is_terminal_failure or failures:
        raise _with_result(_job_failure(job) or failures[0], result)
    return result


def _job_failure(job: JobDetails) -> JobLifecycleError | None:
    try:
        job.raise_for_status()
    except JobLifecycleError as error:
        return error
    return None


def _with_result(error: ScrapeDoError, result: JobResult) -> ScrapeDoError:
    # Use an attribute, not `args`: pages must not reach a message or a result backend.
    error.result = result  # type: ignore[attr-defined]
    return error


def _is_unfinished(task: TaskDetails) -> bool:
    return settle_task(task, now=0.0, had_end=False) is None


def _as_given_up(state: RetryCallState) -> TaskDetails:
    task: TaskDetails = state.outcome.result()  # type: ignore[union-attr]
    return give_up_task(task, MAX_TASK_FETCHES)
