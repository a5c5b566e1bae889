"""What a second hostile reading found: ways to buy twice, to lose pages, and to end with the wrong word."""

from __future__ import annotations

import pytest

from scrape_do_celery.models import JobStatus
from scrape_do_celery.polling import NOT_FOUND_GRACE
from scrape_do_celery.runtime import run_step
from scrape_do_celery.runtime.collecting import fetch
from scrape_do_celery.store import PartState, ops
from scrape_do_celery.tasks.cancel import cancel
from scrape_do_celery.tasks.poll import poll
from scrape_do_celery.tasks.reconcile import reconcile
from scrape_do_celery.tasks.submit import DURABILITY_DELAY, submit
from tests.unit.steps.test_losses import HOUR, LEASE, LIFE, collecting, listing, look, lose_answer, shows


@pytest.fixture
def epoch_key(step_harness):
    return f"{step_harness.keys.prefix}:epoch"


@pytest.fixture
def told(step_harness):
    return {"account": step_harness.account, "durable": True}


def restart(step_harness, key, life):
    """The server begins another life."""
    step_harness.redis.set(key, step_harness.redis.get(key).replace(LIFE, life))
    step_harness.clock.forward(1)


def messages_until_done(step_harness, states, handler, seconds=20.0, lease=None):
    for _ in range(200):
        if step_harness.part().state is PartState.DONE:
            return
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + seconds)
        run_step(step_harness.app, ["r:0"], states, handler, seconds=lease)


