"""Test list polls: their cost, the parts that they leave alone, and the parts that get a step message."""

from __future__ import annotations

import asyncio
import threading

import pytest

from scrape_do_celery import routing
from scrape_do_celery.models import JobsListResponse
from scrape_do_celery.steps import poll_list as module
from scrape_do_celery.steps.cancel import cancel_part
from scrape_do_celery.steps.poll_list import poll_list
from scrape_do_celery.store import CANCEL, PartId, PartState
from scrape_do_celery.store.commands import dispatch
from scrape_do_celery.store.commands.limits import OpenBreaker
from scrape_do_celery.store.commands.parts import UpdatePart
from scrape_do_celery.store.commands.polling import AcquireListPoll, FinishListPoll, MarkStillRunning, PlanPolling
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.commands.runs import RequestStop
from tests.unit.steps.conftest import make_parts_running

NOTHING = JobsListResponse.model_validate({"Jobs": [], "TotalPages": 1})
COUNT = 40


@pytest.fixture
def many_running(step_harness):
    """Make `COUNT` running jobs, bought a tenth of a second apart."""
    for n in range(COUNT):
        step_harness.create_run(f"r{n}")
        claim = step_harness.claim_part(f"r{n}")
        step_harness.run(WriteIntent(claim, f"n{n}", 100.0, account=step_harness.account))
        fields = {"job": f"job-{n}", "purchase_status": "confirmed"}
        command = UpdatePart(claim, fields, to="running", after=1.0 + n / 10, owner=f"job-{n}")
        assert step_harness.run(command) == "ok"
    return step_harness


def list_as_running(step_harness, make, running, status="pending"):
    """Script the API to list these jobs as running, even if their entries have another status."""
    everything = [make.job(status, job_id=f"job-{n}").to_wire() for n in running]

    def page(filters):
        shown = everything if (filters["status"], filters["page"]) == ("pending", 1) else []
        return JobsListResponse.model_validate({"Jobs": shown, "TotalPages": 1})

    step_harness.api.script(list_jobs=page)


def plan_polling(step_harness):
    return step_harness.run(PlanPolling(step_harness.account, step_harness.settings.poll_max_interval, 900.0))


def do_list_poll(step_harness):
    async def go(context, _):
        await poll_list(context)

    step_harness.run_step(go, None)


@pytest.fixture
def polled_by_list(step_harness):
    """Return enough running jobs for a list poll."""
    make_parts_running(step_harness, [f"r{n}" for n in range(40)])
    step_harness.clock.forward(5)
    return step_harness


def plan_polling_each_30_s(step_harness):
    return step_harness.run(PlanPolling(step_harness.account, 30.0, 900.0))


def parts_after_a_dispatch(step_harness, seconds):
    """Return the runs that one dispatch hands out, and those for which its list poll publishes messages."""
    step_harness.clock.forward(seconds)
    if plan_polling_each_30_s(step_harness).use_list:
        do_list_poll(step_harness)
    handed = {part.part_id.run_id for part in step_harness.claim_due().parts}
    return handed | {name.partition(":")[0] for _, names in step_harness.step_messages() for name in names}


def test_part_not_due_keeps_its_time(many_running, make):
    list_as_running(many_running, make, range(COUNT))
    many_running.clock.stop()
    many_running.clock.forward(1.95)
    before = many_running.due_times()
    do_list_poll(many_running)
    after = many_running.due_times()
    for n in range(COUNT):
        name = f"r{n}:0"
        if before[name] > 0:
            assert after[name] == pytest.approx(before[name], abs=0.5)
            assert many_running.part(f"r{n}").polls == 0
        else:
            assert after[name] == pytest.approx(many_running.settings.poll_multiplier, abs=0.5)
            assert many_running.part(f"r{n}").polls == 1


def test_unsupported_status_filter_polls_its_jobs_singly(many_running, make):
    shown = [make.job("pending", job_id=f"job-{n}").to_wire() for n in range(COUNT - 1)]

    def page(filters):
        if filters["status"] == "rotating":
            raise make.refusal(400)
        return JobsListResponse.model_validate({"Jobs": shown if filters["status"] == "pending" else []})

    many_running.api.script(list_jobs=page)
    many_running.clock.forward(20)
    many_running.step_messages()
    do_list_poll(many_running)
    assert many_running.step_messages() == [(routing.POLL_JOBS, [f"r{COUNT - 1}:0"])]
    assert {many_running.part(f"r{n}").polls for n in range(COUNT - 1)} == {1}


