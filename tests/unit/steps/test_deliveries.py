"""Test how steps serve deliveries: what they fetch, when they poll, and that nothing is lost or wrongly believed."""

from __future__ import annotations

import logging
import time

import pytest

from scrape_do_celery import routing
from scrape_do_celery.rules.polling import NOT_FOUND_GRACE
from scrape_do_celery.rules.states import next_step
from scrape_do_celery.rules.waits import FETCH_BELOW
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps import fetch_task
from scrape_do_celery.steps.cancel import cancel_part
from scrape_do_celery.steps.context import EARLY
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.steps.store_health import FULL_STORE_DELAY
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.deliveries import Deliveries, ReadDeliveries, ReadDeliveryTarget, TakeDelivery
from scrape_do_celery.store.commands.parts import ReadJob
from scrape_do_celery.store.commands.runs import RequestStop
from scrape_do_celery.store.commands.webhook_trust import DistrustWebhooks, ReadWebhookTrust, TrustWebhooks
from tests.unit.steps.conftest import LEASE

POLL = StepMessage(routing.POLL_JOBS, ("r:0",))
HANDLERS = {
    routing.SUBMIT_JOBS: submit_part,
    routing.RECONCILE_SUBMIT: reconcile_part,
    routing.POLL_JOBS: poll_part,
    routing.FETCH_TASKS: fetch_part,
    routing.CANCEL_RUN: cancel_part,
}
COUNT = 4


@pytest.fixture
def hooked(step_harness, settings):
    """Return the harness of a worker that buys with webhooks. Its clock runs only when a test moves it."""
    step_harness.clock.stop()
    given = {"webhook_base_url": "https://shop.example/hooks", "webhook_keys": "0123456789abcdef" * 2}
    checked = type(settings)(**given)
    step_harness.settings = settings.model_copy(update={name: getattr(checked, name) for name in given})
    return step_harness


def buy(harness, make, run_id="r", count=COUNT, *, named=None, **options):
    """Buy the job of a run with webhooks."""
    harness.create_run(run_id, targets=count, webhook=True, **options)
    harness.api.script(create_job=make.created(f"job-{run_id}-0", count if named is None else named))
    harness.run_step(submit_part, harness.claim_part(run_id, seconds=LEASE))
    assert harness.part(run_id).has_webhook
    harness.api.calls.clear()
    return harness


@pytest.fixture
def bought(hooked, make):
    """Return the harness with a part whose job runs and has a webhook."""
    return buy(hooked, make)


@pytest.fixture
def trusted(bought):
    """Return the same, with an account whose first deliveries were compared."""
    calibrate(bought)
    return bought


def calibrate(harness):
    harness.redis.hset(harness.keys.webhook_trust(harness.account), "taken", 20)


def deliver(harness, position=0, page=None, run_id="r", *, job=None, task=None, number=1, proven=True):
    """Deliver a task. Return the result, and the step that the receiver publishes."""
    part_id = PartId(run_id, 0)
    ids = (f"job-{run_id}-0" if job is None else job, f"t{position}" if task is None else task)
    target = harness.run(ReadDeliveryTarget(part_id))
    taken = harness.run(TakeDelivery(part_id, number, target, *ids, is_proven=proven, page=page))
    return str(taken.result), taken.step


def page_of(make, position, run_id="r", **fields):
    return make.task(position, **{"job": f"job-{run_id}-0", "content": f"<p>{position}", **fields})


def show(harness, make, status="pending", tasks=None, count=COUNT, run_id="r"):
    """Script the API: the job has this status, its tasks these, and each task has its page."""
    job = make.job(status, count, tasks=tasks, job_id=f"job-{run_id}-0")
    statuses = {one.task_id: one.status for one in job.tasks}

    def get_task(job_id, task_id):
        ended = statuses[task_id] in {"success", "error"}
        more = {} if ended else {"content": None}
        return page_of(make, int(task_id[1:]), run_id, status=statuses[task_id], **more)

    harness.api.script(get_job=job, get_task=get_task)


