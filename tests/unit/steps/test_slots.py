"""Test the limit of active jobs: other parts wait for a slot, and are woken in the order of arrival."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrape_do_celery.steps.rate_limiter import RateLimiter
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import CANCEL, Keys, PartState
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.purchases import SLOT_RECHECK, WriteIntent
from scrape_do_celery.store.commands.runs import RequestStop
from tests.support.time_limits import check_time

LEASE = 200.0


@pytest.fixture
def two_slots(step_harness, make):
    """Make four runs, of which two may have a job at a time."""
    step_harness.settings = step_harness.settings.model_copy(update={"max_active_jobs": 2})
    for run_id in "abcd":
        step_harness.create_run(run_id, each=[f"https://shop.example/{run_id}"])
    step_harness.api.script(create_job=lambda request: make.created(f"job-{request.targets[0][-1]}", 1))
    return step_harness


def try_submit(step_harness, run_id):
    step_harness.clock.forward(10)
    step_harness.run_step(submit_part, step_harness.claim_part(run_id, seconds=LEASE))
    return step_harness.part(run_id).state


def waiting_for_slot(step_harness):
    return [
        name.decode().partition(":")[0]
        for name in step_harness.redis.zrange(f"p:slot_waiters:{step_harness.account}", 0, -1)
    ]


def end_run(step_harness, run_id):
    step_harness.clock.forward(10)
    step_harness.finish_part(run_id)


def limit_to_one_slot(step_harness, make, names):
    step_harness.settings = step_harness.settings.model_copy(update={"max_active_jobs": 1})
    for name in names:
        step_harness.create_run(name, each=[f"https://shop.example/{name}"])
    step_harness.api.script(create_job=lambda request: make.created(f"job-{request.targets[0][-1]}", 1))
    step_harness.clock.forward(10)


def test_no_more_jobs_are_bought_than_may_run(two_slots):
    states = [try_submit(two_slots, run_id) for run_id in "abcd"]
    assert states == [PartState.RUNNING] * 2 + [PartState.QUEUED] * 2
    assert two_slots.api.posts == 2
    assert waiting_for_slot(two_slots) == ["c", "d"]


def test_waiting_parts_are_checked_rarely(two_slots):
    for run_id in "abcd":
        try_submit(two_slots, run_id)
    assert two_slots.due_parts()["d:0"] == pytest.approx(SLOT_RECHECK, abs=5)


def test_ended_job_wakes_the_first_waiter(two_slots):
    for run_id in "abcd":
        try_submit(two_slots, run_id)
    two_slots.clock.forward(10)
    claim = two_slots.claim_part("a")
    two_slots.update_part(claim, after=0.0, to="fetching")
    due = two_slots.due_parts()
    assert due["c:0"] <= 0 < due["d:0"]
    assert try_submit(two_slots, "c") is PartState.RUNNING
    end_run(two_slots, "b")
    assert two_slots.due_parts()["d:0"] <= 0
    assert try_submit(two_slots, "d") is PartState.RUNNING


def test_newcomer_does_not_overtake_waiters(two_slots):
    for run_id in "abc":
        try_submit(two_slots, run_id)
    end_run(two_slots, "a")
    assert try_submit(two_slots, "d") is PartState.QUEUED, "the place is c's, who was woken"
    assert try_submit(two_slots, "c") is PartState.RUNNING


def test_canceled_waiter_is_skipped(two_slots):
    for run_id in "abcd":
        try_submit(two_slots, run_id)
    two_slots.run(RequestStop("c", CANCEL))
    end_run(two_slots, "a")
    assert two_slots.due_parts()["d:0"] <= 0


def test_canceled_slot_holder_passes_the_slot_on(two_slots):
    for run_id in "abcd":
        try_submit(two_slots, run_id)
    end_run(two_slots, "a")
    two_slots.run(RequestStop("c", CANCEL))
    assert two_slots.part("c").state is PartState.DONE
    assert try_submit(two_slots, "d") is PartState.RUNNING


def test_refused_purchase_passes_the_slot_on(two_slots, make):
    for run_id in "ab":
        try_submit(two_slots, run_id)
    try_submit(two_slots, "c")
    end_run(two_slots, "a")
    two_slots.api.script(create_job=make.refusal(400))
    try_submit(two_slots, "c")
    assert two_slots.part("c").outcome == "failed"
    two_slots.api.script(create_job=make.created("job-d", 1))
    assert try_submit(two_slots, "d") is PartState.RUNNING


def test_postponed_purchase_keeps_its_slot(two_slots, make):
    try_submit(two_slots, "a")
    two_slots.api.script(create_job=make.refusal(429))
    assert try_submit(two_slots, "b") is PartState.RECONCILING
    two_slots.api.script(create_job=make.created("job-c", 1))
    assert try_submit(two_slots, "c") is PartState.QUEUED


def test_raised_limit_counts_from_the_next_check(two_slots):
    for run_id in "abcd":
        try_submit(two_slots, run_id)
    two_slots.settings = two_slots.settings.model_copy(update={"max_active_jobs": 4})
    two_slots.clock.forward(SLOT_RECHECK)
    assert try_submit(two_slots, "d") is PartState.RUNNING
    assert two_slots.due_parts()["c:0"] <= 0, "who came before is not forgotten"


def test_without_a_limit_nothing_is_counted(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.created())
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    assert not list(step_harness.redis.scan_iter("p:slots:*"))


LIMIT = 2
CHOICES = st.lists(
    st.tuples(st.sampled_from(["buy", "end", "void", "cancel", "settle"]), st.integers(0, 5)), max_size=60
)


@settings(max_examples=15)
@given(CHOICES)
def test_limit_holds_and_no_waiter_is_lost_in_any_order(make_store, choices):
    store = make_store(Keys("p"))
    for n in range(6):
        store.create_run(f"r{n}", each=[f"https://shop.example/{n}"])
    for what, n in choices:
        apply_action(store, what, f"r{n}")
        check_invariants(store)
    # Every part that is left gets its slot from the regular wake-ups alone.
    for _ in range(20):
        for run_id in due_parts_of(store):
            apply_action(store, "buy", run_id)
            check_invariants(store)
        for run_id in states(store, "running", "submitting"):
            apply_action(store, "end", run_id)
        if not states(store, "queued"):
            return
    raise AssertionError(f"forgotten: {states(store, 'queued')}")


def apply_action(store, what, run_id):
    part = store.part(run_id)
    store.set_fields(run_id, due_at=0)
    if what == "cancel":
        store.run(RequestStop(run_id, CANCEL))
        return
    claim = store.try_claim_part(run_id, account="me")
    if claim is None or part.state is PartState.DONE:
        return
    if what == "buy" and part.state is PartState.QUEUED:
        verdict, _ = store.run(WriteIntent(claim, run_id, 100.0, account="me", limit=LIMIT))
        if verdict == "ok":
            store.run(
                UpdatePart(
                    claim,
                    {"purchase_status": "confirmed"},
                    to="running",
                    after=1.0,
                    owner=f"job-{run_id}",
                )
            )
        elif verdict != "no_slot":
            store.run(FinishPart(claim, "canceled"))
    elif what == "void" and part.state is PartState.QUEUED:
        verdict, _ = store.run(WriteIntent(claim, run_id, 100.0, account="me", limit=LIMIT))
        if verdict == "ok":
            store.run(UpdatePart(claim, {"purchase_status": "void"}, to="queued", after=0.0))
    elif what == "end" and part.state is PartState.RUNNING:
        store.run(UpdatePart(claim, {}, to="fetching", after=0.0))
    elif what == "settle":
        store.run(FinishPart(claim, "succeeded"))
    else:
        store.run(UpdatePart(claim, {}, after=0.0 if part.state is not PartState.QUEUED else None))
        store.set_fields(run_id, lease=0)


def states(store, *wanted):
    return [f"r{n}" for n in range(6) if store.part(f"r{n}").state in wanted]


def due_parts_of(store):
    return [
        name.partition(":")[0]
        for name, at in store.due_parts().items()
        if at < SLOT_RECHECK / 2 and not name.endswith("run")
    ]


def check_invariants(store):
    assert not states(store, "submitting")
    busy = states(store, "running")
    assert len(busy) <= LIMIT
    places = {name.decode().partition(":")[0] for name in store.redis.zrange("p:slots:me", 0, -1)}
    assert set(busy) <= places
    assert len(places) <= LIMIT
    assert all(store.part(run_id).state != "done" for run_id in places)


def test_slot_freed_during_the_step_wakes_its_part(step_harness, make):
    limit_to_one_slot(step_harness, make, "ab")
    step_harness.run_step(submit_part, step_harness.claim_part("a", seconds=LEASE))
    step_harness.clock.forward(10)
    claim = step_harness.claim_part("b", seconds=LEASE)

    async def with_an_end_in_between(context, claim):
        run = context.store.run

        async def watched(command):
            answer = await run(command)
            if command.script == "write_intent":
                step_harness.finish_part("a")
            return answer

        context.store.run = watched
        return await submit_part(context, claim)

    step_harness.run_step(with_an_end_in_between, claim)
    assert step_harness.due_parts()["b:0"] <= 0


def test_part_of_two_accounts_holds_one_slot(store):
    def intent(name, account):
        store.set_fields(name, due_at=0, lease=0)
        claim = store.claim_part(name, account=account)
        verdict, _ = store.run(WriteIntent(claim, name, 100.0, account=account, limit=1))
        if verdict == "ok":
            fields = {"purchase_status": "confirmed"}
            store.run(UpdatePart(claim, fields, to="running", after=1.0, owner=f"job-{name}"))
        return verdict

    def end(name, account):
        store.set_fields(name, due_at=0, lease=0)
        store.run(FinishPart(store.claim_part(name, account=account), "succeeded"))

    for name in "axbd":
        store.create_run(name, each=[f"https://shop.example/{name}"])
    assert [intent("a", "X"), intent("x", "Y"), intent("b", "X"), intent("b", "Y")] == [
        "ok",
        "ok",
        "no_slot",
        "no_slot",
    ]
    end("x", "Y")
    end("a", "X")
    assert intent("b", "Y") == "ok"
    end("b", "Y")
    assert intent("d", "Y") == "ok"


def test_canceled_waiters_leave_no_key(step_harness, make):
    limit_to_one_slot(step_harness, make, "abc")
    for name in "abc":
        step_harness.clock.forward(10)
        step_harness.run_step(submit_part, step_harness.claim_part(name, seconds=LEASE))
    for name in "bc":
        step_harness.run(RequestStop(name, CANCEL))
    assert step_harness.redis.zcard(f"p:slot_waiters:{step_harness.account}") == 0
    step_harness.clock.forward(10)
    step_harness.finish_part("a")
    assert not list(step_harness.redis.scan_iter("p:target_lock:*"))


def test_waiting_for_a_slot_uses_no_request(step_harness, make):
    limit_to_one_slot(step_harness, make, "abcde")
    step_harness.run_step(submit_part, step_harness.claim_part("a", seconds=LEASE))
    step_harness.clock.forward(10)
    claims = [step_harness.claim_part(name, seconds=LEASE) for name in "bcde"]
    spent = []

    async def all_of_them(context, _):
        context.rate_limiter = RateLimiter(context.store, here=10, limit=10, rate=0.2)
        began = time.monotonic()
        await asyncio.gather(*(submit_part(context, claim) for claim in claims))
        spent.append(time.monotonic() - began)

    step_harness.run_step(all_of_them, claims[0])
    assert step_harness.api.posts == 1
    check_time(spent[0], 4, "the second start would have come after five seconds")