def test_parts_at_the_longest_interval_are_polled_together(many_running, make):
    list_as_running(many_running, make, range(COUNT))
    for n in range(COUNT):
        many_running.set_fields(f"r{n}", polls=9)
    many_running.clock.forward(1.05)
    do_list_poll(many_running)
    longest = many_running.settings.poll_max_interval
    assert list(many_running.due_times().values()) == [pytest.approx(longest, abs=1)] * COUNT


def test_ended_job_is_published_at_once(many_running, make):
    list_as_running(many_running, make, range(10, COUNT))
    many_running.clock.forward(6)
    do_list_poll(many_running)
    ((step, names),) = many_running.step_messages()
    assert (step, set(names)) == (routing.POLL_JOBS, {f"r{n}:0" for n in range(10)})
    assert many_running.claim_due().parts == (), "the dispatcher publishes later, should this step message be lost"
    many_running.clock.forward(dispatch.REDISPATCH_MIN + 0.1)
    assert {part.part_id.run_id for part in many_running.claim_due().parts} == {f"r{n}" for n in range(10)}


def test_part_not_due_at_the_start_is_not_published(many_running, make):
    list_as_running(many_running, make, [])
    many_running.clock.stop()
    many_running.clock.forward(1.95)
    due = {name for name, at in many_running.due_times().items() if at <= 0}
    do_list_poll(many_running)
    ((_, names),) = many_running.step_messages()
    assert set(names) == due
    assert len(due) < COUNT


def test_there_is_a_rest_between_two(many_running, make):
    list_as_running(many_running, make, range(COUNT))
    many_running.clock.stop()
    many_running.clock.forward(1.05)
    assert plan_polling(many_running).use_list
    do_list_poll(many_running)
    many_running.clock.forward(0.2)
    soon = plan_polling(many_running)
    assert not soon.use_list
    assert 0 < soon.next_at - many_running.clock.time() <= 0.3, (
        "the dispatcher comes back as soon as there may be a next one"
    )
    many_running.clock.forward(0.4)
    assert plan_polling(many_running).use_list


def test_dispatcher_checks_soon_for_the_end_of_a_list_poll(many_running):
    many_running.clock.forward(6)
    first = plan_polling(many_running)
    assert first.use_list
    assert first.next_at - many_running.clock.time() < 1
    again = plan_polling(many_running)
    assert not again.use_list
    assert again.next_at - many_running.clock.time() < 1


