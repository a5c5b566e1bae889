"""Test that reservations never pass a limit, that each purchase is settled once, and that waiting parts are woken."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from scrape_do_celery.config.budget_limits import MC_PER_CREDIT
from scrape_do_celery.rules.budgets import account_scope, parse_refusal, tag_scope
from scrape_do_celery.rules.prices import PriceGroup
from scrape_do_celery.rules.waits import WaitKind
from scrape_do_celery.store import CANCEL, PartId, PartState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.budgets import ReadBudgets, ReadSpend, SetBudget, StopBuying
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.commands.runs import ForgetRun, ReadRunWait, RequestStop

ACCOUNT = "me"
SCOPE = account_scope(ACCOUNT)
DAY, MONTH = "day", "month"


def today(store):
    return datetime.fromtimestamp(store.clock.time(), UTC).date()


def spend(store, scope=SCOPE, period=DAY, on=None):
    """Return the spent and the reserved credits of a scope."""
    name = f"{on or today(store):%Y-%m-%d}"[: 10 if period == DAY else 7]
    amounts = store.run(ReadSpend(name)).get(scope, {})
    return amounts.get("spent", 0) / MC_PER_CREDIT, amounts.get("reserved", 0) / MC_PER_CREDIT


def limit(store, credits_, period=DAY, scope=SCOPE):
    return store.run(SetBudget(scope, period, None if credits_ is None else int(credits_ * MC_PER_CREDIT)))


def intend(store, run_id="r", part=0, price=2, **options):
    """Try to write the intent of a part. Return the verdict and the refusal."""
    store.clock.forward(1)
    claim = store.claim_part(run_id, part, account=ACCOUNT)
    told = WriteIntent(
        claim,
        f"n{run_id}{part}",
        100.0,
        account=ACCOUNT,
        groups=[PriceGroup("x", 1, 0, round(price * MC_PER_CREDIT), None)],
        **options,
    )
    verdict, reason = store.run(told)
    return verdict.value, parse_refusal(reason) if verdict == "over_budget" else None


def answer(store, run_id="r", part=0):
    """Write the answer of the `POST`, as the step that sent it does."""
    store.set_fields(run_id, part, lease=0)
    claim = store.claim_part(run_id, part, account=ACCOUNT)
    fields = {"job": f"job-{run_id}-{part}", "tasks": pack(["t0", "t1"]), "purchase_status": "confirmed"}
    assert store.run(UpdatePart(claim, fields, to="running", after=0.0, owner=f"job-{run_id}-{part}")) == "ok"


def finish(store, run_id="r", part=0, costs=(1, 1), **options):
    """Store the tasks of a part with these costs, and end the part. None is a cost that the API did not report."""
    store.set_fields(run_id, part, lease=0)
    claim = store.claim_part(run_id, part, account=ACCOUNT)
    for position, cost in enumerate(costs):
        metadata = {} if cost is None else {"Request-Cost": str(cost)}
        store.store_content(run_id, part, position, scrape_do_metadata=metadata)
    assert store.run(FinishPart(claim, "succeeded", **options)) is not None


@pytest.fixture
def store(store, make):
    def store_content(run_id="r", part=0, position=0, **fields):
        return store.run(StoreContent(PartId(run_id, part), position, make.task(position, **fields)))

    store.store_content = store_content
    return store


def test_price_is_reserved_with_the_intent_and_settled_at_the_end(store):
    store.create_run(tags=["shop:7", "eu"])
    assert intend(store, price=20) == ("ok", None)
    for scope, period in itertools.product([SCOPE, tag_scope("shop:7"), tag_scope("eu")], [DAY, MONTH]):
        assert spend(store, scope, period) == (0, 20)
    answer(store)
    finish(store, costs=(1, 5.5))
    for scope, period in itertools.product([SCOPE, tag_scope("shop:7"), tag_scope("eu")], [DAY, MONTH]):
        assert spend(store, scope, period) == (6.5, 0)


@pytest.mark.parametrize(
    ("status", "spent"), [("void", 0), ("not_found", 0), ("in_doubt", 20), ("open", 20), ("confirmed", 20)]
)
def test_end_without_pages_settles_by_the_fate_of_the_purchase(store, status, spent):
    store.create_run()
    intend(store, price=20)
    finish(store, costs=(), purchase_status=status)
    assert spend(store) == (spent, 0)


def test_cost_that_was_not_reported_is_assumed(store):
    store.create_run()
    limit(store, 100)
    intend(store, price=20)
    answer(store)
    finish(store, costs=(3, None))
    assert spend(store) == (13, 0)
    assert [row.assumed_mc for row in store.run(ReadBudgets())] == [10_000]


def test_purchase_that_was_not_sent_frees_its_reservation(store):
    store.create_run()
    intend(store, price=20)
    store.set_fields(lease=0)
    claim = store.claim_part(account=ACCOUNT)
    for _ in range(2):
        store.run(UpdatePart(claim, {"purchase_status": "void"}, to="queued", after=1.0))
    assert spend(store) == (0, 0)
    assert "price" not in store.part_fields()


def test_purchase_counts_for_the_day_on_which_it_was_reserved(store):
    store.create_run()
    intend(store, price=20)
    before = today(store)
    answer(store)
    store.clock.forward(40 * 86_400)
    finish(store, costs=(1, 2))
    assert spend(store, on=before) == (3, 0)
    assert spend(store, period=MONTH, on=before) == (3, 0)
    assert spend(store) == (0, 0)


@pytest.mark.parametrize(("scope", "period"), list(itertools.product([SCOPE, tag_scope("a")], [DAY, MONTH])))
def test_part_over_a_limit_waits_and_holds_nothing(store, scope, period):
    store.create_run("first", tags=["a"])
    store.create_run("r", tags=["a"], each=["https://shop.example/r"])
    limit(store, 30, period, scope)
    assert intend(store, "first", price=20)[0] == "ok"
    verdict, refusal = intend(store, price=11, limit=5)
    assert (verdict, refusal.is_final, refusal.use.scope, refusal.use.period) == ("over_budget", False, scope, period)
    assert (refusal.use.limit_mc, refusal.use.reserved_mc, refusal.amount_mc) == (30_000, 20_000, 11_000)
    fields = store.part_fields()
    assert fields["state"] == "queued"
    assert not fields.keys() & {"attempts", "lease", "token", "slot", "slot_queue", "price", "locks"}
    assert spend(store, scope, period) == (0, 20)
    store.note_worker()
    _, wait = store.run(ReadRunWait("r", ACCOUNT))
    assert wait.kind is WaitKind.BUDGET
    assert "11 credits" in str(wait)


def test_settlement_wakes_the_parts_that_fit(store):
    for run_id in ("first", "large", "small"):
        store.create_run(run_id, each=[f"https://shop.example/{run_id}"])
    limit(store, 30)
    intend(store, "first", price=30)
    for run_id, price in (("large", 29), ("small", 10)):
        assert intend(store, run_id, price=price)[0] == "over_budget"
    answer(store, "first")
    finish(store, "first", costs=(5,))
    due = store.due_parts()
    assert due["large:0"] > 0 >= due["small:0"]
    assert intend(store, "small", price=10)[0] == "ok"


@pytest.mark.parametrize("change", ["raise", "remove", "resume"])
def test_change_of_a_limit_wakes_the_parts_that_fit(store, change):
    store.create_run()
    if change == "resume":
        store.run(StopBuying(SCOPE, is_stopped=True))
    else:
        limit(store, 25)
        store.create_run("first", each=["https://shop.example/first"])
        intend(store, "first", price=20)
    assert intend(store, price=20)[0] == "over_budget"
    assert store.due_parts()["r:0"] > 0
    if change == "resume":
        store.run(StopBuying(SCOPE, is_stopped=False))
    else:
        limit(store, 50 if change == "raise" else None)
    assert store.due_parts()["r:0"] <= 0
    assert intend(store, price=20) == ("ok", None)


@pytest.mark.parametrize("period", [DAY, MONTH])
def test_waiting_part_is_due_at_the_end_of_the_period_at_the_latest(store, period):
    store.create_run()
    limit(store, 25, period)
    store.create_run("first", each=["https://shop.example/first"])
    intend(store, "first", price=20)
    for _ in range(200):
        if intend(store, price=20)[0] == "ok":
            break
        store.clock.forward(max(0.0, store.due_parts()["r:0"]))
    now = today(store)
    assert spend(store) == (0, 20)
    assert (now.day == 1) or period == DAY


def test_part_that_is_larger_than_its_budget_is_refused_for_good(store):
    store.create_run()
    limit(store, 25)
    verdict, refusal = intend(store, price=25.001)
    assert (verdict, refusal.is_final) == ("over_budget", True)


def test_policy_fail_refuses_for_good_but_a_stop_waits(store):
    store.create_run("first", each=["https://shop.example/first"])
    store.create_run()
    limit(store, 25)
    intend(store, "first", price=20)
    assert intend(store, price=20, if_over_budget="fail")[1].is_final
    store.run(StopBuying(SCOPE, is_stopped=True))
    store.set_fields(lease=0)
    assert not intend(store, price=1, if_over_budget="fail")[1].is_final


def test_max_credits_lets_a_part_wait_while_other_parts_may_cost_less(store):
    store.create_multi_part_run(2, max_credits=30)
    assert intend(store, price=25)[0] == "ok"
    assert not intend(store, part=1, price=10)[1].is_final
    answer(store)
    finish(store, costs=(5,), purchase_status="confirmed")
    fields = store.run_fields()
    assert fields["reserved_mc"] == "0"
    assert store.due_parts()["r:1"] <= 0


def test_max_credits_ends_a_part_when_no_other_part_can_free_credits(store):
    store.create_multi_part_run(2, max_credits=30)
    intend(store, price=25)
    answer(store)
    finish(store, costs=(25,) * 2, purchase_status="confirmed")
    verdict, refusal = intend(store, part=1, price=10)
    assert (verdict, refusal.is_final, refusal.use.period) == ("over_budget", True, "run")


def create_runs(store, *run_ids):
    for run_id in run_ids:
        store.create_run(run_id, each=[f"https://shop.example/{run_id}"])


def ask_again(store, run_id, price):
    """Try to write the intent of a part that waits, as its step does after the part was woken."""
    store.set_fields(run_id, lease=0, due_at=0)
    return intend(store, run_id, price=price)


def test_end_of_a_stop_wakes_the_parts_that_fit_behind_one_that_does_not(store):
    create_runs(store, "buying", "large", "small")
    limit(store, 10)
    intend(store, "buying", price=9)
    intend(store, "large", price=5)
    intend(store, "small", price=2)
    store.run(StopBuying(SCOPE, is_stopped=True))
    assert ask_again(store, "large", 5)[1].use.period == "stop"
    answer(store, "buying")
    finish(store, "buying", costs=(3, 4))
    store.run(StopBuying(SCOPE, is_stopped=False))
    assert store.due_parts()["small:0"] <= 0
    assert store.due_parts()["large:0"] <= 0, "it asks anew, to show the reason for which it waits now"


def test_woken_part_that_is_refused_leaves_its_room_to_the_next(store):
    create_runs(store, "buying", "first", "second", "other")
    limit(store, 10)
    intend(store, "buying", price=10)
    intend(store, "first", price=8)
    intend(store, "second", price=6)
    answer(store, "buying")
    finish(store, "buying", costs=(0, 0))
    assert store.due_parts()["second:0"] > 0, "the room is kept for the first"
    assert intend(store, "other", price=3)[0] == "ok"
    assert ask_again(store, "first", 8)[0] == "over_budget"
    assert store.due_parts()["second:0"] <= 0


def test_woken_part_that_has_become_dearer_leaves_its_room_to_the_next(store):
    create_runs(store, "buying", "first", "second")
    limit(store, 10)
    intend(store, "buying", price=10)
    intend(store, "first", price=6)
    intend(store, "second", price=5)
    answer(store, "buying")
    finish(store, "buying", costs=(1, 2))
    assert ask_again(store, "first", 9)[0] == "over_budget"
    assert store.due_parts()["second:0"] <= 0


def test_stopped_run_leaves_the_line(store):
    store.create_run()
    store.run(StopBuying(SCOPE, is_stopped=True))
    intend(store, price=20)
    store.run(RequestStop("r", CANCEL))
    assert store.part().state is PartState.DONE
    assert not store.redis.exists(store.keys.budget_waiters(SCOPE))
    assert "budget" not in store.part_fields()


def test_run_that_nobody_can_end_is_kept_as_spent(store):
    store.create_run()
    intend(store, price=20)
    answer(store)
    store.run(RequestStop("r", CANCEL))
    store.redis.hset(store.keys.run("r"), "key", "lost-key")
    before = today(store)
    store.clock.forward(10**6)
    assert store.run(ForgetRun("r", grace=1.0)) == "freed"
    assert spend(store, on=before) == (20, 0)


def test_passed_threshold_is_told_once_for_each_period_and_limit(store):
    limit(store, 10)
    store.create_run()

    def news():
        return [row.use.scope for row in store.run(ReadBudgets(warns=True)) if row.is_news]

    assert news() == []
    intend(store, price=8)
    assert news() == [SCOPE]
    assert news() == []
    limit(store, 9)
    assert news() == [SCOPE]


def test_tags_without_a_limit_do_not_fill_the_store(store):
    store.redis.hset(store.keys.spend(f"{today(store):%Y-%m-%d}"), "tags", 1_000)
    limit(store, 100, scope=tag_scope("limited"))
    store.create_run(tags=["free", "limited"])
    intend(store, price=20)
    answer(store)
    finish(store, costs=(1, 1))
    assert spend(store, tag_scope("limited")) == (2, 0)
    assert tag_scope("free") not in store.run(ReadSpend(f"{today(store):%Y-%m-%d}"))


def test_limit_set_while_tags_are_not_counted_counts_no_earlier_purchase(store):
    for name in (f"{today(store):%Y-%m-%d}", f"{today(store):%Y-%m}"):
        store.redis.hset(store.keys.spend(name), "tags", 1_000)
    for run_id in ("first", "second"):
        store.create_run(run_id, tags=["free"], each=[f"https://shop.example/{run_id}"])
    intend(store, "first", price=20)
    limit(store, 100, scope=tag_scope("free"))
    intend(store, "second", price=30)
    answer(store, "first")
    finish(store, "first", costs=(1, 1))
    assert spend(store, tag_scope("free")) == (2, 30)
    answer(store, "second")
    finish(store, "second", costs=(1, 1))
    assert spend(store, tag_scope("free")) == (4, 0)


def test_purchase_right_before_midnight_is_settled_on_the_day_of_its_reservation(store):
    store.clock.stop()
    store.create_run()
    midnight = (int(store.clock.time()) // 86_400 + 1) * 86_400
    store.clock.forward(midnight - 1.00003 - store.clock.time())
    intend(store, price=20)
    answer(store)
    finish(store, costs=(1, 2))
    days = [datetime.fromtimestamp(midnight + offset, UTC).date() for offset in (-1, 1)]
    assert sorted(spend(store, on=day) for day in days) == [(0, 0), (3, 0)]


def test_purchase_that_moves_to_another_account_wakes_the_parts_of_the_first(store):
    for run_id in ("moving", "waiting"):
        store.create_run(run_id, each=[f"https://shop.example/{run_id}"])
    limit(store, 20)
    intend(store, "moving", price=20)
    assert intend(store, "waiting", price=20)[0] == "over_budget"
    store.set_fields("moving", lease=0, state="reconciling")
    claim = store.claim_part("moving", account=ACCOUNT)
    adopted = {"account": "another", "purchase_status": "adopted"}
    assert store.run(UpdatePart(claim, adopted, to="running", after=0.0, owner="job-moving")) == "ok"
    assert spend(store, account_scope("another")) == (0, 20)
    assert spend(store) == (0, 0)
    assert store.due_parts()["waiting:0"] <= 0


@pytest.mark.parametrize(
    "day", [date(2024, 2, 28), date(2024, 2, 29), date(2100, 2, 28), date(2026, 12, 31), date(2000, 3, 1)]
)
def test_periods_follow_the_calendar(store, day):
    moment = datetime(day.year, day.month, day.day, 23, 59, tzinfo=UTC)
    store.clock.forward(moment.timestamp() - store.clock.time())
    store.create_run()
    intend(store, price=20)
    assert spend(store, on=day) == (0, 20)
    assert spend(store, period=MONTH, on=day) == (0, 20)


def wait_in_line(store, count, *, each=lambda n: f"https://shop.example/{n}"):
    """Let parts of `count` runs wait for a stop. Return the names of the runs."""
    store.run(StopBuying(SCOPE, is_stopped=True))
    names = [f"w{n}" for n in range(count)]
    for n, name in enumerate(names):
        store.create_run(name, each=[each(n)])
        assert intend(store, name)[0] == "over_budget"
    return names


def test_part_that_waits_for_a_slot_or_lock_is_in_no_line(store):
    wait_in_line(store, 3, each=lambda _: "https://shop.example/same")
    store.run(StopBuying(SCOPE, is_stopped=False))
    assert [intend(store, name, limit=1)[0] for name in ("w0", "w1", "w2")] == [
        "ok",
        "targets_locked",
        "targets_locked",
    ]
    assert not store.redis.exists(store.keys.budget_waiters(SCOPE))
    assert "budget" not in store.part_fields("w1")


def test_part_that_was_woken_is_not_woken_again(store):
    names = wait_in_line(store, 20)
    store.run(StopBuying(SCOPE, is_stopped=False))
    for name in names:
        store.set_fields(name, dispatches=3)
    intend(store, names[0])
    assert [store.part_fields(name).get("dispatches") for name in names[1:]] == ["3"] * 19


def test_part_that_a_stop_held_back_asks_for_its_present_reason(store):
    store.create_run("first", each=["https://shop.example/first"])
    intend(store, "first", price=4)
    limit(store, 5)
    (name,) = wait_in_line(store, 1)
    store.run(StopBuying(SCOPE, is_stopped=False))
    assert store.due_parts()[f"{name}:0"] <= 0
    verdict, refusal = intend(store, name)
    assert (verdict, refusal.use.period) == ("over_budget", DAY)


def test_cancel_of_a_run_wakes_the_parts_behind_its_own(store):
    store.create_run("first", each=["https://shop.example/first"])
    intend(store, "first", price=4)
    limit(store, 5)
    store.create_run("large", each=["https://shop.example/large"])
    store.create_run("small", each=["https://shop.example/small"])
    assert [intend(store, name, price=price)[0] for name, price in (("large", 5), ("small", 2))] == ["over_budget"] * 2
    limit(store, None)
    store.set_fields("small", due_at=store.clock.time() + 1000)
    store.run(RequestStop("large", CANCEL))
    assert store.due_parts()["small:0"] <= 0


def test_reservation_that_an_older_worker_has_left_is_freed(store):
    store.create_run(max_credits=3)
    intend(store, price=2)
    store.set_fields(state="queued", lease=0)
    assert intend(store, price=2) == ("ok", None)
    assert spend(store) == (0, 2)
    assert store.run_fields()["reserved_mc"] == "2000"


def test_part_of_an_older_version_that_ends_in_doubt_counts_its_estimate(store):
    store.create_run()
    intend(store, price=20)
    store.redis.hdel(store.keys.spend(f"{today(store):%Y-%m-%d}"), f"{SCOPE} reserved")
    store.set_fields(price=None, estimate=20)
    finish(store, costs=(), purchase_status="in_doubt")
    assert spend(store) == (20, 0)


class Spending(RuleBasedStateMachine):
    """Parts of several runs that buy, fail and end, under three budgets and a cap. The test sets `new_store`."""

    new_store = None
    RUNS = tuple("abcdef")

    def __init__(self):
        super().__init__()
        self.store = self.new_store()
        #: the reserved amount of each part whose purchase is open, and the settled amount of each part
        self.open, self.settled = {}, {}
        self.limits, self.stopped = {}, set()

    def scopes(self, run_id):
        return [SCOPE, tag_scope("even" if self.RUNS.index(run_id) % 2 else "odd")]

    @initialize()
    def start(self):
        for index, run_id in enumerate(self.RUNS):
            tags = ["even" if index % 2 else "odd"]
            cap = {"max_credits": 20} if run_id in "ab" else {}
            self.store.create_run(run_id, each=[f"https://shop.example/{run_id}"], tags=tags, **cap)

    @rule(scope=st.sampled_from([SCOPE, tag_scope("odd"), tag_scope("even")]), credits_=st.none() | st.integers(1, 40))
    def set_limit(self, scope, credits_):
        limit(self.store, credits_, scope=scope)
        self.limits[scope] = credits_

    @rule(scope=st.sampled_from([SCOPE, tag_scope("odd")]), is_stopped=st.booleans())
    def stop_or_resume(self, scope, is_stopped):
        self.store.run(StopBuying(scope, is_stopped))
        (self.stopped.add if is_stopped else self.stopped.discard)(scope)

    @rule(run_id=st.sampled_from(RUNS), price=st.integers(1, 15))
    def reserve(self, run_id, price):
        part = self.store.part(run_id)
        if part.state is not PartState.QUEUED:
            return
        self.store.set_fields(run_id, lease=0, due_at=0)
        used = {scope: sum(spend(self.store, scope)) for scope in self.scopes(run_id)}
        fits = all(used[scope] + price <= (self.limits.get(scope) or 10**9) for scope in used)
        if run_id in "ab":
            fits = fits and price <= 20
        fits = fits and not self.stopped & set(used)
        verdict, refusal = intend(self.store, run_id, price=price)
        assert (verdict == "ok") == fits
        if fits:
            self.open[run_id] = price
        elif refusal.is_final:
            # The step ends the part with the lease that the script has left.
            self.store.set_fields(run_id, lease=0)
            self.store.run(FinishPart(self.store.claim_part(run_id, account=ACCOUNT), "budget_exceeded"))

    @rule(
        run_id=st.sampled_from(RUNS),
        cost=st.none() | st.integers(0, 30),
        fate=st.sampled_from(["paid", "paid", "void", "not_sent", "not_found", "in_doubt"]),
    )
    def end(self, run_id, cost, fate):
        if run_id not in self.open:
            return
        price = self.open.pop(run_id)
        if fate in {"not_sent", "not_found"}:
            self.store.set_fields(run_id, lease=0)
            claim = self.store.claim_part(run_id, account=ACCOUNT)
            status = "void" if fate == "not_sent" else "not_found"
            self.store.run(UpdatePart(claim, {"purchase_status": status}, to="queued", after=0.0))
            return
        if fate == "paid":
            answer(self.store, run_id)
            finish(self.store, run_id, costs=(cost,))
            self.settled[run_id] = price if cost is None else cost
        else:
            finish(self.store, run_id, costs=(), purchase_status=fate)
            self.settled[run_id] = price if fate == "in_doubt" else 0

    @invariant()
    def sums_agree(self):
        for scope in (SCOPE, tag_scope("odd"), tag_scope("even")):
            reserved = sum(price for run_id, price in self.open.items() if scope in self.scopes(run_id))
            spent = sum(price for run_id, price in self.settled.items() if scope in self.scopes(run_id))
            assert spend(self.store, scope) == (spent, reserved)
            assert spend(self.store, scope, MONTH) == (spent, reserved)

    @invariant()
    def parts_wait_in_one_line_or_none(self):
        waiting = {
            part_id.decode()
            for key in self.store.redis.scan_iter(self.store.keys.budget_waiters("*"))
            for part_id in self.store.redis.zrange(key, 0, -1)
        }
        assert waiting == {
            f"{one}:0"
            for one in self.RUNS
            if self.store.redis.exists(self.store.keys.run(one)) and "budget" in self.store.part_fields(one)
        }

    def needs_of(self, run_id):
        return int(self.store.part_fields(run_id)["budget"].split()[0]) / MC_PER_CREDIT

    @invariant()
    def a_part_that_fits_is_not_left_waiting(self):
        for key in self.store.redis.scan_iter(self.store.keys.budget_waiters("*")):
            scope = key.decode().split(":", 2)[2]
            waiting = [part_id.decode()[0] for part_id in self.store.redis.zrange(key, 0, -1)]
            needs = {run_id: self.needs_of(run_id) for run_id in waiting}
            if scope.startswith("run:") or scope in self.stopped:
                continue
            room = (self.limits.get(scope) or 10**9) - sum(spend(self.store, scope))
            fitting = [run_id for run_id in waiting if needs[run_id] <= room]
            due = self.store.due_parts()
            # A part that is awake may hold the room, and gives it to the next if it does not take it.
            assert not fitting or any(due[f"{run_id}:0"] <= 0 for run_id in waiting)


def test_sums_agree_in_any_order_of_purchases(make_store, store):
    class Machine(Spending):
        def new_store(self):
            store.redis.flushall()
            return store

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            deadline=None,
        ),
    )
