"""A job list as servers may show it: nothing is bought again because the list showed a part of its jobs only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scrape_do_celery.errors import AsyncAPINotFoundError
from scrape_do_celery.models import JobDetails, JobsListResponse
from scrape_do_celery.store import PartState, ops
from scrape_do_celery.tasks.poll import poll
from scrape_do_celery.tasks.reconcile import reconcile
from scrape_do_celery.tasks.submit import submit

LEASE = 120.0
URLS = ["https://shop.example/0", "https://shop.example/1"]


@pytest.fixture
def doubtful(plant, make):
    """A part whose `POST` had its answer lost; a second one would be answered."""
    plant.begin()
    claim = plant.take(seconds=LEASE)
    plant.run(ops.intent(plant.keys, claim, "n", LEASE, account=plant.account))
    plant.update(claim, after=0.0, state="doubtful")
    plant.api.script(create_job=make.created("second"))
    return plant


def iso(plant, ago=0.0):
    return (datetime.fromtimestamp(plant.clock.time(), UTC) - timedelta(seconds=ago)).isoformat()


def entry(job_id, urls, start=None, status="success"):
    tasks = [{"TaskID": f"t{n}", "URL": url, "Status": status} for n, url in enumerate(urls)]
    ids = [task["TaskID"] for task in tasks]
    return {"JobID": job_id, "Status": status, "StartTime": start, "TaskIDs": ids, "Tasks": tasks}


def others(count, start):
    return [entry(f"o{n}", [f"https://other.example/{n}"], start) for n in range(count)]


def paged(jobs, size, **totals):
    """The unfiltered list in pages of `size` jobs; lists by status are empty."""

    def page(filters):
        if "status" in filters:
            return {"Jobs": [], "TotalCount": 0}
        at = (filters["page"] - 1) * size
        return {"Jobs": jobs[at : at + size], "TotalCount": len(jobs), **totals}

    return page


def serve(plant, page, *jobs):
    whole = {job["JobID"]: job for job in jobs}
    plant.api.script(
        list_jobs=lambda filters: JobsListResponse.from_answer(page(filters)),
        get_job=lambda i: JobDetails.from_answer(whole[i], job_id=i),
    )


def search(plant, looks=60):
    """Look for the job until the part is resolved; a part that is bought again is bought."""
    for _ in range(looks):
        if plant.part().state is PartState.QUEUED:
            plant.step(submit, plant.take(seconds=LEASE))
        if plant.part().state is not PartState.DOUBTFUL:
            break
        plant.clock.forward(max(0.0, plant.looks()["r:0"]) + 0.1)
        plant.step(reconcile, plant.take())
    return plant.part()


@pytest.mark.parametrize(
    ("size", "totals"),
    [(20, {}), (10, {"PageSize": 100, "TotalPages": 1}), (10, {"PageSize": 100, "TotalPages": 0})],
)
def test_a_job_is_found_on_any_page_that_the_total_counts(doubtful, size, totals):
    mine = entry("j", URLS, iso(doubtful))
    every = [*others(60, iso(doubtful, -1)), mine]
    serve(doubtful, paged(every, size, **totals), *every)
    assert (search(doubtful).job_id, doubtful.api.posts) == ("j", 0)


def test_a_cache_that_shows_the_first_page_for_each_proves_no_absence(doubtful):
    shown = others(100, iso(doubtful, -1))
    pages = []

    def page(filters):
        pages.append(filters["page"])
        return {"Jobs": [], "TotalCount": 0} if "status" in filters else {"Jobs": shown, "TotalCount": 101}

    serve(doubtful, page, *shown)
    assert (search(doubtful).state, doubtful.api.posts) == (PartState.DOUBTFUL, 0)
    assert max(pages) == 3


def test_a_gateways_404_is_not_believed_of_a_job_on_the_second_page(plant):
    plant.begin()
    plant.buy()
    every = [*others(30, iso(plant, -1)), entry("job-r-0", URLS, iso(plant))]
    serve(plant, paged(every, 20))
    plant.api.script(get_user_info=None, get_job=AsyncAPINotFoundError("<html>404</html>", 404))
    for _ in range(60):
        plant.clock.forward(max(0.0, plant.looks()["r:0"]) + 1)
        plant.step(poll, plant.take())
    assert plant.part().state is PartState.RUNNING
