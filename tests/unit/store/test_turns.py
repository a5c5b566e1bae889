"""Test fairness: keys take turns at the job slots, no part is forgotten, and nothing is left of an ended key."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.rules.waits import WaitKind
from scrape_do_celery.store import CANCEL, Keys, PartState, RunSpec
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.dispatch import RewindTimes
from scrape_do_celery.store.commands.parts import FinishPart
from scrape_do_celery.store.commands.runs import ReadRunWait, RequestStop
from scrape_do_celery.store.commands.stats import ReadStats
from tests.support.slot_market import ACCOUNT, Market


@pytest.fixture
def market(store):
    return Market(store)


SHARES = st.lists(st.tuples(st.sampled_from([0.5, 1, 2, 5]), st.sampled_from([1, 2, 7, 25])), min_size=2, max_size=4)


@settings(max_examples=5)
@given(SHARES)
def test_keys_get_credits_in_proportion_to_their_weights(make_store, shares):
    """At each moment, the credits of two keys by their weights differ by one job at most."""
    market = Market(make_store(Keys("p")))
    market.enqueue("first")
    for n, (weight, price) in enumerate(shares):
        market.enqueue(f"r{n}", 8, price, fairness_key=f"k{n}", fairness_weight=weight)
    one_job = max(price / weight for weight, price in shares)
    while all(market.bought.count(f"r{n}") < 8 for n in range(len(shares))):
        market.end_first()
        served = [market.bought.count(f"r{n}") * price / weight for n, (weight, price) in enumerate(shares)]
        assert max(served) - min(served) <= one_job + 0.1


def test_a_key_of_weight_two_gets_twice_the_credits(market):
    market.enqueue("first")
    market.enqueue("a", 12, fairness_key="a", fairness_weight=2)
    market.enqueue("b", 12, fairness_key="b")
    for _ in range(12):
        market.end_first()
    assert Counter(market.bought[1:]) == {"a": 8, "b": 4}


def test_dear_jobs_come_more_rarely(market):
    market.enqueue("first")
    market.enqueue("dear", 12, price=10, fairness_key="dear")
    market.enqueue("cheap", 12, price=2, fairness_key="cheap")
    for _ in range(12):
        market.end_first()
    assert Counter(market.bought[1:]) == {"cheap": 10, "dear": 2}


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("big_key", ["big", None])
@pytest.mark.parametrize("price", [1, 25])
def test_small_run_waits_for_no_further_job_of_a_big_run(store, limit, big_key, price):
    market = Market(store, limit)
    market.enqueue("big", 8, fairness_key=big_key)
    market.end_first()
    before = len(market.bought)
    market.enqueue("small", price=price, fairness_key="small")
    while "small" not in market.bought:
        market.end_first()
    assert market.bought[before:] == ["small"]


def test_small_run_finds_the_slot_that_a_big_run_leaves_free(store):
    market = Market(store, 3)
    market.enqueue("big", 5, fairness_key="big")
    assert market.bought == ["big"] * 2
    market.enqueue("small", fairness_key="small")
    assert market.bought == ["big", "big", "small"]


def test_one_slot_is_not_kept_free(market):
    market.enqueue("big", 2, fairness_key="big")
    assert market.bought == ["big"]


def test_new_keys_do_not_starve_a_key_that_waits(market):
    """A stream of small runs, each with its own key, comes as fast as slots become free."""
    market.enqueue("big", 6, fairness_key="big")
    for n in range(20):
        market.enqueue(f"s{n}", fairness_key=f"s{n}")
        market.end_first()
    assert market.bought.count("big") >= 5
    assert max(len(list(group)) for key, group in itertools.groupby(market.bought) if key != "big") < 6


def test_a_key_saves_no_turns_while_it_waits_for_nothing(store):
    market = Market(store, 2)
    market.enqueue("idle", fairness_key="idle")
    market.enqueue("busy", 12, fairness_key="busy")
    for _ in range(6):
        market.end(*next(one for one in market.held() if one[0] == "busy"))
    market.limit = 1
    market.enqueue("later", 6, fairness_key="idle")
    before = len(market.bought)
    while len(market.bought) < before + 6:
        market.end_first()
    assert Counter(market.bought[before:])["busy"] >= 2


def test_without_a_key_runs_are_bought_in_order_of_arrival(store):
    market = Market(store, 2)
    for n in range(5):
        market.enqueue(f"r{n}", 2)
    while market.end_first():
        assert not {name.split(":")[1] for name in market.left_keys()} & {"slot_line", "slot_turns", "new_turn"}
    assert market.bought == [f"r{n}" for n in range(5) for _ in range(2)]
    assert {name for run_id in market.prices for name in store.run_fields(run_id)}.isdisjoint({"fair"})


def test_waiting_parts_without_an_option_have_no_more_fields(store):
    market = Market(store)
    market.enqueue("first")
    market.enqueue("r")
    assert "slot_price" not in store.part_fields("r")
    assert store.redis.zcard(store.keys.slot_waiters(ACCOUNT)) == 1


@pytest.mark.parametrize("key", [None, "k"])
def test_priority_orders_the_runs_of_a_key(market, key):
    market.enqueue("first")
    for run_id, priority in (("usual", 0), ("low", -9), ("high", 9), ("usual2", 0), ("high2", 9)):
        market.enqueue(run_id, fairness_key=key, priority=priority)
    while market.end_first():
        pass
    assert market.bought[1:] == ["high", "high2", "usual", "usual2", "low"]


def test_priority_gives_a_key_no_more_turns(market):
    market.enqueue("first")
    market.enqueue("a", 4, fairness_key="a", priority=9)
    market.enqueue("b", 4, fairness_key="b")
    for _ in range(4):
        market.end_first()
    assert Counter(market.bought[1:]) == {"a": 2, "b": 2}


def test_slot_that_was_kept_free_goes_to_others_when_the_last_key_ends(store):
    market = Market(store, 2)
    market.enqueue("usual", 4)
    market.enqueue("keyed", fairness_key="k")
    market.end_first()
    assert Counter(run_id for run_id, _ in market.held()) == {"usual": 1, "keyed": 1}
    market.end("keyed")
    assert Counter(run_id for run_id, _ in market.held()) == {"usual": 2}


def test_slot_stays_free_while_each_key_that_waits_holds_one(store):
    market = Market(store, 3)
    market.enqueue("usual", 5)
    market.enqueue("keyed", 3, fairness_key="k")
    for _ in range(2):
        market.end("usual", market.held()[0][1])
    assert Counter(run_id for run_id, _ in market.held()) == {"usual": 1, "keyed": 1}
    store.run(RequestStop("keyed", CANCEL))
    market.end("keyed")
    assert Counter(run_id for run_id, _ in market.held()) == {"usual": 3}


def test_canceled_run_is_charged_for_no_slot_that_it_did_not_use(market):
    market.enqueue("first")
    market.enqueue("a", 3, price=25, fairness_key="a")
    market.enqueue("b", 6, fairness_key="b")
    # The part of `a` whose turn comes has no step yet when its run is canceled.
    market.store.set_fields("first", 0, due_at=0, lease=0)
    market.store.run(FinishPart(market.store.claim_part("first"), "succeeded"))
    assert market.held() == [("a", 0)]
    market.store.run(RequestStop("a", CANCEL))
    market.enqueue("a2", fairness_key="a")
    market.buy_woken()
    for _ in range(3):
        market.end_first()
    assert "a2" in market.bought[:4]


def test_charge_is_corrected_to_the_reserved_price(market):
    """A part that waited before the first key came has no price in its record. It is charged at its purchase."""
    market.enqueue("first")
    market.enqueue("usual", 6, price=10)
    market.enqueue("keyed", 12, price=1, fairness_key="k")
    for _ in range(11):
        market.end_first()
    assert Counter(market.bought[1:])["usual"] <= 2
    fields = market.store.part_fields("usual", 0)
    assert "slot_price" not in fields


def test_status_counts_the_parts_of_the_own_key(market):
    market.enqueue("first")
    market.enqueue("other", 3, fairness_key="other")
    market.enqueue("a", fairness_key="k")
    market.enqueue("b", fairness_key="k", priority=-1)
    market.enqueue("usual", 2)
    market.store.note_worker()
    waits = {name: market.store.run(ReadRunWait(name, ACCOUNT, "t"))[1] for name in ("a", "b", "usual")}
    assert {name: (wait.kind, wait.ahead) for name, wait in waits.items()} == {
        "a": (WaitKind.IN_LINE, 0),
        "b": (WaitKind.IN_LINE, 1),
        "usual": (WaitKind.IN_LINE, 0),
    }
    assert "parts of its fairness key wait before it" in waits["b"].text
    assert "fairness" not in waits["usual"].text
    for wait in waits.values():
        assert abs(wait.since.timestamp() - market.store.clock.time()) < 5


def test_figures_have_the_longest_wait(market):
    market.enqueue("first")
    market.enqueue("keyed", fairness_key="k")
    began = market.store.clock.time()
    market.store.clock.forward(100)
    market.enqueue("high", priority=9)
    market.store.clock.forward(100)
    market.enqueue("usual")
    [account] = market.store.run(ReadStats(ACCOUNT, [])).accounts
    assert account.waiting_for_slot == 3
    assert account.first_waiting_since == pytest.approx(began, abs=1)


def test_order_outlives_a_step_back_of_the_clock(market):
    market.enqueue("first")
    market.enqueue("a", fairness_key="k")
    market.store.clock.forward(-1000)
    market.store.redis.hset(market.store.keys.clock, mapping={"rewind": 1000, "stepped": market.store.clock.time()})
    market.enqueue("b", fairness_key="k")
    market.store.run(RewindTimes())
    market.enqueue("c", fairness_key="k")
    while market.end_first():
        pass
    assert market.bought[1:] == ["a", "b", "c"]


# Workers of an older version


def take_as_older_worker(store):
    """Wake the next waiter as a worker of an older version does. Return the part."""
    name, _ = store.redis.zpopmin(store.keys.slot_waiters(ACCOUNT))[0]
    run_id, _, number = name.decode().rpartition(":")
    store.redis.zadd(store.keys.slots(ACCOUNT), {name: store.clock.time()})
    store.set_fields(run_id, int(number), slot=ACCOUNT, slot_queue=None)
    return run_id


def release_as_older_worker(store, run_id, number=0):
    """Free the slot of a part that has ended as a worker of an older version does."""
    store.redis.zrem(store.keys.slots(ACCOUNT), f"{run_id}:{number}")
    store.set_fields(run_id, number, slot=None, state="done")


def test_older_worker_wakes_keyed_parts_in_order_of_arrival(market):
    market.enqueue("first")
    market.enqueue("a", 2, fairness_key="a")
    market.enqueue("b", fairness_key="b", priority=9)
    market.enqueue("usual")
    assert [take_as_older_worker(market.store) for _ in range(4)] == ["usual", "a", "a", "b"]


def test_newer_worker_goes_on_after_an_older_one(market):
    market.enqueue("first")
    market.enqueue("a", 2, fairness_key="a")
    market.enqueue("b", 2, fairness_key="b")
    release_as_older_worker(market.store, "first")
    assert take_as_older_worker(market.store) == "a"
    market.try_buy("a", 0)
    while market.end_first():
        pass
    assert sorted(market.bought[1:]) == ["a", "a", "b", "b"]
    assert market.left_keys() == []


def test_keys_that_an_older_worker_has_ended_are_forgotten(market):
    market.enqueue("first")
    market.enqueue("a", fairness_key="a")
    release_as_older_worker(market.store, "first")
    take_as_older_worker(market.store)
    release_as_older_worker(market.store, "a")
    market.enqueue("usual", 2)
    while market.end_first():
        pass
    assert market.bought[1:] == ["usual", "usual"]
    assert market.left_keys() == []


def test_part_that_an_older_worker_lets_wait_is_not_forgotten(market):
    market.enqueue("first")
    market.enqueue("a", fairness_key="a")
    market.store.run(CreateRun("old", RunSpec(JobCreationRequest(targets=["https://o.example/"]), fairness_key="b")))
    market.store.redis.zadd(market.store.keys.slot_waiters(ACCOUNT), {"old:0": market.store.clock.time()})
    market.store.set_fields("old", slot_queue=ACCOUNT)
    market.prices["old"] = market.counts["old"] = 1
    while market.end_first():
        pass
    assert sorted(market.bought[1:]) == ["a", "old"]
    assert market.left_keys() == []


# Any order of events

KEYS = [None, "a", "b", "c"]
EVENTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("enqueue"),
            st.sampled_from(KEYS),
            st.sampled_from([-1, 0, 0, 5]),
            st.integers(1, 3),
            st.sampled_from([1, 25]),
        ),
        st.tuples(st.sampled_from(["end", "buy", "void", "cancel", "older"]), st.integers(0, 100)),
    ),
    max_size=25,
)


@settings(max_examples=15)
@given(EVENTS, st.integers(1, 3))
def test_no_part_is_forgotten_in_any_order(make_store, events, limit):
    market = Market(make_store(Keys("p")), limit)
    keys = {}
    for what, *arguments in events:
        if what == "enqueue":
            key, priority, parts, price = arguments
            keys[f"r{len(keys)}"] = key
            market.enqueue(f"r{len(keys) - 1}", parts, price, fairness_key=key, priority=priority)
        else:
            apply_event(market, what, arguments[0])
        check_slots(market, keys)
    for _ in range(200):
        market.buy_woken()
        check_slots(market, keys)
        if not market.end_first():
            break
    assert market.parts(PartState.QUEUED) == []
    assert market.left_keys() == []
    assert market.store.undeclared_fields() == set()


def apply_event(market, what, number):
    held, waiting = market.held(), market.parts(PartState.QUEUED)
    if what == "end" and held and market.parts(PartState.RUNNING):
        running = market.parts(PartState.RUNNING)
        market.end(*running[number % len(running)])
    elif what in {"buy", "void"} and waiting:
        market.try_buy(*waiting[number % len(waiting)], is_void=what == "void")
    elif what == "cancel" and waiting:
        market.store.run(RequestStop(waiting[number % len(waiting)][0], CANCEL))
    elif (
        what == "older"
        and len(held) < market.limit
        and market.store.redis.exists(market.store.keys.slot_waiters(ACCOUNT))
    ):
        run_id = take_as_older_worker(market.store)
        for name, part in market.held():
            if name == run_id and (name, part) in waiting:
                market.try_buy(name, part)


def check_slots(market, keys):
    held = market.held()
    assert len(held) <= market.limit
    assert set(market.parts(PartState.RUNNING)) <= set(held)
