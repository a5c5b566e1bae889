"""Test invariants in any order of steps, deaths and repeated messages."""

from __future__ import annotations

import itertools
import uuid

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from scrape_do_celery.models import JobCreationRequest, TaskDetails
from scrape_do_celery.rules.states import TRANSITIONS
from scrape_do_celery.store import CANCEL, DEADLINE, PartId, PartState, Retention, RunSpec
from scrape_do_celery.store.commands.contents import ReadContents, StoreContent
from scrape_do_celery.store.commands.creation import AcceptRun, CreateRun
from scrape_do_celery.store.commands.limits import PauseAPI
from scrape_do_celery.store.commands.parts import FinishPart, RenewLease, UpdatePart
from scrape_do_celery.store.commands.polling import AcquireListPoll, FinishListPoll, MarkStillRunning, PlanPolling
from scrape_do_celery.store.commands.purchases import CheckBeforeSend, ReadLedgerDay, WriteIntent
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, RecordOutcome, RequestStop

EXAMPLES = 50
LIVE, DRAFT = "a", "b:c"
RUNS = st.sampled_from([LIVE, DRAFT])
LEASE = 30.0
RETENTION = Retention(10**7, 10**7, 10**7)
OUTCOMES = ["succeeded", "failed", "lost", "in_doubt", "canceled"]

#: State of a part -> actions of the step that holds the claim.
ACTIONS = {
    "queued": ["intend", "intend", "intend", "again", "settle", "die"],
    "submitting": ["not_sent", "bought", "bought", "lose_answer", "settle", "renew", "die"],
    "reconciling": ["settle", "bought", "again", "die"],
    "running": ["again", "collect", "told_to_stop", "renew", "settle", "die"],
    "fetching": ["put", "put", "again", "settle", "renew", "die"],
    "done": ["settle", "again"],
}
#: Events around steps. A stop request ends most other events, so it is rare.
WORLD = [
    *("store_a_task", "enqueue_again", "accept", "accept", "decide", "decide", "report", "report", "pass_time"),
    *("tick", "tick", "tick", "leave_the_api_alone", "request_stop"),
]
UNRESOLVED = {"submitting", "reconciling"}
EVERY_ACTION = sorted({action for actions in ACTIONS.values() for action in actions} - {"die"})


