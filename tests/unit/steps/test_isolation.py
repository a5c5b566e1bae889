"""Test that a part whose last step died is worked on alone, so that no other part is blamed for the death."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest

from scrape_do_celery.routing import Step
from scrape_do_celery.steps import isolation, runner
from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.steps.finish import finish_part
from scrape_do_celery.steps.isolation import Isolation, NoTurnError
from scrape_do_celery.steps.rate_limiter import RateLimiter
from scrape_do_celery.steps.runner import StepDefinition, run_step
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.worker.dispatcher import messages_for

QUEUED = {PartState.QUEUED}


class Visitors:
    """Parts that enter the isolation of a process. `seen` has their names in the order of entry."""

    def __init__(self, turns):
        self.turns, self.seen, self.inside, self.crowds, self.works = turns, [], set(), [], []

    def come(self, name, gate=None, *, alone=False):
        self.works.append(asyncio.ensure_future(self._visit(name, gate, alone)))
        return self.works[-1]

    async def _visit(self, name, gate, alone):
        async with self.turns.alone() if alone else self.turns.beside():
            self.inside.add(name)
            self.seen.append(name)
            self.crowds.append((alone, len(self.inside)))
            try:
                await (gate.wait() if gate else asyncio.sleep(0))
            finally:
                self.inside.discard(name)

    async def all(self):
        return await asyncio.gather(*self.works, return_exceptions=True)


def visited(story, **options):
    """Play a story. Return its visitors and their results."""

    async def go():
        visitors = Visitors(Isolation(**options))
        async with asyncio.timeout(10):
            await story(visitors)
            visitors.ends = await visitors.all()
        return visitors

    return asyncio.run(go())


async def breathe():
    for _ in range(5):
        await asyncio.sleep(0)


def test_parts_are_side_by_side():
    async def story(visitors):
        gate = asyncio.Event()
        for n in range(3):
            visitors.come(n, gate)
        await breathe()
        assert len(visitors.inside) == 3
        gate.set()

    visited(story)


def test_suspect_waits_for_running_parts_and_blocks_new_ones():
    async def story(visitors):
        first, suspect = asyncio.Event(), asyncio.Event()
        visitors.come("first", first)
        await breathe()
        visitors.come("suspect", suspect, alone=True)
        visitors.come("next")
        await breathe()
        assert visitors.inside == {"first"}
        first.set()
        await breathe()
        assert visitors.inside == {"suspect"}
        suspect.set()

    assert visited(story).seen == ["first", "suspect", "next"]


def test_suspects_follow_each_other_until_their_turn_is_over():
    async def story(visitors):
        gate = asyncio.Event()
        visitors.come("first", gate)
        await breathe()
        for n in range(3):
            visitors.come(f"suspect{n}", alone=True)
        visitors.come("next")
        await breathe()
        gate.set()

    assert visited(story).seen == ["first", "suspect0", "suspect1", "suspect2", "next"]
    assert visited(story, turn=0.0).seen == ["first", "suspect0", "next", "suspect1", "suspect2"]


def test_a_stream_of_parts_does_not_keep_a_suspect_out():
    async def story(visitors):
        async def stream(n):
            while "suspect" not in visitors.seen:
                async with visitors.turns.beside():
                    await asyncio.sleep(0.001 * n)

        streams = [asyncio.ensure_future(stream(n)) for n in range(1, 4)]
        await breathe()
        visitors.come("suspect", alone=True)
        await asyncio.gather(*streams)

    visited(story)


@pytest.mark.parametrize("alone", [True, False])
def test_waiting_too_long_gets_no_turn(alone):
    async def story(visitors):
        gate = asyncio.Event()
        visitors.come("first", gate, alone=True)
        await breathe()
        late = visitors.come("late", alone=alone)
        with pytest.raises(NoTurnError):
            await late
        gate.set()
        await breathe()
        visitors.come("beside")
        await breathe()
        visitors.come("alone", alone=True)

    assert visited(story, timeout=0.02).seen == ["first", "beside", "alone"]


def test_a_suspect_that_is_cancelled_lets_those_behind_it_in():
    async def story(visitors):
        gate = asyncio.Event()
        visitors.come("first", gate)
        await breathe()
        suspect = visitors.come("suspect", alone=True)
        visitors.come("next")
        await breathe()
        suspect.cancel()
        await breathe()
        assert visitors.seen == ["first", "next"]
        gate.set()

    visited(story)


def test_part_canceled_while_waiting_takes_no_turn():
    async def story(visitors):
        async with visitors.turns.alone():
            visitors.come("first")
            unlucky = visitors.come("unlucky")
            visitors.come("last")
            await breathe()
            unlucky.cancel()
            await breathe()
        await visitors.all()
        visitors.come("suspect", alone=True)

    assert visited(story).seen == ["first", "last", "suspect"]


@pytest.mark.parametrize("alone", [True, False])
def test_a_turn_that_comes_with_a_cancellation_is_given_back(alone):
    async def story(visitors):
        async with visitors.turns.alone():
            unlucky = visitors.come("unlucky", alone=alone)
            await breathe()
        unlucky.cancel()
        with pytest.raises(asyncio.CancelledError):
            await unlucky
        visitors.come("beside")
        await breathe()
        visitors.come("alone", alone=True)

    assert visited(story).seen == ["beside", "alone"]


@pytest.mark.parametrize("seed", range(20))
def test_suspect_runs_alone_in_any_order_of_events(seed):
    dice = random.Random(seed)

    async def story(visitors):
        for n in range(60):
            visitors.come(n, alone=dice.random() < 0.3)
            if dice.random() < 0.2:
                dice.choice(visitors.works).cancel()
            await asyncio.sleep(dice.choice([0, 0, 0.001]))
        await visitors.all()
        assert (visitors.turns._alone, visitors.turns._beside) == (False, 0)

    visitors = visited(story, turn=0.002)
    assert all(count == 1 for alone, count in visitors.crowds if alone)
    assert {type(end) for end in visitors.ends} <= {type(None), asyncio.CancelledError}


def test_failures_are_remembered_with_a_bound(monkeypatch):
    monkeypatch.setattr(isolation, "_REMEMBERED", 2)
    turns = Isolation()
    for name, token in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")]:
        turns.note_failure(name, token)
    assert [turns.outlived(name) for name in "abc"] == ["3", "", "4"]


# The runner's frame


def died(step_harness, run_id):
    """Make a part whose process died."""
    step_harness.create_run(run_id)
    step_harness.claim_part(run_id, seconds=30)
    step_harness.clock.forward(31)


def test_suspects_are_worked_on_one_by_one(step_harness):
    for run_id in ("a", "b", "c"):
        died(step_harness, run_id)
    for run_id in ("x", "y"):
        step_harness.create_run(run_id)
    inside, crowds = set(), {}

    async def handler(context, claim):
        run_id = claim.part_id.run_id
        inside.add(run_id)
        await asyncio.sleep(0.02)
        crowds[run_id] = set(inside)
        await context.release_until(claim, {}, 60.0)
        inside.discard(run_id)

    run_step(step_harness.app, StepDefinition(Step.SUBMIT, QUEUED, handler), ["a:0", "x:0", "b:0", "y:0", "c:0"])
    assert crowds == {"a": {"a"}, "b": {"b"}, "c": {"c"}, "x": {"x", "y"}, "y": {"x", "y"}}
    assert all(step_harness.part(run_id).attempts == 0 for run_id in "abcxy")


def test_waiting_suspect_is_unclaimed_and_holds_one_message(step_harness, caplog):
    caplog.set_level(logging.INFO)
    died(step_harness, "suspect")
    step_harness.create_run("long")
    fence = step_harness.part("suspect").fence
    served = []

    async def handler(context, claim):
        served.append(claim.part_id.run_id)
        if claim.part_id.run_id == "long":
            await asyncio.sleep(0.3)
        await context.release_until(claim, {}, 60.0)

    WorkerContext.for_app(step_harness.app).isolation._timeout = 0.1
    run_step(
        step_harness.app,
        StepDefinition(Step.SUBMIT, QUEUED, handler),
        ["long:0", "suspect:0", "suspect:0", "suspect:0"],
    )
    assert served == ["long"]
    assert (step_harness.part("suspect").fence, step_harness.part("suspect").attempts) == (fence, 1)
    assert caplog.text.count("suspect:0 waited too long for its turn") == 1
    run_step(step_harness.app, StepDefinition(Step.SUBMIT, QUEUED, handler), ["suspect:0"])
    assert served == ["long", "suspect"]


def test_failed_step_does_not_count_as_a_crash(step_harness):
    for run_id in ("a", "b"):
        step_harness.create_run(run_id)
    together, counted = asyncio.Event(), []

    async def failing(context, claim):
        raise ValueError("a bug")

    async def handler(context, claim):
        counted.append(claim.part.attempts)
        if len(counted) == 2:
            together.set()
        await asyncio.wait_for(together.wait(), 5)
        await context.release_until(claim, {}, 60.0)

    run_step(step_harness.app, StepDefinition(Step.SUBMIT, QUEUED, failing), ["a:0", "b:0"])
    step_harness.clock.forward(step_harness.settings.lease_seconds + 1)
    run_step(step_harness.app, StepDefinition(Step.SUBMIT, QUEUED, handler), ["a:0", "b:0"])
    assert counted == [2, 2]


class Deaths:
    """Processes that die of one part, one after the other, over one store. Each plays the dispatcher's messages."""

    def __init__(self, step_harness, killer):
        self.step_harness, self.killer, self.worst, self.deaths = step_harness, killer, {}, 0

    async def handler(self, context, claim):
        name = claim.part_id.run_id
        self.worst[name] = max(self.worst.get(name, 0), claim.part.attempts)
        if name == self.killer:
            await asyncio.sleep(0.03)
            self.died.set()
            await asyncio.sleep(60)
        await asyncio.sleep(0.1)
        return await finish_part(context, claim, "succeeded")

    def live(self, messages):
        """Run one process: it works on all messages at once, until it dies or has no more work."""

        async def go(store):
            self.died = asyncio.Event()
            limiter, api = RateLimiter(store, here=10, limit=10), self.step_harness.api
            context = WorkerContext(
                self.step_harness.app_context,
                store=store,
                client=api,
                submit_client=api,
                rate_limiter=limiter,
                loop=None,
            )
            definition = runner.StepDefinition(Step.SUBMIT, {PartState.QUEUED}, self.handler, 30.0)
            works = [
                asyncio.ensure_future(runner._run_parts(context, [PartId.parse(name) for name in names], definition))
                for names in messages
            ]
            death = asyncio.ensure_future(self.died.wait())
            rest = asyncio.ensure_future(asyncio.wait(works))
            await asyncio.wait({rest, death}, return_when=asyncio.FIRST_COMPLETED)
            for work in [*works, death]:
                work.cancel()
            await asyncio.gather(*works, rest, death, return_exceptions=True)
            self.deaths += self.died.is_set()

        self.step_harness.run_async(go)


def test_twelve_innocent_parts_beside_a_deadly_one_end_well(step_harness):
    innocent = [f"innocent{n}" for n in range(12)]
    names = [*innocent[:6], "killer", *innocent[6:]]
    for name in names:
        step_harness.create_run(name)
    story = Deaths(step_harness, "killer")
    story.live([[f"{name}:0" for name in names]])
    assert {step_harness.part(name).attempts for name in names} == {1}
    for _ in range(40):
        step_harness.clock.forward(301)
        messages = [message.ids for message in messages_for(step_harness.claim_due().parts)]
        story.live(messages)
        # An innocent part may die with the killer once, and never again.
        assert all(step_harness.part(name).attempts <= 1 for name in innocent if not step_harness.part(name).outcome)
        if all(step_harness.part(name).outcome for name in names):
            break
    assert {step_harness.part(name).outcome for name in innocent} == {"succeeded"}
    assert step_harness.part("killer").outcome == "poisoned"
    assert story.deaths == step_harness.settings.poison_after
    assert max(story.worst[name] for name in innocent) <= 2
