"""Test the watched clock with the function of its script, and the keys that expire by it."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lupa.lua51 import LuaRuntime

import scrape_do_celery
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.store import PartState, Retention, RunSpec
from scrape_do_celery.store.commands.creation import CreateRun, ScheduleTick
from scrape_do_celery.store.commands.dispatch import ClaimDue, RewindTimes
from scrape_do_celery.store.commands.limits import PauseAPI
from scrape_do_celery.store.commands.parts import UpdatePart
from scrape_do_celery.store.commands.polling import AcquireListPoll
from scrape_do_celery.store.commands.purchases import CheckBeforeSend, WriteIntent
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ForgetRun, RecordOutcome
from scrape_do_celery.store.retention import LONGEST_ADVANCE, MARK_TTL, SCRIPT_CONSTANTS

DAY = 86_400
SPEC = RunSpec(JobCreationRequest(targets=["https://a.example/1"]))


def load_rule():
    """Return the function of the library that measures the advance of a pass."""
    text = (Path(scrape_do_celery.__file__).parent / "store" / "lua" / "lib" / "watched.lua").read_text()
    rule = re.search(r"^local function measure_advance.*$", text, re.MULTILINE)[0]
    lua = LuaRuntime()
    lua.globals().LONGEST_ADVANCE = SCRIPT_CONSTANTS["LONGEST_ADVANCE"]
    return lua.execute(f"{rule} return measure_advance")


RULE = load_rule()
SECONDS = 300.0


@given(
    workers=st.sampled_from([1, 8]),
    steps=st.lists(
        st.tuples(st.floats(1.0, SECONDS - 1), st.sampled_from([119.0, -119.0, 7200.0, -7200.0])), max_size=2
    ),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=60)
def test_watched_clock_shows_the_true_time_through_steps(workers, steps, seed):
    """Play five minutes of dispatchers that pass every 0.02 s to 1.05 s."""
    watched, last, own, random = 0.0, None, [None] * workers, Random(seed)
    passes = sorted((moment, worker) for worker in range(workers) for moment in play_passes(random, SECONDS))
    for moment, worker in passes:
        server = moment + sum(by for at, by in steps if at <= moment)
        passed = 0.0 if last is None else server - last
        watched += RULE(passed, 0.0 if own[worker] is None else moment - own[worker])
        last, own[worker] = server, moment
    # The first pass and the time behind the last one count nothing. Each step costs or adds one pass at most.
    assert abs(watched - SECONDS) <= 2.2 + 1.1 * len(steps)


def play_passes(random, seconds):
    moment = random.uniform(0.0, 1.0)
    while moment < seconds:
        yield moment
        moment += random.choice([0.02, 0.3, 1.0]) * random.uniform(1.0, 1.05)


@given(passed=st.floats(-1e7, 1e7), own=st.floats(0.0, 1e7))
def test_pass_never_counts_more_than_its_own_time(passed, own):
    assert 0.0 <= RULE(passed, own) <= min(own, LONGEST_ADVANCE)


def pass_by(store, seconds, own_elapsed):
    """Step the server's clock without a dispatcher, and do one pass."""
    store.clock.ahead += seconds
    return store.run(ClaimDue(limit=100, cap=100, own_elapsed=own_elapsed))


def test_first_pass_begins_with_the_servers_time(store):
    store.clock.stop()
    pass_by(store, 0.0, 0.0)
    assert store.watched == pytest.approx(store.clock.time(), abs=0.001)
    began = store.watched
    pass_by(store, 119.0, 0.5)
    assert store.watched == pytest.approx(began + 0.5, abs=0.001)
    pass_by(store, -119.0, 0.5)
    assert store.watched == pytest.approx(began + 0.5, abs=0.001)
    pass_by(store, 1.0, 2.0)
    assert store.watched == pytest.approx(began + 1.5, abs=0.001)
    pass_by(store, 600.0, 600.0)
    assert store.watched == pytest.approx(began + 1.5 + LONGEST_ADVANCE, abs=0.001)


def test_step_of_the_clock_ends_no_lease(store):
    store.clock.stop()
    store.create_run()
    claim = store.claim_part(seconds=30.0)
    assert store.run(WriteIntent(claim, "nonce", 120.0))[0] == "ok"
    pass_by(store, 0.0, 0.0)
    pass_by(store, 119.0, 1.0)
    pass_by(store, 7200.0, 1.0)
    assert store.try_claim_part(seconds=30.0) is None
    assert 110 < store.run(CheckBeforeSend(claim)).seconds <= 118.1
    for _ in range(24):
        pass_by(store, 5.0, 5.0)
    assert store.claim_part(seconds=30.0).part.state is PartState.SUBMITTING