def requests(harness):
    """Return the requests since the last call, without the ids of jobs."""
    calls, harness.api.calls[:] = list(harness.api.calls), []
    return [" ".join([name, *map(str, rest[1:])]) for name, *rest in calls]


def step(harness, run_id="r", handler=None):
    """Run the step that the state of the part needs."""
    # The harness makes a limiter for each step, and the share of an earlier one expires only if the clock moves.
    harness.redis.delete(harness.keys.quota)
    claim = harness.claim_part(run_id)
    handler = handler or HANDLERS[next_step(claim.part.state)]
    return harness.run_step(handler, claim)


def due_in(harness, run_id="r"):
    return round(harness.part(run_id).due_at - harness.clock.time(), 1)


def wait_for_step(harness, run_id="r"):
    """Move the clock to the next step of the part, and run that step. Return the seconds that passed."""
    seconds = max(0.0, harness.part(run_id).due_at - harness.clock.time())
    harness.clock.forward(seconds + 0.001)
    step(harness, run_id)
    return round(seconds)


def finish(harness, run_id="r", limit=50):
    for _ in range(limit):
        if harness.part(run_id).state is PartState.DONE:
            return harness.part(run_id)
        wait_for_step(harness, run_id)
    raise AssertionError(harness.part(run_id))


def pages(harness, run_id="r", count=COUNT):
    return [one and one.content for one in harness.run(ReadContents(PartId(run_id, 0), range(count)))]


def all_pages(count=COUNT):
    return [f"<p>{position}" for position in range(count)]


# The purchase


def test_job_with_a_webhook_is_first_polled_after_a_minute_and_never_by_the_list(bought):
    assert due_in(bought) == 60
    assert list(bought.due_parts()) == ["r:0"], "no poll set has the part"


def test_ids_of_the_purchase_make_delivered_pages_readable_at_once(trusted, make):
    assert trusted.run(ReadJob(PartId("r", 0))).task_ids == ["t0", "t1", "t2", "t3"]
    assert deliver(trusted, 2, page_of(make, 2)) == ("stored", None)
    assert pages(trusted) == [None, None, "<p>2", None]


def test_first_safety_poll_obeys_the_limit(hooked, make):
    hooked.settings = hooked.settings.model_copy(update={"webhook_poll_max": 5.0})
    buy(hooked, make)
    assert due_in(hooked) == 5


def test_purchase_without_a_webhook_is_polled_as_before(hooked, make):
    hooked.settings = hooked.settings.model_copy(update={"webhook_keys": None})
    hooked.create_run(webhook=True)
    hooked.api.script(create_job=make.created())
    hooked.run_step(submit_part, hooked.claim_part(seconds=LEASE))
    assert not hooked.part().has_webhook
    assert due_in(hooked) == 1
    assert hooked.run(ReadJob(PartId("r", 0))) is None


def test_delivery_before_the_answer_of_the_purchase_is_served_right_after_it(hooked, make):
    hooked.create_run(targets=COUNT, webhook=True)
    seen = []

    def create_job(_):
        seen.append(deliver(hooked, 1, job="job-r-0"))
        return make.created("job-r-0", COUNT)

    hooked.api.script(create_job=create_job)
    next_step = hooked.run_step(submit_part, hooked.claim_part(seconds=LEASE))
    assert next_step == POLL
    assert seen == [("noted", None)]
    assert due_in(hooked) == 0
    show(hooked, make, tasks=["pending", "success", "pending", "pending"])
    hooked.api.calls.clear()
    step(hooked)
    assert requests(hooked) == ["get_task t1"]
    assert hooked.run(ReadDeliveries(PartId("r", 0))).notes == ()
    assert due_in(hooked) == 60


# Requests that a run needs


