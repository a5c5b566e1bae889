"""Decide when to poll again: pure rules for running jobs, and for jobs and tasks that are not found."""

from __future__ import annotations

import random as _random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from scrape_do_celery.errors import JobTimeoutError
from scrape_do_celery.rules.backoff import delay

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from scrape_do_celery.models import JobDetails

NOT_FOUND_GRACE: Final = 60.0
"""Seconds after a job's creation in which its 404 means nothing."""
MAX_NOT_FOUND_POLLS: Final = 3
"""Number of 404s after the grace from which on a job is lost."""
RETENTION: Final = 259_200
"""Seconds after a job's creation for which the API keeps the job and its pages (documented since November 2026)."""
MAX_TASK_FETCHES: Final = 5
"""Fetches of a task that stays non-terminal after its job has ended, at most."""
ACCOUNT_INTERVAL: Final = 600
"""Seconds for which the figures of an account are not read again."""
FIRST_SAFETY_POLL: Final = 60.0
"""Seconds from the purchase of a job with a webhook, or from its last delivery, to the first safety poll."""

_JITTER: Final = 0.5
_ROUNDING: Final = 0.001

Poller: TypeAlias = "Callable[[int, float, JobDetails], float]"
"""Function of the number of earlier polls, the seconds waited and the job. Returns the seconds until the next poll, or
raises `JobTimeoutError`."""

Seconds = Annotated[FiniteFloat, Field(ge=0.1)]


class PollingStrategy(BaseModel):
    """A growing interval between two polls, within a budget.

    None for `max_wait` or `max_attempts` means no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: seconds before the second poll, at least 0.1
    initial_interval: Seconds = 1.0
    #: seconds between two polls at most, not below `initial_interval`
    max_interval: Seconds = 30.0
    #: the factor by which each interval grows, at least 1
    multiplier: Annotated[FiniteFloat, Field(ge=1)] = 2.0
    #: whether each interval is shortened at random, by half at most
    jitter: bool = True
    #: seconds after which a wait ends with `JobTimeoutError`, at least 1
    max_wait: Annotated[FiniteFloat, Field(ge=1)] | None = 600.0
    #: polls after which a wait ends with `JobTimeoutError`, at least 1
    max_attempts: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_interval < self.initial_interval:
            raise ValueError("max_interval must not be below initial_interval")
        return self

    def interval(self, attempt: int, random: Callable[[], float] = _random.random) -> float:
        """Compute the interval after a poll.

        Args:
            attempt: the number of the poll, counted from 0.
            random: the source of jitter, from 0 up to but not 1.

        Returns:
            The seconds until the next poll. Jitter halves them at most.
        """
        return delay(
            attempt,
            initial=self.initial_interval,
            maximum=self.max_interval,
            multiplier=self.multiplier,
            jitter=_JITTER if self.jitter else 0.0,
            random=random,
        )

    def __call__(self, attempt: int, elapsed: float, job: JobDetails) -> float:
        """Decide when to poll the job next.

        Args:
            attempt: the number of the last poll, counted from 0.
            elapsed: the seconds waited.
            job: the job as the last poll saw it.

        Returns:
            The seconds until the next poll, cut so that the last poll falls exactly on `max_wait`.

        Raises:
            JobTimeoutError: the poll at `max_wait` was made, or `max_attempts` polls were made.
        """
        left = float("inf") if self.max_wait is None else self.max_wait - elapsed
        # If the rest is below the clock's rounding, sleeping for it may never pass the deadline.
        if left < _ROUNDING or (self.max_attempts is not None and attempt + 1 >= self.max_attempts):
            raise JobTimeoutError(job.job_id, str(job.status), elapsed, attempt + 1)
        return min(left, self.interval(attempt))


def job_not_found(age: float, polls: int) -> Literal["poll_again", "lost"]:
    """Decide about 404 number `polls` since the grace ended, `age` seconds after the creation of the job.

    Within `NOT_FOUND_GRACE` a 404 is not counted: the API may not show a job yet that it has just created.
    """
    return "lost" if age >= NOT_FOUND_GRACE and polls >= MAX_NOT_FOUND_POLLS else "poll_again"


def delay_before_last(polls: int, limit: int, interval: float) -> float:
    """Return the seconds to wait after poll `polls` of `limit`, at least a minute before the last poll.

    During a gateway's deployment or a database outage, each answer may be 404 for a while. A job or task that is given
    up has been paid.
    """
    return max(interval, NOT_FOUND_GRACE) if polls == limit - 1 else interval


def safety_delay(polls: int, longest: float) -> float:
    """Return the seconds to the next safety poll of a job with a webhook, after `polls` of them without a delivery.

    Each delivery may be lost, so the job is polled although nothing told that a task has ended. `longest` is the
    setting `SCRAPE_DO_WEBHOOK_POLL_MAX`. Without jitter, the waits of a job add up to a time that can be stated.
    """
    first = min(FIRST_SAFETY_POLL, longest)
    return delay(polls, initial=first, maximum=longest, jitter=0.0, random=_random.random)


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """The facts after a step has served the deliveries of a part whose job runs."""

    #: whether a delivery demanded the step; otherwise, a planned time has come
    is_hinted: bool
    #: whether a delivery demanded a poll of the job
    wants_job: bool = False
    #: whether each task that an answer named is stored
    has_all: bool = False
    #: whether a task that must be fetched is not stored: the task goes on, or the API did not answer
    is_waiting: bool = False

    @property
    def must_poll(self) -> bool:
        """Whether the job must be polled now. While hints arrive, each task costs one request and the job none."""
        return self.wants_job or self.has_all or not self.is_hinted

    @property
    def polls_soon(self) -> bool:
        """Whether the next step comes after an ordinary interval, because an end is near."""
        return self.has_all or self.is_waiting


def count_waits(facts: DeliveryFacts, polls: int, safety_polls: int) -> tuple[int, int]:
    """Return the ordinary intervals in a row, and the safety polls since the last delivery, after a step.

    `polls` and `safety_polls` are those before the step. A step at the end of an ordinary interval is no safety poll:
    the wait for the next one begins anew.
    """
    if facts.polls_soon:
        return polls + 1, safety_polls
    is_safety_poll = not (facts.is_hinted or polls)
    return 0, safety_polls + is_safety_poll
