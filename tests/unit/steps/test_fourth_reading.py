"""What a fourth slow reading found: callers whose id, callback or end never came; each with its smallest scene."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from celery import signature
from celery.app.trace import build_tracer
from celery.exceptions import Ignore

from scrape_do_celery import routing
from scrape_do_celery.errors import JobLostError, StoreUnavailableError
from scrape_do_celery.runs import RunHandle, enqueue
from scrape_do_celery.runs.canvas import delivery_signature
from scrape_do_celery.runs.reporting import start_draft
from scrape_do_celery.runs.starting import start_scheduled_run
from scrape_do_celery.store import CANCEL, PartState, RunState, ops
from scrape_do_celery.store.encryption import Encryptor
from scrape_do_celery.tasks import deliver_outcome
from scrape_do_celery.tasks import scrape as scrape_step
from scrape_do_celery.worker.dispatcher import Dispatcher

URL = "https://shop.example/0"
DAY = 86_400.0


@pytest.fixture
def scrape(step_harness):
    return step_harness.app.tasks[scrape_step.name]


@pytest.fixture
def start(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context._current_app", lambda settings: step_harness.app)
    return enqueue


def end(step_harness, run_id):
    """Ends a run, of which everybody is told."""
    if step_harness.part(run_id).state is not PartState.DONE:
        step_harness.finish_part(run_id)
    step_harness.run(ops.record_outcome(step_harness.keys, run_id, "succeeded", {}))
    for waiter in step_harness.read_run(run_id).waiters:
        step_harness.run(
            ops.acknowledge_delivery(step_harness.keys, run_id, waiter, step_harness.app_context.retention)
        )


@pytest.fixture
def forgotten_meanwhile(step_harness, monkeypatch):
    """An ended run with a key; another process forgets it right after the key has led somebody to it."""
    step_harness.create_run("old", each=[URL], key="k")
    end(step_harness, "old")

    def forgetting(real):
        def run(given):
            found = real(given)
            if (given[0] if isinstance(given, list) else given).script == "create_run":
                step_harness.run(ops.forget_run(step_harness.keys, "old"))
            return found

        return run

    store = step_harness.app_context.store
    monkeypatch.setattr(store, "run", forgetting(store.run))
    monkeypatch.setattr(store, "run_all", forgetting(store.run_all))


def test_a_run_that_is_forgotten_between_two_batches_leaves_its_key(step_harness, start, forgotten_meanwhile):
    handle = start([URL], idempotency_key="k")
    assert handle.state is RunState.QUEUED
    assert step_harness.run_ids() == {handle.run_id}
    assert step_harness.step_messages()[-1] == (routing.SUBMIT_JOBS, [f"{handle.run_id}:0"])


def test_a_caller_of_a_run_that_is_forgotten_between_two_batches_is_not_left_waiting(
    step_harness, scrape, forgotten_meanwhile
):
    request = {"targets": [URL], "idempotency_key": "k"}
    scrape.push_request(id="celery-id", args=(), kwargs=request)
    with pytest.raises(Ignore):
        scrape.run(**request)
    scrape.pop_request()
    assert step_harness.read_run("celery-id").waiters.keys() == {"celery-id"}


def test_who_dies_between_a_result_and_what_follows_it_is_made_up_for(step_harness, monkeypatch):
    """Celery stores a result, then calls errbacks. The report had lain in the queue, and was published twice."""
    called, deaths, error = [], [True], JobLostError("lost", "r")
    step_harness.create_run(
        signature=delivery_signature(step_harness.app_context, "r", "r", {"link_error": signature("after.failure")})
    )
    step_harness.finish_part(outcome="lost", error=error)
    step_harness.run(ops.record_outcome(step_harness.keys, "r", "lost", {"error": json.dumps(error.to_json())}))
    monkeypatch.setattr("celery.canvas.Signature.apply_async", lambda self, **_: called.append(self.task))

    def call_errbacks(*_):
        if deaths and deaths.pop():
            raise KeyboardInterrupt
        called.append("after.failure")

    monkeypatch.setattr(type(step_harness.app.backend), "_call_task_errbacks", call_errbacks)
    dispatcher = Dispatcher(step_harness.app_context)
    _look(step_harness, dispatcher, 6, 6)
    with suppress(KeyboardInterrupt):
        _deliver(step_harness)
    assert step_harness.app.backend.get_state("r") == "FAILURE"
    _look(step_harness, dispatcher, 400)
    _deliver(step_harness)
    assert called[-1] == "after.failure"
    _look(step_harness, dispatcher, 400)
    assert step_harness.read_run().waiters == {}


def _look(step_harness, dispatcher, *seconds):
    for one in seconds:
        step_harness.clock.forward(one)
        dispatcher.dispatch_due()
        if dispatcher._asking.ident is not None:
            dispatcher._asking.join()


def _deliver(step_harness):
    task = step_harness.app.tasks[deliver_outcome.name]
    request = {"id": "r", "errbacks": [signature("after.failure")], "args": ["r"], "kwargs": {}, "delivery_info": {}}
    build_tracer(routing.DELIVER_OUTCOME, task, app=step_harness.app)("r", ["r"], {}, {**request, "hostname": "h"})


def test_a_revocation_that_the_store_did_not_hear_is_told_again(step_harness, monkeypatch):
    step_harness.create_run()
    step_harness.make_running()
    dispatcher = Dispatcher(step_harness.app_context)
    monkeypatch.setattr("scrape_do_celery.worker.dispatcher.revoked", {"r"})
    with monkeypatch.context() as patch:
        patch.setattr(step_harness.app_context, "request_stop", _away)
        with pytest.raises(StoreUnavailableError):
            dispatcher.dispatch_due()
    dispatcher.dispatch_due()
    assert step_harness.read_run().stop_reason == CANCEL


def _away(*_):
    raise StoreUnavailableError("away")


def test_a_draft_that_others_wait_for_does_not_expire_with_its_first_message(step_harness, scrape, monkeypatch):
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda *_, **__: None)
    request = {"targets": [URL], "idempotency_key": "k"}
    scrape.apply_async((), dict(request), task_id="one", expires=30)
    scrape.apply_async((), dict(request), task_id="two", countdown=40)
    step_harness.app.backend.store_result("one", None, "REVOKED")
    step_harness.clock.forward(45)
    for run in step_harness.claim_due().runs:
        start_draft(step_harness.app_context, run.run_id, step_harness.clock.time())
    record = step_harness.read_run("one")
    assert (record.stop_reason, record.waiters.keys()) == (None, {"one", "two"})
    assert record.accepted is not None


def test_a_draft_whose_message_expires_is_canceled(step_harness, scrape, monkeypatch):
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda *_, **__: None)
    scrape.apply_async((), {"targets": [URL]}, task_id="one", expires=30)
    start_draft(step_harness.app_context, "one", step_harness.clock.time() + 35)
    assert step_harness.read_run("one").stop_reason == CANCEL


def test_who_comes_at_the_end_of_a_records_life_is_told(step_harness):
    step_harness.create_run(each=[URL], key="k")
    end(step_harness, "r")
    step_harness.clock.forward(step_harness.app_context.retention.record - 1)
    assert step_harness.run(ops.accept_run(step_harness.keys, "r", "caller", "")) == 1
    step_harness.clock.forward(2)
    assert [run.run_id for run in step_harness.claim_due().runs] == ["r"]
    step_harness.run(ops.acknowledge_delivery(step_harness.keys, "r", "caller", step_harness.app_context.retention))
    assert step_harness.ttls()[step_harness.keys.run("r")] is not None


def test_a_key_that_has_passed_to_another_run_stays_with_it(step_harness):
    step_harness.create_run(each=[URL], key="k")
    end(step_harness, "r")
    step_harness.clock.forward(step_harness.app_context.retention.record - 1)
    step_harness.run(ops.accept_run(step_harness.keys, "r", "caller", ""))
    step_harness.clock.forward(2)
    assert step_harness.create_run("another", each=[URL], key="k").run_id == "r", "as long as its run is there"
    step_harness.redis.delete(step_harness.keys.idempotency("k"))
    step_harness.create_run("new", each=[URL], key="k")
    step_harness.run(ops.acknowledge_delivery(step_harness.keys, "r", "caller", step_harness.app_context.retention))
    assert step_harness.ttls()[step_harness.keys.idempotency("k")] is None
    step_harness.run(ops.forget_run(step_harness.keys, "r"))
    assert step_harness.create_run("again", each=[URL], key="k").run_id == "new"


@pytest.mark.parametrize("bought", [False, True])
def test_a_run_whose_key_is_lost_can_be_freed(step_harness, bought):
    old, new = (type(step_harness.keys)("p", Encryptor([letter * 32])) for letter in (b"1", b"2"))

    def tick(name):
        return start_scheduled_run(
            step_harness.app_context, ops.ScheduleTick("prices", name, "skip"), {"targets": [URL]}
        )

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
