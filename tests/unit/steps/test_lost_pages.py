"""Test that a page is fetched again if a failover lost it between its storage and the end of its part."""

from __future__ import annotations

import pytest

from scrape_do_celery import routing
from scrape_do_celery.rules.polling import RETENTION
from scrape_do_celery.runs import RunHandle, StepMessage
from scrape_do_celery.steps.cancel import cancel_part
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import AsyncStore, PartId, PartState
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.parts import PoisonPolicy
from scrape_do_celery.store.commands.runs import RequestStop
from scrape_do_celery.tasks import aggregate_run
from tests.unit.steps.conftest import LEASE, start_fetching

AGGREGATE = StepMessage(routing.AGGREGATE_RUN, ("r",))
PART_ID = PartId("r", 0)
#: The scripts that write what a turn of a part must not lose. The limiter of requests writes at times of its own.
WRITES = frozenset({"store_content", "hold_content", "update_part"})


@pytest.fixture
def lose_writes(step_harness, monkeypatch):
    """Return a function that plays a failover right before a part ends: the new primary lacks the last writes.

    The first lost write is the first command of the script `since` for which `is_first` is true; without `since`, the
    next write of all. The function returns the list of those scripts of the step in `WRITES` whose writes are lost.
    """
    redis, run = step_harness.redis, AsyncStore.run

    def copy_store():
        return {key: (redis.dump(key), max(0, redis.pttl(key))) for key in redis.scan_iter()}

    def lose(since=None, is_first=lambda _: True):
        copied, lost = {} if since else copy_store(), []

        async def fail_over(store, command):
            if not copied and command.script == since and is_first(command):
                copied.update(copy_store())
            if copied and command.script == "finish_part":
                monkeypatch.setattr(AsyncStore, "run", run)
                redis.flushdb()
                for key, (value, life) in copied.items():
                    redis.restore(key, life, value)
            elif copied and command.script in WRITES:
                lost.append(command.script)
            return await run(store, command)

        monkeypatch.setattr(AsyncStore, "run", fail_over)
        return lost

    return lose


def page(make, **fields):
    return lambda _, task_id: make.task(int(task_id[1:]), **fields)


def asked(step_harness):
    return sorted(task_id for _, task_id in step_harness.api.called("get_task"))


def stored(step_harness, count):
    return step_harness.run(ReadContents(PART_ID, range(count)))


def test_lost_page_is_fetched_again(step_harness, make, lose_writes):
    start_fetching(step_harness, make, 1)
    step_harness.api.script(get_task=page(make))
    lost = lose_writes("store_content")
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) is None
    assert lost == ["store_content"]
    part = step_harness.part()
    assert (part.state, part.stored_ok, part.api_failures) == (PartState.FETCHING, 0, 0)
    assert [part.part_id for part in step_harness.claim_due().parts] == [PART_ID], "the next turn comes at once"
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert (step_harness.part().outcome, step_harness.part().stored_ok) == ("succeeded", 1)
    assert stored(step_harness, 1) == [make.task(0)]
    assert asked(step_harness) == ["t0", "t0"]


def test_only_lost_pages_are_fetched_again(step_harness, make, lose_writes):
    start_fetching(step_harness, make, 4)
    step_harness.settings = step_harness.settings.model_copy(update={"fetch_concurrency": 1})
    step_harness.api.script(get_task=page(make))
    lost = lose_writes("store_content", lambda command: command.position == 2)
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) is None
    assert lost == ["store_content"] * 2
    step_harness.api.calls.clear()
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert asked(step_harness) == ["t2", "t3"]
    assert step_harness.part().stored_ok == 4


def test_lost_delivered_page_is_fetched(step_harness, make, lose_writes):
    """Lose a page that came after the claim of the step, so that the step has found it stored."""
    start_fetching(step_harness, make, 1)
    step_harness.api.script(get_task=page(make))
    claim = step_harness.claim_part()
    lose_writes()
    step_harness.store_content(position=0)
    assert step_harness.run_step(fetch_part, claim) is None
    assert asked(step_harness) == []
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert asked(step_harness) == ["t0"]
    assert step_harness.part().stored_ok == 1


def test_run_with_a_lost_page_buys_once_and_succeeds(step_harness, make, lose_writes):
    step_harness.create_run(targets=1)
    step_harness.api.script(create_job=make.created(count=1), get_job=make.job("success", 1), get_task=page(make))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    step_harness.clock.forward(100)
    lose_writes("store_content")
    for _ in range(10):
        if step_harness.part().state is PartState.DONE:
            break
        step = poll_part if step_harness.part().state is PartState.RUNNING else fetch_part
        step_harness.run_step(step, step_harness.claim_part())
    step_harness.app.tasks[aggregate_run.name].run(["r"])
    result = RunHandle("r", app_context=step_harness.app_context).result()
    assert [task.content for task in result.succeeded] == ["<html>"]
    assert step_harness.read_run().outcome == "succeeded"
    assert (step_harness.api.posts, step_harness.part().purchases) == (1, 1)


