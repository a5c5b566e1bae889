"""Provide parts in the states in which steps meet them. A module with another number of targets sets its own `size`."""

from __future__ import annotations

import pytest

from scrape_do_celery.models import JobsListResponse
from scrape_do_celery.routing import Step
from scrape_do_celery.rules.prices import PriceGroup
from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.steps.runner import StepDefinition, run_step
from scrape_do_celery.store import PartState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.purchases import ReadLedgerDay, WriteIntent

SERVER_ID = b"0123456789abcdef"
LEASE = 120.0
HOUR = 3600.0


@pytest.fixture
def size():
    """Return the number of targets of the part."""
    return 2


def run_old_job(step_harness, **options):
    """Return the harness with a part whose job runs. The job is old enough for a 404 to count."""
    step_harness.create_run(**options)
    step_harness.make_running()
    step_harness.clock.forward(100)
    return step_harness


@pytest.fixture
def running(step_harness, size):
    """Return a part with a running job."""
    return run_old_job(step_harness, targets=size)


@pytest.fixture
def early(step_harness, size):
    """Return a part with a running job, whose tasks are fetched as they end."""
    return run_old_job(step_harness, targets=size, early=True)


@pytest.fixture
def fetching(step_harness, make, size):
    """Return a part whose job has ended, and whose tasks the fetch step fetches."""
    step_harness.create_run(targets=size)
    step_harness.make_running(state=PartState.FETCHING)
    step_harness.run(UpdatePart(step_harness.claim_part(), {}, job=make.job("success", size), after=0.0))
    step_harness.clock.forward(100)
    return step_harness


def job_listing(*jobs, pages=1):
    return JobsListResponse(jobs=list(jobs), total_count=len(jobs), page_size=100, page_number=1, total_pages=pages)


def without_tasks(job):
    return job.model_copy(update={"tasks": []})


def show_jobs(step_harness, *jobs, trim=True):
    """Script the API to have these jobs."""
    whole = {job.job_id: job for job in jobs}
    step_harness.api.script(
        list_jobs=lambda _: job_listing(*(map(without_tasks, jobs) if trim else jobs)), get_job=lambda i: whole[i]
    )


def lose_submit_answer(step_harness, run_id="r", marker=""):
    claim = step_harness.claim_part(run_id, seconds=LEASE)
    told = {"account": step_harness.account, "groups": [PriceGroup.unknown(2)], "marker": marker}
    assert step_harness.run(WriteIntent(claim, f"n{run_id}", LEASE, **told))[0] == "ok"
    assert step_harness.run(UpdatePart(claim, {}, to="reconciling", after=0.0)) == "ok"


def reconcile_until(step_harness, run_id="r", *, until=PartState.QUEUED):
    for _ in range(60):
        step_harness.clock.forward(max(0.0, step_harness.due_parts()[f"{run_id}:0"]) + 0.1)
        step_harness.run_step(reconcile_part, step_harness.claim_part(run_id))
        if step_harness.part(run_id).state is until:
            return True
    return False


def start_fetching(step_harness, make, targets=2):
    step_harness.create_run(targets=targets)
    step_harness.make_running(state=PartState.FETCHING)
    step_harness.run(UpdatePart(step_harness.claim_part(), {}, job=make.job("success", targets), after=0.0))


def run_until_done(step_harness, states, handler, seconds=20.0, lease=None):
    for _ in range(200):
        if step_harness.part().state is PartState.DONE:
            return
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + seconds)
        run_step(step_harness.app, StepDefinition(Step.SUBMIT, states, handler, lease), ["r:0"])


def ledger_statuses(step_harness):
    today = int(step_harness.clock.time() // 86_400)
    return [line.status for day in (today - 1, today) for line in step_harness.run(ReadLedgerDay(day))]


def make_parts_running(step_harness, names, account=None):
    for name in names:
        step_harness.create_run(name)
        claim = step_harness.claim_part(name)
        step_harness.run(WriteIntent(claim, name, 100.0, account=account or step_harness.account))
        fields = {"job": f"job-{name}", "tasks": pack(["t0", "t1"]), "purchase_status": "confirmed"}
        assert step_harness.run(UpdatePart(claim, fields, to="running", after=1.0, owner=f"job-{name}")) == "ok"


@pytest.fixture
def end_part(step_harness, make):
    """Return a function that ends one part with its job and the fetched tasks."""

    def end_of_part(part=0, outcome="succeeded", *, job=None, tasks=(), error=None):
        step_harness.make_running(part=part, state=PartState.FETCHING)
        claim = step_harness.claim_part(part=part)
        step_harness.run(UpdatePart(claim, {}, job=job or make.job("success", job_id=f"job-r-{part}")))
        for task in tasks:
            step_harness.store_content(part=part, **task)
        step_harness.run(FinishPart(claim, outcome, error=error))

    return end_of_part


def check_step_of_account(step_harness, monkeypatch, name):
    """Check that a step for an account does nothing in a worker of another account."""
    ran = []

    class Stub:
        settings = step_harness.settings

        def run(self, work):
            ran.append(work)
            work.close()

    monkeypatch.setattr(WorkerContext, "for_app", lambda _: Stub())
    step = step_harness.app.tasks[name]
    step.run(["another"])
    assert ran == []
    step.run([step_harness.account])
    assert len(ran) == 1
