"""The states of runs, and the outcomes of parts and runs: one row for each, and the rules that choose one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from scrape_do_celery.models import JobCanceledError, JobFailedError, RunTimeoutError
from scrape_do_celery.models.jobs import MAY_STILL_RUN
from scrape_do_celery.rules.lifecycle import is_unknown
from scrape_do_celery.rules.states import DEADLINE, PartState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.models import JobDetails

    #: makes the error of an outcome from the id of the run, the job that decides it, `max_wait`, and the id of a job
    #: that no answer described
    MakeError = Callable[[str, JobDetails | None, float | None, str | None], ScrapeDoError | None]


class RunState(StrEnum):
    """The state of a run, as `RunHandle.state` returns it. A run that has ended has its outcome as its state."""

    QUEUED = "queued"  #: each live part waits for its purchase
    SUBMITTING = "submitting"  #: a job is being bought
    RECONCILING = "reconciling"  #: a purchase may have bought a job, which is searched for
    RUNNING = "running"  #: Scrape.do works on the jobs
    FETCHING = "fetching"  #: contents are being fetched
    SUCCEEDED = "succeeded"  #: outcome: every job ended in success
    FAILED = "failed"  #: outcome: a job was refused or ended in error
    CANCELED = "canceled"  #: outcome: canceled by a stop request, or at Scrape.do
    TIMED_OUT = "timed_out"  #: outcome: `max_wait` passed
    BUDGET_EXCEEDED = "budget_exceeded"  #: outcome: a budget or `max_credits` refused a part of the run
    IN_DOUBT = "in_doubt"  #: outcome: a job may have been bought, and was not found
    LOST = "lost"  #: outcome: the API no longer knows the job
    POISONED = "poisoned"  #: outcome: its steps died again and again

    @property
    def is_outcome(self) -> bool:
        """Whether the run has ended."""
        return self.value not in set(PartState)


class HiddenPurchase(StrEnum):
    """Whether a part with an outcome may have bought a job that no search found."""

    NEVER = "never"
    WITHOUT_JOB_ID = "without_job_id"  #: only if it made a purchase and its record has no job id
    ALWAYS = "always"


def _no_error(*_: object) -> None:
    """Return no error: the part brings its own, or there is none."""


def _failed_error(run_id: str, job: JobDetails | None, *_: object) -> ScrapeDoError | None:
    return None if job is None else JobFailedError.cut(job, run_id)


def _canceled_error(run_id: str, job: JobDetails | None, _: float | None, job_id: str | None) -> ScrapeDoError:
    return JobCanceledError(None, run_id, None, job_id) if job is None else JobCanceledError.cut(job, run_id)


def _timeout_error(run_id: str, job: JobDetails | None, max_wait: float | None, job_id: str | None) -> ScrapeDoError:
    text = f"run {run_id} did not end within its max_wait of {max_wait or 0:g} s"
    if job is None and job_id is not None:
        text += f"; {MAY_STILL_RUN.format(job_id=job_id)}"
    return RunTimeoutError(text, run_id, max_wait or 0.0, None if job is None else job.cut())


@dataclass(frozen=True, slots=True)
class OutcomeRule:
    """The rules of one outcome.

    Attributes:
        make_error: Makes the error if the part has no more specific one.
        skips_unsent: Whether parts that were not sent stay unsent, if `stop_on_failure` is set.
        hidden_purchase: Whether a retry of the part's targets could pay for them a second time.
    """

    make_error: MakeError = _no_error
    skips_unsent: bool = False
    hidden_purchase: HiddenPurchase = HiddenPurchase.NEVER


#: The outcomes from best to worst. The worst outcome of its parts is the outcome of a run.
OUTCOME_RULES: Final[dict[RunState, OutcomeRule]] = {
    RunState.SUCCEEDED: OutcomeRule(),
    RunState.CANCELED: OutcomeRule(_canceled_error),
    RunState.TIMED_OUT: OutcomeRule(_timeout_error),
    RunState.BUDGET_EXCEEDED: OutcomeRule(),
    RunState.FAILED: OutcomeRule(_failed_error, skips_unsent=True),
    RunState.POISONED: OutcomeRule(skips_unsent=True, hidden_purchase=HiddenPurchase.WITHOUT_JOB_ID),
    RunState.LOST: OutcomeRule(skips_unsent=True),
    RunState.IN_DOUBT: OutcomeRule(skips_unsent=True, hidden_purchase=HiddenPurchase.ALWAYS),
}
OUTCOMES: Final = tuple(OUTCOME_RULES)

#: The outcome of a part that was not sent because another part had failed before. Such a part never decides a run.
SKIPPED: Final = "skipped"

#: States of live parts. A run has the state of its part that comes last in this order.
LIVE_ORDER: Final = (
    *(PartState.QUEUED, PartState.FETCHING, PartState.RUNNING, PartState.SUBMITTING, PartState.RECONCILING),
)


def skips_unsent(outcome: str) -> bool:
    """Tell whether parts that were not sent stay unsent after this outcome of a part."""
    return outcome != SKIPPED and OUTCOME_RULES[RunState(outcome)].skips_unsent


def may_have_bought(outcome: str | None, *, purchases: int, job_id: str | None) -> bool:
    """Tell whether an ended part may have bought a job that no search found. `purchases` counts its intents."""
    if outcome is None or outcome == SKIPPED:
        return False
    hidden = OUTCOME_RULES[RunState(outcome)].hidden_purchase
    if hidden is HiddenPurchase.WITHOUT_JOB_ID:
        return purchases > 0 and job_id is None
    return hidden is HiddenPurchase.ALWAYS


def error_for_outcome(
    run_id: str,
    outcome: RunState,
    job: JobDetails | None = None,
    max_wait: float | None = None,
    job_id: str | None = None,
) -> ScrapeDoError | None:
    """Return the error of an outcome that has no more specific error; None for a success.

    `job_id` is the id of the part's job, also if no answer described that job.
    """
    return OUTCOME_RULES[outcome].make_error(run_id, job, max_wait, job_id)


def worst_outcome(outcomes: Iterable[str]) -> tuple[int, RunState]:
    """Return the number of the part that decides a run, and the run's outcome. Among equals the first part decides."""
    ranked = [(OUTCOMES.index(RunState(o)), -i) for i, o in enumerate(outcomes) if o != SKIPPED]
    rank, position = max(ranked)
    return -position, OUTCOMES[rank]