def test_run_with_believed_pages_needs_one_request_at_its_end(hooked, make):
    buy(hooked, make, count=30)
    calibrate(hooked)
    show(hooked, make, "success", count=30)
    for position in range(29):
        hooked.clock.forward(50)
        assert deliver(hooked, position, page_of(make, position)) == ("stored", None)
    assert deliver(hooked, 29, page_of(make, 29)) == ("stored", routing.POLL_JOBS)
    step(hooked)
    assert requests(hooked) == ["get_job"]
    assert hooked.part().outcome == "succeeded"
    assert pages(hooked, count=30) == all_pages(30)


def test_each_hinted_task_is_fetched_once_and_at_once(bought, make):
    for position in (2, 0, 3, 1):
        show(bought, make, tasks=["success"] * COUNT)
        assert deliver(bought, position) == ("hinted", routing.POLL_JOBS)
        show(bought, make, "success" if position == 1 else "pending", tasks=["success"] * COUNT)
        step(bought)
        assert requests(bought) == [f"get_task t{position}", *(["get_job"] if position == 1 else [])]
        bought.clock.forward(1)
    assert bought.part().outcome == "succeeded"
    assert pages(bought) == all_pages()


def test_hints_that_come_during_a_step_are_served_by_it(bought, make):
    show(bought, make, tasks=["success"] * COUNT)
    deliver(bought, 0)

    def get_task(_, task_id):
        position = int(task_id[1:])
        if position < 2:
            deliver(bought, position + 1)
        return page_of(make, position)

    bought.api.script(get_task=get_task)
    assert step(bought) == POLL, "hints came after the claim"
    assert requests(bought) == ["get_task t0", "get_task t1", "get_task t2"]
    assert step(bought) is None
    assert requests(bought) == []
    assert due_in(bought) == 60


def test_first_deliveries_of_an_account_are_fetched_and_compared(bought, make, caplog):
    show(bought, make, "success")
    for position in range(COUNT):
        assert deliver(bought, position, page_of(make, position))[0] == "stored"
    step(bought)
    assert sorted(requests(bought)) == ["get_job", *(f"get_task t{position}" for position in range(COUNT))]
    assert bought.part().outcome == "succeeded"
    assert bought.run(ReadWebhookTrust(bought.account)).off_since is None
    assert not [one for one in caplog.records if one.levelno > logging.INFO]


# Safety polls


def test_run_ends_although_all_deliveries_are_lost(bought, make):
    show(bought, make)
    assert [wait_for_step(bought) for _ in range(5)] == [60, 120, 240, 300, 300]
    show(bought, make, "success")
    assert wait_for_step(bought) == 300
    assert bought.part().outcome == "succeeded"
    assert pages(bought) == all_pages()


def test_tasks_are_not_fetched_early_without_a_delivery(hooked, make):
    buy(hooked, make, early=True)
    show(hooked, make, tasks=["success", "pending", "pending", "pending"])
    wait_for_step(hooked)
    assert requests(hooked) == ["get_job"]
    assert hooked.part().status == "pending"


@pytest.mark.parametrize("position", [0, None])
def test_delivery_begins_the_safety_polls_anew(trusted, make, position):
    show(trusted, make, tasks=["success", "pending", "pending", "pending"])
    assert [wait_for_step(trusted) for _ in range(3)] == [60, 120, 240]
    trusted.clock.forward(100)
    deliver(trusted, 0, page_of(make, 0) if position is None else None)
    if position is not None:
        step(trusted)
    assert [wait_for_step(trusted) for _ in range(3)] == [60, 120, 240]


def test_job_that_goes_on_after_all_its_tasks_is_polled_by_ordinary_intervals(trusted, make):
    show(trusted, make, tasks=["success"] * COUNT)
    for position in range(COUNT):
        deliver(trusted, position, page_of(make, position))
    step(trusted)
    assert [wait_for_step(trusted) for _ in range(6)] == [1, 2, 4, 8, 16, 30]
    assert set(requests(trusted)) == {"get_job"}
    show(trusted, make, "success")
    wait_for_step(trusted)
    assert trusted.part().outcome == "succeeded"


