"""Test which stored times a step back of the server's clock rewinds: each time of the catalogue is named here."""

from __future__ import annotations

import pytest

from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.rules.targets import PartDigests
from scrape_do_celery.store import PartId, PartRecord, PartState, RunRecord, RunSpec
from scrape_do_celery.store.commands.creation import AcceptRun, CreateRun
from scrape_do_celery.store.commands.dispatch import ClaimDue, RewindTimes
from scrape_do_celery.store.commands.parts import UpdatePart
from scrape_do_celery.store.commands.polling import AcquireListPoll, FinishListPoll
from scrape_do_celery.store.commands.purchases import NoteRejected, RejectedPurchase, WriteIntent
from scrape_do_celery.store.commands.runs import ReadRun
from scrape_do_celery.store.declared_keys import declared_keys
from scrape_do_celery.store.fields import OTHER_PART_FIELDS, OTHER_RUN_FIELDS, declared_fields

HOUR = 3600.0
ORDERS_RUNS = "orders the list of runs by the time that their records have"
BY_THE_WATCHED_CLOCK = "runs by the watched clock, which takes no part in the step"
SHOWN = "is only shown to readers"
#: What becomes of each field of a record that is a number with a fraction. A test below shows each `rewound` one.
FIELDS = {
    "part.due_at": "rewound",
    "part.intent": "dates the purchase in the ledger; a search goes by the watched clock and the order",
    "part.first_intent": "is dated anew by the watched clock in each search",
    "part.bought_at": "makes a job old only together with the watched clock",
    "part.trouble_since": SHOWN,
    "part.cancel_sent_at": "counts by its presence; the grace of a stop runs by the watched clock",
    "part.looked_at": "counts only if it is at most one interval ahead",
    "part.credits": "is no time",
    "run.created": SHOWN,
    "run.accepted": SHOWN,
    "run.ended": SHOWN,
    "run.max_wait": "is a duration",
    "run.expires_in": "rewound",
    "run.deadline": "rewound",
    "run.stop_requested_at": "makes `forget` of a run without its key wait for longer; nothing is lost",
    "run.export_time": "names the tick in the destination of an export, and starts nothing",
    "run.dispatched_at": "counts only if it is in the past",
}
#: What becomes of the times in each other key.
KEYS = {
    "due": "rewound",
    "poll_set": "rewound",
    "list_poll": "rewound",
    "dispatched": "rewound",
    "queue_delay": "rewound",
    "changed": "rewound",
    "content_expiry": "rewound",
    "slot_waiters": "rewound",
    "slot_line": "rewound",
    "rejected": "rewound",
    "breaker": "rewound",
    "quota": "rewound",
    "next_request_at": "rewound",
    "pause": "rewound",
    "clock": "rewound",
    "unresolved": BY_THE_WATCHED_CLOCK,
    "expiring": BY_THE_WATCHED_CLOCK,
    "target_waiters": "orders the parts that wait for one lock; each of them also tries by itself",
    "slots": "is counted, not read",
    "ledger": "dates purchases",
    "runs": ORDERS_RUNS,
    "runs_with_label": ORDERS_RUNS,
    "runs_with_tag": ORDERS_RUNS,
    "runs_expiry": "goes by the clock of the server, as the TTL of the record does",
    "epoch": "names the epoch; a purchase goes by the watched clock",
    "schedules": "dates the last ticks; an entry that is too late is kept for longer",
    "schedule_record": "dates the last tick",
    "schedule_pauses": "dates pauses",
    "encryption_keys": "lets `doctor` name an old key for longer",
    "fairness_used": "dates the last use of an option for `doctor`",
    "webhook_trust": "dates the end of the trust for readers",
    "stored": "counts bytes by the hour for the metrics",
}
#: Keys whose values hold no time.
TIMELESS = {
    *("job", "contents", "provisional", "accounts", "schedule", "tick", "idempotency", "reservation", "owner"),
    *("target_lock", "slot_limit", "unowned", "order", "once", "message_tick", "namespace_owner", "rights_check"),
    *("deliveries", "webhook_probe", "slot_turns", "new_turn", "totals", "budgets", "spend", "host_spend"),
    "budget_waiters",
    # After a step back of the clock, an hour has the older reading.
    "balance",
    # A day that is too late only keeps a learned price of some host for longer than others.
    "prices",
    # The time of a reading is only shown, and the next reading is a matter of its own key.
    *("account", "account_reading", "budget_check"),
}


