"""How a job was once bought twice, a page lost or a run never ended; each with the smallest scene that showed it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from scrape_do_celery.cli.orphan_finder import OrphanFinder, StillOwnedError
from scrape_do_celery.models import JobsListResponse, UndetailedTaskResponse
from scrape_do_celery.runtime import run_step
from scrape_do_celery.runtime.collecting import fetch
from scrape_do_celery.store import PartId, PartState, ops
from scrape_do_celery.tasks.poll import poll
from scrape_do_celery.tasks.reconcile import reconcile
from scrape_do_celery.tasks.submit import submit

LEASE, HOUR = 120.0, 3600.0
LIFE = b"0123456789abcdef"


def listing(*jobs):
    return JobsListResponse(jobs=list(jobs), total_count=len(jobs), page_size=100, page_number=1, total_pages=1)


def shows(plant, *jobs):
    whole = {job.job_id: job for job in jobs}
    plant.api.script(
        list_jobs=lambda _: listing(*[job.model_copy(update={"tasks": []}) for job in jobs]),
        get_job=lambda job_id: whole[job_id],
    )


def lose_answer(plant, run_id="r", marker=""):
    claim = plant.take(run_id, seconds=LEASE)
    told = {"account": plant.account, "estimated_credits": 2, "marker": marker}
    assert plant.run(ops.write_intent(plant.keys, claim, f"n{run_id}", LEASE, **told))[0] == "ok"
    assert plant.run(ops.update_part(plant.keys, claim, {"state": "reconciling"}, after=0.0)) == "ok"


def look(plant, run_id="r", *, until=PartState.QUEUED):
    for _ in range(60):
        plant.clock.forward(max(0.0, plant.due()[f"{run_id}:0"]) + 0.1)
        plant.step(reconcile, plant.take(run_id))
        if plant.part(run_id).state is until:
            return True
    return False


def collecting(plant, make):
    plant.begin()
    plant.buy(state=PartState.FETCHING)
    plant.run(ops.update_part(plant.keys, plant.take(), {}, job=make.job("success"), after=0.0))


def intend(plant, run_id="r", *, durable=True):
    claim = plant.take(run_id, seconds=LEASE)
    return plant.run(ops.write_intent(plant.keys, claim, "n", LEASE, account=plant.account, durable=durable))[0]


@pytest.mark.parametrize(("lossless", "durable", "verdict"), [(False, True, "maybe_sent"), (True, False, "ok")])
def test_what_counts_is_the_life_that_lost_the_write(plant, lossless, durable, verdict):
    # A replica that took over syncs each write from now on; the one before it did not keep all.
    plant.begin()
    plant.restart(lossless=lossless)
    plant.clock.forward(1)
    assert intend(plant, durable=durable) == verdict


def test_a_server_whose_clock_is_behind_is_not_believed_to_be_the_one_before(plant):
    plant.begin()
    plant.restart()
    plant.clock.forward(-5)
    plant.begin("other", each=["https://other.example/"])
    plant.clock.forward(10)
    assert intend(plant, "other") == "ok"
    assert intend(plant) == "maybe_sent"


def test_who_takes_the_mark_of_a_life_away_says_that_writes_were_lost(plant):
    """As one does who has put a backup back; the server may even be the same."""
    plant.begin()
    plant.redis.delete(f"{plant.keys.prefix}:epoch")
    plant.clock.forward(1)
    assert intend(plant) == "maybe_sent"


def test_a_server_that_comes_back_to_its_place_is_another(plant):
    """Fail-over and fail-back, and nobody has looked in between: the server's id is the one of the run's birth."""
    plant.begin("first", each=["https://first.example/"])
    plant.restart()
    plant.begin("second", each=["https://second.example/"])
    plant.begin()
    plant.restart()
    plant.clock.forward(5)
    plant.begin("third", each=["https://third.example/"])
    assert intend(plant, "third") == "ok"
    assert intend(plant) == "maybe_sent"


def test_a_process_that_may_not_ask_for_the_servers_life_makes_runs_like_others(plant, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("fakeredis.commands_mixins.server_mixin.ServerCommandsMixin.info", lambda *_: b"")
        plant.begin()
    plant.begin("other", each=["https://other.example/"])
    plant.clock.forward(1)
    plant.redis.set(f"{plant.keys.prefix}:epoch", b"%s 0 e 0" % LIFE)
    assert intend(plant) == "ok"
    plant.restart()
    assert intend(plant, "other") == "maybe_sent"


def test_a_server_that_does_not_tell_its_life_is_never_trusted(plant, monkeypatch):
    monkeypatch.setattr("fakeredis.commands_mixins.server_mixin.ServerCommandsMixin.info", lambda *_: b"")
    plant.begin()
    plant.clock.forward(1)
    assert plant.run(ops.write_intent(plant.keys, plant.take(seconds=LEASE), "n", LEASE))[0] == "maybe_sent"


def test_a_full_store_does_not_keep_a_run_that_has_all_its_pages(plant, make):
    collecting(plant, make)
    plant.put(position=0)
    plant.put(position=1)
    plant.health.used = 0.96
    plant.step(fetch, plant.take())
    assert plant.part().outcome == "succeeded"


def test_a_full_store_does_not_keep_a_run_that_is_to_end(plant, make):
    collecting(plant, make)
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    plant.health.used = 0.96
    for _ in range(3):
        plant.clock.forward(HOUR)
        if plant.part().state is not PartState.DONE:
            plant.step(fetch, plant.take())
    assert plant.part().outcome == "canceled"


def test_a_request_that_is_refused_while_the_account_is_well_fails_in_the_end(plant, make):
    plant.begin()
    plant.api.script(create_job=make.refusal(403), get_user_info=None, list_jobs=JobsListResponse(jobs=[]))
    began = plant.clock.time()
    while plant.part().state is not PartState.DONE and plant.clock.time() - began < HOUR:
        plant.clock.forward(max(0.0, plant.looks()["r:0"]) + 1)
        run_step(plant.app, ["r:0"], {PartState.QUEUED}, submit, seconds=LEASE)
        run_step(plant.app, ["r:0"], {PartState.RECONCILING}, reconcile)
    assert (plant.part().outcome, plant.part().error.status_code) == ("failed", 403)
    assert plant.api.posts < 60


def test_a_moment_of_404_loses_no_page(plant, make):
    collecting(plant, make)
    plant.clock.forward(61)
    plant.api.script(get_task=make.refusal(404))
    plant.step(fetch, plant.take())
    assert (plant.part().state, plant.part().gone) == (PartState.FETCHING, 0)


@pytest.mark.parametrize("stopped", [True, False])
def test_a_purchase_in_doubt_ends_where_the_api_stays_away(plant, make, stopped):
    plant.begin()
    lose_answer(plant)
    if stopped:
        plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    plant.api.script(list_jobs=make.refusal(500))
    for _ in range(100):
        if plant.part().state is not PartState.DONE:
            plant.clock.forward(max(0.0, plant.looks()["r:0"]) + HOUR)
            plant.step(reconcile, plant.take())
    assert plant.part().outcome == "in_doubt"


def test_what_was_absent_once_may_still_appear(plant, make):
    plant.begin("a", request={"geo_code": "us"})
    lose_answer(plant, "a")
    shows(plant)
    assert look(plant, "a")
    plant.begin("b", request={"geo_code": "de"})
    lose_answer(plant, "b")
    shows(plant, make.job("queued", job_id="of-a"))
    assert look(plant, "b", until=PartState.DONE)
    assert (plant.part("b").outcome, plant.part("b").job_id) == ("in_doubt", None)


def test_what_did_not_appear_within_an_hour_never_will(plant, make):
    plant.begin("a", request={"geo_code": "us"})
    lose_answer(plant, "a")
    shows(plant)
    assert look(plant, "a")
    plant.clock.forward(HOUR + 1)
    plant.begin("b", request={"geo_code": "de"})
    lose_answer(plant, "b")
    shows(plant, make.job("queued", job_id="of-b"))
    assert look(plant, "b", until=PartState.RUNNING)
    assert plant.part("b").job_id == "of-b"


def test_a_purchase_in_doubt_takes_no_time_from_an_equal_one(plant, make):
    for run_id in "ab":
        plant.begin(run_id, request={"geo_code": "us"})
    lose_answer(plant, "a")
    plant.run(ops.finish_part(plant.keys, plant.take("a"), "in_doubt", purchase_status="in_doubt"))
    plant.clock.forward(5)
    lose_answer(plant, "b")
    shows(plant)
    assert look(plant, "b")
    claim = plant.take("b")
    found = plant.run(ops.read_unresolved_purchases(plant.keys, claim, plant.account, ops.digests_of(claim), 99))
    assert (found.equal, found.similar) == ((PartId("a", 0),), 1)
    plant.clock.forward(71 * HOUR)
    found = plant.run(ops.read_unresolved_purchases(plant.keys, claim, plant.account, ops.digests_of(claim), 99))
    assert found.similar == 1
    plant.clock.forward(2 * HOUR)
    found = plant.run(ops.read_unresolved_purchases(plant.keys, claim, plant.account, ops.digests_of(claim), 99))
    assert found.similar == 0


def test_a_marker_may_not_be_shown_yet(plant, make, settings):
    plant.settings = settings.model_copy(update={"shared_account": True})
    plant.begin()
    lose_answer(plant, marker="m")
    shows(plant, make.job("pending", job_id="ours"))
    plant.api.script(get_task=lambda job, _: make.task(job=job, status="pending", webhook_url=None))
    assert not look(plant)


def test_the_job_of_a_purchase_in_doubt_is_no_orphan_where_its_tasks_have_no_url(plant, make):
    plant.begin()
    lose_answer(plant)
    job = make.job("pending", job_id="ours")
    blank = [UndetailedTaskResponse(task_id=task.task_id, url="", status=task.status) for task in job.tasks]
    job, stopped = job.model_copy(update={"tasks": blank}), []
    api = SimpleNamespace(
        get_job=lambda _: job,
        cancel_job=stopped.append,
        list_jobs=lambda **k: listing(job) if k["status"] == "pending" else listing(),
    )
    orphan_finder = OrphanFinder(api, plant.store, plant.account)
    with pytest.raises(StillOwnedError):
        orphan_finder.cancel_orphan(orphan_finder.all()[0])
    assert not stopped


def test_an_end_that_the_store_has_lost_decides_nothing(plant):
    """A step has seen that all parts have ended; then the store falls back behind that."""
    plant.begin()
    assert plant.run(ops.record_outcome(plant.keys, "r", "succeeded", {"decided_by": 0})) == ""
    assert plant.view().outcome is None
    plant.finish()
    assert plant.run(ops.record_outcome(plant.keys, "r", "succeeded", {"decided_by": 0})) == "succeeded"


def test_a_purchase_that_was_absent_stays_in_the_ledger(plant, make):
    plant.begin()
    lose_answer(plant)
    shows(plant)
    assert look(plant)
    plant.api.script(create_job=make.refusal(429), get_user_info=None)
    plant.step(submit, plant.take(seconds=LEASE))
    plant.clock.forward(60)
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    plant.step(reconcile, plant.take())
    today = int(plant.clock.time() // 86_400)
    lines = [line for day in (today - 1, today) for line in plant.run(ops.ledger(plant.keys, day))]
    assert [(line.sequence, line.status) for line in lines] == [(1, "not_found")]


def test_a_run_of_another_account_ends_where_it_is_to_end(plant):
    plant.begin()
    plant.buy()
    plant.redis.hset(plant.keys.part("r", 0), "account", "another")
    assert plant.claim() == ops.NeedsAccount("another")
    assert plant.due()["r:0"] <= ops.REDISPATCH_MIN, (
        "a step message that came to the wrong worker is soon published again"
    )
    plant.run(ops.request_stop(plant.keys, "r", "deadline"))
    while plant.part().state is not PartState.DONE:
        plant.clock.forward(max(0.0, plant.looks()["r:0"]) + plant.settings.cancel_grace)
        run_step(plant.app, ["r:0"], {PartState.RUNNING}, poll)
    assert plant.part().outcome == "timed_out"
    assert not plant.api.called("get_job")
