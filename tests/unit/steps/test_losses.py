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


def shows(step_harness, *jobs):
    whole = {job.job_id: job for job in jobs}
    step_harness.api.script(
        list_jobs=lambda _: listing(*[job.model_copy(update={"tasks": []}) for job in jobs]),
        get_job=lambda job_id: whole[job_id],
    )


def lose_answer(step_harness, run_id="r", marker=""):
    claim = step_harness.claim_part(run_id, seconds=LEASE)
    told = {"account": step_harness.account, "estimated_credits": 2, "marker": marker}
    assert step_harness.run(ops.write_intent(step_harness.keys, claim, f"n{run_id}", LEASE, **told))[0] == "ok"
    assert step_harness.run(ops.update_part(step_harness.keys, claim, {"state": "reconciling"}, after=0.0)) == "ok"


def look(step_harness, run_id="r", *, until=PartState.QUEUED):
    for _ in range(60):
        step_harness.clock.forward(max(0.0, step_harness.due_parts()[f"{run_id}:0"]) + 0.1)
        step_harness.run_step(reconcile, step_harness.claim_part(run_id))
        if step_harness.part(run_id).state is until:
            return True
    return False


def collecting(step_harness, make):
    step_harness.create_run()
    step_harness.make_running(state=PartState.FETCHING)
    step_harness.run(
        ops.update_part(step_harness.keys, step_harness.claim_part(), {}, job=make.job("success"), after=0.0)
    )


def intend(step_harness, run_id="r", *, durable=True):
    claim = step_harness.claim_part(run_id, seconds=LEASE)
    return step_harness.run(
        ops.write_intent(step_harness.keys, claim, "n", LEASE, account=step_harness.account, durable=durable)
    )[0]


@pytest.mark.parametrize(("lossless", "durable", "verdict"), [(False, True, "maybe_sent"), (True, False, "ok")])
def test_what_counts_is_the_life_that_lost_the_write(step_harness, lossless, durable, verdict):
    # A replica that took over syncs each write from now on; the one before it did not keep all.
    step_harness.create_run()
    step_harness.restart_server(lossless=lossless)
    step_harness.clock.forward(1)
    assert intend(step_harness, durable=durable) == verdict


def test_a_server_whose_clock_is_behind_is_not_believed_to_be_the_one_before(step_harness):
    step_harness.create_run()
    step_harness.restart_server()
    step_harness.clock.forward(-5)
    step_harness.create_run("other", each=["https://other.example/"])
    step_harness.clock.forward(10)
    assert intend(step_harness, "other") == "ok"
    assert intend(step_harness) == "maybe_sent"


def test_who_takes_the_mark_of_a_life_away_says_that_writes_were_lost(step_harness):
    """As one does who has put a backup back; the server may even be the same."""
    step_harness.create_run()
    step_harness.redis.delete(f"{step_harness.keys.prefix}:epoch")
    step_harness.clock.forward(1)
    assert intend(step_harness) == "maybe_sent"


def test_a_server_that_comes_back_to_its_place_is_another(step_harness):
    """Fail-over and fail-back, and nobody has looked in between: the server's id is the one of the run's birth."""
    step_harness.create_run("first", each=["https://first.example/"])
    step_harness.restart_server()
    step_harness.create_run("second", each=["https://second.example/"])
    step_harness.create_run()
    step_harness.restart_server()
    step_harness.clock.forward(5)
    step_harness.create_run("third", each=["https://third.example/"])
    assert intend(step_harness, "third") == "ok"
    assert intend(step_harness) == "maybe_sent"


