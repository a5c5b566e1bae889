"""Test orphans: the job of an unresolved purchase is never canceled."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from scrape_do_celery.models import UndetailedTaskResponse
from scrape_do_celery.steps.orphans import OrphanFinder, OrphanJob, StillOwnedError
from tests.unit.steps.conftest import job_listing, lose_submit_answer


def test_job_of_unresolved_purchase_without_urls_is_kept(step_harness, make):
    step_harness.create_run()
    lose_submit_answer(step_harness)
    job = make.job("pending", job_id="ours")
    blank = [UndetailedTaskResponse(task_id=task.task_id, url="", status=task.status) for task in job.tasks]
    job, stopped = job.model_copy(update={"tasks": blank}), []
    api = SimpleNamespace(
        get_job=lambda _: job,
        cancel_job=stopped.append,
        list_jobs=lambda **k: job_listing(job) if k["status"] == "pending" else job_listing(),
    )
    orphan_finder = OrphanFinder(api, step_harness.sync_store, step_harness.account)
    with pytest.raises(StillOwnedError):
        orphan_finder.cancel_orphan(orphan_finder.find_all()[0])
    assert not stopped


def test_cost_of_an_orphan_counts_the_prices_of_its_domains(make):
    job = make.job("pending", 3)
    told = [UndetailedTaskResponse(task_id="t0", url="https://www.linkedin.com/in/a", status="pending"), job.tasks[1]]
    assert OrphanJob(job.model_copy(update={"tasks": told}), None).credits == (30 + 1 + 1, 30 + 25 + 25)
    assert OrphanJob(job, None, each=2.5).credits == (7.5, 7.5)
