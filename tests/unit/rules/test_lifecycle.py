"""Test when a job or task has ended, also with unknown statuses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scrape_do_celery.models import JobDetails
from scrape_do_celery.rules import lifecycle
from scrape_do_celery.rules.lifecycle import UNKNOWN_STATUS_TIMEOUT, JobFate, JobMemory

NOW = 1_700_000_000.0


def at(seconds):
    return datetime.fromtimestamp(NOW + seconds, UTC)


def judge(job, memory=None, now=NOW):
    return lifecycle.judge_unknown_job(job, memory or JobMemory(), now)


@pytest.mark.parametrize("memory", [JobMemory(), JobMemory("ab12", 1234.5, has_end=True)])
def test_a_memory_reads_what_it_wrote(memory):
    assert JobMemory.parse("" if memory == JobMemory() else str(memory)) == memory


def test_end_time_counts_from_its_second_answer(make):
    job = make.job("archived", tasks=["pending"]).model_copy(update={"end_time": at(-1)})
    fate, memory = judge(job)
    assert fate is JobFate.RUNS
    assert judge(job, memory)[0] is JobFate.ENDED


def test_future_or_withdrawn_end_time_is_ignored(make):
    job = make.job("archived", tasks=["pending"])
    later = job.model_copy(update={"end_time": at(5)})
    _, memory = judge(later)
    assert judge(later, memory)[0] is JobFate.RUNS
    _, memory = judge(job.model_copy(update={"end_time": at(-1)}))
    fate, memory = judge(job, memory)
    assert (fate, memory.has_end) == (JobFate.RUNS, False)


def test_a_job_has_ended_once_each_of_its_tasks_has(make):
    assert judge(make.job("archived", tasks=["success", "error"]))[0] is JobFate.ENDED
    assert judge(make.job("archived", tasks=["success", "pending"]))[0] is JobFate.RUNS
    unnamed = make.job("archived", tasks=["success", "error"])
    assert judge(unnamed.model_copy(update={"tasks": unnamed.tasks[:1]}))[0] is JobFate.RUNS
    assert judge(JobDetails(job_id="j", status="archived"))[0] is JobFate.RUNS


def test_letter_case_of_ids_is_ignored(make):
    job = make.job("archived", tasks=["success", "error"])
    assert judge(job.model_copy(update={"task_ids": ["T0", "T1"]}))[0] is JobFate.ENDED


def test_a_job_that_does_not_change_for_long_is_collected(make):
    job = make.job("archived", tasks=["success", "pending"])
    _, memory = judge(job)
    assert judge(job, memory, NOW + UNKNOWN_STATUS_TIMEOUT - 1)[0] is JobFate.RUNS
    assert judge(job, memory, NOW + UNKNOWN_STATUS_TIMEOUT)[0] is JobFate.COLLECT
    moved = make.job("archived", tasks=["success", "rotating"])
    fate, memory = judge(moved, memory, NOW + UNKNOWN_STATUS_TIMEOUT)
    assert (fate, memory.unchanged_since) == (JobFate.RUNS, NOW + UNKNOWN_STATUS_TIMEOUT)


def test_stalled_open_job_with_ended_tasks_ends(make):
    job = make.job("pending", tasks=["success", "error"]).model_copy(update={"end_time": at(-9)})
    fate, memory = lifecycle.judge_open_job(job, JobMemory(), NOW, least=2)
    assert (fate, memory.has_end) == (JobFate.RUNS, True)
    other = job.model_copy(update={"end_time": at(-8.5)})
    later = NOW + UNKNOWN_STATUS_TIMEOUT
    assert lifecycle.judge_open_job(other, memory, later - 1, least=2)[0] is JobFate.RUNS
    assert lifecycle.judge_open_job(other, memory, later, least=2)[0] is JobFate.ENDED
    assert lifecycle.judge_open_job(job, JobMemory(), later, least=2)[0] is JobFate.RUNS


@pytest.mark.parametrize("status", ["queued", "pending", "rotating", "archived"])
def test_open_job_runs_while_a_task_runs(make, status):
    job = make.job("pending", tasks=["success", status]).model_copy(update={"end_time": at(-9)})
    assert lifecycle.judge_open_job(job, JobMemory(), NOW, least=2) == (JobFate.RUNS, JobMemory())


@pytest.mark.parametrize("more", [{"end_time": None}, {"end_time": at(10_000)}, {"tasks": []}, {"task_ids": ["t0"]}])
def test_open_job_runs_without_end_time_or_all_tasks(make, more):
    job = make.job("pending", tasks=["success", "error"]).model_copy(update={"end_time": at(-9), **more})
    assert lifecycle.judge_open_job(job, JobMemory(), NOW, least=2) == (JobFate.RUNS, JobMemory())


def test_retried_task_keeps_a_job_open(make):
    job = make.job("rotating", tasks=["success", "error"]).model_copy(update={"end_time": at(-9)})
    _, memory = lifecycle.judge_open_job(job, JobMemory(), NOW, least=2)
    again = make.job("rotating", tasks=["success", "rotating"]).model_copy(update={"end_time": at(-9)})
    _, memory = lifecycle.judge_open_job(again, memory, NOW + 60, least=2)
    later = NOW + UNKNOWN_STATUS_TIMEOUT + 1
    assert lifecycle.judge_open_job(job, memory, later, least=2)[0] is JobFate.RUNS


def test_differently_written_start_time_is_no_change(make):
    job = make.job("archived", tasks=["success", "pending"])
    _, memory = judge(job.model_copy(update={"start_time": at(-9)}))
    other = job.model_copy(update={"start_time": at(-9.123)})
    assert judge(other, memory, NOW + UNKNOWN_STATUS_TIMEOUT)[0] is JobFate.COLLECT
    assert judge(job, memory, NOW + UNKNOWN_STATUS_TIMEOUT)[0] is JobFate.RUNS


def test_task_with_unknown_status_ends_by_content_or_end_time(make):
    task = make.task(0, status="archived")
    assert lifecycle.settle_task(task, now=NOW, had_end=False).status == "success"
    bare = make.task(0, status="archived", content=None, end_time=at(-1))
    assert lifecycle.settle_task(bare, now=NOW, had_end=False) is None
    failed = lifecycle.settle_task(bare, now=NOW, had_end=True)
    assert (failed.status, failed.gone, "archived" in failed.error_message) == ("error", False, True)
    assert lifecycle.settle_task(make.task(0, status="archived", content=""), now=NOW, had_end=True) is None


def test_a_known_word_is_never_ended_by_content(make):
    assert lifecycle.settle_task(make.task(0, status="rotating", end_time=at(-1)), now=NOW, had_end=True) is None
    done = make.task(0, status="error")
    assert lifecycle.settle_task(done, now=NOW, had_end=False) is done


@pytest.mark.parametrize(("content", "gone"), [("<html>", False), (None, True)])
def test_page_of_an_abandoned_task_is_kept(make, content, gone):
    task = lifecycle.give_up_task(make.task(0, status="rotating", content=content), 5)
    assert (task.status, task.gone, task.given_up, task.content) == ("error", gone, not gone, content)


def test_unknown_status_does_not_mean_canceled(make):
    assert lifecycle.wanted_positions(make.job("archived", tasks=["success", "canceled"])) == {0, 1}
    stopped = make.job("canceled", tasks=["success", "canceled", "pending"])
    assert lifecycle.wanted_positions(stopped) == {0, 2}
    assert lifecycle.wanted_positions(stopped, passes=2) == {0}
    assert lifecycle.wanted_positions(make.job("canceled", 2, summary=False)) == {0, 1}


def test_words_are_bounded():
    words = lifecycle.add_words(("a",), ["b" * 99, "a", "c", "d", "e", "f"])
    assert words == ("a", "b" * 40, "c", "d", "e")


def test_unknown_words_of_tasks_are_named_once(make):
    assert lifecycle.unknown_words(make.job("pending", tasks=["x", "success", "y", "x"])) == ["x", "y"]