def test_a_process_that_may_not_ask_for_the_servers_life_makes_runs_like_others(step_harness, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("fakeredis.commands_mixins.server_mixin.ServerCommandsMixin.info", lambda *_: b"")
        step_harness.create_run()
    step_harness.create_run("other", each=["https://other.example/"])
    step_harness.clock.forward(1)
    step_harness.redis.set(f"{step_harness.keys.prefix}:epoch", b"%s 0 e 0" % LIFE)
    assert intend(step_harness) == "ok"
    step_harness.restart_server()
    assert intend(step_harness, "other") == "maybe_sent"


def test_a_server_that_does_not_tell_its_life_is_never_trusted(step_harness, monkeypatch):
    monkeypatch.setattr("fakeredis.commands_mixins.server_mixin.ServerCommandsMixin.info", lambda *_: b"")
    step_harness.create_run()
    step_harness.clock.forward(1)
    assert (
        step_harness.run(ops.write_intent(step_harness.keys, step_harness.claim_part(seconds=LEASE), "n", LEASE))[0]
        == "maybe_sent"
    )


def test_a_full_store_does_not_keep_a_run_that_has_all_its_pages(step_harness, make):
    collecting(step_harness, make)
    step_harness.store_content(position=0)
    step_harness.store_content(position=1)
    step_harness.health.used = 0.96
    step_harness.run_step(fetch, step_harness.claim_part())
    assert step_harness.part().outcome == "succeeded"


def test_a_full_store_does_not_keep_a_run_that_is_to_end(step_harness, make):
    collecting(step_harness, make)
    step_harness.run(ops.request_stop(step_harness.keys, "r", "cancel"))
    step_harness.health.used = 0.96
    for _ in range(3):
        step_harness.clock.forward(HOUR)
        if step_harness.part().state is not PartState.DONE:
            step_harness.run_step(fetch, step_harness.claim_part())
    assert step_harness.part().outcome == "canceled"


def test_a_request_that_is_refused_while_the_account_is_well_fails_in_the_end(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.refusal(403), get_user_info=None, list_jobs=JobsListResponse(jobs=[]))
    began = step_harness.clock.time()
    while step_harness.part().state is not PartState.DONE and step_harness.clock.time() - began < HOUR:
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 1)
        run_step(step_harness.app, ["r:0"], {PartState.QUEUED}, submit, seconds=LEASE)
        run_step(step_harness.app, ["r:0"], {PartState.RECONCILING}, reconcile)
    assert (step_harness.part().outcome, step_harness.part().error.status_code) == ("failed", 403)
    assert step_harness.api.posts < 60


def test_a_moment_of_404_loses_no_page(step_harness, make):
    collecting(step_harness, make)
    step_harness.clock.forward(61)
    step_harness.api.script(get_task=make.refusal(404))
    step_harness.run_step(fetch, step_harness.claim_part())
    assert (step_harness.part().state, step_harness.part().gone) == (PartState.FETCHING, 0)


@pytest.mark.parametrize("stopped", [True, False])
def test_a_purchase_in_doubt_ends_where_the_api_stays_away(step_harness, make, stopped):
    step_harness.create_run()
    lose_answer(step_harness)
    if stopped:
        step_harness.run(ops.request_stop(step_harness.keys, "r", "cancel"))
    step_harness.api.script(list_jobs=make.refusal(500))
    for _ in range(100):
        if step_harness.part().state is not PartState.DONE:
            step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + HOUR)
            step_harness.run_step(reconcile, step_harness.claim_part())
    assert step_harness.part().outcome == "in_doubt"


def test_what_was_absent_once_may_still_appear(step_harness, make):
    step_harness.create_run("a", request={"geo_code": "us"})
    lose_answer(step_harness, "a")
    shows(step_harness)
    assert look(step_harness, "a")
    step_harness.create_run("b", request={"geo_code": "de"})
    lose_answer(step_harness, "b")
    shows(step_harness, make.job("queued", job_id="of-a"))
    assert look(step_harness, "b", until=PartState.DONE)
    assert (step_harness.part("b").outcome, step_harness.part("b").job_id) == ("in_doubt", None)


def test_what_did_not_appear_within_an_hour_never_will(step_harness, make):
    step_harness.create_run("a", request={"geo_code": "us"})
    lose_answer(step_harness, "a")
    shows(step_harness)
    assert look(step_harness, "a")
    step_harness.clock.forward(HOUR + 1)
    step_harness.create_run("b", request={"geo_code": "de"})
    lose_answer(step_harness, "b")
    shows(step_harness, make.job("queued", job_id="of-b"))
    assert look(step_harness, "b", until=PartState.RUNNING)
    assert step_harness.part("b").job_id == "of-b"


