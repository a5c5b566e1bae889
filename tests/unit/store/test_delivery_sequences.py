"""Test invariants of deliveries in any order of deliveries, fetches, steps and ends."""

from __future__ import annotations

import itertools

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from scrape_do_celery.models import TaskDetails
from scrape_do_celery.rules.budgets import lacks_cost
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.contents import HoldContent, ReadContents, StoreContent
from scrape_do_celery.store.commands.deliveries import (
    DeliveryResult,
    DropDeliveries,
    ReadDeliveries,
    ReadDeliveryTarget,
    TakeDelivery,
)
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart, UpdateResult
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.commands.runs import ForgetRun
from scrape_do_celery.store.commands.webhook_trust import DistrustWebhooks, TrustWebhooks
from scrape_do_celery.store.retention import FIRST_CHECKS, JOB_LOOK_INTERVAL

EXAMPLES, STEPS = 12, 35
NO_CONTENT = "(none)"
PART, JOB, TARGETS = PartId("r", 0), "job", 4
POSITIONS = st.integers(0, TARGETS)  # the last one is no task of the job
COSTS = st.sampled_from([0, 1, 2.5, None])
KINDS = st.sampled_from(["page", "page", "hint", "no body", "other job", "other purchase"])
FETCHED = st.sampled_from(["success", "error", "gone", "too_large", "unreadable", "given_up"])