def part_outcome(job: JobDetails, stop_reason: str | None, *, done: int = 0) -> RunState:
    """Return the outcome of a part whose job has ended, or was given up after a cancel.

    The API's terminal status decides: a job that succeeded before a cancel reached it has succeeded. If the status word
    is unknown, the job's `canceled` flag decides, and then the number of tasks that succeeded (`done`).
    """
    if is_unknown(job.status) and not job.canceled and not (stop_reason and done < max(1, len(job.task_ids))):
        return RunState.SUCCEEDED if done else RunState.FAILED
    if job.is_success:
        return RunState.SUCCEEDED
    if job.status == "error":
        return RunState.FAILED
    return outcome_of_stop(stop_reason)


def outcome_of_stop(stop_reason: str | None) -> RunState:
    """Return the outcome of a part that ended on a stop request, or whose job another client canceled."""
    return RunState.TIMED_OUT if stop_reason == DEADLINE else RunState.CANCELED


def run_state(outcome: str | None, parts: Iterable[str]) -> RunState:
    """Return the state of a run, from its outcome and the states of its parts."""
    if outcome:
        return RunState(outcome)
    live = [PartState(p) for p in parts if p != PartState.DONE]
    return RunState(max(live, key=LIVE_ORDER.index).value) if live else RunState.FETCHING
