"""Test that no job is bought twice or lost: equal targets, more ids than tasks, other tokens, other versions."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

from scrape_do_celery.errors import AsyncAPIAuthError, AsyncAPIGoneError
from scrape_do_celery.models import JobCreationRequest, JobsListResponse
from scrape_do_celery.steps.orphans import OrphanFinder
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import PartId, PartState, RunSpec
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import NeedsAccount
from scrape_do_celery.store.commands.runs import RequestStop
from tests.unit.steps.test_job_search import LEASE, intend, job_of, look_until_resolved, lose_answer, search, shows

A, B, C = (f"https://a.example/{n}" for n in "abc")
PLUGIN = {"plugin": {"key": "amazon/pdp", "params": [{"asin": "B0", "geocode": "us", "zipcode": "10001"}]}}


def gone():
    return AsyncAPIGoneError("GET /x: 410", 410, "gone", 410, None, "")


def test_a_listed_job_that_is_gone_stops_no_search(step_harness, make):
    step_harness.create_run(each=[A])
    lose_answer(step_harness)
    mine = job_of(make, [A], "mine")
    listed = [mine.model_copy(update={"tasks": []}), make.job("success", 1, job_id="old", summary=False)]
    step_harness.api.script(
        list_jobs=lambda _: JobsListResponse(jobs=listed), get_job=lambda i: mine if i == "mine" else gone()
    )
    assert look_until_resolved(step_harness).job_id == "mine"


def test_a_job_with_more_tasks_is_not_adopted(step_harness, make):
    step_harness.create_run("r", each=[A, B])
    step_harness.create_run("s", each=[A, B, C])
    lose_answer(step_harness, "r")
    lose_answer(step_harness, "s")
    whole = make.job("pending", 3, job_id="of-s", summary=False)
    pages = dict(zip(["t0", "t1", "t2"], [A, B, C], strict=True))
    step_harness.api.script(
        list_jobs=lambda _: JobsListResponse(jobs=[whole]),
        get_job=whole,
        get_task=lambda j, i: make.task(int(i[1:]), job=j, url=pages[i], status="pending"),
    )
    step_harness.clock.forward(1)
    step_harness.run_step(reconcile_part, step_harness.claim_part("r"))
    assert step_harness.part("r").job_id is None
    assert look_until_resolved(step_harness, "s").job_id == "of-s"


def test_equal_targets_wait_for_a_purchase_of_one_of_them(step_harness):
    step_harness.create_run("two", each=[A, A])
    step_harness.create_run("one", each=[A])
    assert intend(step_harness, "two") == "ok"
    assert intend(step_harness, "one") == "targets_locked"


def test_purchase_never_found_may_own_a_job_with_one_task(step_harness, make):
    step_harness.create_run("two", each=[A, A])
    lose_answer(step_harness, "two")
    shows(step_harness)
    look_until_resolved(step_harness, "two")
    step_harness.create_run("one", each=[A])
    lose_answer(step_harness, "one")
    shows(step_harness, job_of(make, [A], "of-two"))
    assert look_until_resolved(step_harness, "one").outcome == "in_doubt"


def test_refused_plugin_run_ignores_jobs_of_its_size(step_harness, make):
    spec = RunSpec(JobCreationRequest(**PLUGIN))
    step_harness.run(CreateRun("r", spec))
    step_harness.api.script(create_job=make.refusal(429))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    shows(step_harness, make.job("pending", 1, job_id="foreign"))
    part = look_until_resolved(step_harness)
    assert (part.state, part.outcome) == (PartState.QUEUED, None)


def auth():
    return AsyncAPIAuthError("POST: 401", 401, "no", None, None, "")


def test_refusal_before_the_purchase_does_not_end_the_run(step_harness, make):
    step_harness.create_run(each=[A])
    step_harness.api.script(create_job=[auth(), make.created("j", 1)], get_user_info=None)
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    step_harness.redis.delete(step_harness.keys.breaker(step_harness.account))
    shows(step_harness)
    step_harness.clock.forward(5)
    step_harness.run_step(reconcile_part, step_harness.claim_part())
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    assert step_harness.part().job_id == "j"
    # The list shows the job for an hour. Then the job is polled individually.
    step_harness.clock.forward(3600)
    step_harness.api.script(get_job=auth())
    step_harness.run_step(poll_part, step_harness.claim_part())
    assert step_harness.part().outcome is None


def test_earlier_purchase_is_not_repeated_after_a_refusal(step_harness, make):
    step_harness.create_run(each=[A])
    lose_answer(step_harness)
    shows(step_harness)
    assert look_until_resolved(step_harness).state is PartState.QUEUED
    step_harness.api.script(create_job=make.refusal(429))
    first = step_harness.part().first_intent
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    late = job_of(make, [A], "j").model_copy(update={"start_time": datetime.fromtimestamp(first - 600, UTC)})
    step_harness.api.script(list_jobs=lambda _: JobsListResponse(jobs=[late]), get_job=late)
    step_harness.clock.forward(6)
    step_harness.run_step(reconcile_part, step_harness.claim_part())
    assert step_harness.part().state is not PartState.QUEUED


def test_canceled_refused_purchase_is_searched_at_once(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.refusal(429, 600.0))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    shows(step_harness)
    step_harness.run(RequestStop("r", "cancel"))
    assert step_harness.due_times()["r:0"] <= 1


def test_store_restarts_do_not_poison_an_unsent_run(step_harness):
    step_harness.create_run()
    shows(step_harness)
    for n in range(6):
        step_harness.redis.set("p:epoch", b"life-%d 1 old-%d@%d 0" % (n, n, n))
        step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
        assert step_harness.part().state is PartState.RECONCILING
        assert look_until_resolved(step_harness).state is PartState.QUEUED


def with_another_token(step_harness):
    step_harness.settings = step_harness.settings.model_copy(update={"account": "another"})
    step_harness.account = step_harness.settings.account_id


def test_adopted_job_is_polled_with_its_own_token(step_harness, make):
    step_harness.create_run(each=[A])
    step_harness.api.script(create_job=make.refusal(401))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    step_harness.clock.forward(10)
    shows(step_harness, job_of(make, [A], "j"))
    with_another_token(step_harness)
    step_harness.run_step(reconcile_part, step_harness.claim_part())
    assert step_harness.claim_part().part.job_id == "j"


def test_only_a_list_of_the_same_account_proves_absence(step_harness, make):
    step_harness.create_run(each=[A])
    step_harness.api.script(create_job=make.refusal(429))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    step_harness.clock.forward(10)
    with_another_token(step_harness)
    assert isinstance(step_harness.try_claim_part(), NeedsAccount)


def test_task_id_without_a_task_does_not_prevent_adoption(step_harness, make):
    step_harness.create_run(each=[A, B])
    lose_answer(step_harness)
    whole = make.job("pending", 3, job_id="j", summary=False)
    pages = {"t0": A, "t1": B}
    step_harness.api.script(
        list_jobs=lambda _: JobsListResponse(jobs=[whole]),
        get_job=whole,
        get_task=lambda j, i: make.task(int(i[1:]), job=j, url=pages[i]) if i in pages else make.refusal(404),
    )
    assert look_until_resolved(step_harness).job_id == "j"


def test_gone_job_does_not_hide_a_rejected_purchase(step_harness, make, caplog):
    step_harness.create_run(each=[A])
    step_harness.api.script(create_job=make.refusal(400))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    mine, old = job_of(make, [A], "mine"), make.job("success", 1, job_id="old", summary=False)
    step_harness.api.script(
        list_jobs=lambda _: JobsListResponse(jobs=[old, mine.model_copy(update={"tasks": []})]),
        get_job=lambda i: mine if i == "mine" else gone(),
    )
    step_harness.clock.forward(91)
    search(step_harness)
    assert "job mine has the same targets as r:0" in caplog.text


def test_job_without_all_tasks_is_no_orphan(step_harness, make):
    step_harness.create_run(each=[A, B])
    lose_answer(step_harness)
    young = job_of(make, [A], "j", "queuing")
    client = SimpleNamespace(get_job=lambda _: young)
    (found,), _ = OrphanFinder(client, step_harness.sync_store, step_harness.account).find_chosen(["j"])
    assert found.claimant == PartId("r", 0)
