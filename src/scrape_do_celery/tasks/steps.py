"""Register the steps on parts, runs and accounts. A step message only wakes its step, which reads the record first."""

from __future__ import annotations

from celery import Task, shared_task

from scrape_do_celery import routing
from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.log_fields import in_step
from scrape_do_celery.routing import Step
from scrape_do_celery.steps.account import read_account
from scrape_do_celery.steps.aggregate import decide_runs
from scrape_do_celery.steps.cancel import cancel_part
from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.steps.export import export_runs
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.steps.poll_list import poll_list
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.steps.rejected import search_for_rejected
from scrape_do_celery.steps.runner import StepDefinition, run_step
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import PartState
from scrape_do_celery.tasks.classes import StepTask


@shared_task(name=routing.SUBMIT_JOBS, base=StepTask, **routing.STEP_OPTIONS)
@without_locals
def submit_jobs(self: Task, part_ids: list[str]) -> None:
    """Buy the jobs of queued parts."""
    seconds = WorkerContext.for_app(self.app).settings.submit_lease
    run_step(self.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, submit_part, seconds), part_ids)


@shared_task(name=routing.RECONCILE_SUBMIT, base=StepTask, **routing.STEP_OPTIONS)
@without_locals
def reconcile_submit(self: Task, part_ids: list[str]) -> None:
    """Reconcile parts whose `POST` may have bought a job."""
    run_step(
        self.app,
        StepDefinition(Step.RECONCILE, {PartState.SUBMITTING, PartState.RECONCILING}, reconcile_part),
        part_ids,
    )


@shared_task(name=routing.POLL_JOBS, base=StepTask, **routing.STEP_OPTIONS)
@without_locals
def poll_jobs(self: Task, part_ids: list[str]) -> None:
    """Poll the jobs of running parts."""
    run_step(self.app, StepDefinition(Step.POLL, {PartState.RUNNING}, poll_part), part_ids)


@shared_task(name=routing.POLL_JOB_LIST, base=StepTask, **routing.STEP_OPTIONS)
@without_locals
def poll_job_list(self: Task, accounts: list[str]) -> None:
    """Poll every running job of an account. A job that is missing from the list is polled individually."""
    context = WorkerContext.for_app(self.app)
    if context.settings.account_id in accounts:
        with in_step(Step.POLL_LIST):
            context.run(poll_list(context))


@shared_task(name=routing.FETCH_TASKS, base=StepTask, **routing.STEP_OPTIONS)
@without_locals
def fetch_tasks(self: Task, part_ids: list[str]) -> None:
    """Fetch the missing tasks of parts whose jobs have ended."""
    run_step(self.app, StepDefinition(Step.FETCH, {PartState.FETCHING}, fetch_part), part_ids)


@shared_task(name=routing.CANCEL_RUN, base=StepTask, **routing.STEP_OPTIONS)
@without_locals
def cancel_run(self: Task, part_ids: list[str]) -> None:
    """Cancel the jobs of running parts whose run has a stop request."""
    run_step(self.app, StepDefinition(Step.CANCEL, {PartState.RUNNING}, cancel_part), part_ids)


@shared_task(name=routing.AGGREGATE_RUN, base=StepTask, **routing.STEP_OPTIONS)
@without_locals
def aggregate_run(self: Task, run_ids: list[str]) -> None:
    """Decide runs whose parts have all ended, and publish a step message for their delivery."""
    context = WorkerContext.for_app(self.app)
    with in_step(Step.AGGREGATE):
        context.run(decide_runs(context, run_ids))


@shared_task(name=routing.EXPORT_RUN, base=StepTask, **routing.STEP_OPTIONS)
@without_locals
def export_run(self: Task, run_ids: list[str]) -> None:
    """Write the files of ended runs that have an export."""
    context = WorkerContext.for_app(self.app)
    with in_step(Step.EXPORT):
        context.run(export_runs(context, run_ids))


@shared_task(name=routing.REPORT_ORPHANS, base=StepTask, **routing.STEP_OPTIONS)
@without_locals
def report_orphans(self: Task, accounts: list[str]) -> None:
    """Report jobs that exist although the API rejected their purchase."""
    context = WorkerContext.for_app(self.app)
    if context.settings.account_id in accounts:
        with in_step(Step.REPORT_ORPHANS):
            context.run(search_for_rejected(context))


@shared_task(name=routing.READ_ACCOUNT, base=StepTask, **routing.STEP_OPTIONS)
@without_locals
def read_account_figures(self: Task, accounts: list[str]) -> None:
    """Read the concurrency and the credits of an account."""
    context = WorkerContext.for_app(self.app)
    if context.settings.account_id in accounts:
        with in_step(Step.READ_ACCOUNT):
            context.run(read_account(context))
