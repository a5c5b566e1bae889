"""Test which task ids a part has."""

from __future__ import annotations

import time

from scrape_do_celery.models import JobDetails, UndetailedTaskResponse
from scrape_do_celery.rules import ids


def test_ids_are_merged_in_order_of_appearance():
    assert ids.unite_ids(["a", "B"], ["b", "c", "A"], 5) == (["a", "B", "c"], 0)
    assert ids.unite_ids(["a"], ["b", "c"], 2) == (["a", "b"], 1)


def test_a_hundred_thousand_ids_for_one_target_are_cheap():
    named = [f"id-{n}" for n in range(100_000)]
    tasks = [UndetailedTaskResponse(task_id=task_id, status="success") for task_id in named]
    job = JobDetails(job_id="j", status="success", task_ids=named).model_copy(update={"tasks": tasks})
    began = time.process_time()
    found, surplus = ids.position_tasks(job, ["id-7"], 1)
    assert time.process_time() - began < 2
    assert (found.task_ids, [task.task_id for task in found.tasks], surplus) == (["id-7"], ["id-7"], 99_999)


def test_complete_job_stays_unchanged(make):
    job = make.job("success", 2)
    assert ids.position_tasks(job, ["t0", "t1"], 2)[0] is job
    assert ids.position_tasks(job, [], 0)[0] is job


def test_the_summary_speaks_of_the_ids_that_are_known(make):
    job, surplus = ids.position_tasks(make.job("success", 2), ["T1"], 2)
    assert (job.task_ids, surplus) == (["T1", "t0"], 0)
    assert [task.task_id for task in job.tasks] == ["t0", "T1"]


def test_equal_targets_may_be_answered_once():
    assert ids.targets_of_tasks(["x", "y"], ["a", "b", "a"]) == ["a", "b"]
    spelled = ["https://a.example", "https://b.example/", "https://a.example:443/"]
    assert ids.targets_of_tasks(["x", "y"], spelled) == spelled[:2]
    assert ids.targets_of_tasks(["x"], ["a", "b", "a"]) == ["a", "b", "a"]
    assert ids.targets_of_tasks(["x", "y", "z"], ["a", "b", "a"]) == ["a", "b", "a"]


def test_target_without_a_task_fails_with_its_url(make):
    job = ids.pad_job(make.job("success", 2), make.urls(3))
    assert len(job.task_ids) == 3
    assert [ids.is_placeholder(task_id) for task_id in job.task_ids] == [False, False, True]
    task = ids.unnamed_task(job, job.task_ids[2])
    assert (task.status, task.url, task.gone) == ("error", make.urls(3)[2], False)
    assert "named no task" in task.error_message


def test_padded_task_has_no_url_without_a_summary(make):
    job = ids.pad_job(make.job("success", 1, summary=False), make.urls(2))
    assert job.tasks[0].url == ""


def test_created_job_has_the_ids_and_no_claim_about_targets():
    job = ids.make_created_job("j", ("t1", "t0"))
    assert (job.job_id, job.task_ids, job.tasks, job.is_terminal) == ("j", ["t1", "t0"], [], False)