def test_job_with_an_unknown_status_is_polled_by_ordinary_intervals(bought, make):
    show(bought, make, "hibernating", tasks=["success", *["pending"] * 3])
    deliver(bought, 0)
    assert wait_for_step(bought) == 0
    assert [wait_for_step(bought) for _ in range(4)] == [60, 1, 2, 4]
    assert pages(bought)[0] == "<p>0"


def test_error_of_a_poll_is_retried_as_before(bought, make):
    show(bought, make)
    bought.api.script(get_job=make.refusal(500))
    assert wait_for_step(bought) == 60
    assert 0 < due_in(bought) < 10


# Tasks that have not ended


def test_hint_before_the_end_by_the_api_is_kept(bought, make):
    show(bought, make)
    deliver(bought, 0)
    step(bought)
    assert requests(bought) == ["get_task t0"]
    assert [wait_for_step(bought) for _ in range(3)] == [1, 2, 4]
    assert requests(bought) == ["get_job"] * 3, "the job shows when the task has ended"
    show(bought, make, tasks=["success", "pending", "pending", "pending"])
    assert wait_for_step(bought) == 8
    assert requests(bought) == ["get_job", "get_task t0"]
    assert pages(bought)[0] == "<p>0"
    assert (due_in(bought), bought.part().unended) == (60, ())


def test_forged_early_hint_does_not_delay_the_true_one(bought, make):
    show(bought, make)
    deliver(bought, 0, proven=False)
    step(bought)
    assert [wait_for_step(bought) for _ in range(5)] == [1, 2, 4, 8, 16]
    show(bought, make, tasks=["success", "pending", "pending", "pending"])
    requests(bought)
    assert deliver(bought, 0) == ("hinted", routing.POLL_JOBS)
    step(bought)
    assert requests(bought) == ["get_job", "get_task t0"]
    assert pages(bought)[0] == "<p>0"
    assert due_in(bought) == 60


def test_delivered_pages_do_not_delay_the_fetch_of_an_unended_task(trusted, make):
    show(trusted, make)
    deliver(trusted, 0)
    step(trusted)
    before = due_in(trusted)
    deliver(trusted, 1, page_of(make, 1))
    assert due_in(trusted) == before <= 1


def test_hint_is_asked_again_if_the_job_names_no_task(bought, make):
    show(bought, make)
    deliver(bought, 0)
    step(bought)
    show(bought, make, tasks=["success", "pending", "pending", "pending"])
    bought.api.script(get_job=make.job("pending", COUNT, summary=False))
    wait_for_step(bought)
    assert requests(bought)[-2:] == ["get_job", "get_task t0"]
    assert pages(bought)[0] == "<p>0"


def test_flood_of_forged_hints_costs_one_request_for_each_task(bought, make):
    show(bought, make)
    for _ in range(3):
        for position in range(COUNT):
            deliver(bought, position, proven=False)
            if due_in(bought) <= 0:
                step(bought)
    assert requests(bought) == [f"get_task t{position}" for position in range(COUNT)]
    assert bought.part().unended == (0, 1, 2, 3)


def test_failed_fetch_of_a_hinted_task_is_repeated(bought, make):
    deliver(bought, 0)
    bought.api.script(get_task=make.refusal(500))
    step(bought)
    show(bought, make, tasks=["success", "pending", "pending", "pending"])
    assert wait_for_step(bought) == 1
    assert pages(bought)[0] == "<p>0"


def test_unknown_task_makes_the_job_polled(hooked, make):
    """The answer to the purchase may name too few tasks."""
    buy(hooked, make, named=2)
    show(hooked, make, tasks=["pending", "pending", "pending", "success"])
    assert deliver(hooked, 3) == ("hinted", routing.POLL_JOBS)
    step(hooked)
    assert requests(hooked) == ["get_job"]
    assert hooked.part().task_ids == ("t0", "t1", "t2", "t3")
    assert deliver(hooked, 3) == ("hinted", routing.POLL_JOBS)
    step(hooked)
    assert pages(hooked)[3] == "<p>3"


