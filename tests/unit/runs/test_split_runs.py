"""Test the number of targets of the jobs of a run."""

from __future__ import annotations

import pytest

from scrape_do_celery import Target, enqueue, enqueue_many, estimate
from scrape_do_celery.config import Settings, SettingsError
from scrape_do_celery.models import MAX_TARGETS_PER_JOB
from scrape_do_celery.runs.drafts import create_draft
from scrape_do_celery.runs.entries import iter_entries, read_entries
from scrape_do_celery.steps.schedule import start_scheduled_run
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.creation import ScheduleTick
from scrape_do_celery.store.commands.parts import UpdatePart
from scrape_do_celery.store.commands.runs import ReadSpec

URLS = [f"https://shop.example/{n}" for n in range(5)]


@pytest.fixture(autouse=True)
def _own_app(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)


@pytest.fixture
def two_a_job(step_harness):
    """Let a job have two targets at most."""
    step_harness.app_context.settings = step_harness.settings.model_copy(update={"targets_per_job": 2})
    return step_harness


def sizes(step_harness, run_id):
    return [part.total for part in step_harness.read_run(run_id).parts]


def test_a_run_is_split_by_the_setting(two_a_job):
    run_id = enqueue(URLS).run_id
    assert sizes(two_a_job, run_id) == [2, 2, 1]
    assert [message.args for message in two_a_job.sent] == [[[f"{run_id}:{n}" for n in range(3)]]]
    assert [sizes(two_a_job, one.run_id) for one in enqueue_many([URLS[:2], URLS[:3]])] == [[2], [2, 1]]
    assert enqueue(URLS, dry_run=True).jobs == 3
    assert estimate(URLS).expected == 5


def test_drafts_and_scheduled_runs_are_split_by_the_setting(two_a_job):
    draft = create_draft(two_a_job.app_context, "draft", {}, (URLS,), {})
    scheduled = start_scheduled_run(two_a_job.app_context, ScheduleTick("s", "1", "skip"), {"targets": URLS})
    assert [sizes(two_a_job, one) for one in (draft, scheduled)] == [[2, 2, 1]] * 2


def test_the_setting_does_not_change_a_request(two_a_job):
    handle = enqueue(URLS, idempotency_key="k")
    two_a_job.app_context.settings = two_a_job.settings
    assert enqueue(URLS, idempotency_key="k").run_id == handle.run_id


def test_each_input_gets_its_entry_whatever_the_setting_of_the_reader(two_a_job, make):
    """An answer may name another number of tasks, so the totals of parts do not tell how the run was split."""
    urls = [*URLS, URLS[1], URLS[4]]
    run_id = enqueue([Target(url, number) for number, url in enumerate(urls)], dedupe=True).run_id
    two_a_job.app_context.settings = two_a_job.settings
    for part, targets in enumerate([URLS[:2], URLS[2:4], URLS[4:]]):
        two_a_job.make_running(run_id, part, state=PartState.FETCHING)
        claim = two_a_job.claim_part(run_id, part)
        job = make.job("success", len(targets), job_id=f"job-{run_id}-{part}", start=2 * part)
        two_a_job.run(UpdatePart(claim, {"total": 9}, after=0.0, job=job))
        for at, url in enumerate(targets):
            two_a_job.run(StoreContent(PartId(run_id, part), at, make.task(at, job=job.job_id, url=url)))
        two_a_job.finish_part(run_id, part)
    record = two_a_job.read_run(run_id)
    spec = two_a_job.run(ReadSpec(run_id, record.part_count))
    assert [one.targets for one in spec.parts()] == [URLS[:2], URLS[2:4], URLS[4:]]
    for tasks in (list(iter_entries(two_a_job.sync_store, record)), read_entries(two_a_job.sync_store, record).tasks):
        assert [(task.url, task.meta) for task in tasks] == [(url, number) for number, url in enumerate(urls)]


@pytest.mark.parametrize("number", [0, 1001])
def test_a_job_takes_a_number_of_targets_that_the_api_takes(clean_environment, number):
    with pytest.raises(SettingsError, match="SCRAPE_DO_TARGETS_PER_JOB"):
        Settings(targets_per_job=number)
    assert Settings().targets_per_job == MAX_TARGETS_PER_JOB


def test_runs_of_one_part_have_no_more_fields(two_a_job):
    assert "part_size" not in two_a_job.run_fields(enqueue(URLS[:2]).run_id)
    assert two_a_job.run_fields(enqueue(URLS).run_id)["part_size"] == "2"
    two_a_job.app_context.settings = two_a_job.settings
    assert "part_size" not in two_a_job.run_fields(enqueue([f"{URLS[0]}{n}" for n in range(1001)]).run_id)
