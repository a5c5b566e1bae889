"""A look at all running jobs by the job list: what it costs, what it leaves alone, whom it publishes messages for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from scrape_do_celery import routing
from scrape_do_celery.models import JobsListResponse
from scrape_do_celery.store import PartId, PartState, ops
from scrape_do_celery.tasks import sweep as module
from scrape_do_celery.tasks.sweep import sweep

COUNT = 40


@pytest.fixture
def crowd(step_harness):
    """So many jobs that run, bought a tenth of a second apart."""
    for n in range(COUNT):
        step_harness.create_run(f"r{n}")
        claim = step_harness.claim_part(f"r{n}")
        step_harness.run(ops.write_intent(step_harness.keys, claim, f"n{n}", 100.0, account=step_harness.account))
        fields = {"state": "running", "job": f"job-{n}", "purchase_status": "confirmed"}
        command = ops.update_part(step_harness.keys, claim, fields, after=1.0 + n / 10, owner=f"job-{n}")
        assert step_harness.run(command) == "ok"
    return step_harness


def listed(step_harness, make, running, status="pending"):
    """The API lists these jobs as running, whatever their entries say."""
    everything = [make.job(status, job_id=f"job-{n}").to_wire() for n in running]

    def page(filters):
        shown = everything if (filters["status"], filters["page"]) == ("pending", 1) else []
        return JobsListResponse.model_validate({"Jobs": shown, "TotalPages": 1})

    step_harness.api.script(list_jobs=page)


def look(step_harness):
    return step_harness.run(
        ops.plan_polling(step_harness.keys, step_harness.account, step_harness.settings.poll_max_interval, 900.0)
    )


def swept(step_harness):
    async def go(context, _):
        await sweep(context)

    step_harness.run_step(go, None)


def test_what_is_not_due_keeps_its_time(crowd, make):
    listed(crowd, make, range(COUNT))
    crowd.clock.stop()
    crowd.clock.forward(1.95)
    before = crowd.due_times()
    swept(crowd)
    after = crowd.due_times()
    for n in range(COUNT):
        name = f"r{n}:0"
        if before[name] > 0:
            assert after[name] == pytest.approx(before[name], abs=0.5)
            assert crowd.part(f"r{n}").polls == 0
        else:
            assert after[name] == pytest.approx(crowd.settings.poll_multiplier, abs=0.5)
            assert crowd.part(f"r{n}").polls == 1


def test_a_status_by_which_the_api_does_not_list_leaves_its_jobs_to_be_looked_at_singly(crowd, make):
    shown = [make.job("pending", job_id=f"job-{n}").to_wire() for n in range(COUNT - 1)]

    def page(filters):
        if filters["status"] == "rotating":
            raise make.refusal(400)
        return JobsListResponse.model_validate({"Jobs": shown if filters["status"] == "pending" else []})

    crowd.api.script(list_jobs=page)
    crowd.clock.forward(20)
    crowd.step_messages()
    swept(crowd)
    assert crowd.step_messages() == [(routing.POLL_JOBS, [f"r{COUNT - 1}:0"])]
    assert {crowd.part(f"r{n}").polls for n in range(COUNT - 1)} == {1}


def test_those_of_the_longest_interval_are_brought_together(crowd, make):
    listed(crowd, make, range(COUNT))
    for n in range(COUNT):
        crowd.set_fields(f"r{n}", polls=9)
    crowd.clock.forward(1.05)
    swept(crowd)
    longest = crowd.settings.poll_max_interval
    assert list(crowd.due_times().values()) == [pytest.approx(longest, abs=1)] * COUNT


def test_what_ended_is_published_for_at_once(crowd, make):
    listed(crowd, make, range(10, COUNT))
    crowd.clock.forward(6)
    swept(crowd)
    ((step, names),) = crowd.step_messages()
    assert (step, set(names)) == (routing.POLL_JOBS, {f"r{n}:0" for n in range(10)})
    assert crowd.claim_due().parts == (), "the dispatcher publishes later, should this step message be lost"
    crowd.clock.forward(ops.REDISPATCH_MIN + 0.1)
    assert {part.part_id.run_id for part in crowd.claim_due().parts} == {f"r{n}" for n in range(10)}


def test_what_was_not_due_when_it_began_is_not_handed_over(crowd, make):
    listed(crowd, make, [])
    crowd.clock.stop()
    crowd.clock.forward(1.95)
    due = {name for name, at in crowd.due_times().items() if at <= 0}
    swept(crowd)
    ((_, names),) = crowd.step_messages()
    assert set(names) == due
    assert len(due) < COUNT


def test_there_is_a_rest_between_two(crowd, make):
    listed(crowd, make, range(COUNT))
    crowd.clock.stop()
    crowd.clock.forward(1.05)
    assert look(crowd).use_list
    swept(crowd)
    crowd.clock.forward(0.2)
    soon = look(crowd)
    assert not soon.use_list
    assert 0 < soon.next_at - crowd.clock.time() <= 0.3, "the dispatcher comes back as soon as there may be a next one"
    crowd.clock.forward(0.4)
    assert look(crowd).use_list


def test_a_dispatcher_looks_soon_whether_a_sweep_has_ended(crowd):
    crowd.clock.forward(6)
    first = look(crowd)
    assert first.use_list
    assert first.next_at - crowd.clock.time() < 1
    again = look(crowd)
    assert not again.use_list
    assert again.next_at - crowd.clock.time() < 1


def test_more_than_a_batch_is_left_to_the_dispatchers(crowd, make, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.store.watching.BATCH_LIMIT", 15)
    monkeypatch.setattr(ops, "BATCH_LIMIT", 15)
    listed(crowd, make, [])
    crowd.clock.forward(6)
    swept(crowd)
    ((_, names),) = crowd.step_messages()
    assert len(names) == 15
    assert len(crowd.claim_due().parts) == COUNT - 15
    assert all(crowd.part(f"r{n}").state is PartState.RUNNING for n in range(COUNT))


def hours(step_harness, limit, sweeps=60):
    """What was handed over within so many hours, or sweeps, of looks."""
    began, handed = step_harness.clock.time(), set()
    while step_harness.clock.time() - began < limit * 3600 and sweeps:
        found = look(step_harness)
        if found.use_list:
            sweeps -= 1
            swept(step_harness)
        handed |= {name.partition(":")[0] for name in step_harness.due_parts() if not name.endswith("run")}
        step_harness.clock.forward(max(0.25, (found.next_at or 0) - step_harness.clock.time()))
    return handed


ENDED = {f"r{n}" for n in range(COUNT - 30, COUNT)}


@pytest.mark.long
@pytest.mark.parametrize("status", [429, 500])
def test_a_sweep_that_never_comes_to_its_end_keeps_no_end_from_being_seen(crowd, make, status):
    running = [make.job(job_id=f"job-{n}").to_wire() for n in range(COUNT - 30)]

    def page(filters):
        if filters["status"] == "rotating":
            return make.refusal(status, retry_after=1)
        shown = running if (filters["status"], filters["page"]) == ("pending", 1) else []
        return JobsListResponse.model_validate({"Jobs": shown, "TotalPages": 1})

    crowd.api.script(list_jobs=page)
    crowd.clock.forward(6)
    assert hours(crowd, 1, sweeps=10) >= ENDED


@pytest.mark.parametrize("status", [429, 500])
def test_a_sweep_that_fails_leaves_a_few_to_be_looked_at_by_themselves(crowd, make, status, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.store.watching._SMALL_BATCH", 10)
    crowd.api.script(list_jobs=make.refusal(status, retry_after=1))
    crowd.clock.forward(6)
    swept(crowd)
    assert len([name for name in crowd.due_parts() if name.endswith(":0")]) == 10


def test_steps_that_die_in_each_sweep_keep_no_end_from_being_seen(crowd):
    began = crowd.clock.time()
    while not {name.partition(":")[0] for name in crowd.due_parts()} >= ENDED:
        assert crowd.clock.time() - began < 180
        found = look(crowd)
        if found.use_list:
            # It takes its turn, and is gone.
            crowd.run(ops.acquire_list_poll(crowd.keys, crowd.account, f"{crowd.clock.time()}", 30.0))
        crowd.clock.forward(max(0.25, (found.next_at or 0) - crowd.clock.time()))


def test_an_entry_that_says_that_it_has_ended_is_no_running_job(crowd, make):
    listed(crowd, make, range(COUNT), status="success")
    crowd.clock.forward(6)
    swept(crowd)
    ((_, names),) = crowd.step_messages()
    assert len(names) == COUNT


def test_a_list_that_lags_behind_for_ever_is_not_believed_for_ever(crowd, make, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.store.watching._ITSELF", 20)
    listed(crowd, make, range(COUNT))
    crowd.clock.forward(6)
    assert hours(crowd, 0.5) == {f"r{n}" for n in range(COUNT)}


def test_looks_at_the_jobs_themselves_are_spread(step_harness, make, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.store.watching._ITSELF", 20)
    step_harness.create_multi_part_run(COUNT, "order-17", early=False)
    for n in range(COUNT):
        claim = step_harness.claim_part("order-17", n)
        step_harness.run(ops.write_intent(step_harness.keys, claim, f"n{n}", 100.0, account=step_harness.account))
        fields = {"state": "running", "job": f"of-{n}", "purchase_status": "confirmed"}
        assert step_harness.run(ops.update_part(step_harness.keys, claim, fields, after=1.0, owner=f"of-{n}")) == "ok"
    part_ids = [PartId("order-17", n) for n in range(COUNT)]
    step_harness.clock.forward(2)
    step_harness.run(ops.mark_still_running(step_harness.keys, step_harness.account, "pending", part_ids, [1.0, 2.0]))
    handed = [part_id for part_id in part_ids if str(part_id) in step_harness.due_parts()]
    assert 0 < len(handed) < COUNT / 4


def test_pages_are_read_several_at_a_time(crowd, make):
    asked = []

    def page(filters):
        asked.append((filters["status"], filters["page"]))
        shown = []
        if filters["status"] == "pending":
            shown = [make.job(job_id=f"job-{n}").to_wire() for n in range(COUNT) if n % 8 == filters["page"] - 1]
        return JobsListResponse.model_validate({"Jobs": shown, "TotalPages": 8 if shown else 1})

    crowd.api.script(list_jobs=page)
    crowd.clock.forward(6)
    swept(crowd)
    assert sorted(number for status, number in asked if status == "pending") == list(range(1, 9))
    assert crowd.step_messages() == []


def test_one_page_of_several_that_fails_is_the_sweep_s_failure(crowd, make):
    def page(filters):
        if filters["page"] == 5:
            return make.refusal(500)
        return JobsListResponse.model_validate({"Jobs": [], "TotalPages": 8})

    crowd.api.script(list_jobs=page)
    crowd.clock.forward(6)
    swept(crowd)
    assert len(crowd.due_parts()) == COUNT, "the oldest fifty are looked at by themselves"


def test_jobs_of_others_make_single_looks_the_cheaper_ones(crowd, make):
    def page(filters):
        others = [make.job(job_id=f"other-{filters['page']}-{n}").to_wire() for n in range(100)]
        shown = others if filters["status"] == "pending" and filters["page"] <= 50 else []
        return JobsListResponse.model_validate({"Jobs": shown, "TotalPages": 50 if shown else 1})

    crowd.api.script(list_jobs=page)
    crowd.clock.forward(6)
    assert look(crowd).use_list
    swept(crowd)
    crowd.step_messages()
    for n in range(COUNT):
        assert crowd.run(ops.update_part(crowd.keys, crowd.claim_part(f"r{n}"), {}, after=1.0)) == "ok"
    crowd.clock.forward(12)
    assert not look(crowd).use_list, "the list has 50 pages of others, and 40 jobs are ours"
    assert len(crowd.due_parts()) == COUNT
    for n in range(COUNT):
        assert crowd.run(ops.update_part(crowd.keys, crowd.claim_part(f"r{n}"), {}, after=1.0)) == "ok"
    crowd.clock.forward(901)
    assert look(crowd).use_list, "what others had then is no measure any more"


def test_a_rest_does_not_grow_with_the_list(crowd, make):
    listed(crowd, make, range(COUNT))
    crowd.clock.forward(6)
    assert crowd.run(ops.acquire_list_poll(crowd.keys, crowd.account, "token", 1000.0))
    crowd.clock.forward(500)
    crowd.run(ops.finish_list_poll(crowd.keys, crowd.account, "token", others=0, redispatch_after=0.0))
    rest = float(crowd.redis.hget(crowd.keys.list_poll(crowd.account), "until")) - crowd.clock.time()
    assert rest <= 30


def test_a_result_backend_that_hangs_holds_up_no_look(crowd, make, monkeypatch):
    hang, asked = threading.Event(), []

    def revoked(_, run_ids):
        asked.append(run_ids)
        hang.wait(30)
        return [run_ids[0]]

    monkeypatch.setattr(module, "find_revoked", revoked)
    listed(crowd, make, range(COUNT))
    crowd.clock.forward(6)

    async def twice(context, _):
        for _ in range(2):
            await sweep(context)
            crowd.clock.forward(40)
        assert len(asked) == 1, "one asks at a time"
        hang.set()
        await asyncio.to_thread(context.asking.join, 30)

    crowd.run_step(twice, None)
    assert len(asked[0]) == COUNT
    assert crowd.run_fields("r0")["stop_reason"] == "cancel"


def test_a_result_backend_that_fails_is_told_of(crowd, make, monkeypatch, caplog):
    def away(*_):
        raise OSError("away")

    monkeypatch.setattr(module, "find_revoked", away)
    listed(crowd, make, range(COUNT))
    crowd.clock.forward(6)

    async def once(context, _):
        await sweep(context)
        await asyncio.to_thread(context.asking.join, 30)

    crowd.run_step(once, None)
    assert "OSError" in caplog.text