def purchase_status(step_harness):
    today = int(step_harness.clock.time() // 86_400)
    return [line.status for day in (today - 1, today) for line in step_harness.run(ops.ledger(step_harness.keys, day))]


def stopped(step_harness, make):
    """A run whose job was stopped while its second task was under way."""
    step_harness.create_run()
    step_harness.make_running()
    step_harness.run(ops.request_stop(step_harness.keys, "r", "cancel"))
    step_harness.api.script(get_job=make.job("canceled", tasks=["success", "pending"]), get_task=make.refusal(500))
    step_harness.run_step(cancel, step_harness.claim_part())
    step_harness.api.calls.clear()


# A store that lost writes


def test_a_loss_two_lives_ago_is_a_loss(step_harness, epoch_key, told):
    step_harness.create_run()
    step_harness.redis.set(epoch_key, "aaa 0 aaa 0")
    step_harness.clock.forward(1)
    step_harness.create_run("other", each=["https://other.example/"])
    assert (
        step_harness.run(
            ops.write_intent(step_harness.keys, step_harness.claim_part("other", seconds=LEASE), "n", LEASE, **told)
        )[0]
        == "ok"
    )
    restart(step_harness, epoch_key, b"bbb")
    assert (
        step_harness.run(
            ops.write_intent(step_harness.keys, step_harness.claim_part(seconds=LEASE), "n", LEASE, **told)
        )[0]
        == "maybe_sent"
    )


def test_without_a_loss_no_part_looks(step_harness, epoch_key, told):
    step_harness.redis.set(epoch_key, f"aaa {step_harness.clock.time():.4f} aaa 1")
    step_harness.clock.forward(1)
    step_harness.create_run()
    step_harness.clock.forward(1)
    assert (
        step_harness.run(
            ops.write_intent(step_harness.keys, step_harness.claim_part(seconds=LEASE), "n", LEASE, **told)
        )[0]
        == "ok"
    )


def test_that_a_store_is_weaker_is_on_disk_before_the_next_intent(step_harness, epoch_key):
    step_harness.redis.set(epoch_key, b"%s 0 aaa 1" % LIFE)
    step_harness.create_run()
    claim = step_harness.claim_part(seconds=LEASE)
    weak = ops.write_intent(step_harness.keys, claim, "n", LEASE, account=step_harness.account, durable=False)
    assert step_harness.run(weak)[0] == "durability_pending"
    restart(step_harness, epoch_key, b"abc")
    assert (
        step_harness.run(
            ops.write_intent(step_harness.keys, claim, "n", LEASE, account=step_harness.account, durable=True)
        )[0]
        == "maybe_sent"
    )


def test_a_weaker_store_is_bought_for_a_moment_later(step_harness, epoch_key, make):
    step_harness.redis.set(epoch_key, b"%s 0 aaa 1" % LIFE)
    step_harness.create_run()
    step_harness.health.durable = False
    step_harness.api.script(create_job=make.created("j"))
    step_harness.run_step(submit, step_harness.claim_part(seconds=LEASE))
    assert (step_harness.part().state, step_harness.api.posts) == (PartState.QUEUED, 0)
    step_harness.clock.forward(DURABILITY_DELAY)
    step_harness.run_step(submit, step_harness.claim_part(seconds=LEASE))
    assert (step_harness.part().job_id, step_harness.api.posts) == ("j", 1)


def test_without_info_each_try_looks_again(step_harness, make, monkeypatch):
    monkeypatch.setattr("fakeredis.commands_mixins.server_mixin.ServerCommandsMixin.info", lambda *_: b"")
    step_harness.create_run()
    step_harness.clock.forward(1)
    first = ops.write_intent(
        step_harness.keys,
        step_harness.claim_part(seconds=LEASE),
        "n",
        LEASE,
        account=step_harness.account,
        durable=False,
    )
    assert step_harness.run(first)[0] == "maybe_sent"
    shows(step_harness)
    assert look(step_harness)
    step_harness.api.script(create_job=make.refusal(429))
    step_harness.run_step(submit, step_harness.claim_part(seconds=LEASE))
    step_harness.clock.forward(60)
    step_harness.run_step(submit, step_harness.claim_part(seconds=LEASE))
    assert (step_harness.part().state, step_harness.api.posts) == (PartState.RECONCILING, 1)


def test_a_cancel_after_a_loss_looks_first(step_harness, epoch_key, make):
    step_harness.create_run()
    step_harness.redis.set(epoch_key, "old 0 old 0")
    step_harness.clock.forward(5)
    step_harness.run(ops.request_stop(step_harness.keys, "r", "cancel"))
    assert step_harness.part().state is PartState.QUEUED
    step_harness.run_step(submit, step_harness.claim_part(seconds=LEASE))
    assert step_harness.part().state is PartState.RECONCILING
    shows(step_harness, make.job("queued", job_id="ours"))
    assert look(step_harness, until=PartState.RUNNING)
    assert step_harness.part().job_id == "ours"
    assert step_harness.api.posts == 0


def test_a_cancel_without_a_loss_is_done_at_once(step_harness):
    step_harness.create_run()
    step_harness.run(ops.request_stop(step_harness.keys, "r", "cancel"))
    assert (step_harness.part().state, step_harness.part().outcome) == (PartState.DONE, "canceled")


def test_what_a_canceled_run_may_have_bought_is_no_others(step_harness, epoch_key, make):
    step_harness.create_run("b", request={"geo_code": "de"})
    step_harness.create_run("a", request={"geo_code": "us"})
    step_harness.redis.set(epoch_key, "old 0 old 0")
    step_harness.clock.forward(5)
    step_harness.run(ops.request_stop(step_harness.keys, "b", "cancel"))
    claim = step_harness.claim_part("a", seconds=LEASE)
    answer = step_harness.run(
        ops.write_intent(step_harness.keys, claim, "n", LEASE, account=step_harness.account, durable=False)
    )
    assert answer[0] == "maybe_sent"
    shows(step_harness, make.job("queued", job_id="of-b"))
    look(step_harness, "a", until=PartState.DONE)
    assert (step_harness.part("a").outcome, step_harness.part("a").job_id) == ("in_doubt", None)


def test_two_absences_of_equal_targets_do_not_hide_one_another(step_harness, make):
    for run, geo in (("a", "us"), ("b", "de")):
        step_harness.create_run(run, request={"geo_code": geo})
        lose_answer(step_harness, run)
        shows(step_harness)
        assert look(step_harness, run)
    lose_answer(step_harness, "b")
    shows(step_harness, make.job("queued", job_id="of-a"))
    look(step_harness, "b", until=PartState.DONE)
    assert (step_harness.part("b").outcome, step_harness.part("b").job_id) == ("in_doubt", None)


# Accounts


def test_two_accounts_may_share_a_run(step_harness, make):
    step_harness.create_multi_part_run(2)
    a, b = step_harness.claim_part(part=0, seconds=LEASE, account="A"), step_harness.claim_part(part=1, seconds=LEASE)
    for claim, account, job in ((a, "A", "job-of-A"), (b, step_harness.account, "job-of-B")):
        assert (
            step_harness.run(ops.write_intent(step_harness.keys, claim, f"n{account}", LEASE, account=account))[0]
            == "ok"
        )
        fields = {"state": "running", "job": job, "purchase_status": "confirmed"}
        assert step_harness.run(ops.update_part(step_harness.keys, claim, fields, after=1.0, owner=job)) == "ok"
    step_harness.clock.forward(HOUR)
    step_harness.api.script(get_job=make.refusal(404))
    run_step(step_harness.app, ["r:0"], {PartState.RUNNING}, poll)
    assert step_harness.api.called("get_job") == []
    assert step_harness.try_claim_part(part=0, account="A").part.job_id == "job-of-A"


def test_a_part_that_bought_nothing_goes_on_with_another_token(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.refusal(401), get_user_info=make.refusal(401))
    run_step(step_harness.app, ["r:0"], {PartState.QUEUED}, submit, seconds=LEASE)
    assert (step_harness.api.posts, step_harness.part().state) == (1, PartState.RECONCILING)
    step_harness.clock.forward(HOUR)
    assert step_harness.try_claim_part(account="of the new token").part.refused


def test_a_claim_that_is_sent_again_is_foreign_still(step_harness):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.redis.hset(step_harness.keys.part("r", 0), "account", "another")
    step_harness.run(ops.request_stop(step_harness.keys, "r", "cancel"))
    assert [step_harness.try_claim_part(token="t").breaker for _ in range(2)] == ["other_account", "other_account"]


# What the API no longer knows


def test_a_moment_of_404_loses_no_job(step_harness, make):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.clock.forward(HOUR)
    step_harness.api.script(get_job=make.refusal(404))
    began = step_harness.clock.time()
    while step_harness.part().state is PartState.RUNNING:
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 0.05)
        step_harness.run_step(poll, step_harness.claim_part())
    assert step_harness.part().outcome == "lost"
    assert NOT_FOUND_GRACE < step_harness.clock.time() - began < 2 * NOT_FOUND_GRACE