class Webhooks(RuleBasedStateMachine):
    """A part with a webhook and everything that may happen to it. The test sets `new_store`."""

    new_store = None

    def __init__(self):
        super().__init__()
        self.store = self.new_store()
        self.store.account = "me"
        self.numbers = itertools.count()
        #: contents by position that the API's own answer gave
        self.fetched = {}
        self.claim = self.ended = None
        self.demanded = False

    @initialize(named=st.integers(1, TARGETS), trusted=st.booleans())
    def buy(self, named, trusted):
        self.store.create_run(targets=TARGETS)
        self.claim = self.store.claim_part(seconds=120)
        assert self.store.run(WriteIntent(self.claim, "n", 120.0, account="me", has_webhook=True))[0] == "ok"
        self.named = 0
        self.first_ids = named
        if trusted:
            self.store.redis.hset(self.store.keys.webhook_trust("me"), "taken", FIRST_CHECKS)

    # Deliveries

    @rule(position=POSITIONS, kind=KINDS, cost=COSTS, proven=st.booleans(), twice=st.booleans(), old=st.booleans())
    def deliver(self, position, kind, cost, proven, twice, old):
        target = getattr(self, "target", None) if old else self.store.run(ReadDeliveryTarget(PART))
        self.target = target
        page = make_task(position, cost, content=f"delivered {next(self.numbers)}") if kind == "page" else None
        ids = ("", "") if kind == "no body" else ("job-2" if kind == "other job" else JOB, f"T{position}")
        number = 2 if kind == "other purchase" else 1
        command = TakeDelivery(PART, number, target, *ids, is_proven=proven, page=page)
        before = self.snapshot()
        taken = self.store.run(command)
        after = self.snapshot()
        if taken.result in {DeliveryResult.STORED, DeliveryResult.HINTED, DeliveryResult.NOTED}:
            is_of_part = kind != "other job" and (kind != "other purchase" or proven)
            assert is_of_part or self.state in {"submitting", "reconciling"}
        else:
            assert (after, taken.step) == (before, None)
        if taken.result is DeliveryResult.STORED:
            assert position not in self.fetched
            assert kind == "page"
        if twice:
            again = self.store.run(command)
            if taken.result not in {DeliveryResult.STORED, DeliveryResult.HINTED, DeliveryResult.NOTED}:
                assert again == taken
            else:
                assert (again.result, again.size) == (taken.result, taken.size)
            assert self.snapshot() == after

    @rule(to=st.booleans())
    def change_trust(self, to):
        self.store.run(TrustWebhooks("me") if to else DistrustWebhooks("me", "why"))

    # Steps

    @rule(action=st.sampled_from(["lose", "bought", "bought", "more ids", "collect", "release", "release", "die"]))
    def work(self, action):
        if self.ended:
            return
        if self.claim is None:
            self.store.clock.forward(max(0.0, float(self.fields["due_at"]) - self.store.clock.time()) + 0.1)
            self.claim = self.store.claim_part(seconds=30)
            return
        if action == "die":
            self.store.clock.forward(200)
            self.claim = None
        elif self.state in {"submitting", "reconciling"}:
            if action == "lose":
                searches = self.state == "reconciling"
                seen = {"hints_seen": self.claim.part.hints} if searches else {}
                self.update({}, PartState.RECONCILING, **seen)
            elif action == "bought":
                self.named = self.first_ids
                fields = {"job": JOB, "tasks": self.ids(), "purchase_status": "confirmed"}
                self.update(fields, PartState.RUNNING, owner=JOB)
        elif action == "more ids" and self.state == "running":
            self.named = TARGETS
            assert self.store.run(UpdatePart(self.claim, {"tasks": self.ids()})) == "ok"
        elif action == "collect" and self.state == "running":
            assert self.store.run(UpdatePart(self.claim, {}, to=PartState.FETCHING)) == "ok"
        elif action == "release":
            self.update({}, None, hints_seen=self.claim.part.hints)

    def update(self, fields, to, **options):
        result = self.store.run(UpdatePart(self.claim, fields, to=to, after=60.0, **options))
        seen = options.get("hints_seen")
        hints = int(self.fields.get("hints", 0))
        news = hints > 0 if to is PartState.RUNNING else seen is not None and hints != seen
        assert result is (UpdateResult.HINTED if news else UpdateResult.OK)
        assert not news or float(self.fields["due_at"]) <= self.store.clock.time()
        assert "poll_set" not in self.fields
        self.claim = None

    @rule(position=st.integers(0, TARGETS - 1), kind=FETCHED, cost=COSTS, has_page=st.booleans())
    def fetch(self, position, kind, cost, has_page):
        if self.state not in {"running", "fetching"} or position >= self.named:
            return
        content = f"fetched {next(self.numbers)}" if has_page or kind in {"success", "given_up"} else None
        marks = {} if kind in {"success", "error"} else {kind: True}
        task = make_task(position, cost, status="success" if kind == "success" else "error", content=content, **marks)
        stood, entry = self.read_page(position), self.entry(position)
        result = self.store.run(StoreContent(PART, position, task, "shop.example")).result
        was_delivered = entry.startswith((b"page", b"check"))
        replaces = was_delivered and not marks
        expected = "replaced" if replaces else "known" if stood else "stored"
        assert result == expected
        assert self.entry(position) == b""
        if result != "known":
            assert self.read_page(position) in {task.content or NO_CONTENT, "held"}
        else:
            assert self.read_page(position) == stood
        self.fetched[position] = self.read_page(position)

    @rule(position=st.integers(0, TARGETS - 1), cost=COSTS)
    def hold(self, position, cost):
        if self.state in {"running", "fetching"}:
            self.store.run(HoldContent(PART, position, make_task(position, cost, status="error", content="held")))

    @rule(positions=st.sets(st.integers(0, TARGETS)))
    def drop(self, positions):
        deliveries = self.store.run(ReadDeliveries(PART))
        self.store.run(DropDeliveries(PART, positions, deliveries.notes))
        after = self.store.run(ReadDeliveries(PART))
        assert (after.checks, after.pages, after.notes) == (deliveries.checks, deliveries.pages, ())
        assert after.hints == deliveries.hints - positions

    @rule(go=st.integers(0, 9), forget=st.booleans())
    def end(self, go, forget):
        if go or self.ended or self.claim is None:
            return
        self.store.run(FinishPart(self.claim, "succeeded"))
        self.claim, self.ended = None, self.snapshot()
        if forget:
            self.store.redis.hset(self.store.keys.run("r"), mapping={"outcome": "succeeded", "waiting": 0})
            assert self.store.run(ForgetRun("r")) == "freed"
            self.ended = self.snapshot()

    # Invariants

    @property
    def fields(self):
        return self.store.part_fields()

    @property
    def state(self):
        return self.fields.get("state")

    def ids(self):
        return pack([f"t{n}" for n in range(self.named)])

    def entry(self, position):
        return self.store.redis.hget(self.store.keys.deliveries(PART), str(position)) or b""

    def read_page(self, position):
        """Return the content of the stored task, `NO_CONTENT` if it has none, and None if no task is stored."""
        (task,) = self.store.run(ReadContents(PART, [position]))
        return None if task is None else task.content or NO_CONTENT

    def snapshot(self):
        """Return all that a delivery without effect must not change: not the totals, and not the trust."""
        return {key: value for key, value in self.store.dump_keys().items() if not key.endswith((b":totals", b"t:me"))}

    @invariant()
    def what_holds(self):
        """Check all invariants over one read of the store: a read costs more than a step."""
        fields = self.fields
        tasks = self.store.run(ReadContents(PART, list(range(TARGETS))))
        deliveries = self.store.run(ReadDeliveries(PART))
        if fields:
            self.fetched_tasks_stay(tasks)
            self.figures_are_those_of_the_stored_tasks(fields, [one for one in tasks if one is not None])
            self.free_part_is_due_for_each_demand(fields)
        self.entries_are_bounded_and_belong_to_live_parts(deliveries, tasks)
        self.ended_parts_never_change()

    def fetched_tasks_stay(self, tasks):
        for position, content in self.fetched.items():
            assert (tasks[position].content or NO_CONTENT) == content

    def figures_are_those_of_the_stored_tasks(self, fields, tasks):
        number = {name: int(fields.get(name, 0)) for name in ("stored_ok", "stored_failed", "gone")}
        assert number["stored_ok"] == sum(task.is_success for task in tasks)
        assert number["stored_failed"] == sum(not task.is_success for task in tasks)
        assert number["gone"] == sum(task.gone for task in tasks)
        assert int(fields.get("unpriced", 0)) == sum(lacks_cost(task) for task in tasks)
        costs = sum(task.cost or 0 for task in tasks)
        assert float(fields.get("credits", 0)) == costs
        hosts = [self.store.fields(key) for key in self.store.redis.scan_iter("p:host_spend:*")]
        assert sum(int(mc) for fields in hosts for mc in fields.values()) == costs * 1000

    def entries_are_bounded_and_belong_to_live_parts(self, deliveries, tasks):
        positions = deliveries.hints | deliveries.checks | deliveries.pages
        assert len(deliveries.notes) <= 2 * TARGETS
        assert self.ended is None or not (positions or deliveries.notes)
        assert positions <= set(range(TARGETS))
        stored = {position for position, task in enumerate(tasks) if task is not None}
        assert deliveries.checks | deliveries.pages == (stored - self.fetched.keys() if self.ended is None else set())
        assert not deliveries.hints & stored

    def ended_parts_never_change(self):
        if self.ended is not None:
            assert self.snapshot() == self.ended

    def free_part_is_due_for_each_demand(self, fields):
        """A part without a step must not sleep until its safety poll over a demand."""
        is_free = self.claim is None and fields["state"] in {"running", "reconciling"}
        if is_free and fields.get("hints", "0") != fields.get("hints_seen", "0"):
            assert float(fields["due_at"]) <= self.store.clock.time() + JOB_LOOK_INTERVAL


def make_task(position, cost, *, status="success", **fields):
    metadata = {} if cost is None else {"Request-Cost": str(cost)}
    return TaskDetails(task_id=f"t{position}", job_id=JOB, status=status, scrape_do_metadata=metadata, **fields)


def test_any_order_of_deliveries_and_steps(store, monkeypatch):
    def new_store():
        store.clock.ahead = 0.0
        store.clock.stopped_at = 1_800_000_000.0
        return type(store)(store.clock)

    monkeypatch.setattr(Webhooks, "new_store", staticmethod(new_store))
    run_state_machine_as_test(
        Webhooks,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