def test_page_that_comes_during_a_poll_is_read_at_its_own_target(trusted, make):
    """After a lost intent, it is not known whether the job has a webhook. The job's answer has another order."""
    trusted.set_fields(webhook=None, due_at=trusted.clock.time())

    def get_job(_):
        assert deliver(trusted, 1, page_of(make, 1))[0] == "stored"
        job = make.job("pending", COUNT, job_id="job-r-0")
        return job.model_copy(update={"task_ids": job.task_ids[::-1]})

    trusted.api.script(get_job=get_job)
    step(trusted)
    assert trusted.run(ReadJob(PartId("r", 0))).task_ids == ["t0", "t1", "t2", "t3"]


# Limits of a step


def test_long_step_lets_other_parts_have_their_turn(bought, make, monkeypatch):
    monkeypatch.setattr(fetch_task, "SLICE", -1.0)
    show(bought, make, tasks=["success"] * COUNT)
    deliver(bought, 0)
    assert step(bought) == POLL
    monkeypatch.setattr(fetch_task, "SLICE", 60.0)
    step(bought)
    assert requests(bought) == ["get_task t0"], "the hint was not lost, and the job was not polled"


def test_full_store_delays_the_fetch(bought, make):
    show(bought, make, tasks=["success"] * COUNT)
    deliver(bought, 0)
    bought.health.used = FETCH_BELOW
    assert step(bought) is None
    assert requests(bought) == []
    assert due_in(bought) > 1
    bought.health.used = 0.0
    wait_for_step(bought)
    assert pages(bought)[0] == "<p>0"


def test_full_store_delays_the_poll_of_a_job_that_shows_no_end(bought, make):
    """All pages are delivered, and their checks find no room. The job says that its tasks go on."""
    for position in range(COUNT):
        deliver(bought, position, page_of(make, position))
    show(bought, make)
    bought.health.used = FETCH_BELOW
    step(bought)
    assert requests(bought) == ["get_job"]
    assert due_in(bought) == FULL_STORE_DELAY


def test_pause_of_the_api_loses_no_hint(bought, make):
    show(bought, make, tasks=["success"] * COUNT)
    for position in range(3):
        deliver(bought, position)
    bought.api.script(get_task=make.refusal(429, 7))
    step(bought)
    bought.clock.forward(8)
    show(bought, make, "success")
    assert finish(bought).outcome == "succeeded"


def test_hints_are_not_tried_one_after_the_other_while_the_api_refuses_all_requests(hooked, make):
    """A server may write `Retry-After: 0` into each 429, so that no pause holds the steps back."""
    count = 4 * EARLY
    buy(hooked, make, count=count)
    for position in range(count):
        deliver(hooked, position)
    hooked.api.script(get_task=make.refusal(429, 0))
    assert step(hooked) is None
    assert len(requests(hooked)) == EARLY
    assert due_in(hooked) >= 0.5
    show(hooked, make, tasks=["success"] * count, count=count)
    wait_for_step(hooked)
    assert pages(hooked, count=count) == all_pages(count)


# Stops


@pytest.mark.parametrize(("reason", "outcome"), [("canceled", "canceled"), ("deadline", "timed_out")])
def test_stop_request_acts_at_once(bought, make, reason, outcome):
    show(bought, make)
    bought.run(RequestStop("r", reason))
    assert due_in(bought) <= 0
    assert step(bought, handler=poll_part) == StepMessage(routing.CANCEL_RUN, ("r:0",))
    bought.api.script(cancel_job=None)
    step(bought, handler=cancel_part)
    show(bought, make, "canceled", tasks=["canceled"] * COUNT)
    assert finish(bought).outcome == outcome


def test_stop_request_during_a_step_acts_at_once(bought, make):
    show(bought, make, tasks=["success"] * COUNT)
    deliver(bought, 0)

    def get_task(_, task_id):
        bought.run(RequestStop("r", "canceled"))
        return page_of(make, int(task_id[1:]))

    bought.api.script(get_task=get_task)
    step(bought)
    assert due_in(bought) <= 0