def find_time_fields():
    """Return the names of the fields with a fraction, without those whose meaning names the watched clock."""
    declared = {
        "part": [*declared_fields(PartRecord), *OTHER_PART_FIELDS],
        "run": [*declared_fields(RunRecord), *OTHER_RUN_FIELDS],
    }
    return {
        f"{record}.{one.name}"
        for record, fields in declared.items()
        for one in fields
        if "float" in one.type and "by the watched clock" not in one.meaning
    }


def test_each_time_of_a_record_is_rewound_or_has_a_reason():
    assert set(FIELDS) == find_time_fields()


def test_each_key_with_times_is_rewound_or_has_a_reason():
    assert set(KEYS) | TIMELESS | {"run", "part"} == {one.name for one in declared_keys()}


def spec(name, **options):
    return RunSpec(JobCreationRequest(targets=[f"https://{name}.example/1"]), **options)


def set_back(store, by, own_elapsed=1.0):
    """Set the server's clock back behind a pass of a dispatcher, and rewind the times in the next pass."""
    store.run(ClaimDue(limit=100, cap=100, own_elapsed=1.0))
    store.clock.ahead -= by
    assert store.run(ClaimDue(limit=100, cap=100, own_elapsed=own_elapsed)).was_set_back
    assert store.run(RewindTimes()) == pytest.approx(by, abs=2)


def read_run_field(store, run_id, name):
    return float(store.redis.hget(store.keys.run(run_id), name))


@pytest.fixture(autouse=True)
def stopped(store):
    store.clock.stop()
    yield
    # The server sees each life to be longer after a step back.
    store.clock.ahead = 10 * HOUR


@pytest.mark.parametrize("own_elapsed", [1.0, 0.0])
def test_run_ends_when_its_max_wait_is_over(store, own_elapsed):
    store.run(CreateRun("r", spec("r", max_wait=600.0)))
    store.clock.ahead += 1.0
    set_back(store, HOUR, own_elapsed)
    now = store.clock.time()
    assert read_run_field(store, "r", "deadline") == pytest.approx(now + 599, abs=2)
    store.clock.ahead += 610.0
    assert [run.run_id for run in store.run(ClaimDue(limit=100, cap=100, own_elapsed=1.0)).runs] == ["r"]


def test_long_wait_loses_none_of_its_time_and_gets_no_more(store):
    store.run(CreateRun("r", spec("r", max_wait=10 * HOUR)))
    store.clock.ahead += 3 * HOUR
    set_back(store, HOUR)
    assert read_run_field(store, "r", "deadline") == pytest.approx(store.clock.time() + 7 * HOUR, abs=2)


@pytest.mark.parametrize("own_elapsed", [1.0, 0.0])
def test_run_that_was_written_after_the_step_does_not_end_early(store, own_elapsed):
    """Without an earlier pass, a dispatcher cannot tell when the step came."""
    store.run(ClaimDue(limit=100, cap=100, own_elapsed=1.0))
    store.clock.ahead -= HOUR
    store.run(CreateRun("r", spec("r", max_wait=600.0)))
    store.run(CreateRun("draft", spec("draft"), start_delay=10.0, expires=60.0))
    store.clock.ahead += 0.5
    assert store.run(ClaimDue(limit=100, cap=100, own_elapsed=own_elapsed)).was_set_back
    store.run(RewindTimes())
    assert read_run_field(store, "r", "deadline") == pytest.approx(store.clock.time() + 599.5, abs=1)
    assert store.run(ReadRun("draft")).expires == pytest.approx(store.clock.time() + 59.5, abs=1)


