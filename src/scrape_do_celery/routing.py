"""Names by which the floors know each other's steps, so that none needs to import another."""

from __future__ import annotations

SCRAPE = "scrape_do.scrape"
SUBMIT_JOBS = "scrape_do.submit_jobs"
RECONCILE_SUBMIT = "scrape_do.reconcile_submit"
POLL_JOBS = "scrape_do.poll_jobs"
FETCH_TASKS = "scrape_do.fetch_tasks"
AGGREGATE_RUN = "scrape_do.aggregate_run"
CANCEL_RUN = "scrape_do.cancel_run"
FINISH_RUN = "scrape_do.finish_run"

STEPS_MODULE = "scrape_do_celery.tasks"
WORKER_MODULE = "scrape_do_celery.worker.lifecycle"
