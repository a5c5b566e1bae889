"""Any order of steps, deaths and messages sent twice: what must hold after each of them."""

from __future__ import annotations

import itertools

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from scrape_do_celery.models import JobCreationRequest, TaskDetails
from scrape_do_celery.store import CANCEL, DEADLINE, NOT_SENT, Member, PartState, RunSpec, ops

TARGETS = ["https://shop.example/1", "https://shop.example/2"]
RUNS = st.sampled_from(["a", "b:c", "d"])
PARTS = st.integers(0, 1)
LEASE = 30.0
EXAMPLES = 40
LIVES = ops.Lives(10**7, 10**7, 10**7)
OUTCOMES = st.sampled_from(["succeeded", "failed", "lost", "in_doubt", "canceled", NOT_SENT])


class Pipeline(RuleBasedStateMachine):
    """The steps of several workers on a few runs of two parts. `new_shelf` is set by the test."""

    new_shelf = None
    claims = Bundle("claims")

    def __init__(self):
        super().__init__()
        self.shelf = self.new_shelf()
        self.numbers = itertools.count()
        self.live, self.drafts, self.keys_used = set(), set(), {}
        #: parts that may have been bought: a second `POST` would be a second bill
        self.sent = set()
        self.contents, self.outcomes, self.done = {}, {}, {}

    def run(self, operation):
        return self.shelf.run(operation)

    def members(self):
        return [Member(run_id, n) for run_id in self.live | self.drafts for n in range(2)]

    # Runs

    @rule(
        run_id=RUNS,
        key=st.sampled_from([None, "k"]),
        hold=st.sampled_from([None, None, 1000]),
        other=st.booleans(),
        max_wait=st.sampled_from([None, 40.0]),
    )
    def create(self, run_id, key, hold, other, max_wait):
        spec = RunSpec(JobCreationRequest(targets=TARGETS, super=other), max_wait=max_wait)
        known = self.keys_used.get(key) or (run_id if run_id in self.live | self.drafts else None)
        made = self.run(ops.create(self.shelf.keys, run_id, spec, key=key, hold=hold))
        assert made.new is (known is None)
        assert made.run_id == (known or run_id)
        if made.new:
            (self.live if hold is None else self.drafts).add(run_id)
            if key:
                self.keys_used[key] = run_id

    @rule(run_id=RUNS, waiter=st.sampled_from(["", "w1", "w2"]))
    def accept(self, run_id, waiter):
        there = run_id in self.live | self.drafts
        assert self.run(ops.accept(self.shelf.keys, run_id, waiter, "s")) == (2 if there else 0)
        if there:
            self.drafts.discard(run_id)
            self.live.add(run_id)

    # Steps

    @rule(
        target=claims,
        run_id=RUNS,
        part=PARTS,
        state=st.sampled_from(sorted(set(PartState) - {PartState.DONE})),
        twice=st.booleans(),
    )
    def claim(self, run_id, part, state, twice):
        if run_id in self.drafts:
            return multiple()  # no bell is ever rung for the parts of a draft
        token, before = f"t{next(self.numbers)}", self.fields(Member(run_id, part))
        claim = self.shelf.claim(run_id, part, states={state}, seconds=LEASE, token=token)
        if claim is None:
            return multiple()
        assert claim.part.fence == int(before["fence"]) + 1
        assert float(before.get("lease", 0)) <= self.now()
        if twice:
            again = self.shelf.claim(run_id, part, states={state}, seconds=LEASE, token=token)
            assert again.part == claim.part
        return claim

    @rule(claim=claims, twice=st.booleans())
    def intend(self, claim, twice):
        nonce, fenced = f"n{next(self.numbers)}", self.current(claim)
        before = self.fields(claim.member)
        verdict, _ = self.run(ops.intent(self.shelf.keys, claim, nonce, LEASE * 4))
        if verdict == "ok":
            assert fenced
            assert before["state"] == "queued"
            assert claim.member not in self.sent
            self.sent.add(claim.member)
            if twice:
                assert self.run(ops.intent(self.shelf.keys, claim, nonce, LEASE * 4))[0] == "ok"
        else:
            assert self.fields(claim.member) == before

    @rule(claim=consumes(claims), to=st.sampled_from(["queued", "doubtful", "running"]), after=st.sampled_from([0.0, 9.0]))
    def posted(self, claim, to, after):
        """The end of a `POST`: not sent, in doubt, or bought."""
        if self.fields(claim.member).get("state") != "submitting" and self.current(claim):
            return
        fields, before = {"state": to}, self.fields(claim.member)
        owner = f"job-{claim.member}" if to == "running" else None
        verdict = self.run(ops.update(self.shelf.keys, claim, fields, after=after, owner=owner))
        assert (verdict == "ok") is self.held_by(claim, before)
        if verdict == "stale":
            assert self.fields(claim.member) == before
        elif to == "queued":
            self.sent.discard(claim.member)

    @rule(claim=consumes(claims), canceling=st.booleans(), after=st.sampled_from([0.0, 0.5, 60.0]), collect=st.booleans())
    def looked(self, claim, canceling, after, collect):
        """The end of a poll or of a cancel."""
        if self.fields(claim.member).get("state") != "running" and self.current(claim):
            return
        before = self.fields(claim.member)
        fields = {"state": "collecting"} if collect else {"polls": 1}
        if canceling:
            fields["canceling"] = "1.5"
        verdict = self.run(ops.update(self.shelf.keys, claim, fields, after=after))
        assert (verdict == "ok") is self.held_by(claim, before)
        if verdict == "stale":
            assert self.fields(claim.member) == before

    @rule(run_id=RUNS, part=PARTS, position=st.integers(0, 2), status=OUTCOMES)
    def store(self, run_id, part, position, status):
        """Contents are kept whoever brings them: a holder or one that lost its lease."""
        member, there = Member(run_id, part), run_id in self.live | self.drafts
        text = f"{next(self.numbers)}"
        task = TaskDetails(task_id="t", job_id="j", status="success" if status == "succeeded" else "error", content=text)
        known = self.contents.get((member, position))
        assert self.run(ops.put(self.shelf.keys, member, position, task)) == (-1 if not there else 0 if known else 1)
        if there and known is None:
            self.contents[member, position] = task

    @rule(claim=consumes(claims), outcome=OUTCOMES, stop=st.booleans(), twice=st.booleans())
    def settle(self, claim, outcome, stop, twice):
        before, left = self.fields(claim.member), self.left(claim.member.run_id)
        answer = self.run(ops.settle(self.shelf.keys, claim, outcome, stop=stop))
        if not self.held_by(claim, before):
            assert answer is None
            assert self.fields(claim.member) == before
            return
        assert answer == (left if before["state"] == "done" else left - 1)
        if twice:
            assert self.run(ops.settle(self.shelf.keys, claim, "failed", stop=stop)) == answer

    @rule(claim=claims)
    def renew(self, claim):
        before = self.fields(claim.member)
        kept = self.run(ops.renew(self.shelf.keys, claim, LEASE))
        assert kept is self.held_by(claim, before)
        after = self.fields(claim.member)
        assert float(after.get("lease", 0)) >= float(before.get("lease", 0))
        assert {**after, "lease": ""} == {**before, "lease": ""}

    # The world around them

    @rule(run_id=RUNS, what=st.sampled_from([CANCEL, DEADLINE]), twice=st.booleans())
    def wish(self, run_id, what, twice):
        before = self.shelf.run_fields(run_id).get("wish")
        members = self.run(ops.wish(self.shelf.keys, run_id, what))
        if twice:
            self.run(ops.wish(self.shelf.keys, run_id, CANCEL))
        assert (members is None) is (run_id not in self.live | self.drafts or run_id in self.outcomes)
        for member in members or ():
            assert self.fields(member)["state"] == "running"
        if members is not None:
            assert self.shelf.run_fields(run_id)["wish"] == (before or what)

    @rule(run_id=RUNS, outcome=st.sampled_from(["succeeded", "failed"]))
    def decide(self, run_id, outcome):
        if run_id not in self.live or self.left(run_id):
            return
        stands = self.run(ops.decide(self.shelf.keys, run_id, outcome, {"decided_by": 0}))
        assert stands == self.outcomes.setdefault(run_id, outcome)

    @rule(run_id=RUNS, waiter=st.sampled_from(["w1", "w2", "a", "b:c", "d"]))
    def report(self, run_id, waiter):
        if run_id in self.outcomes:
            before = self.shelf.run_fields(run_id)
            waiting = int(before["waiting"]) - (f"w:{waiter}" in before)
            assert self.run(ops.delivered(self.shelf.keys, run_id, waiter, LIVES)) == waiting

    @rule(seconds=st.sampled_from([0.0, 6.0, 31.0, 130.0, 400.0]))
    def pass_time(self, seconds):
        self.shelf.clock.forward(seconds)

    @rule(limit=st.integers(1, 5), cap=st.integers(1, 5))
    def tick(self, limit, cap):
        due = self.shelf.look(limit=limit, cap=cap)
        assert len(due.parts) + len(due.runs) <= min(limit, cap)
        assert due.dropped == 0
        for part in due.parts:
            fields = self.fields(part.member)
            assert fields["state"] == part.state != "done"
            assert float(fields.get("lease", 0)) <= due.now

    @rule(seconds=st.sampled_from([1.0, 40.0]))
    def leave_the_api_alone(self, seconds):
        self.run(ops.pause(self.shelf.keys, self.now() + seconds, seconds))

    # What holds

    def now(self):
        return self.shelf.clock.time()

    def fields(self, member):
        return self.shelf.part_fields(member.run_id, member.part)

    def left(self, run_id):
        return int(self.shelf.run_fields(run_id)["left"])

    def waiting(self, run_id):
        return self.shelf.run_fields(run_id)["waiting"] != "0"

    def held_by(self, claim, fields):
        return fields.get("fence") == str(claim.part.fence)

    def current(self, claim):
        return self.held_by(claim, self.fields(claim.member))

    @invariant()
    def what_may_have_been_bought_is_never_queued_again(self):
        assert all(self.fields(member)["state"] != "queued" for member in self.sent)

    @invariant()
    def left_is_the_number_of_parts_that_are_not_done(self):
        for run_id in self.live | self.drafts:
            states = [self.fields(Member(run_id, n))["state"] for n in range(2)]
            assert self.left(run_id) == sum(state != "done" for state in states)

    @invariant()
    def every_part_of_a_live_run_is_due_until_it_is_done(self):
        due = self.shelf.due().keys()
        for member in self.members():
            done = self.fields(member)["state"] == "done"
            assert (str(member) in due) is (not done and member.run_id in self.live)

    @invariant()
    def a_run_whose_parts_have_ended_is_due_until_it_was_reported(self):
        due = self.shelf.due().keys()
        for run_id in self.live:
            assert self.left(run_id) or (f"{run_id}:run" in due) is self.waiting(run_id)
        assert all(f"{run_id}:run" in due for run_id in self.drafts)

    @invariant()
    def an_end_is_an_end(self):
        for member in self.members():
            fields = self.fields(member)
            if fields["state"] == "done":
                assert self.done.setdefault(member, fields["outcome"]) == fields["outcome"]
            assert member not in self.done or fields["state"] == "done"
        for run_id, outcome in self.outcomes.items():
            assert self.shelf.run_fields(run_id)["outcome"] == outcome

    @invariant()
    def what_was_stored_stays(self):
        for (member, position), task in self.contents.items():
            assert self.run(ops.contents(self.shelf.keys, member, [position])) == [task]

    @invariant()
    def nothing_live_has_a_life(self):
        told = [f":{run_id}" for run_id in self.live if not self.waiting(run_id)]
        for name, life in self.shelf.ttls().items():
            free = name.startswith(("p:pause", "p:idem", "p:owner")) or any(run_id in name for run_id in told)
            assert life is None or free, name


def test_any_order_of_steps(shelf, monkeypatch):
    def new_shelf():
        shelf.clock.ahead = 0.0
        return type(shelf)(shelf.clock)

    monkeypatch.setattr(Pipeline, "new_shelf", staticmethod(new_shelf))
    monkeypatch.setattr("scrape_do_celery.store.spec.MAX_TARGETS_PER_JOB", 1)
    run_state_machine_as_test(
        Pipeline,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
