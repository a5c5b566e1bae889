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
def epoch_key(plant):
    return f"{plant.keys.prefix}:epoch"


@pytest.fixture
def told(plant):
    return {"account": plant.account, "durable": True}


def restart(plant, key, life):
    """The server begins another life."""
    plant.redis.set(key, plant.redis.get(key).replace(LIFE, life))
    plant.clock.forward(1)


def messages_until_done(plant, states, handler, seconds=20.0, lease=None):
    for _ in range(200):
        if plant.part().state is PartState.DONE:
            return
        plant.clock.forward(max(0.0, plant.looks()["r:0"]) + seconds)
        run_step(plant.app, ["r:0"], states, handler, seconds=lease)


def purchase_status(plant):
    today = int(plant.clock.time() // 86_400)
    return [line.status for day in (today - 1, today) for line in plant.run(ops.ledger(plant.keys, day))]


def stopped(plant, make):
    """A run whose job was stopped while its second task was under way."""
    plant.begin()
    plant.buy()
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    plant.api.script(get_job=make.job("canceled", tasks=["success", "pending"]), get_task=make.refusal(500))
    plant.step(cancel, plant.take())
    plant.api.calls.clear()


# A store that lost writes


def test_a_loss_two_lives_ago_is_a_loss(plant, epoch_key, told):
    plant.begin()
    plant.redis.set(epoch_key, "aaa 0 aaa 0")
    plant.clock.forward(1)
    plant.begin("other", each=["https://other.example/"])
    assert plant.run(ops.write_intent(plant.keys, plant.take("other", seconds=LEASE), "n", LEASE, **told))[0] == "ok"
    restart(plant, epoch_key, b"bbb")
    assert plant.run(ops.write_intent(plant.keys, plant.take(seconds=LEASE), "n", LEASE, **told))[0] == "maybe_sent"


def test_without_a_loss_no_part_looks(plant, epoch_key, told):
    plant.redis.set(epoch_key, f"aaa {plant.clock.time():.4f} aaa 1")
    plant.clock.forward(1)
    plant.begin()
    plant.clock.forward(1)
    assert plant.run(ops.write_intent(plant.keys, plant.take(seconds=LEASE), "n", LEASE, **told))[0] == "ok"


def test_that_a_store_is_weaker_is_on_disk_before_the_next_intent(plant, epoch_key):
    plant.redis.set(epoch_key, b"%s 0 aaa 1" % LIFE)
    plant.begin()
    claim = plant.take(seconds=LEASE)
    weak = ops.write_intent(plant.keys, claim, "n", LEASE, account=plant.account, durable=False)
    assert plant.run(weak)[0] == "durability_pending"
    restart(plant, epoch_key, b"abc")
    assert (
        plant.run(ops.write_intent(plant.keys, claim, "n", LEASE, account=plant.account, durable=True))[0]
        == "maybe_sent"
    )


def test_a_weaker_store_is_bought_for_a_moment_later(plant, epoch_key, make):
    plant.redis.set(epoch_key, b"%s 0 aaa 1" % LIFE)
    plant.begin()
    plant.health.durable = False
    plant.api.script(create_job=make.created("j"))
    plant.step(submit, plant.take(seconds=LEASE))
    assert (plant.part().state, plant.api.posts) == (PartState.QUEUED, 0)
    plant.clock.forward(DURABILITY_DELAY)
    plant.step(submit, plant.take(seconds=LEASE))
    assert (plant.part().job_id, plant.api.posts) == ("j", 1)


def test_without_info_each_try_looks_again(plant, make, monkeypatch):
    monkeypatch.setattr("fakeredis.commands_mixins.server_mixin.ServerCommandsMixin.info", lambda *_: b"")
    plant.begin()
    plant.clock.forward(1)
    first = ops.write_intent(plant.keys, plant.take(seconds=LEASE), "n", LEASE, account=plant.account, durable=False)
    assert plant.run(first)[0] == "maybe_sent"
    shows(plant)
    assert look(plant)
    plant.api.script(create_job=make.refusal(429))
    plant.step(submit, plant.take(seconds=LEASE))
    plant.clock.forward(60)
    plant.step(submit, plant.take(seconds=LEASE))
    assert (plant.part().state, plant.api.posts) == (PartState.RECONCILING, 1)


def test_a_cancel_after_a_loss_looks_first(plant, epoch_key, make):
    plant.begin()
    plant.redis.set(epoch_key, "old 0 old 0")
    plant.clock.forward(5)
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    assert plant.part().state is PartState.QUEUED
    plant.step(submit, plant.take(seconds=LEASE))
    assert plant.part().state is PartState.RECONCILING
    shows(plant, make.job("queued", job_id="ours"))
    assert look(plant, until=PartState.RUNNING)
    assert plant.part().job_id == "ours"
    assert plant.api.posts == 0


def test_a_cancel_without_a_loss_is_done_at_once(plant):
    plant.begin()
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    assert (plant.part().state, plant.part().outcome) == (PartState.DONE, "canceled")


def test_what_a_canceled_run_may_have_bought_is_no_others(plant, epoch_key, make):
    plant.begin("b", request={"geo_code": "de"})
    plant.begin("a", request={"geo_code": "us"})
    plant.redis.set(epoch_key, "old 0 old 0")
    plant.clock.forward(5)
    plant.run(ops.request_stop(plant.keys, "b", "cancel"))
    claim = plant.take("a", seconds=LEASE)
    answer = plant.run(ops.write_intent(plant.keys, claim, "n", LEASE, account=plant.account, durable=False))
    assert answer[0] == "maybe_sent"
    shows(plant, make.job("queued", job_id="of-b"))
    look(plant, "a", until=PartState.DONE)
    assert (plant.part("a").outcome, plant.part("a").job_id) == ("in_doubt", None)


def test_two_absences_of_equal_targets_do_not_hide_one_another(plant, make):
    for run, geo in (("a", "us"), ("b", "de")):
        plant.begin(run, request={"geo_code": geo})
        lose_answer(plant, run)
        shows(plant)
        assert look(plant, run)
    lose_answer(plant, "b")
    shows(plant, make.job("queued", job_id="of-a"))
    look(plant, "b", until=PartState.DONE)
    assert (plant.part("b").outcome, plant.part("b").job_id) == ("in_doubt", None)


# Accounts


def test_two_accounts_may_share_a_run(plant, make):
    plant.part_by_part(2)
    a, b = plant.take(part=0, seconds=LEASE, account="A"), plant.take(part=1, seconds=LEASE)
    for claim, account, job in ((a, "A", "job-of-A"), (b, plant.account, "job-of-B")):
        assert plant.run(ops.write_intent(plant.keys, claim, f"n{account}", LEASE, account=account))[0] == "ok"
        fields = {"state": "running", "job": job, "purchase_status": "confirmed"}
        assert plant.run(ops.update_part(plant.keys, claim, fields, after=1.0, owner=job)) == "ok"
    plant.clock.forward(HOUR)
    plant.api.script(get_job=make.refusal(404))
    run_step(plant.app, ["r:0"], {PartState.RUNNING}, poll)
    assert plant.api.called("get_job") == []
    assert plant.claim(part=0, account="A").part.job_id == "job-of-A"


def test_a_part_that_bought_nothing_goes_on_with_another_token(plant, make):
    plant.begin()
    plant.api.script(create_job=make.refusal(401), get_user_info=make.refusal(401))
    run_step(plant.app, ["r:0"], {PartState.QUEUED}, submit, seconds=LEASE)
    assert (plant.api.posts, plant.part().state) == (1, PartState.RECONCILING)
    plant.clock.forward(HOUR)
    assert plant.claim(account="of the new token").part.refused


def test_a_claim_that_is_sent_again_is_foreign_still(plant):
    plant.begin()
    plant.buy()
    plant.redis.hset(plant.keys.part("r", 0), "account", "another")
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    assert [plant.claim(token="t").breaker for _ in range(2)] == ["other_account", "other_account"]


# What the API no longer knows


def test_a_moment_of_404_loses_no_job(plant, make):
    plant.begin()
    plant.buy()
    plant.clock.forward(HOUR)
    plant.api.script(get_job=make.refusal(404))
    began = plant.clock.time()
    while plant.part().state is PartState.RUNNING:
        plant.clock.forward(max(0.0, plant.looks()["r:0"]) + 0.05)
        plant.step(poll, plant.take())
    assert plant.part().outcome == "lost"
    assert NOT_FOUND_GRACE < plant.clock.time() - began < 2 * NOT_FOUND_GRACE


def test_a_moment_of_404_loses_no_task(plant, make):
    collecting(plant, make)
    plant.clock.forward(HOUR)
    plant.api.script(get_task=make.refusal(404))
    began = plant.clock.time()
    while plant.part().state is PartState.FETCHING:
        plant.clock.forward(max(0.0, plant.looks()["r:0"]) + 0.05)
        plant.step(fetch, plant.take())
    assert plant.part().gone == 2
    assert plant.clock.time() - began > NOT_FOUND_GRACE


def test_a_delete_that_is_not_found_loses_no_job(plant, make):
    plant.begin()
    plant.buy()
    plant.clock.forward(HOUR)
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    plant.api.script(get_job=make.job("pending", tasks=["success", "pending"]), cancel_job=make.refusal(404))
    plant.step(cancel, plant.take())
    assert plant.part().cancel_sent_at
    plant.clock.forward(plant.settings.cancel_grace + 2)
    plant.api.script(get_task=make.refusal(500))
    plant.step(poll, plant.take())
    assert plant.part().state is PartState.FETCHING


def test_looks_at_one_task_are_not_looks_at_another(plant, make):
    collecting(plant, make)
    plant.clock.forward(61)
    plant.api.script(get_task=lambda _, t: make.task(0, status="pending") if t == "t0" else make.refusal(429))
    for _ in range(4):
        plant.step(fetch, plant.take())
        plant.clock.forward(max(0.0, plant.looks()["r:0"]) + 0.1)
    plant.api.script(get_task=lambda _, t: make.task(0) if t == "t0" else make.refusal(404))
    plant.step(fetch, plant.take())
    assert plant.part().gone == 0


def test_a_page_that_was_finished_while_its_job_was_stopped_is_fetched(plant, make):
    stopped(plant, make)
    plant.api.script(get_task=lambda _, task_id: make.task(int(task_id[1:])))
    plant.clock.forward(6)
    plant.step(fetch, plant.take())
    assert plant.part().stored_ok == 2


def test_what_stays_under_way_in_a_stopped_job_is_left_after_two_looks(plant, make):
    stopped(plant, make)
    goes_on = make.task(1, status="pending", content=None)
    plant.api.script(get_task=lambda _, t: make.task(0) if t == "t0" else goes_on)
    while plant.part().state is PartState.FETCHING:
        plant.clock.forward(max(0.0, plant.looks()["r:0"]) + 0.1)
        plant.step(fetch, plant.take())
    assert plant.api.called("get_task").count(["job-r-0", "t1"]) == 2
    part = plant.part()
    assert (part.outcome, part.stored_ok, part.stored_failed, part.gone) == ("canceled", 1, 0, 0)


# Purchases in doubt


def test_a_job_that_is_still_being_filled_may_be_ours(plant, make):
    plant.begin(each=[f"https://shop.example/{n}" for n in range(3)])
    lose_answer(plant)
    shows(plant, make.job(JobStatus.QUEUING, 2, job_id="half"))
    assert not look(plant)
    shows(plant)
    assert look(plant)


@pytest.mark.parametrize("status", [400, 401])
def test_a_purchase_in_doubt_whose_search_is_refused_ends_in_doubt(plant, make, status):
    plant.begin()
    lose_answer(plant)
    plant.api.script(list_jobs=make.refusal(status), get_user_info=make.refusal(status))
    messages_until_done(plant, {PartState.RECONCILING}, reconcile)
    assert plant.part().outcome == "in_doubt"
    assert str(status) in str(plant.part().error)


def test_a_purchase_in_doubt_of_another_account_ends_in_doubt(plant):
    plant.begin()
    lose_answer(plant)
    plant.redis.hset(plant.keys.part("r", 0), "account", "another")
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    messages_until_done(plant, {PartState.RECONCILING}, reconcile)
    assert plant.part().outcome == "in_doubt"
    assert purchase_status(plant) == ["in_doubt"]


def test_a_purchase_in_doubt_that_nobody_waits_for_ends(plant, make):
    plant.begin()
    lose_answer(plant)
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    plant.api.script(list_jobs=lambda _: listing(make.job("queued", job_id="another")), get_job=make.refusal(404))
    messages_until_done(plant, {PartState.RECONCILING}, reconcile)
    assert plant.part().outcome == "in_doubt"


# The ledger


def test_a_refusal_that_stood_is_struck_out_of_the_ledger(plant, make):
    plant.begin()
    plant.api.script(create_job=make.refusal(403), get_user_info=None, list_jobs=listing())
    for _ in range(100):
        plant.clock.forward(max(0.0, plant.looks().get("r:0", 0.0)) + 1.0)
        run_step(plant.app, ["r:0"], {PartState.QUEUED}, submit, seconds=LEASE)
        run_step(plant.app, ["r:0"], {PartState.RECONCILING}, reconcile)
    assert plant.part().outcome == "failed"
    assert purchase_status(plant) == []


def test_an_absence_stays_in_the_ledger_where_a_later_void_is_sent_twice(plant):
    plant.begin()
    lose_answer(plant)
    shows(plant)
    assert look(plant)
    claim = plant.take(seconds=LEASE)
    assert plant.run(ops.write_intent(plant.keys, claim, "n2", LEASE, account=plant.account))[0] == "ok"
    for _ in range(2):
        plant.run(ops.update_part(plant.keys, claim, {"state": "queued", "purchase_status": "void"}, after=5.0))
    plant.clock.forward(6)
    plant.run(ops.finish_part(plant.keys, plant.take(seconds=LEASE), "canceled"))
    assert purchase_status(plant) == ["not_found"]
