"""Names by which the floors know each other's steps, so that none needs to import another; how steps are registered."""

from __future__ import annotations

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
SCHEDULED_RUN = "scrape_do.scheduled_run"
DELIVER_OUTCOME = "scrape_do.deliver_outcome"

#: Seconds. Steps end by themselves, long before; an app's limits are for its own tasks: one that cuts a purchase off
#: leaves it in doubt.
_LIMITS: Final = {"time_limit": 3600, "soft_time_limit": 3600}
#: Steps whose messages may carry a request, and how a worker reads them.
WITH_REQUESTS = (SCRAPE, SCHEDULED_RUN)
REDACTED_REQUEST = "scrape_do_celery.worker.redaction:RedactedRequest"

#: Steps that work on parts. They are acknowledged early: the dispatcher, not the broker, brings work back.
STEP_OPTIONS: Final[dict[str, Any]] = {
    "bind": True,
    "ignore_result": True,
    "acks_late": False,
    "max_retries": 0,
    "trail": False,
    **_LIMITS,
}
#: Steps that run under the caller's own Celery id.
CALLER_TASK_OPTIONS: Final[dict[str, Any]] = {
    "bind": True,
    "acks_late": True,
    "reject_on_worker_lost": True,
    "retry_on_worker_lost": False,
    # Somebody waits for it, whatever the app does with results of its other tasks.
    "ignore_result": False,
    "trail": False,
    # The outcome, the figures and the id: see `small_result`.
    "resultrepr_maxsize": 190,
    **_LIMITS,
}

STEPS_MODULE = "scrape_do_celery.tasks"
WORKER_MODULE = "scrape_do_celery.worker.lifecycle"