class Pipeline(RuleBasedStateMachine):
    """The steps of several workers on two runs of two parts each. The test sets `new_store`."""

    new_store = None

    def __init__(self):
        super().__init__()
        self.store = self.new_store()
        self.numbers = itertools.count()
        #: claims of working steps by part, and claims that have lost their part
        self.held, self.lost = {}, []
        #: parts that may have been bought: a second `POST` would be a second bill
        self.sent = set()
        self.drafts, self.contents, self.outcomes, self.ended = {DRAFT}, {}, {}, {}

    @initialize(max_wait=st.sampled_from([None, 40.0]), key=st.sampled_from([None, "k"]))
    def enqueue(self, max_wait, key):
        self.spec = RunSpec(
            JobCreationRequest(targets=[f"https://shop.example/{n}" for n in range(2)]), max_wait=max_wait
        )
        assert self.run(CreateRun(LIVE, self.spec, key=key)).new
        assert self.run(CreateRun(DRAFT, self.spec, start_delay=1000.0)).new
        self.key = key

    # Steps

    @rule(
        run_id=RUNS,
        part=st.integers(0, 1),
        patient=st.sampled_from([True, True, True, False]),
        only=st.sampled_from([None] * 5 + sorted(ACTIONS.keys() - {"done"})),
    )
    def claim(self, run_id, part, patient, only):
        part_id = PartId(run_id, part)
        if run_id in self.drafts:
            return  # a draft's parts never get a step message
        before = self.fields(part_id)
        if patient:
            waits = (float(before.get("lease", 0)) - self.store.watched, float(before.get("due_at", 0)) - self.now())
            self.store.clock.forward(max(0.0, *waits) + 0.1)
        states = {only} if only else set(PartState) - {PartState.DONE}
        token, paused = uuid.uuid4().hex, self.store.redis.exists(self.store.keys.pause)
        claim = self.store.try_claim_part(run_id, part, states=states, seconds=LEASE, token=token)
        if claim is None:
            assert not patient or paused or before["state"] not in states
            assert self.fields(part_id)["fence"] == before["fence"]
            return
        assert before["state"] in states
        assert float(before.get("lease", 0)) <= claim.watched
        assert claim.part.fence > int(before["fence"])
        assert claim.part.attempts == int(before.get("attempts", 0)) + 1
        again = self.store.try_claim_part(run_id, part, states=states, seconds=LEASE, token=token)
        assert again.part == claim.part
        if part_id in self.held:
            self.lost.append(self.held[part_id])
        self.held[part_id] = claim

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 7), choice=st.integers(0, 41), twice=st.booleans())
    def work(self, pick, choice, twice):
        part_id = sorted(self.held)[pick % len(self.held)]
        claim, before = self.held[part_id], self.fields(part_id)
        actions = ACTIONS[before["state"]]
        action = actions[choice % len(actions)]
        current = before["fence"] == str(claim.part.fence)
        if action == "die" or not current:
            self.lost.append(self.held.pop(part_id))
            return
        for _ in range(1 + twice):
            self.act(claim, action, before)

    def act(self, claim, action, before):
        part_id = claim.part_id
        if action == "intend":
            self.intend(claim, before)
        elif action == "settle":
            left, fields = self.left(part_id.run_id), self.fields(part_id)
            answer = self.settle(claim)
            assert answer == (left if fields["state"] == "done" else left - 1)
            self.held.pop(part_id, None)
        elif action == "renew":
            assert self.run(RenewLease(claim, LEASE)) is True
            assert float(self.fields(part_id)["lease"]) >= float(before["lease"])
        elif action == "put":
            self.put(part_id, next(self.numbers) % 3)
        else:
            assert self.update(claim, action) == "ok"
            if action == "not_sent":
                self.sent.discard(part_id)
            # Released: anything that this step still sends repeats an earlier command.
            self.held.pop(part_id, None)

    def intend(self, claim, before):
        nonce = uuid.uuid4().hex
        verdict, who = self.run(WriteIntent(claim, nonce, LEASE * 4))
        if verdict == "targets_locked":
            assert PartId.parse(who) == self.equal_run(claim.part_id)
            assert self.fields(self.equal_run(claim.part_id))["state"] in UNRESOLVED
        elif verdict == "ok":
            assert before["state"] == "queued"
            assert claim.part_id not in self.sent
            assert self.fields(self.equal_run(claim.part_id))["state"] not in UNRESOLVED
            self.sent.add(claim.part_id)
            assert self.run(WriteIntent(claim, nonce, LEASE * 4))[0] == "ok"
        elif verdict != "stale":
            run = self.store.run_fields(claim.part_id.run_id)
            assert run["stop_reason"] if verdict == "stop_reason" else run["skip_unsent"]

    def update(self, claim, action):
        to, fields, after, owner = {
            "again": (None, {"polls": 1}, 5.0, None),
            "not_sent": ("queued", {"purchase_status": "void"}, 1.0, None),
            "lose_answer": ("reconciling", {}, 0.0, None),
            "bought": (
                "running",
                {"job": f"job-{claim.part_id}", "purchase_status": "confirmed"},
                1.0,
                f"job-{claim.part_id}",
            ),
            "collect": ("fetching", {}, 0.0, None),
            "told_to_stop": (None, {"cancel_sent_at": "1.5"}, 1.0, None),
        }[action]
        return self.run(UpdatePart(claim, fields, to=to, after=after, owner=owner))

    def settle(self, claim):
        number = next(self.numbers)
        return self.run(FinishPart(claim, OUTCOMES[number % 5], skip_unsent=number % 3 == 0))

    @precondition(lambda self: self.lost)
    @rule(pick=st.integers(0, 7), action=st.sampled_from(EVERY_ACTION))
    def work_of_a_step_that_lost_its_part(self, pick, action):
        claim = self.lost[pick % len(self.lost)]
        before = self.everything()
        if action == "put":
            return  # a paid page is kept, also from a step that lost its part
        if self.fields(claim.part_id)["fence"] == str(claim.part.fence):
            return  # dead, but its lease was not taken over yet
        if action == "intend":
            assert self.run(WriteIntent(claim, "n", LEASE)) == ("stale", "")
        elif action == "settle":
            assert self.settle(claim) is None
        elif action == "renew":
            assert self.run(RenewLease(claim, LEASE)) is False
            assert self.run(CheckBeforeSend(claim)).verdict == "lease_lost"
        else:
            assert self.update(claim, action) == "stale"
        assert self.store.dump_keys() == before

    def store_a_task(self, run_id, other, number):
        self.put(PartId(run_id, int(other)), number)

    def put(self, part_id, position):
        task = TaskDetails(task_id="t", job_id="j", status="success", content=f"page {next(self.numbers)}")
        known, ended = (part_id, position) in self.contents, self.fields(part_id)["state"] == "done"
        stored = self.run(StoreContent(part_id, position, task))
        assert stored.result == ("gone" if ended else "known" if known else "stored")
        if not ended:
            self.contents.setdefault((part_id, position), task)

    # The world around the steps, as a single rule, so that steps get their share of the rules

    @rule(
        event=st.sampled_from(WORLD),
        run_id=RUNS,
        other=st.booleans(),
        number=st.integers(0, 5),
    )
    def world(self, event, run_id, other, number):
        getattr(self, event)(run_id, other, number)

    def enqueue_again(self, run_id, other, number):
        before = self.everything()
        spec = RunSpec(self.spec.request, raise_on_task_failure=other, max_wait=self.spec.max_wait)
        made = self.run(CreateRun(run_id, spec, key=self.key))
        assert (made.run_id, made.new) == (LIVE if self.key else run_id, False)
        assert made.digest == self.spec.digest
        assert self.store.dump_keys() == before

    def accept(self, run_id, other, number):
        waiter = ["", "w1", "w2"][number % 3]
        told = f"delivered:{waiter}" in self.store.run_fields(run_id)
        assert self.run(AcceptRun(run_id, waiter, "s")).parts == 2
        self.drafts.discard(run_id)
        assert not waiter or (f"waiter:{waiter}" in self.store.run_fields(run_id)) is not told

    def request_stop(self, run_id, twice, number):
        what = [CANCEL, DEADLINE][number % 2]
        before = self.store.run_fields(run_id).get("stop_reason")
        part_ids = self.run(RequestStop(run_id, what))
        if twice:
            self.run(RequestStop(run_id, CANCEL))
        assert (part_ids is None) is (run_id in self.outcomes)
        assert all(self.fields(part_id)["state"] == "running" for part_id in part_ids or ())
        if part_ids is not None:
            assert self.store.run_fields(run_id)["stop_reason"] == (before or what)

    def decide(self, run_id, other, number):
        outcome = "failed" if other else "succeeded"
        if run_id not in self.drafts and not self.left(run_id):
            stands = self.run(RecordOutcome(run_id, outcome, {"decided_by": 0}))
            assert stands == self.outcomes.setdefault(run_id, outcome)

    def report(self, run_id, other, number):
        waiter = ["w1", "w2", LIVE, DRAFT][number % 4]
        if run_id in self.outcomes:
            before = self.store.run_fields(run_id)
            waiting = int(before["waiting"]) - (f"waiter:{waiter}" in before)
            assert self.run(AcknowledgeDelivery(run_id, waiter, RETENTION)) == waiting

    def pass_time(self, run_id, other, number):
        self.store.clock.forward([6.0, 31.0, 130.0][number % 3])

    def tick(self, run_id, other, number):
        limit, cap = (number + 1, 5) if other else (5, number + 1)
        due = self.store.claim_due(limit=limit, cap=cap)
        assert len(due.parts) + len(due.runs) <= min(limit, cap)
        assert due.dropped == 0
        for part in due.parts:
            fields = self.fields(part.part_id)
            assert fields["state"] == part.state != "done"
            assert float(fields.get("lease", 0)) <= self.store.watched

    def look(self, run_id, other, number):
        look = self.run(PlanPolling("", 30.0))
        assert not look.use_list, "so few are looked at one by one"

    def sweep(self, run_id, other, number):
        token = uuid.uuid4().hex
        if not self.run(AcquireListPoll("", token, 5.0)):
            return
        watched = [part_id for part_id in self.part_ids() if "poll_set" in self.fields(part_id)]
        shown = [part_id for n, part_id in enumerate(self.part_ids()) if number >> n & 1]
        self.run(MarkStillRunning("", "pending", shown, [10.0, 20.0]))
        handed, due = (
            self.run(FinishListPoll("", token, others=0, redispatch_after=number)),
            self.store.due_parts(),
        )
        for part_id in watched:
            was_due = float(self.fields(part_id)["due_at"]) <= self.now()
            assert (str(part_id) in handed) is (str(part_id) in due) is (was_due and part_id not in shown)

    def leave_the_api_alone(self, run_id, other, number):
        self.run(PauseAPI(3))

    # Invariants

    def run(self, command):
        """Carry out a command. Check that it made no transition beside the table."""
        before = self.states()
        reply = self.store.run(command)
        for one, other in zip(before, self.states(), strict=True):
            assert one in {None, other} or other in TRANSITIONS[PartState(one)], f"{one} -> {other}"
        return reply

    def states(self):
        return [self.fields(part_id).get("state") for part_id in self.part_ids()]

    def now(self):
        return self.store.clock.time()

    def everything(self):
        """Return all keys and values. End a pause now if it could expire before the comparison."""
        if 0 <= self.store.redis.pttl(self.store.keys.pause) < 1_000:
            self.store.redis.delete(self.store.keys.pause)
        return self.store.dump_keys()

    def part_ids(self):
        return [PartId(run_id, n) for run_id in (LIVE, DRAFT) for n in range(2)]

    def equal_run(self, part_id):
        """Return the part of the other run that has the same targets."""
        return PartId(DRAFT if part_id.run_id == LIVE else LIVE, part_id.part)

    def fields(self, part_id):
        return self.store.part_fields(part_id.run_id, part_id.part)

    def left(self, run_id):
        return int(self.store.run_fields(run_id)["left"])

    @invariant()
    def what_holds(self):
        """Check all invariants over one read of the store: a read costs more than a step."""
        due = self.store.due_parts().keys()
        runs = {run_id: self.store.run_fields(run_id) for run_id in (LIVE, DRAFT)}
        parts = {part_id: self.fields(part_id) for part_id in self.part_ids()}
        self.what_may_have_been_bought_is_never_queued_again(parts)
        self.equal_targets_are_bought_one_at_a_time(parts)
        self.the_ledger_has_all_that_may_have_been_bought_and_nothing_else(parts)
        self.what_was_bought_is_owned_and_has_a_life(parts)
        self.left_is_the_number_of_parts_that_are_not_done(runs, parts)
        self.every_part_of_a_live_run_is_looked_at_in_one_place_until_it_is_done(parts, due)
        self.a_run_is_due_until_it_was_accepted_and_from_its_end_until_it_was_reported(runs, due)
        self.an_end_is_an_end(runs, parts)
        self.what_was_stored_stays()
        self.nothing_has_a_life_before_its_outcome_is_known()

    def what_may_have_been_bought_is_never_queued_again(self, parts):
        assert all(parts[part_id]["state"] != "queued" for part_id in self.sent)

    def equal_targets_are_bought_one_at_a_time(self, parts):
        for n in range(2):
            assert sum(parts[PartId(run_id, n)]["state"] in UNRESOLVED for run_id in (LIVE, DRAFT)) <= 1

    def the_ledger_has_all_that_may_have_been_bought_and_nothing_else(self, parts):
        days = [key.rpartition(b":")[2] for key in self.store.redis.scan_iter(f"{self.store.keys.prefix}:ledger:*")]
        lines = {line.part_id: line for day in days for line in self.run(ReadLedgerDay(int(day)))}
        assert lines.keys() == self.sent
        for part_id, line in lines.items():
            assert line.job_id == parts[part_id].get("job")
            assert line.outcome == parts[part_id].get("outcome")

    def what_was_bought_is_owned_and_has_a_life(self, parts):
        alive = {name.decode() for name in self.store.redis.zrange(self.store.keys.content_expiry, 0, -1)}
        for part_id, fields in parts.items():
            if job := fields.get("job"):
                assert self.store.redis.get(self.store.keys.owner(job)) == str(part_id).encode()
            assert (str(part_id) in alive) is ("job" in fields and fields["state"] != "done")

    def left_is_the_number_of_parts_that_are_not_done(self, runs, parts):
        for run_id, fields in runs.items():
            assert int(fields["left"]) == sum(parts[PartId(run_id, n)]["state"] != "done" for n in range(2))

    def every_part_of_a_live_run_is_looked_at_in_one_place_until_it_is_done(self, parts, due):
        watched = {name.decode() for name in self.store.redis.zrange(self.store.keys.poll_set(""), 0, -1)}
        for part_id, fields in parts.items():
            live = fields["state"] != "done" and part_id.run_id not in self.drafts
            assert (str(part_id) in due) + (str(part_id) in watched) == live
            assert ("poll_set" in fields) is (str(part_id) in watched)
            if str(part_id) in watched:
                assert fields["state"] == "running"
                assert float(fields.get("lease", 0)) <= self.store.watched

    def a_run_is_due_until_it_was_accepted_and_from_its_end_until_it_was_reported(self, runs, due):
        for run_id, fields in runs.items():
            if run_id in self.drafts:
                assert f"{run_id}:run" in due
            elif fields["left"] == "0":
                assert (f"{run_id}:run" in due) is (fields["waiting"] != "0")

    def an_end_is_an_end(self, runs, parts):
        for part_id, fields in parts.items():
            assert part_id not in self.ended or fields["state"] == "done"
            if fields["state"] == "done":
                assert self.ended.setdefault(part_id, fields["outcome"]) == fields["outcome"]
        for run_id, outcome in self.outcomes.items():
            assert runs[run_id]["outcome"] == outcome

    def what_was_stored_stays(self):
        for (part_id, position), task in self.contents.items():
            assert self.run(ReadContents(part_id, [position])) == [task]

    def nothing_has_a_life_before_its_outcome_is_known(self):
        for run_id in {LIVE, DRAFT} - self.outcomes.keys():
            keys = [
                self.store.keys.run(run_id),
                self.store.keys.part(PartId(run_id, 0)),
                self.store.keys.contents(PartId(run_id, 0)),
            ]
            assert all(self.store.redis.ttl(key) < 0 for key in keys)


def test_any_order_of_steps(store, monkeypatch):
    def new_store():
        store.clock.ahead = 0.0
        # Times that differ between two examples of the same choices would make hypothesis fail.
        store.clock.stopped_at = 1_800_000_000.0
        return type(store)(store.clock)

    monkeypatch.setattr(Pipeline, "new_store", staticmethod(new_store))
    monkeypatch.setattr("scrape_do_celery.store.options.MAX_TARGETS_PER_JOB", 1)
    run_state_machine_as_test(
        Pipeline,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=50,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