def test_more_than_a_batch_is_left_to_the_dispatchers(many_running, make, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.store.commands.polling.BATCH_LIMIT", 15)
    list_as_running(many_running, make, [])
    many_running.clock.forward(6)
    do_list_poll(many_running)
    ((_, names),) = many_running.step_messages()
    assert len(names) == 15
    assert len(many_running.claim_due().parts) == COUNT - 15
    assert all(many_running.part(f"r{n}").state is PartState.RUNNING for n in range(COUNT))


def hours(step_harness, limit, sweeps=60):
    """Return the runs handed over within `limit` hours, or within `sweeps` list polls."""
    began, handed = step_harness.clock.time(), set()
    while step_harness.clock.time() - began < limit * 3600 and sweeps:
        found = plan_polling(step_harness)
        if found.use_list:
            sweeps -= 1
            do_list_poll(step_harness)
        handed |= {name.partition(":")[0] for name in step_harness.due_parts() if not name.endswith("run")}
        step_harness.clock.forward(max(0.25, (found.next_at or 0) - step_harness.clock.time()))
    return handed


ENDED = {f"r{n}" for n in range(COUNT - 30, COUNT)}


@pytest.mark.long
@pytest.mark.parametrize("status", [429, 500])
def test_unfinished_list_poll_does_not_hide_an_ended_job(many_running, make, status):
    running = [make.job(job_id=f"job-{n}").to_wire() for n in range(COUNT - 30)]

    def page(filters):
        if filters["status"] == "rotating":
            return make.refusal(status, retry_after=1)
        shown = running if (filters["status"], filters["page"]) == ("pending", 1) else []
        return JobsListResponse.model_validate({"Jobs": shown, "TotalPages": 1})

    many_running.api.script(list_jobs=page)
    many_running.clock.forward(6)
    assert hours(many_running, 1, sweeps=10) >= ENDED


@pytest.mark.parametrize("status", [429, 500])
def test_failed_list_poll_leaves_some_single_polls(many_running, make, status, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.store.commands.polling._SMALL_BATCH", 10)
    many_running.api.script(list_jobs=make.refusal(status, retry_after=1))
    many_running.clock.forward(6)
    do_list_poll(many_running)
    assert len([name for name in many_running.due_parts() if name.endswith(":0")]) == 10


def test_crashing_list_polls_do_not_hide_an_ended_job(many_running):
    began = many_running.clock.time()
    while not {name.partition(":")[0] for name in many_running.due_parts()} >= ENDED:
        assert many_running.clock.time() - began < 180
        found = plan_polling(many_running)
        if found.use_list:
            # A worker takes the turn to poll the list, and dies.
            many_running.run(AcquireListPoll(many_running.account, f"{many_running.clock.time()}", 30.0))
        many_running.clock.forward(max(0.25, (found.next_at or 0) - many_running.clock.time()))


def test_ended_entry_is_no_running_job(many_running, make):
    list_as_running(many_running, make, range(COUNT), status="success")
    many_running.clock.forward(6)
    do_list_poll(many_running)
    ((_, names),) = many_running.step_messages()
    assert len(names) == COUNT


def test_lagging_list_is_not_believed_for_ever(many_running, make, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.store.commands.polling._ITSELF", 20)
    list_as_running(many_running, make, range(COUNT))
    many_running.clock.forward(6)
    assert hours(many_running, 0.5) == {f"r{n}" for n in range(COUNT)}


def test_single_polls_are_spread(step_harness, make, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.store.commands.polling._ITSELF", 20)
    step_harness.create_multi_part_run(COUNT, "order-17", early=False)
    for n in range(COUNT):
        claim = step_harness.claim_part("order-17", n)
        step_harness.run(WriteIntent(claim, f"n{n}", 100.0, account=step_harness.account))
        fields = {"job": f"of-{n}", "purchase_status": "confirmed"}
        assert step_harness.run(UpdatePart(claim, fields, to="running", after=1.0, owner=f"of-{n}")) == "ok"
    part_ids = [PartId("order-17", n) for n in range(COUNT)]
    step_harness.clock.forward(2)
    step_harness.run(MarkStillRunning(step_harness.account, "pending", part_ids, [1.0, 2.0]))
    handed = [part_id for part_id in part_ids if str(part_id) in step_harness.due_parts()]
    assert 0 < len(handed) < COUNT / 4


def test_pages_are_read_several_at_a_time(many_running, make):
    asked = []

    def page(filters):
        asked.append((filters["status"], filters["page"]))
        shown = []
        if filters["status"] == "pending":
            shown = [make.job(job_id=f"job-{n}").to_wire() for n in range(COUNT) if n % 8 == filters["page"] - 1]
        return JobsListResponse.model_validate({"Jobs": shown, "TotalPages": 8 if shown else 1})

    many_running.api.script(list_jobs=page)
    many_running.clock.forward(6)
    do_list_poll(many_running)
    assert sorted(number for status, number in asked if status == "pending") == list(range(1, 9))
    assert many_running.step_messages() == []


def test_one_failed_page_fails_the_list_poll(many_running, make):
    def page(filters):
        if filters["page"] == 5:
            return make.refusal(500)
        return JobsListResponse.model_validate({"Jobs": [], "TotalPages": 8})

    many_running.api.script(list_jobs=page)
    many_running.clock.forward(6)
    do_list_poll(many_running)
    assert len(many_running.due_parts()) == COUNT, "the oldest fifty are looked at by themselves"


def test_many_foreign_jobs_make_single_polls_cheaper(many_running, make):
    def page(filters):
        others = [make.job(job_id=f"other-{filters['page']}-{n}").to_wire() for n in range(100)]
        shown = others if filters["status"] == "pending" and filters["page"] <= 50 else []
        return JobsListResponse.model_validate({"Jobs": shown, "TotalPages": 50 if shown else 1})

    many_running.api.script(list_jobs=page)
    many_running.clock.forward(6)
    assert plan_polling(many_running).use_list
    do_list_poll(many_running)
    many_running.step_messages()
    for n in range(COUNT):
        assert many_running.run(UpdatePart(many_running.claim_part(f"r{n}"), {}, after=1.0)) == "ok"
    many_running.clock.forward(12)
    assert not plan_polling(many_running).use_list, "the list has 50 pages of others, and 40 jobs are ours"
    assert len(many_running.due_parts()) == COUNT
    for n in range(COUNT):
        assert many_running.run(UpdatePart(many_running.claim_part(f"r{n}"), {}, after=1.0)) == "ok"
    many_running.clock.forward(901)
    assert plan_polling(many_running).use_list, "what others had then is no measure any more"


def test_a_rest_does_not_grow_with_the_list(many_running, make):
    list_as_running(many_running, make, range(COUNT))
    many_running.clock.forward(6)
    assert many_running.run(AcquireListPoll(many_running.account, "token", 1000.0))
    many_running.clock.forward(500)
    many_running.run(FinishListPoll(many_running.account, "token", others=0, redispatch_after=0.0))
    rest = (
        float(many_running.redis.hget(many_running.keys.list_poll(many_running.account), "until"))
        - many_running.clock.time()
    )
    assert rest <= 30


def test_hanging_result_backend_delays_no_poll(many_running, make, monkeypatch):
    hang, asked = threading.Event(), []

    def revoked(_, run_ids):
        asked.append(run_ids)
        hang.wait(30)
        return [run_ids[0]]

    monkeypatch.setattr(module, "find_revoked", revoked)
    list_as_running(many_running, make, range(COUNT))
    many_running.clock.forward(6)

    async def twice(context, _):
        for _ in range(2):
            await poll_list(context)
            many_running.clock.forward(40)
        assert len(asked) == 1, "one asks at a time"
        hang.set()
        await asyncio.to_thread(context.asking.join, 30)

    many_running.run_step(twice, None)
    assert len(asked[0]) == COUNT
    assert many_running.run_fields("r0")["stop_reason"] == "cancel"


def test_failing_result_backend_is_logged(many_running, make, monkeypatch, caplog):
    def away(*_):
        raise OSError("away")

    monkeypatch.setattr(module, "find_revoked", away)
    list_as_running(many_running, make, range(COUNT))
    many_running.clock.forward(6)

    async def once(context, _):
        await poll_list(context)
        await asyncio.to_thread(context.asking.join, 30)

    many_running.run_step(once, None)
    assert "OSError" in caplog.text


def test_failed_cancel_is_retried_while_jobs_are_polled_by_list(polled_by_list, make):
    everything = [make.job(job_id=f"job-r{n}").to_wire() for n in range(40)]

    def page(filters):
        shown = everything if (filters["status"], filters["page"]) == ("pending", 1) else []
        return JobsListResponse.model_validate({"Jobs": shown, "TotalPages": 1})

    polled_by_list.run(RequestStop("r7", CANCEL))
    polled_by_list.api.script(get_job=make.job(job_id="job-r7"), cancel_job=make.refusal(500), list_jobs=page)
    polled_by_list.run_step(cancel_part, polled_by_list.claim_part("r7"))
    assert "r7" in parts_after_a_dispatch(polled_by_list, 10)


def test_list_that_keeps_failing_falls_back_to_single_polls(polled_by_list, make):
    polled_by_list.api.script(list_jobs=make.refusal(500))
    assert len(parts_after_a_dispatch(polled_by_list, 60)) == 40


def test_refused_token_makes_no_part_due(polled_by_list, make):
    polled_by_list.api.script(list_jobs=make.refusal(401))
    assert parts_after_a_dispatch(polled_by_list, 30) == set()


def test_part_without_a_record_is_no_longer_polled(step_harness):
    make_parts_running(step_harness, ["r"])
    step_harness.redis.delete(step_harness.keys.part(PartId("r", 0)))
    step_harness.clock.forward(5)
    plan_polling_each_30_s(step_harness)
    assert step_harness.due_times() == {}
    assert step_harness.part_fields("r") == {}


def test_slow_pages_do_not_end_a_list_poll(polled_by_list):
    polled_by_list.settings = polled_by_list.settings.model_copy(update={"lease_seconds": 0.5})

    async def slowly(_):
        await asyncio.sleep(0.5)
        return NOTHING

    polled_by_list.api.script(list_jobs=slowly)
    assert plan_polling_each_30_s(polled_by_list).use_list
    do_list_poll(polled_by_list)
    assert [len(names) for _, names in polled_by_list.step_messages()] == [40], "it came to its end: nothing was shown"


def test_repeated_messages_make_one_list_poll(polled_by_list):
    polled_by_list.api.script(list_jobs=NOTHING)
    for _ in range(5):
        do_list_poll(polled_by_list)
    assert len(polled_by_list.api.called("list_jobs")) == 4, "one page a status"


def test_token_refused_for_long_makes_all_parts_due(polled_by_list):
    polled_by_list.run(OpenBreaker(polled_by_list.account))
    polled_by_list.clock.forward(60)
    plan_polling_each_30_s(polled_by_list)
    assert sum(at <= 0 for at in polled_by_list.due_parts().values()) == 1
    polled_by_list.clock.forward(900)
    plan_polling_each_30_s(polled_by_list)
    assert sum(at <= 0 for at in polled_by_list.due_parts().values()) == 40