def test_stopped_part_is_polled_by_ordinary_intervals(bought, make):
    show(bought, make)
    bought.run(RequestStop("r", "canceled"))
    bought.api.script(cancel_job=None)
    step(bought, handler=cancel_part)
    assert wait_for_step(bought) == 1
    assert due_in(bought) <= 2


def test_hints_for_a_canceled_job_cost_a_poll_in_each_interval(hooked, make):
    buy(hooked, make, count=40)
    show(hooked, make, count=40)
    hooked.run(RequestStop("r", "canceled"))
    hooked.api.script(cancel_job=None)
    step(hooked, handler=cancel_part)
    requests(hooked)
    for at in range(40):
        hooked.clock.forward(0.25)
        if deliver(hooked, at)[1] or due_in(hooked) <= 0:
            step(hooked)
    assert requests(hooked).count("get_job") <= 5
    assert due_in(hooked) <= 5, "the last hints demand a poll as well"


# Checks


def lie(make, position=0, run_id="r"):
    return page_of(make, position, run_id, response_headers={"X": "forged"})


def test_lie_ends_the_trust_and_is_replaced(bought, make, caplog):
    show(bought, make, "success")
    for position in range(COUNT):
        deliver(bought, position, lie(make, position).model_copy(update={"content": f"forged {position}"}))
    step(bought)
    assert pages(bought) == all_pages()
    trust = bought.run(ReadWebhookTrust(bought.account))
    assert trust.off_since is not None
    assert "ResponseHeaders, Content" in trust.why
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.event == "webhook_distrusted"
    assert "SCRAPE_DO_WEBHOOK_TRUST=hint" in record.getMessage()
    assert "forged" not in record.getMessage()
    assert (bought.part().outcome, bought.part().stored_ok) == ("succeeded", COUNT)


def test_delivered_pages_of_live_parts_are_fetched_after_a_lie(hooked, make):
    for run_id in "abc":
        buy(hooked, make, run_id)
    calibrate(hooked)
    for run_id, count in (("a", 2), ("b", COUNT)):
        for position in range(count):
            deliver(hooked, position, lie(make, position, run_id), run_id)
    hooked.redis.hset(hooked.keys.webhook_trust(hooked.account), "taken", 99)
    deliver(hooked, 0, lie(make, 0, "c"), "c")
    show(hooked, make, tasks=["success"] * COUNT, run_id="c")
    step(hooked, "c")
    assert hooked.run(ReadWebhookTrust(hooked.account)).off_since is not None
    show(hooked, make, tasks=["success", "success", "pending", "pending"], run_id="a")
    hooked.api.calls.clear()
    wait_for_step(hooked, "a")
    assert requests(hooked) == ["get_task t0", "get_task t1", "get_job"]
    show(hooked, make, "success", run_id="b")
    assert finish(hooked, "b").outcome == "succeeded"
    for run_id in "ab":
        for task in hooked.run(ReadContents(PartId(run_id, 0), range(2))):
            assert task.response_headers == {}
    assert deliver(hooked, 2, page_of(make, 2, "a"), "a") == ("hinted", routing.POLL_JOBS)


@pytest.mark.parametrize("was_off", [True, False])
@pytest.mark.parametrize("is_old", [True, False])
def test_delivered_pages_of_live_parts_are_fetched_after_the_trust_was_restored(trusted, make, is_old, was_off):
    """A part may have had no step in between. An older receiver does not note when a page came."""
    deliver(trusted, 0, lie(make, 0))
    if is_old:
        deliveries = trusted.keys.deliveries(PartId("r", 0))
        kind, cost, price_key, _, nonce = trusted.redis.hget(deliveries, "0").decode().split(" ")
        trusted.redis.hset(deliveries, "0", f"{kind} {cost} {price_key} {nonce}")
    if was_off:
        trusted.run(DistrustWebhooks(trusted.account, "why"))
    trusted.run(TrustWebhooks(trusted.account))
    calibrate(trusted)
    show(trusted, make, tasks=["success", "pending", "pending", "pending"])
    wait_for_step(trusted)
    assert requests(trusted) == ["get_task t0", "get_job"]
    assert trusted.run(ReadContents(PartId("r", 0), [0]))[0].response_headers == {}
    assert trusted.run(ReadWebhookTrust(trusted.account)).off_since is not None, "the lie is found again"


