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
def two(plant, make):
    """Four runs, of which two may have a job at a time."""
    plant.settings = plant.settings.model_copy(update={"max_active_jobs": 2})
    for run_id in "abcd":
        plant.begin(run_id, each=[f"https://shop.example/{run_id}"])
    plant.api.script(create_job=lambda request: make.created(f"job-{request.targets[0][-1]}", 1))
    return plant


def try_to_buy(plant, run_id):
    plant.clock.forward(10)
    plant.step(submit, plant.take(run_id, seconds=LEASE))
    return plant.part(run_id).state


def in_line(plant):
    return [name.decode().partition(":")[0] for name in plant.redis.zrange(f"p:slot_waiters:{plant.account}", 0, -1)]


def end(plant, run_id):
    plant.clock.forward(10)
    plant.finish(run_id)


def test_no_more_jobs_are_bought_than_may_run(two):
    states = [try_to_buy(two, run_id) for run_id in "abcd"]
    assert states == [PartState.RUNNING] * 2 + [PartState.QUEUED] * 2
    assert two.api.posts == 2
    assert in_line(two) == ["c", "d"]


def test_those_that_wait_are_not_looked_at_for_long(two):
    for run_id in "abcd":
        try_to_buy(two, run_id)
    assert two.due()["d:0"] == pytest.approx(SLOT_RECHECK, abs=5)


def test_the_first_in_line_is_woken_when_a_job_ends(two):
    for run_id in "abcd":
        try_to_buy(two, run_id)
    two.clock.forward(10)
    claim = two.take("a")
    two.update(claim, after=0.0, state="fetching")
    due = two.due()
    assert due["c:0"] <= 0 < due["d:0"]
    assert try_to_buy(two, "c") is PartState.RUNNING
    end(two, "b")
    assert two.due()["d:0"] <= 0
    assert try_to_buy(two, "d") is PartState.RUNNING


def test_who_comes_while_others_wait_takes_nobodys_place(two):
    for run_id in "abc":
        try_to_buy(two, run_id)
    end(two, "a")
    assert try_to_buy(two, "d") is PartState.QUEUED, "the place is c's, who was woken"
    assert try_to_buy(two, "c") is PartState.RUNNING


def test_who_is_canceled_in_line_is_passed_over(two):
    for run_id in "abcd":
        try_to_buy(two, run_id)
    two.run(ops.request_stop(two.keys, "c", CANCEL))
    end(two, "a")
    assert two.due()["d:0"] <= 0


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
    assert two.due()["c:0"] <= 0, "who came before is not forgotten"


def test_without_a_limit_nothing_is_counted(plant, make):
    plant.begin()
    plant.api.script(create_job=make.created())
    plant.step(submit, plant.take(seconds=LEASE))
    assert not list(plant.redis.scan_iter("p:slots:*"))


LIMIT = 2
CHOICES = st.lists(
    st.tuples(st.sampled_from(["buy", "end", "void", "cancel", "settle"]), st.integers(0, 5)), max_size=60
)


@settings(max_examples=30, deadline=None)
@given(CHOICES)
def test_in_any_order_no_more_run_than_may_and_nobody_is_forgotten(shelf_of, choices):
    shelf = shelf_of(Keys("p"))
    for n in range(6):
        shelf.begin(f"r{n}", each=[f"https://shop.example/{n}"])
    for what, n in choices:
        act(shelf, what, f"r{n}")
        check(shelf)
    # Whoever is left comes to its turn by what wakes it alone.
    for _ in range(20):
        for run_id in awake(shelf):
            act(shelf, "buy", run_id)
            check(shelf)
        for run_id in states(shelf, "running", "submitting"):
            act(shelf, "end", run_id)
        if not states(shelf, "queued"):
            return
    raise AssertionError(f"forgotten: {states(shelf, 'queued')}")


def act(shelf, what, run_id):
    part = shelf.part(run_id)
    shelf.force(run_id, due_at=0)
    if what == "cancel":
        shelf.run(ops.request_stop(shelf.keys, run_id, CANCEL))
        return
    claim = shelf.claim(run_id, account="me")
    if claim is None or part.state is PartState.DONE:
        return
    if what == "buy" and part.state is PartState.QUEUED:
        verdict, _ = shelf.run(ops.write_intent(shelf.keys, claim, run_id, 100.0, account="me", limit=LIMIT))
        if verdict == "ok":
            shelf.run(
                ops.update_part(
                    shelf.keys,
                    claim,
                    {"state": "running", "purchase_status": "confirmed"},
                    after=1.0,
                    owner=f"job-{run_id}",
                )
            )
        elif verdict != "no_slot":
            shelf.run(ops.finish_part(shelf.keys, claim, "canceled"))
    elif what == "void" and part.state is PartState.QUEUED:
        verdict, _ = shelf.run(ops.write_intent(shelf.keys, claim, run_id, 100.0, account="me", limit=LIMIT))
        if verdict == "ok":
            shelf.run(ops.update_part(shelf.keys, claim, {"state": "queued", "purchase_status": "void"}, after=0.0))
    elif what == "end" and part.state is PartState.RUNNING:
        shelf.run(ops.update_part(shelf.keys, claim, {"state": "fetching"}, after=0.0))
    elif what == "settle":
        shelf.run(ops.finish_part(shelf.keys, claim, "succeeded"))
    else:
        shelf.run(ops.update_part(shelf.keys, claim, {}, after=0.0 if part.state is not PartState.QUEUED else None))
        shelf.force(run_id, lease=0)


def states(shelf, *wanted):
    return [f"r{n}" for n in range(6) if shelf.part(f"r{n}").state in wanted]


def awake(shelf):
    return [
        name.partition(":")[0] for name, at in shelf.due().items() if at < SLOT_RECHECK / 2 and not name.endswith("run")
    ]


def check(shelf):
    assert not states(shelf, "submitting")
    busy = states(shelf, "running")
    assert len(busy) <= LIMIT
    places = {name.decode().partition(":")[0] for name in shelf.redis.zrange("p:slots:me", 0, -1)}
    assert set(busy) <= places
    assert len(places) <= LIMIT
    assert all(shelf.part(run_id).state != "done" for run_id in places)