def test_a_moment_of_404_loses_no_task(step_harness, make):
    collecting(step_harness, make)
    step_harness.clock.forward(HOUR)
    step_harness.api.script(get_task=make.refusal(404))
    began = step_harness.clock.time()
    while step_harness.part().state is PartState.FETCHING:
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 0.05)
        step_harness.run_step(fetch, step_harness.claim_part())
    assert step_harness.part().gone == 2
    assert step_harness.clock.time() - began > NOT_FOUND_GRACE


def test_a_delete_that_is_not_found_loses_no_job(step_harness, make):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.clock.forward(HOUR)
    step_harness.run(ops.request_stop(step_harness.keys, "r", "cancel"))
    step_harness.api.script(get_job=make.job("pending", tasks=["success", "pending"]), cancel_job=make.refusal(404))
    step_harness.run_step(cancel, step_harness.claim_part())
    assert step_harness.part().cancel_sent_at
    step_harness.clock.forward(step_harness.settings.cancel_grace + 2)
    step_harness.api.script(get_task=make.refusal(500))
    step_harness.run_step(poll, step_harness.claim_part())
    assert step_harness.part().state is PartState.FETCHING


def test_looks_at_one_task_are_not_looks_at_another(step_harness, make):
    collecting(step_harness, make)
    step_harness.clock.forward(61)
    step_harness.api.script(get_task=lambda _, t: make.task(0, status="pending") if t == "t0" else make.refusal(429))
    for _ in range(4):
        step_harness.run_step(fetch, step_harness.claim_part())
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 0.1)
    step_harness.api.script(get_task=lambda _, t: make.task(0) if t == "t0" else make.refusal(404))
    step_harness.run_step(fetch, step_harness.claim_part())
    assert step_harness.part().gone == 0


def test_a_page_that_was_finished_while_its_job_was_stopped_is_fetched(step_harness, make):
    stopped(step_harness, make)
    step_harness.api.script(get_task=lambda _, task_id: make.task(int(task_id[1:])))
    step_harness.clock.forward(6)
    step_harness.run_step(fetch, step_harness.claim_part())
    assert step_harness.part().stored_ok == 2


