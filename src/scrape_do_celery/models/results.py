"""The result of a run, the error of a run that took too long, and the account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices, ConfigDict, Field, ValidationInfo, field_validator

from scrape_do_celery.errors import RunError

from .fields import Balance, Number  # noqa: TC001 (pydantic reads them)
from .jobs import JobDetails, dump_job, load_job
from .tasks import TaskDetails  # noqa: TC001 (pydantic reads it)
from .wire import AnswerModel, WireModel

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "JobResult",
    "RunTimeoutError",
    "UserInformation",
]


class JobResult(WireModel):
    """A job that ended, with all its tasks in the order of the input."""

    model_config = ConfigDict(alias_generator=None)

    #: the job that decided the run
    job: JobDetails
    #: a task for each input, in input order; with `dedupe`, inputs with equal targets have one task
    tasks: list[TaskDetails] = Field(default_factory=list)
    #: set by this package: the jobs of all parts of the run; only `job` if the run has one part
    jobs: list[JobDetails] = Field(default_factory=list, validate_default=True)
    #: set by this package: false if tasks could not be matched to the targets, and are in the API's order
    order_verified: bool = True
    #: set by this package: the id of the run; None for a job of the bare client
    run_id: str | None = None

    @field_validator("jobs")
    @classmethod
    def _at_least_the_job(cls, jobs: list[JobDetails], info: ValidationInfo) -> list[JobDetails]:
        return jobs or [info.data["job"]] if "job" in info.data else jobs

    @property
    def succeeded(self) -> list[TaskDetails]:
        """The tasks that ended in success."""
        return [task for task in self.tasks if task.is_success]

    @property
    def failed(self) -> list[TaskDetails]:
        """The tasks that ended in error or were canceled."""
        return [task for task in self.tasks if task.is_terminal_failure]

    @property
    def cost(self) -> float | None:
        """Credits of all tasks with a known cost; None if no cost is known. A task of several targets counts once."""
        costs = {(task.job_id, task.task_id): task.cost for task in self.tasks if task.cost is not None}
        return sum(costs.values()) if costs else None


class RunTimeoutError(RunError):
    """The run's own `max_wait` passed before its jobs ended."""

    def __init__(
        self,
        message: str = "",
        run_id: str = "",
        max_wait: float = 0.0,
        job: JobDetails | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, run_id, max_wait, dump_job(job))

    @property
    def max_wait(self) -> float:
        """Seconds that the run had."""
        return float(self.args[2])

    @property
    def job(self) -> JobDetails | None:
        """The job at the last poll, cut to 20 tasks; None if it was never polled. `RunHandle(run_id).job` has all."""
        return load_job(self.args[3])


class UserInformation(AnswerModel):
    """The answer to `GET /me`."""

    #: concurrency slots of the account
    total_concurrency: Number = 0
    #: concurrency slots that are free now
    free_concurrency: Number = 0
    #: jobs that run now
    active_jobs: Number = 0
    # The API's own spelling first. The right spelling is accepted in case the API corrects it.
    #: credits that the account has left
    available_credits: Balance = Field(
        default=0,
        validation_alias=AliasChoices("AvaliableCredits", "AvailableCredits"),
        serialization_alias="AvaliableCredits",
    )
