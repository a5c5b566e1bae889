"""When to look again: pure rules for jobs that run, and for jobs and tasks that are not to be found."""

from __future__ import annotations

import random as _random
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from scrape_do_celery.backoff import delay
from scrape_do_celery.errors import JobTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from scrape_do_celery.models import JobDetails

NOT_FOUND_GRACE: Final = 60.0
"""Seconds after its creation in which a job's 404 means nothing."""
MAX_NOT_FOUND_POLLS: Final = 3
"""This many 404s after the grace: the job is lost."""
RETENTION: Final = 259_200
"""Seconds after its creation for which the API keeps a job and its pages (documented since November 2026)."""
MAX_TASK_FETCHES: Final = 5
"""So often a task that stays non-terminal after its job is looked at."""

_JITTER: Final = 0.5
_ROUNDING: Final = 0.001

Poller: TypeAlias = "Callable[[int, float, JobDetails], float]"
"""Anything that, given the looks before this one, the seconds waited and the job, says the seconds until the next
look, or raises `JobTimeoutError`."""

Seconds = Annotated[FiniteFloat, Field(ge=0.1)]


class PollingStrategy(BaseModel):
    """An interval that grows, within a budget; `max_wait` and `max_attempts` of None mean for ever."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: seconds before the second poll
    initial_interval: Seconds = 1.0
    #: seconds between two polls, at most
    max_interval: Seconds = 30.0
    #: the factor by which each interval grows
    multiplier: Annotated[FiniteFloat, Field(ge=1)] = 2.0
    #: whether each interval is shortened at random, to half at most
    jitter: bool = True
    #: seconds after which a wait ends with `JobTimeoutError`
    max_wait: Annotated[FiniteFloat, Field(ge=1)] | None = 600.0
    #: polls after which a wait ends with `JobTimeoutError`
    max_attempts: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_interval < self.initial_interval:
            raise ValueError("max_interval must not be below initial_interval")
        return self

    def interval(self, attempt: int, random: Callable[[], float] = _random.random) -> float:
        """Seconds between look `attempt`, counted from 0, and the next; jitter halves it at most."""
        return delay(
            attempt,
            initial=self.initial_interval,
            maximum=self.max_interval,
            multiplier=self.multiplier,
            jitter=_JITTER if self.jitter else 0.0,
            random=random,
        )

    def __call__(self, attempt: int, elapsed: float, job: JobDetails) -> float:
        """Seconds until the next look, cut so that the last one falls exactly on `max_wait`.

        Raises:
            JobTimeoutError: that look has been taken, or `max_attempts` have.
        """
        left = float("inf") if self.max_wait is None else self.max_wait - elapsed
        # A rest below the clock's rounding would be slept again and again without passing the deadline.
        if left < _ROUNDING or (self.max_attempts is not None and attempt + 1 >= self.max_attempts):
            raise JobTimeoutError(job.job_id, str(job.status), elapsed, attempt + 1)
        return min(left, self.interval(attempt))


def job_not_found(age: float, looks: int) -> Literal["poll_again", "lost"]:
    """What a job's 404 means, `age` seconds after its creation, when it is 404 number `looks` since the grace ended.

    Within `NOT_FOUND_GRACE` a 404 is not counted: the API may not have caught up with its own answer.
    """
    return "lost" if age >= NOT_FOUND_GRACE and looks >= MAX_NOT_FOUND_POLLS else "poll_again"


def delay_before_last(looks: int, limit: int, interval: float) -> float:
    """Seconds to wait after look number `looks` of `limit`: the last one comes a minute after the one before.

    A gateway that is being deployed, or a database that is away, may answer 404 for a while; what is given up is paid.
    """
    return max(interval, NOT_FOUND_GRACE) if looks == limit - 1 else interval