def test_pages_that_come_after_the_trust_was_restored_are_believed(trusted, make):
    trusted.run(DistrustWebhooks(trusted.account, "why"))
    trusted.run(TrustWebhooks(trusted.account))
    calibrate(trusted)
    deliver(trusted, 0, page_of(make, 0))
    show(trusted, make, tasks=["success", "pending", "pending", "pending"])
    wait_for_step(trusted)
    assert requests(trusted) == ["get_job"]


def test_part_does_not_end_before_its_checks(bought, make):
    show(bought, make, "success")
    for position in range(COUNT):
        deliver(bought, position, page_of(make, position))
    bought.api.script(get_task=make.refusal(500))
    step(bought)
    for _ in range(5):
        assert bought.part().state is PartState.FETCHING
        wait_for_step(bought)
    show(bought, make, "success")
    assert finish(bought).outcome == "succeeded"


def test_check_that_comes_during_the_last_fetch_is_fetched(bought, make):
    """The summary of a stopped job may name a task as canceled whose page is delivered."""
    show(bought, make, "canceled", tasks=["success", "canceled", "canceled", "canceled"])
    bought.clock.forward(60)

    def get_task(_, task_id):
        if task_id == "t0":
            deliver(bought, 1, page_of(make, 1))
        return page_of(make, int(task_id[1:]))

    bought.api.script(get_task=get_task)
    step(bought)
    assert bought.part().state is PartState.FETCHING
    assert finish(bought).outcome == "canceled"
    assert "get_task t1" in requests(bought)
    assert pages(bought) == ["<p>0", "<p>1", None, None]


def test_check_of_a_canceled_task_is_settled(bought, make):
    deliver(bought, 1, page_of(make, 1))
    show(bought, make, "canceled", tasks=["success", "canceled", "canceled", "canceled"])
    assert finish(bought).outcome == "canceled"
    assert bought.run(ReadWebhookTrust(bought.account)).off_since is not None


@pytest.mark.parametrize("status", [404, 410])
def test_page_stays_if_the_api_has_lost_the_task(bought, make, status):
    bought.clock.forward(NOT_FOUND_GRACE + 1)
    deliver(bought, 0, page_of(make, 0))
    show(bought, make, "success")
    get_task = bought.api._answers["get_task"][0]
    bought.api.script(get_task=lambda job, task: make.refusal(status) if task == "t0" else get_task(job, task))
    assert finish(bought).outcome == "succeeded"
    assert pages(bought) == all_pages()
    assert bought.run(ReadWebhookTrust(bought.account)).off_since is None


def test_delivered_page_never_replaces_a_fetched_one(bought, make):
    show(bought, make, tasks=["success"] * COUNT)
    deliver(bought, 0)
    step(bought)
    assert deliver(bought, 0, lie(make)) == ("known", None)
    assert bought.run(ReadContents(PartId("r", 0), [0]))[0].response_headers == {}


def test_fetched_task_is_believed_after_the_trust_has_ended(bought, make):
    bought.run(DistrustWebhooks(bought.account, "x"))
    show(bought, make, "success")
    for position in range(COUNT):
        deliver(bought, position, lie(make, position))
    assert finish(bought).outcome == "succeeded"
    assert all(task.response_headers == {} for task in bought.run(ReadContents(PartId("r", 0), range(COUNT))))


# Death


class DiedError(Exception):
    """The death of a process between two commands."""