def test_a_purchase_in_doubt_takes_no_time_from_an_equal_one(step_harness, make):
    for run_id in "ab":
        step_harness.create_run(run_id, request={"geo_code": "us"})
    lose_answer(step_harness, "a")
    step_harness.run(
        ops.finish_part(step_harness.keys, step_harness.claim_part("a"), "in_doubt", purchase_status="in_doubt")
    )
    step_harness.clock.forward(5)
    lose_answer(step_harness, "b")
    shows(step_harness)
    assert look(step_harness, "b")
    claim = step_harness.claim_part("b")
    found = step_harness.run(
        ops.read_unresolved_purchases(step_harness.keys, claim, step_harness.account, ops.digests_of(claim), 99)
    )
    assert (found.equal, found.similar) == ((PartId("a", 0),), 1)
    step_harness.clock.forward(71 * HOUR)
    found = step_harness.run(
        ops.read_unresolved_purchases(step_harness.keys, claim, step_harness.account, ops.digests_of(claim), 99)
    )
    assert found.similar == 1
    step_harness.clock.forward(2 * HOUR)
    found = step_harness.run(
        ops.read_unresolved_purchases(step_harness.keys, claim, step_harness.account, ops.digests_of(claim), 99)
    )
    assert found.similar == 0


def test_a_marker_may_not_be_shown_yet(step_harness, make, settings):
    step_harness.settings = settings.model_copy(update={"shared_account": True})
    step_harness.create_run()
    lose_answer(step_harness, marker="m")
    shows(step_harness, make.job("pending", job_id="ours"))
    step_harness.api.script(get_task=lambda job, _: make.task(job=job, status="pending", webhook_url=None))
    assert not look(step_harness)


def test_the_job_of_a_purchase_in_doubt_is_no_orphan_where_its_tasks_have_no_url(step_harness, make):
    step_harness.create_run()
    lose_answer(step_harness)
    job = make.job("pending", job_id="ours")
    blank = [UndetailedTaskResponse(task_id=task.task_id, url="", status=task.status) for task in job.tasks]
    job, stopped = job.model_copy(update={"tasks": blank}), []
    api = SimpleNamespace(
        get_job=lambda _: job,
        cancel_job=stopped.append,
        list_jobs=lambda **k: listing(job) if k["status"] == "pending" else listing(),
    )
    orphan_finder = OrphanFinder(api, step_harness.sync_store, step_harness.account)
    with pytest.raises(StillOwnedError):
        orphan_finder.cancel_orphan(orphan_finder.all()[0])
    assert not stopped


def test_an_end_that_the_store_has_lost_decides_nothing(step_harness):
    """A step has seen that all parts have ended; then the store falls back behind that."""
    step_harness.create_run()
    assert step_harness.run(ops.record_outcome(step_harness.keys, "r", "succeeded", {"decided_by": 0})) == ""
    assert step_harness.read_run().outcome is None
    step_harness.finish_part()
    assert step_harness.run(ops.record_outcome(step_harness.keys, "r", "succeeded", {"decided_by": 0})) == "succeeded"


def test_a_purchase_that_was_absent_stays_in_the_ledger(step_harness, make):
    step_harness.create_run()
    lose_answer(step_harness)
    shows(step_harness)
    assert look(step_harness)
    step_harness.api.script(create_job=make.refusal(429), get_user_info=None)
    step_harness.run_step(submit, step_harness.claim_part(seconds=LEASE))
    step_harness.clock.forward(60)
    step_harness.run(ops.request_stop(step_harness.keys, "r", "cancel"))
    step_harness.run_step(reconcile, step_harness.claim_part())
    today = int(step_harness.clock.time() // 86_400)
    lines = [line for day in (today - 1, today) for line in step_harness.run(ops.ledger(step_harness.keys, day))]
    assert [(line.sequence, line.status) for line in lines] == [(1, "not_found")]


def test_a_run_of_another_account_ends_where_it_is_to_end(step_harness):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.redis.hset(step_harness.keys.part("r", 0), "account", "another")
    assert step_harness.try_claim_part() == ops.NeedsAccount("another")
    assert step_harness.due_parts()["r:0"] <= ops.REDISPATCH_MIN, (
        "a step message that came to the wrong worker is soon published again"
    )
    step_harness.run(ops.request_stop(step_harness.keys, "r", "deadline"))
    while step_harness.part().state is not PartState.DONE:
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + step_harness.settings.cancel_grace)
        run_step(step_harness.app, ["r:0"], {PartState.RUNNING}, poll)
    assert step_harness.part().outcome == "timed_out"
    assert not step_harness.api.called("get_job")
