"""Errors that carry a job or a task.

`args` hold the JSON object of the model, and `.job` and `.task` rebuild the model on access. So these errors survive
Celery's JSON as well as pickle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from scrape_do_celery.errors import AsyncAPIError, RunError, ScrapeDoError

from .enums import JobStatus, read_status
from .parsing import plain_json

if TYPE_CHECKING:
    from .details import JobDetails, TaskDetails

Wire = dict[str, Any]


class JobLifecycleError(AsyncAPIError):
    """A job did not end in success. The error is built from the job, or from its JSON object.

    If the error carries only some of the job's tasks, `counts` still has the numbers of all tasks.
    """

    def __init__(
        self,
        job: JobDetails | Mapping[str, Any] | None = None,
        run_id: str | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(*_without_tail(_job_wire(job), run_id, dict(counts) if counts else None))

    @classmethod
    def cut(cls, job: JobDetails, run_id: str | None = None, limit: int = 20) -> Self:
        """Return the error with some of the job's tasks, and with the counts of all tasks.

        Args:
            job: the job.
            run_id: the id of the run; None for a job of the bare client.
            limit: the number of tasks that the error carries at most; failed and canceled tasks come first.
        """
        return cls(job.cut(limit), run_id, _counts(_job_wire(job) or {}))

    @property
    def job(self) -> JobDetails | None:
        """The job; None if the run ended before a job was bought."""
        return _job_model(self.args[0])

    @property
    def run_id(self) -> str | None:
        """The id of the run; None for a job of the bare client."""
        run_id: str | None = self._argument(1)
        return run_id

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of tasks that `failed` and were `canceled`, and of all tasks (`total`)."""
        return dict(self._argument(2) or _counts(self.args[0] or {}))

    def __str__(self) -> str:
        job = self.args[0]
        if job is None:
            return f"run {self.run_id} ended before a job was bought"
        text = f"job {job.get('JobID')} ended as {job.get('Status')}"
        if self.run_id:
            text += f" (run {self.run_id})"
        counts = self.counts
        if not counts.get("total"):
            return text
        text += f": {counts.get('failed', 0)} of {counts['total']} tasks failed"
        return f"{text}, {counts['canceled']} canceled" if counts.get("canceled") else text


class JobFailedError(JobLifecycleError):
    """The job ended in `error`."""


class JobCanceledError(JobLifecycleError):
    """The job was canceled, or its run was canceled before a job was bought."""


class TaskLifecycleError(AsyncAPIError):
    """A task did not end in success. The error is built from the task, or from its JSON object, without the page."""

    def __init__(self, task: TaskDetails | Mapping[str, Any], run_id: str | None = None) -> None:
        super().__init__(*_without_tail(_task_wire(task), run_id))

    @property
    def task(self) -> TaskDetails:
        """The task, without its content."""
        from .details import TaskDetails

        return TaskDetails.model_validate(self.args[0])

    @property
    def run_id(self) -> str | None:
        """The id of the run; None for a task of the bare client."""
        run_id: str | None = self._argument(1)
        return run_id

    def __str__(self) -> str:
        task = self.args[0]
        text = f"task {task.get('TaskID')} of {task.get('URL') or 'no URL'} ended as {task.get('Status')}"
        if task.get("StatusCode"):
            text += f", target answered {task['StatusCode']}"
        return f"{text}: {' '.join(str(task['ErrorMessage']).split())}" if task.get("ErrorMessage") else text


class TaskFailedError(TaskLifecycleError):
    """The task ended in `error`."""


class TaskCanceledError(TaskLifecycleError):
    """The task was canceled."""


class RunTimeoutError(RunError):
    """The run's own `max_wait` passed before its jobs ended."""

    def __init__(
        self,
        message: str = "",
        run_id: str = "",
        max_wait: float = 0.0,
        job: JobDetails | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, run_id, max_wait, _job_wire(job))

    @property
    def max_wait(self) -> float:
        """Seconds that the run had."""
        return float(self.args[2])

    @property
    def job(self) -> JobDetails | None:
        """The job at the last poll; None if it was never polled."""
        return _job_model(self.args[3])


def rehydrate(exc: BaseException) -> BaseException:
    """Return this package's error for an exception whose class Celery generated.

    Celery generates a class if it reads the result before this package is imported.

    Args:
        exc: the exception that Celery raised.

    Returns:
        The error of the same name. Any other exception, or an error that cannot be rebuilt, is returned unchanged.
    """
    real = ScrapeDoError.registry.get(type(exc).__name__)
    if real is None or not type(exc).__module__.startswith("celery."):
        return exc
    try:
        rebuilt = real(*exc.args)
    except Exception:  # noqa: BLE001 (the caller needs an error, even if `args` are broken)
        return exc
    rebuilt.__cause__ = exc.__cause__
    return rebuilt.with_traceback(exc.__traceback__)


def _without_tail(*args: Any) -> tuple[Any, ...]:
    """Return `args` without trailing Nones, but always with the first argument."""
    last = max((position for position, arg in enumerate(args) if arg is not None), default=0)
    return args[: last + 1]


def _counts(job: Wire) -> dict[str, int]:
    tasks = job.get("Tasks")
    # The JSON object of an unreadable job is unchanged, so that its tasks may be of any type.
    known = [task for task in tasks if isinstance(task, Mapping)] if isinstance(tasks, list) else []
    ended = Counter(read_status(str(task.get("Status"))) for task in known)
    return {"failed": ended[JobStatus.ERROR], "canceled": ended[JobStatus.CANCELED], "total": len(known)}


def _job_model(wire: Wire | None) -> JobDetails | None:
    from .details import JobDetails

    return None if wire is None else JobDetails.model_validate(wire)


def _job_wire(job: JobDetails | Mapping[str, Any] | None) -> Wire | None:
    from .details import JobDetails

    if job is None:
        return None
    if isinstance(job, Mapping):
        # Keep an unreadable job unchanged: an error about a failure must not fail itself.
        try:
            job = JobDetails.model_validate(job)
        except ValidationError:
            return _kept(dict(job))
    return job.to_wire()


def _task_wire(task: TaskDetails | Mapping[str, Any]) -> Wire:
    from .details import TaskDetails

    if isinstance(task, Mapping):
        kept = {key: value for key, value in task.items() if key not in {"Content", "content"}}
        try:
            task = TaskDetails.model_validate(kept)
        except ValidationError:
            return _kept(kept)
    return task.model_dump(mode="json", by_alias=True, exclude={"content"})


def _kept(wire: Any) -> Wire:
    """Return the JSON object of an unreadable model; empty if it has none."""
    kept = plain_json(wire)
    return kept if isinstance(kept, dict) else {}
