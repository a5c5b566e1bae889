"""Only so many jobs at a time: the others wait for a slot, and are woken in the order in which they came."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrape_do_celery.store import CANCEL, Keys, PartState, ops
from scrape_do_celery.store.buying import SLOT_RECHECK
from scrape_do_celery.tasks.submit import submit

LEASE = 200.0


@pytest.fixture
def two(step_harness, make):
    """Four runs, of which two may have a job at a time."""
    step_harness.settings = step_harness.settings.model_copy(update={"max_active_jobs": 2})
    for run_id in "abcd":
        step_harness.create_run(run_id, each=[f"https://shop.example/{run_id}"])
    step_harness.api.script(create_job=lambda request: make.created(f"job-{request.targets[0][-1]}", 1))
    return step_harness


def try_to_buy(step_harness, run_id):
    step_harness.clock.forward(10)
    step_harness.run_step(submit, step_harness.claim_part(run_id, seconds=LEASE))
    return step_harness.part(run_id).state


def waiting_for_slot(step_harness):
    return [
        name.decode().partition(":")[0]
        for name in step_harness.redis.zrange(f"p:slot_waiters:{step_harness.account}", 0, -1)
    ]


def end(step_harness, run_id):
    step_harness.clock.forward(10)
    step_harness.finish_part(run_id)


def test_no_more_jobs_are_bought_than_may_run(two):
    states = [try_to_buy(two, run_id) for run_id in "abcd"]
    assert states == [PartState.RUNNING] * 2 + [PartState.QUEUED] * 2
    assert two.api.posts == 2
    assert waiting_for_slot(two) == ["c", "d"]


def test_those_that_wait_are_not_looked_at_for_long(two):
    for run_id in "abcd":
        try_to_buy(two, run_id)
    assert two.due_parts()["d:0"] == pytest.approx(SLOT_RECHECK, abs=5)


def test_the_first_waiter_is_woken_when_a_job_ends(two):
    for run_id in "abcd":
        try_to_buy(two, run_id)
    two.clock.forward(10)
    claim = two.claim_part("a")
    two.update_part(claim, after=0.0, state="fetching")
    due = two.due_parts()
    assert due["c:0"] <= 0 < due["d:0"]
    assert try_to_buy(two, "c") is PartState.RUNNING
    end(two, "b")
    assert two.due_parts()["d:0"] <= 0
    assert try_to_buy(two, "d") is PartState.RUNNING


def test_who_comes_while_others_wait_takes_nobodys_place(two):
    for run_id in "abc":
        try_to_buy(two, run_id)
    end(two, "a")
    assert try_to_buy(two, "d") is PartState.QUEUED, "the place is c's, who was woken"
    assert try_to_buy(two, "c") is PartState.RUNNING


def test_a_canceled_waiter_is_passed_over(two):
    for run_id in "abcd":
        try_to_buy(two, run_id)
    two.run(ops.request_stop(two.keys, "c", CANCEL))
    end(two, "a")
    assert two.due_parts()["d:0"] <= 0


def test_who_is_canceled_with_its_place_hands_it_on(two):
    for run_id in "abcd":
        try_to_buy(two, run_id)
    end(two, "a")
    two.run(ops.request_stop(two.keys, "c", CANCEL))
    assert two.part("c").state is PartState.DONE
    assert try_to_buy(two, "d") is PartState.RUNNING


def test_a_refused_purchase_hands_its_place_on(two, make):
    for run_id in "ab":
        try_to_buy(two, run_id)
    try_to_buy(two, "c")
    end(two, "a")
    two.api.script(create_job=make.refusal(400))
    try_to_buy(two, "c")
    assert two.part("c").outcome == "failed"
    two.api.script(create_job=make.created("job-d", 1))
    assert try_to_buy(two, "d") is PartState.RUNNING


def test_a_purchase_that_is_put_off_keeps_its_place(two, make):
    try_to_buy(two, "a")
    two.api.script(create_job=make.refusal(429))
    assert try_to_buy(two, "b") is PartState.RECONCILING
    two.api.script(create_job=make.created("job-c", 1))
    assert try_to_buy(two, "c") is PartState.QUEUED


def test_a_limit_that_is_raised_counts_from_the_next_look(two):
    for run_id in "abcd":
        try_to_buy(two, run_id)
    two.settings = two.settings.model_copy(update={"max_active_jobs": 4})
    two.clock.forward(SLOT_RECHECK)
    assert try_to_buy(two, "d") is PartState.RUNNING
    assert two.due_parts()["c:0"] <= 0, "who came before is not forgotten"


def test_without_a_limit_nothing_is_counted(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.created())
    step_harness.run_step(submit, step_harness.claim_part(seconds=LEASE))
    assert not list(step_harness.redis.scan_iter("p:slots:*"))


LIMIT = 2
CHOICES = st.lists(
    st.tuples(st.sampled_from(["buy", "end", "void", "cancel", "settle"]), st.integers(0, 5)), max_size=60
)


@settings(max_examples=30, deadline=None)
@given(CHOICES)
def test_in_any_order_no_more_run_than_may_and_nobody_is_forgotten(make_store, choices):
    store = make_store(Keys("p"))
    for n in range(6):
        store.create_run(f"r{n}", each=[f"https://shop.example/{n}"])
    for what, n in choices:
        act(store, what, f"r{n}")
        check(store)
    # Whoever is left comes to its turn by what wakes it alone.
    for _ in range(20):
        for run_id in awake(store):
            act(store, "buy", run_id)
            check(store)
        for run_id in states(store, "running", "submitting"):
            act(store, "end", run_id)
        if not states(store, "queued"):
            return
    raise AssertionError(f"forgotten: {states(store, 'queued')}")


def act(store, what, run_id):
    part = store.part(run_id)
    store.set_fields(run_id, due_at=0)
    if what == "cancel":
        store.run(ops.request_stop(store.keys, run_id, CANCEL))
        return
    claim = store.try_claim_part(run_id, account="me")
    if claim is None or part.state is PartState.DONE:
        return
    if what == "buy" and part.state is PartState.QUEUED:
        verdict, _ = store.run(ops.write_intent(store.keys, claim, run_id, 100.0, account="me", limit=LIMIT))
        if verdict == "ok":
            store.run(
                ops.update_part(
                    store.keys,
                    claim,
                    {"state": "running", "purchase_status": "confirmed"},
                    after=1.0,
                    owner=f"job-{run_id}",
                )
            )
        elif verdict != "no_slot":
            store.run(ops.finish_part(store.keys, claim, "canceled"))
    elif what == "void" and part.state is PartState.QUEUED:
        verdict, _ = store.run(ops.write_intent(store.keys, claim, run_id, 100.0, account="me", limit=LIMIT))
        if verdict == "ok":
            store.run(ops.update_part(store.keys, claim, {"state": "queued", "purchase_status": "void"}, after=0.0))
    elif what == "end" and part.state is PartState.RUNNING:
        store.run(ops.update_part(store.keys, claim, {"state": "fetching"}, after=0.0))
    elif what == "settle":
        store.run(ops.finish_part(store.keys, claim, "succeeded"))
    else:
        store.run(ops.update_part(store.keys, claim, {}, after=0.0 if part.state is not PartState.QUEUED else None))
        store.set_fields(run_id, lease=0)


def states(store, *wanted):
    return [f"r{n}" for n in range(6) if store.part(f"r{n}").state in wanted]


def awake(store):
    return [
        name.partition(":")[0]
        for name, at in store.due_parts().items()
        if at < SLOT_RECHECK / 2 and not name.endswith("run")
    ]


def check(store):
    assert not states(store, "submitting")
    busy = states(store, "running")
    assert len(busy) <= LIMIT
    places = {name.decode().partition(":")[0] for name in store.redis.zrange("p:slots:me", 0, -1)}
    assert set(busy) <= places
    assert len(places) <= LIMIT
    assert all(store.part(run_id).state != "done" for run_id in places)