def test_purchase_of_an_earlier_version_counts_from_its_intent(store):
    """Let a store without a watched clock hold a part in doubt, as before an upgrade."""
    store.clock.stop()
    store.create_run()
    claim = store.claim_part(seconds=30.0)
    assert store.run(WriteIntent(claim, "nonce", 120.0))[0] == "ok"
    store.redis.hdel(store.keys.part(claim.part_id), "watched", "first_watched")
    store.clock.ahead += 45.0
    pass_by(store, 0.0, 0.0)
    pass_by(store, 119.0, 1.0)
    assert store.try_claim_part(seconds=30.0) is None
    for _ in range(15):
        pass_by(store, 5.0, 5.0)
    search = store.claim_part(seconds=30.0)
    assert search.age == pytest.approx(121.0, abs=0.1)
    assert search.first_intent(0.0) == pytest.approx(claim.now, abs=0.1)


@pytest.mark.parametrize("outcome", ["acknowledged", "forgotten"])
def test_guards_of_purchases_expire_by_the_watched_clock(store, outcome):
    store.clock.stop()
    store.run(CreateRun("r", SPEC, key="k", tick=ScheduleTick("s", "1", "skip")))
    store.finish_part()
    store.run(RecordOutcome("r", "succeeded", {}))
    store.run(AcknowledgeDelivery("r", "r", Retention(contents=1, record=60, idempotency=60)))
    guards = {store.keys.idempotency("k"), store.keys.tick("s", "1")}
    if outcome == "forgotten":
        store.run(ForgetRun("r"))
        guards = {store.keys.tick("s", "1"), store.keys.run("r")}
    pass_by(store, 0.0, 0.0)
    pass_by(store, 30 * DAY, 1.0)
    assert all(store.redis.exists(key) for key in guards)
    assert {key.decode() for key in store.redis.zrange(store.keys.expiring, 0, -1)} >= guards
    store.redis.hincrbyfloat(store.keys.clock, "watched", MARK_TTL + LONGEST_ADVANCE)
    pass_by(store, 1.0, 1.0)
    assert not any(store.redis.exists(key) for key in guards)
    assert store.redis.zcard(store.keys.expiring) == 0


def test_key_of_a_new_run_does_not_expire_with_an_earlier_run(store):
    store.run(CreateRun("r", SPEC, key="k"))
    store.finish_part()
    store.run(RecordOutcome("r", "succeeded", {}))
    store.run(AcknowledgeDelivery("r", "r", Retention(contents=1, record=60, idempotency=60)))
    store.run(ForgetRun("r"))
    store.run(CreateRun("next", SPEC, key="k"))
    store.claim_due()
    store.clock.forward(MARK_TTL)
    store.claim_due()
    assert store.redis.get(store.keys.idempotency("k")).startswith(b"next ")


def test_times_are_rewound_after_the_clock_was_set_back(store):
    store.clock.stop()
    for run_id in ("queued", "running"):
        store.create_run(run_id)
    store.claim_due()
    claim = store.claim_part("running")
    store.run(UpdatePart(claim, {"account": "a"}, to=PartState.SUBMITTING))
    store.run(UpdatePart(claim, {"job": "j"}, to=PartState.RUNNING, after=20.0, owner="j"))
    store.run(PauseAPI(60.0))
    store.run(AcquireListPoll("a", "token", 30.0))
    assert store.run(RewindTimes()) == 0.0
    due = pass_by(store, -30 * DAY, 1.0)
    assert due.was_set_back
    assert store.run(RewindTimes()) == pytest.approx(30 * DAY, abs=1)
    assert not pass_by(store, 0.0, 1.0).was_set_back
    now = store.clock.time()
    assert all(at < now + 60 for at in store.due_parts().values())
    assert all(at < now + 60 for _, at in store.redis.zrange(store.keys.poll_set("a"), 0, -1, withscores=True))
    assert not store.redis.exists(store.keys.pause)
    store.clock.forward(10.0)
    assert [str(part.part_id) for part in store.claim_due().parts] == ["queued:0"]
    assert store.try_claim_part("queued") is not None