def test_what_stays_under_way_in_a_stopped_job_is_left_after_two_looks(step_harness, make):
    stopped(step_harness, make)
    goes_on = make.task(1, status="pending", content=None)
    step_harness.api.script(get_task=lambda _, t: make.task(0) if t == "t0" else goes_on)
    while step_harness.part().state is PartState.FETCHING:
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 0.1)
        step_harness.run_step(fetch, step_harness.claim_part())
    assert step_harness.api.called("get_task").count(["job-r-0", "t1"]) == 2
    part = step_harness.part()
    assert (part.outcome, part.stored_ok, part.stored_failed, part.gone) == ("canceled", 1, 0, 0)


# Purchases in doubt


def test_a_job_that_is_still_being_filled_may_be_ours(step_harness, make):
    step_harness.create_run(each=[f"https://shop.example/{n}" for n in range(3)])
    lose_answer(step_harness)
    shows(step_harness, make.job(JobStatus.QUEUING, 2, job_id="half"))
    assert not look(step_harness)
    shows(step_harness)
    assert look(step_harness)


@pytest.mark.parametrize("status", [400, 401])
def test_a_purchase_in_doubt_whose_search_is_refused_ends_in_doubt(step_harness, make, status):
    step_harness.create_run()
    lose_answer(step_harness)
    step_harness.api.script(list_jobs=make.refusal(status), get_user_info=make.refusal(status))
    messages_until_done(step_harness, {PartState.RECONCILING}, reconcile)
    assert step_harness.part().outcome == "in_doubt"
    assert str(status) in str(step_harness.part().error)


def test_a_purchase_in_doubt_of_another_account_ends_in_doubt(step_harness):
    step_harness.create_run()
    lose_answer(step_harness)
    step_harness.redis.hset(step_harness.keys.part("r", 0), "account", "another")
    step_harness.run(ops.request_stop(step_harness.keys, "r", "cancel"))
    messages_until_done(step_harness, {PartState.RECONCILING}, reconcile)
    assert step_harness.part().outcome == "in_doubt"
    assert purchase_status(step_harness) == ["in_doubt"]


def test_a_purchase_in_doubt_that_nobody_waits_for_ends(step_harness, make):
    step_harness.create_run()
    lose_answer(step_harness)
    step_harness.run(ops.request_stop(step_harness.keys, "r", "cancel"))
    step_harness.api.script(
        list_jobs=lambda _: listing(make.job("queued", job_id="another")), get_job=make.refusal(404)
    )
    messages_until_done(step_harness, {PartState.RECONCILING}, reconcile)
    assert step_harness.part().outcome == "in_doubt"


# The ledger


def test_a_refusal_that_stood_is_struck_out_of_the_ledger(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.refusal(403), get_user_info=None, list_jobs=listing())
    for _ in range(100):
        step_harness.clock.forward(max(0.0, step_harness.due_times().get("r:0", 0.0)) + 1.0)
        run_step(step_harness.app, ["r:0"], {PartState.QUEUED}, submit, seconds=LEASE)
        run_step(step_harness.app, ["r:0"], {PartState.RECONCILING}, reconcile)
    assert step_harness.part().outcome == "failed"
    assert purchase_status(step_harness) == []


def test_an_absence_stays_in_the_ledger_where_a_later_void_is_sent_twice(step_harness):
    step_harness.create_run()
    lose_answer(step_harness)
    shows(step_harness)
    assert look(step_harness)
    claim = step_harness.claim_part(seconds=LEASE)
    assert (
        step_harness.run(ops.write_intent(step_harness.keys, claim, "n2", LEASE, account=step_harness.account))[0]
        == "ok"
    )
    for _ in range(2):
        step_harness.run(
            ops.update_part(step_harness.keys, claim, {"state": "queued", "purchase_status": "void"}, after=5.0)
        )
    step_harness.clock.forward(6)
    step_harness.run(ops.finish_part(step_harness.keys, step_harness.claim_part(seconds=LEASE), "canceled"))
    assert purchase_status(step_harness) == ["not_found"]