def test_draft_expires_in_time_and_an_accepted_run_never(store):
    for run_id in ("draft", "accepted"):
        store.run(CreateRun(run_id, spec(run_id), start_delay=1000.0, expires=60.0))
    store.run(AcceptRun("accepted"))
    set_back(store, HOUR)
    assert store.run(ReadRun("draft")).expires == pytest.approx(store.clock.time() + 60, abs=2)
    assert read_run_field(store, "accepted", "expires_in") == 60.0


def watch_running_part(store):
    store.create_run("running")
    claim = store.claim_part("running")
    store.run(UpdatePart(claim, {"account": "a"}, to=PartState.SUBMITTING))
    store.run(UpdatePart(claim, {"job": "j"}, to=PartState.RUNNING, after=20.0, owner="j"))
    store.redis.sadd(store.keys.accounts, "a")


def test_running_part_is_polled_at_its_interval(store):
    watch_running_part(store)
    store.redis.zadd(store.keys.poll_set("a"), {"without-record:0": store.clock.time()})
    expiry = store.redis.zscore(store.keys.content_expiry, "running:0")
    set_back(store, HOUR)
    at = store.redis.zscore(store.keys.poll_set("a"), "running:0")
    assert at == pytest.approx(store.clock.time() + 20, abs=2)
    assert store.part("running").due_at == at
    assert not store.redis.exists(store.keys.part(PartId("without-record", 0)))
    assert store.redis.zscore(store.keys.content_expiry, "running:0") == pytest.approx(expiry - HOUR, abs=2)


def test_list_poll_and_rejected_purchases_come_in_time(store):
    watch_running_part(store)
    store.clock.ahead += 30.0
    store.run(AcquireListPoll("a", "token", 30.0))
    store.run(FinishListPoll("a", "token", others=3.0, redispatch_after=5.0))
    digests = PartDigests.from_targets(["https://a.example/1"])
    store.run(NoteRejected("a", RejectedPurchase.of(PartId("running", 0), 1.0, digests), 90.0))
    set_back(store, HOUR)
    assert store.redis.hmget(store.keys.list_poll("a"), "until", "ended") == [None, None]
    ((_, at),) = store.redis.zrange(store.keys.rejected("a"), 0, -1, withscores=True)
    assert at == pytest.approx(store.clock.time() + 90, abs=2)


def test_parts_keep_their_order_in_the_line_for_a_slot(store):
    def wait_for_slot(run_id):
        store.create_run(run_id, each=[f"https://{run_id}.example/"])
        return store.run(WriteIntent(store.claim_part(run_id), "n", 120.0, account="a", limit=1))[0]

    assert [wait_for_slot(run_id) for run_id in ("buys", "first")] == ["ok", "no_slot"]
    store.clock.ahead += 10.0
    store.run(ClaimDue(limit=100, cap=100, own_elapsed=1.0))
    store.clock.ahead -= HOUR
    assert wait_for_slot("second") == "no_slot"
    store.clock.ahead += 0.5
    store.run(ClaimDue(limit=100, cap=100, own_elapsed=1.0))
    store.run(RewindTimes())
    assert store.redis.zrange(store.keys.slot_waiters("a"), 0, -1) == [b"first:0", b"second:0"]


def test_large_set_is_rewound_whole(store):
    now = store.clock.time()
    store.redis.zadd(store.keys.changed, {f"r{n}": now + n for n in range(2500)})
    set_back(store, HOUR)
    scores = [at for _, at in store.redis.zrange(store.keys.changed, 0, -1, withscores=True)]
    assert scores == pytest.approx([now + n - HOUR for n in range(2500)], abs=2)