def die_at(harness, limit, claim, *, after):
    """Run the poll step, and let its process die at command `limit`, before or after the command is carried out.

    Return whether the process died.
    """
    run_async, seen = harness.run_async, []

    async def work_until_death(store, work):
        run = store.run

        async def counted(command):
            # The limiter of requests has a task of its own, whose death the step would not see.
            if command.script != "allocate_requests":
                seen.append(command)
            if len(seen) <= limit or command.script == "allocate_requests":
                return await run(command)
            if after:
                await run(command)
            raise DiedError

        store.run = counted
        return await work(store)

    harness.run_async = lambda work: run_async(lambda store: work_until_death(store, work))
    try:
        harness.run_step(poll_part, claim)
    except DiedError:
        return True
    finally:
        harness.run_async = run_async
    return False


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["hints", "pages", "lies", "notes"])
def test_step_that_dies_anywhere_loses_no_delivery(hooked, make, kind, after):
    """Without a further delivery and without a safety poll, each delivered task is stored."""
    for limit in range(30):
        run_id = f"r{limit}"
        hooked.create_run(run_id, targets=COUNT, webhook=True)
        early = [0, 1] if kind == "notes" else []
        hooked.api.script(
            create_job=lambda _, run_id=run_id, early=early: (
                ([deliver(hooked, at, run_id=run_id, job=f"job-{run_id}-0") for at in early] and None)
                or make.created(f"job-{run_id}-0", COUNT)
            )
        )
        hooked.run_step(submit_part, hooked.claim_part(run_id, seconds=LEASE))
        hooked.redis.delete(hooked.keys.quota)
        show(hooked, make, tasks=["success", "success", "pending", "pending"], run_id=run_id)
        if kind != "notes":
            for at in range(2):
                page = {"pages": page_of, "lies": lie}.get(kind)
                deliver(hooked, at, page and page(make, at, run_id), run_id)
        died = die_at(hooked, limit, hooked.claim_part(run_id), after=after)
        hooked.clock.forward(35)
        if due_in(hooked, run_id) <= 0:
            step(hooked, run_id)
        assert pages(hooked, run_id)[:2] == ["<p>0", "<p>1"], limit
        assert (hooked.run(ReadWebhookTrust(hooked.account)).off_since is not None) is (kind == "lies"), limit
        hooked.run(TrustWebhooks(hooked.account))
        stored = hooked.run(ReadContents(PartId(run_id, 0), range(2)))
        assert [task.response_headers for task in stored] == [{}, {}], limit
        left = hooked.run(ReadDeliveries(PartId(run_id, 0)))
        assert left == Deliveries(pages=left.pages), limit
        if not died:
            assert limit > 5
            return
    raise AssertionError("the step never ended")


@pytest.mark.parametrize("answer", ["error", "unended"])
def test_repeated_requests_that_bring_nothing_wait_for_the_next_poll(hooked, make, monkeypatch, answer):
    """Otherwise, a part whose tasks the API does not give yet would send requests without a pause."""
    count = 20
    buy(hooked, make, count=count)
    for position in range(count):
        deliver(hooked, position)

    def get_task(_, task_id):
        time.sleep(0.01)
        if answer == "error":
            raise make.refusal(500)
        return page_of(make, int(task_id[1:]), status="pending", content=None)

    job = make.job("pending", count, tasks=["success"] * count, job_id="job-r-0")
    hooked.api.script(get_job=job, get_task=get_task)
    monkeypatch.setattr(fetch_task, "SLICE", 0.005)
    while poll_when_due(hooked) is not None:
        assert len(hooked.api.called("get_task")) <= count
    assert len(hooked.api.called("get_task")) == count
    hooked.api.calls.clear()
    assert poll_when_due(hooked) is None
    assert 0 < len(hooked.api.called("get_task")) < count
    show(hooked, make, tasks=["success"] * count, count=count)
    while poll_when_due(hooked) is not None:
        assert len(hooked.api.called("get_task")) <= 3 * count
    assert hooked.part().stored_ok == count


def poll_when_due(harness):
    """Run the next step when it is due. Return its message."""
    harness.clock.forward(max(0.0, harness.part().due_at - harness.clock.time()) + 0.01)
    harness.redis.delete(harness.keys.quota)
    return harness.run_step(poll_part, harness.claim_part())