def test_lost_end_of_a_job_is_read_again(step_harness, make, lose_writes):
    """Lose only the change to `fetching`, whose record of the job is needed to read the pages."""
    step_harness.create_run(targets=1)
    step_harness.make_running()
    step_harness.store_content(position=0)
    step_harness.api.script(get_job=make.job("success", 1))
    lost = lose_writes("update_part")
    assert step_harness.run_step(poll_part, step_harness.claim_part()) is None
    assert lost == ["update_part"]
    assert step_harness.part().state is PartState.RUNNING
    assert step_harness.run_step(poll_part, step_harness.claim_part()) == AGGREGATE
    assert (step_harness.part().outcome, step_harness.part().stored_ok) == ("succeeded", 1)


@pytest.mark.parametrize(
    ("status", "script", "held"), [("success", "store_content", None), ("canceled", "hold_content", True)]
)
def test_lost_page_of_a_canceled_job_is_fetched_again(step_harness, make, lose_writes, status, script, held):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.run(RequestStop("r", "cancel"))
    step_harness.api.script(
        cancel_job=make.job("canceled", tasks=["canceled", "pending"]),
        get_job=make.job("canceled", tasks=["canceled", "pending"]),
        get_task=page(make, status=status),
    )
    lost = lose_writes(script)
    assert step_harness.run_step(cancel_part, step_harness.claim_part()) is None
    assert lost == [script]
    assert step_harness.part().state is PartState.FETCHING
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert asked(step_harness) == ["t1", "t1"]
    assert [task and (task.content, task.given_up or None) for task in stored(step_harness, 2)] == [
        None,
        ("<html>", held),
    ]
    assert step_harness.part().outcome == "canceled"


@pytest.mark.parametrize(("word", "script"), [("success", "store_content"), ("rotating", "hold_content")])
def test_lost_page_of_an_overdue_run_is_fetched_again(step_harness, make, lose_writes, word, script):
    start_fetching(step_harness, make)
    step_harness.run(RequestStop("r", "deadline"))
    step_harness.api.script(get_task=make.refusal(500))
    step_harness.run_step(fetch_part, step_harness.claim_part())
    step_harness.clock.forward(3 * step_harness.settings.cancel_grace)
    step_harness.api.calls.clear()
    step_harness.api.script(
        get_task=lambda _, task_id: make.task(0, status=word) if task_id == "t0" else make.refusal(500)
    )
    lost = lose_writes(script)
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) is None
    assert lost == [script]
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert asked(step_harness) == ["t0", "t0", "t1", "t1"]
    assert [task and task.content for task in stored(step_harness, 2)] == ["<html>", None]
    assert step_harness.part().outcome == "timed_out"


def test_repeated_losses_do_not_poison_the_run(step_harness, make, lose_writes):
    start_fetching(step_harness, make, 1)
    step_harness.api.script(get_task=page(make))
    poison = PoisonPolicy(step_harness.settings.poison_after, skip_unsent=False)
    for _ in range(step_harness.settings.poison_after + 2):
        lose_writes("store_content")
        assert step_harness.run_step(fetch_part, step_harness.claim_part(poison=poison)) is None
    assert step_harness.run_step(fetch_part, step_harness.claim_part(poison=poison)) == AGGREGATE
    assert step_harness.part().outcome == "succeeded"


def test_part_ends_although_its_records_are_lost_after_the_retention(step_harness, make, lose_writes):
    """End a part whose job the API has deleted: no later turn could fetch a page."""
    start_fetching(step_harness, make, 1)
    step_harness.api.script(get_task=make.refusal(410))
    step_harness.clock.forward(RETENTION + 2 * 3600)
    lost = lose_writes("store_content")
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert lost == ["store_content"]
    assert step_harness.part().state is PartState.DONE


def test_a_part_with_a_lost_page_is_not_released_under_an_old_fence(step_harness, make, lose_writes):
    start_fetching(step_harness, make, 1)
    step_harness.api.script(get_task=page(make))
    lose_writes("store_content")
    old = step_harness.claim_part()
    step_harness.clock.forward(LEASE)
    new = step_harness.claim_part()
    assert step_harness.run_step(fetch_part, old) is None
    assert step_harness.part_fields()["token"], "the other step keeps its lease"
    assert step_harness.run_step(fetch_part, new) == AGGREGATE
