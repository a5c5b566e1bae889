"""No job is bought twice or taken from its run: equal targets, more ids than tasks, other tokens, other versions."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

from scrape_do_celery.cli.orphan_finder import OrphanFinder
from scrape_do_celery.errors import AsyncAPIAuthError, AsyncAPIGoneError
from scrape_do_celery.models import JobCreationRequest, JobsListResponse
from scrape_do_celery.models.urls import fingerprint
from scrape_do_celery.store import PartId, PartState, RunSpec, ops
from scrape_do_celery.tasks.poll import poll
from scrape_do_celery.tasks.reconcile import reconcile
from scrape_do_celery.tasks.submit import submit
from tests.unit.steps.test_recognition import LEASE, intend, job_of, look_until_resolved, lose_answer, search, shows

A, B, C = (f"https://a.example/{n}" for n in "abc")
PLUGIN = {"plugin": {"key": "amazon/pdp", "params": [{"asin": "B0"}]}}


def gone():
    return AsyncAPIGoneError("GET /x: 410", 410, "gone", 410, None, "")


def test_a_listed_job_that_is_gone_stops_no_search(plant, make):
    plant.begin(each=[A])
    lose_answer(plant)
    mine = job_of(make, [A], "mine")
    listed = [mine.model_copy(update={"tasks": []}), make.job("success", 1, job_id="old", summary=False)]
    plant.api.script(
        list_jobs=lambda _: JobsListResponse(jobs=listed), get_job=lambda i: mine if i == "mine" else gone()
    )
    assert look_until_resolved(plant).job_id == "mine"


def test_a_job_with_more_tasks_is_not_adopted(plant, make):
    plant.begin("r", each=[A, B])
    plant.begin("s", each=[A, B, C])
    lose_answer(plant, "r")
    lose_answer(plant, "s")
    whole = make.job("pending", 3, job_id="of-s", summary=False)
    pages = dict(zip(["t0", "t1", "t2"], [A, B, C], strict=True))
    plant.api.script(
        list_jobs=lambda _: JobsListResponse(jobs=[whole]),
        get_job=whole,
        get_task=lambda j, i: make.task(int(i[1:]), job=j, url=pages[i], status="pending"),
    )
    plant.clock.forward(1)
    plant.step(reconcile, plant.take("r"))
    assert plant.part("r").job_id is None
    assert look_until_resolved(plant, "s").job_id == "of-s"


def test_equal_targets_wait_for_a_purchase_of_one_of_them(plant):
    plant.begin("two", each=[A, A])
    plant.begin("one", each=[A])
    assert intend(plant, "two") == "ok"
    assert intend(plant, "one") == "targets_locked"


def test_a_purchase_of_equal_targets_that_was_never_found_may_own_a_job_with_one_task(plant, make):
    plant.begin("two", each=[A, A])
    lose_answer(plant, "two")
    shows(plant)
    look_until_resolved(plant, "two")
    plant.begin("one", each=[A])
    lose_answer(plant, "one")
    shows(plant, job_of(make, [A], "of-two"))
    assert look_until_resolved(plant, "one").outcome == "in_doubt"


def test_a_refused_plugin_run_is_not_in_doubt_by_any_job_of_its_size(plant, make):
    spec = RunSpec(JobCreationRequest(**PLUGIN))
    plant.run(ops.create_run(plant.keys, "r", spec))
    plant.api.script(create_job=make.refusal(429))
    plant.step(submit, plant.take(seconds=LEASE))
    shows(plant, make.job("pending", 1, job_id="foreign"))
    part = look_until_resolved(plant)
    assert (part.state, part.outcome) == (PartState.QUEUED, None)


def auth():
    return AsyncAPIAuthError("POST: 401", 401, "no", None, None, "")


def test_a_refusal_before_the_purchase_does_not_end_a_paid_run(plant, make):
    plant.begin(each=[A])
    plant.api.script(create_job=[auth(), make.created("j", 1)], get_user_info=None)
    plant.step(submit, plant.take(seconds=LEASE))
    plant.redis.delete(plant.keys.breaker(plant.account))
    shows(plant)
    plant.clock.forward(5)
    plant.step(reconcile, plant.take())
    plant.step(submit, plant.take(seconds=LEASE))
    assert plant.part().job_id == "j"
    # The list shows it for an hour; then it is asked by itself.
    plant.clock.forward(3600)
    plant.api.script(get_job=auth())
    plant.step(poll, plant.take())
    assert plant.part().outcome is None


def test_the_job_of_an_earlier_purchase_is_not_bought_over_after_a_refusal(plant, make):
    plant.begin(each=[A])
    lose_answer(plant)
    shows(plant)
    assert look_until_resolved(plant).state is PartState.QUEUED
    plant.api.script(create_job=make.refusal(429))
    first = plant.part().first_intent
    plant.step(submit, plant.take(seconds=LEASE))
    late = job_of(make, [A], "j").model_copy(update={"start_time": datetime.fromtimestamp(first - 600, UTC)})
    plant.api.script(list_jobs=lambda _: JobsListResponse(jobs=[late]), get_job=late)
    plant.clock.forward(6)
    plant.step(reconcile, plant.take())
    assert plant.part().state is not PartState.QUEUED


def test_a_refused_purchase_is_looked_for_at_once_when_its_run_is_canceled(plant, make):
    plant.begin()
    plant.api.script(create_job=make.refusal(429, 600.0))
    plant.step(submit, plant.take(seconds=LEASE))
    shows(plant)
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    assert plant.looks()["r:0"] <= 1


def test_a_purchase_in_doubt_of_the_version_before_is_seen(plant, make):
    plant.begin("r", each=[A])
    plant.redis.set(f"{plant.keys.prefix}:doubt:{plant.account}:{fingerprint([A])}", "old:0", ex=86400)
    lose_answer(plant)
    shows(plant, job_of(make, [A], "j"))
    assert look_until_resolved(plant).outcome == "in_doubt"


def test_a_purchase_that_an_old_worker_resolved_stands_in_nobodys_way(plant, make):
    plant.begin("old", each=[A])
    lose_answer(plant, "old")
    plant.force("old", state="running", job="x")
    plant.begin("r", each=[A])
    lose_answer(plant)
    shows(plant, job_of(make, [A], "j"))
    assert look_until_resolved(plant).job_id == "j"


def test_restarts_of_the_store_poison_no_run_that_was_never_sent(plant):
    plant.begin()
    shows(plant)
    for n in range(6):
        plant.redis.set("p:epoch", b"life-%d 1 old-%d@%d 0" % (n, n, n))
        plant.step(submit, plant.take(seconds=LEASE))
        assert plant.part().state is PartState.RECONCILING
        assert look_until_resolved(plant).state is PartState.QUEUED


def with_another_token(plant):
    plant.settings = plant.settings.model_copy(update={"account": "another"})
    plant.account = plant.settings.account_id


def test_a_job_that_was_adopted_with_another_token_is_polled_with_that_token(plant, make):
    plant.begin(each=[A])
    plant.api.script(create_job=make.refusal(401))
    plant.step(submit, plant.take(seconds=LEASE))
    plant.clock.forward(10)
    shows(plant, job_of(make, [A], "j"))
    with_another_token(plant)
    plant.step(reconcile, plant.take())
    assert plant.take().part.job_id == "j"


def test_after_a_pause_only_the_list_of_the_same_account_shows_an_absence(plant, make):
    plant.begin(each=[A])
    plant.api.script(create_job=make.refusal(429))
    plant.step(submit, plant.take(seconds=LEASE))
    plant.clock.forward(10)
    with_another_token(plant)
    assert isinstance(plant.claim(), ops.NeedsAccount)


def test_an_id_without_a_task_behind_it_keeps_no_job_from_its_part(plant, make):
    plant.begin(each=[A, B])
    lose_answer(plant)
    whole = make.job("pending", 3, job_id="j", summary=False)
    pages = {"t0": A, "t1": B}
    plant.api.script(
        list_jobs=lambda _: JobsListResponse(jobs=[whole]),
        get_job=whole,
        get_task=lambda j, i: make.task(int(i[1:]), job=j, url=pages[i]) if i in pages else make.refusal(404),
    )
    assert look_until_resolved(plant).job_id == "j"


def test_a_gone_job_does_not_hide_the_job_of_a_rejected_purchase(plant, make, caplog):
    plant.begin(each=[A])
    plant.api.script(create_job=make.refusal(400))
    plant.step(submit, plant.take(seconds=LEASE))
    mine, old = job_of(make, [A], "mine"), make.job("success", 1, job_id="old", summary=False)
    plant.api.script(
        list_jobs=lambda _: JobsListResponse(jobs=[old, mine.model_copy(update={"tasks": []})]),
        get_job=lambda i: mine if i == "mine" else gone(),
    )
    plant.clock.forward(91)
    search(plant)
    assert "job mine exists" in caplog.text


def test_a_job_that_does_not_name_all_its_tasks_yet_is_no_orphan(plant, make):
    plant.begin(each=[A, B])
    lose_answer(plant)
    young = job_of(make, [A], "j", "queuing")
    client = SimpleNamespace(get_job=lambda _: young)
    (found,), _ = OrphanFinder(client, plant.store, plant.account).chosen(["j"])
    assert found.claimant == PartId("r", 0)
