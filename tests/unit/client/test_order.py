"""Test the order of a client's tasks without a run, by the job's summary and the tasks' own answers."""

from __future__ import annotations

import pytest

from scrape_do_celery.client.results import build_result, gone_task
from scrape_do_celery.models import JobCreationRequest, JobDetails, TaskDetails, UndetailedTaskResponse

A, B = "https://app.example/#/a", "https://app.example/#/b"
REQUEST = JobCreationRequest(targets=[A, B])


def job(*urls):
    tasks = [UndetailedTaskResponse(task_id=f"t{n}", url=url, status="success") for n, url in enumerate(urls)]
    return JobDetails(job_id="j", status="success", task_ids=["t0", "t1"], tasks=tasks)


def tasks(*urls):
    return [TaskDetails(task_id=f"t{n}", job_id="j", url=url, status="success") for n, url in enumerate(urls)]


@pytest.mark.parametrize(
    ("named", "own", "order", "verified"),
    [
        ((B, A), (B, A), ["t1", "t0"], True),
        ((), (B, A), ["t1", "t0"], True),
        (("", ""), (B, A), ["t1", "t0"], True),
        ((B, A), (A, B), ["t1", "t0"], False),
        (("https://app.example/",) * 2, ("https://app.example/",) * 2, ["t0", "t1"], False),
    ],
)
def test_the_order_is_verified_by_both(named, own, order, verified):
    result = build_result(REQUEST, job(*named), tasks(*own))
    assert [task.task_id for task in result.tasks] == order
    assert result.order_verified is verified


def test_a_gone_task_stands_where_the_job_names_it():
    named = job(B, A)
    result = build_result(REQUEST, named, [gone_task(named, "t0", "404"), tasks("", A)[1]])
    assert [task.task_id for task in result.tasks] == ["t1", "t0"]
    assert result.order_verified


def test_the_order_of_a_plugin_is_not_verified():
    request = JobCreationRequest(plugin={"key": "google/search", "params": [{"q": "a"}, {"q": "b"}]})
    assert not build_result(request, job(A, B), tasks(A, B)).order_verified
