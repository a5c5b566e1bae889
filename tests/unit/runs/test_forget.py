"""Test forgetting a run: keys, waiters and schedules afterwards."""

from __future__ import annotations

import pytest
from celery.exceptions import Ignore

from scrape_do_celery import routing
from scrape_do_celery.runs import RunHandle
from scrape_do_celery.steps.schedule import start_scheduled_run
from scrape_do_celery.store import PartState, RunState
from scrape_do_celery.store.commands.creation import AcceptRun, ScheduleTick
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ForgetRun, RecordOutcome
from scrape_do_celery.store.encryption import Encryptor

URL = "https://shop.example/0"


def end_and_deliver(step_harness, run_id):
    """End a run, and acknowledge the delivery to all waiters."""
    if step_harness.part(run_id).state is not PartState.DONE:
        step_harness.finish_part(run_id)
    step_harness.run(RecordOutcome(run_id, "succeeded", {}))
    for waiter in step_harness.read_run(run_id).waiters:
        step_harness.run(AcknowledgeDelivery(run_id, waiter, step_harness.app_context.retention))


@pytest.fixture
def forgotten_meanwhile(step_harness, monkeypatch):
    """Make an ended run with a key. Another process forgets it right after `create_run` has found it by the key."""
    step_harness.create_run("old", each=[URL], key="k")
    end_and_deliver(step_harness, "old")

    def forgetting(real):
        def run(given):
            found = real(given)
            if (given[0] if isinstance(given, list) else given).script == "create_run":
                step_harness.run(ForgetRun("old"))
            return found

        return run

    store = step_harness.app_context.store
    monkeypatch.setattr(store, "run", forgetting(store.run))
    monkeypatch.setattr(store, "run_all", forgetting(store.run_all))


def test_forget_leaves_no_key_without_expiry(step_harness):
    step_harness.create_run(key="k")
    step_harness.make_running()
    step_harness.finish_part()
    step_harness.run(RecordOutcome("r", "succeeded", {}))
    step_harness.run(AcknowledgeDelivery("r", "r", step_harness.app_context.retention))
    RunHandle("r", app_context=step_harness.app_context).forget()
    assert step_harness.ttls()
    assert None not in step_harness.ttls().values()


def test_key_of_a_forgotten_run_can_be_used_again(step_harness, start_run):
    h = start_run([URL], idempotency_key="k")
    step_harness.finish_part(h.run_id)
    step_harness.run(RecordOutcome(h.run_id, "succeeded", {}))
    step_harness.run(AcknowledgeDelivery(h.run_id, h.run_id, step_harness.app_context.retention))
    h.forget()
    again = start_run([URL], idempotency_key="k")
    assert again.state == "queued"


def test_run_forgotten_between_two_calls_frees_its_key(step_harness, start_run, forgotten_meanwhile):
    handle = start_run([URL], idempotency_key="k")
    assert handle.state is RunState.QUEUED
    assert step_harness.run_ids() == {handle.run_id}
    assert step_harness.step_messages()[-1] == (routing.SUBMIT_JOBS, [f"{handle.run_id}:0"])


def test_caller_gets_a_new_run_if_the_old_is_forgotten(step_harness, scrape_task, forgotten_meanwhile):
    request = {"targets": [URL], "idempotency_key": "k"}
    scrape_task.push_request(id="celery-id", args=(), kwargs=request)
    with pytest.raises(Ignore):
        scrape_task.run(**request)
    scrape_task.pop_request()
    assert step_harness.read_run("celery-id").waiters.keys() == {"celery-id"}


def test_late_waiter_is_served_before_the_record_expires(step_harness):
    step_harness.create_run(each=[URL], key="k")
    end_and_deliver(step_harness, "r")
    step_harness.clock.forward(step_harness.app_context.retention.record - 1)
    assert step_harness.run(AcceptRun("r", "caller", "")).parts == 1
    step_harness.clock.forward(2)
    assert [run.run_id for run in step_harness.claim_due().runs] == ["r"]
    step_harness.run(AcknowledgeDelivery("r", "caller", step_harness.app_context.retention))
    assert step_harness.ttls()[step_harness.keys.run("r")] is not None


def test_key_passed_to_another_run_stays_with_it(step_harness):
    step_harness.create_run(each=[URL], key="k")
    end_and_deliver(step_harness, "r")
    step_harness.clock.forward(step_harness.app_context.retention.record - 1)
    step_harness.run(AcceptRun("r", "caller", ""))
    step_harness.clock.forward(2)
    assert step_harness.create_run("another", each=[URL], key="k").run_id == "r", "as long as its run is there"
    step_harness.redis.delete(step_harness.keys.idempotency("k"))
    step_harness.create_run("new", each=[URL], key="k")
    step_harness.run(AcknowledgeDelivery("r", "caller", step_harness.app_context.retention))
    assert step_harness.ttls()[step_harness.keys.idempotency("k")] is None
    step_harness.run(ForgetRun("r"))
    assert step_harness.create_run("again", each=[URL], key="k").run_id == "new"


@pytest.mark.parametrize("bought", [False, True])
def test_run_with_lost_encryption_key_can_be_forgotten(step_harness, bought):
    old, new = (type(step_harness.keys)("p", Encryptor([letter * 32])) for letter in (b"1", b"2"))

    def tick(name):
        return start_scheduled_run(step_harness.app_context, ScheduleTick("prices", name, "skip"), {"targets": [URL]})

    step_harness.app_context.store.keys = step_harness.keys = old
    run_id = tick("t1")
    if bought:
        step_harness.make_running(run_id)
    handle = RunHandle(run_id, app_context=step_harness.app_context)
    step_harness.app_context.store.keys = step_harness.keys = new
    handle.cancel()
    with pytest.raises(Exception, match="has not ended"):
        handle.forget()
    step_harness.clock.forward(step_harness.settings.cancel_grace + 1)
    step_harness.app_context.store.keys = step_harness.keys = old
    if bought:
        with pytest.raises(Exception, match="has not ended"):
            handle.forget()
    step_harness.app_context.store.keys = step_harness.keys = new
    handle.forget()
    assert step_harness.run_ids() == set()
    assert not [part_id for part_id in step_harness.due_parts() if part_id.startswith(run_id)]
    assert step_harness.redis.keys("p:content_expiry") == step_harness.redis.keys("p:schedule:*") == []
    assert tick("t2") is not None
