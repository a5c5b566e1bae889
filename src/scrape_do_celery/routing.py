"""The Celery names and options of the steps. Modules call a step by its name, so that they need not import it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

SCRAPE = "scrape_do.scrape"
SUBMIT_JOBS = "scrape_do.submit_jobs"
RECONCILE_SUBMIT = "scrape_do.reconcile_submit"
POLL_JOBS = "scrape_do.poll_jobs"
POLL_JOB_LIST = "scrape_do.poll_job_list"
FETCH_TASKS = "scrape_do.fetch_tasks"
AGGREGATE_RUN = "scrape_do.aggregate_run"
CANCEL_RUN = "scrape_do.cancel_run"
REPORT_ORPHANS = "scrape_do.report_orphans"
READ_ACCOUNT = "scrape_do.read_account"
SCHEDULED_RUN = "scrape_do.scheduled_run"
DELIVER_OUTCOME = "scrape_do.deliver_outcome"
EXPORT_RUN = "scrape_do.export_run"

NAMES: Final = frozenset(
    {SCRAPE, SUBMIT_JOBS, RECONCILE_SUBMIT, POLL_JOBS, POLL_JOB_LIST, FETCH_TASKS, AGGREGATE_RUN, CANCEL_RUN}
    | {REPORT_ORPHANS, READ_ACCOUNT, SCHEDULED_RUN, DELIVER_OUTCOME, EXPORT_RUN}
)


class Step(StrEnum):
    """The short name of a step: the metric label, the log field `step`, and after `scrape_do.` the name of its span.

    Dashboards and log searches of users hold these names. A change of a name breaks them.
    """

    SUBMIT = "submit"
    RECONCILE = "reconcile"
    POLL = "poll"
    POLL_LIST = "poll_list"
    FETCH = "fetch"
    CANCEL = "cancel"
    AGGREGATE = "aggregate"
    REPORT_ORPHANS = "report_orphans"
    READ_ACCOUNT = "read_account"
    DELIVER = "deliver"
    EXPORT = "export"

    @property
    def span(self) -> str:
        """The name of the spans of this step."""
        return f"scrape_do.{self}"


#: Seconds. Each step ends by itself long before. The limits override those of the app, which are made for its own
#: tasks: a limit that interrupts a purchase leaves the purchase in doubt.
_LIMITS: Final = {"time_limit": 3600, "soft_time_limit": 3600}
#: Steps whose messages may carry a request. A worker reads these messages with the class `REDACTED_REQUEST`.
WITH_REQUESTS = (SCRAPE, SCHEDULED_RUN)
REDACTED_REQUEST = "scrape_do_celery.worker.redaction:RedactedRequest"
#: The class with which a worker reads the messages of deliveries, and the header with the facts for its events.
OUTCOME_REQUEST = "scrape_do_celery.worker.outcome_events:OutcomeRequest"
OUTCOME_HEADER = "scrape_do_outcome"

#: Options of the steps that work on parts. Celery acknowledges their messages early, because the dispatcher repeats
#: a lost step, not the broker.
STEP_OPTIONS: Final[dict[str, Any]] = {
    "bind": True,
    "ignore_result": True,
    "acks_late": False,
    "max_retries": 0,
    "trail": False,
    **_LIMITS,
}
#: Options of the steps that run under the caller's own Celery id.
CALLER_TASK_OPTIONS: Final[dict[str, Any]] = {
    "bind": True,
    "acks_late": True,
    "reject_on_worker_lost": True,
    "retry_on_worker_lost": False,
    # The caller waits for the result, even if the app ignores the results of its other tasks.
    "ignore_result": False,
    "trail": False,
    # Enough characters for the outcome, the counts and the id: see `small_result`.
    "resultrepr_maxsize": 190,
    **_LIMITS,
}

#: Attributes of a task that a step keeps, no matter what the app's task class, settings and annotations say.
PINNED: Final = (
    *("rate_limit", "time_limit", "soft_time_limit", "expires", "autoretry_for", "max_retries", "throws", "typing"),
    *("acks_late", "acks_on_failure_or_timeout", "acks_on_failure", "acks_on_timeout"),
    *("reject_on_worker_lost", "retry_on_worker_lost", "ignore_result", "trail", "resultrepr_maxsize"),
    *("queue", "exchange", "exchange_type", "routing_key", "delivery_mode", "Request"),
)

STEPS_MODULE = "scrape_do_celery.tasks"
WORKER_MODULE = "scrape_do_celery.worker.lifecycle"
