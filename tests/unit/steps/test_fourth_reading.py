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
def scrape(plant):
    return plant.app.tasks[scrape_step.name]


@pytest.fixture
def start(plant, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context._current_app", lambda settings: plant.app)
    return enqueue


def end(plant, run_id):
    """Ends a run, of which everybody is told."""
    if plant.part(run_id).state is not PartState.DONE:
        plant.finish(run_id)
    plant.run(ops.record_outcome(plant.keys, run_id, "succeeded", {}))
    for waiter in plant.view(run_id).waiters:
        plant.run(ops.acknowledge_delivery(plant.keys, run_id, waiter, plant.producer.retention))


@pytest.fixture
def forgotten_meanwhile(plant, monkeypatch):
    """An ended run with a key; another process forgets it right after the key has led somebody to it."""
    plant.begin("old", each=[URL], key="k")
    end(plant, "old")

    def forgetting(real):
        def run(given):
            found = real(given)
            if (given[0] if isinstance(given, list) else given).script == "create_run":
                plant.run(ops.forget_run(plant.keys, "old"))
            return found

        return run

    store = plant.producer.store
    monkeypatch.setattr(store, "run", forgetting(store.run))
    monkeypatch.setattr(store, "run_all", forgetting(store.run_all))


def test_a_run_that_is_forgotten_between_two_trips_leaves_its_key(plant, start, forgotten_meanwhile):
    handle = start([URL], idempotency_key="k")
    assert handle.state is RunState.QUEUED
    assert plant.run_ids() == {handle.run_id}
    assert plant.messages()[-1] == (routing.SUBMIT_JOBS, [f"{handle.run_id}:0"])


def test_a_caller_of_a_run_that_is_forgotten_between_two_trips_is_not_left_waiting(plant, scrape, forgotten_meanwhile):
    request = {"targets": [URL], "idempotency_key": "k"}
    scrape.push_request(id="celery-id", args=(), kwargs=request)
    with pytest.raises(Ignore):
        scrape.run(**request)
    scrape.pop_request()
    assert plant.view("celery-id").waiters.keys() == {"celery-id"}


def test_who_dies_between_a_result_and_what_follows_it_is_made_up_for(plant, monkeypatch):
    """Celery stores a result, then calls errbacks. The report had lain in the queue, and was published twice."""
    called, deaths, error = [], [True], JobLostError("lost", "r")
    plant.begin(signature=delivery_signature(plant.producer, "r", "r", {"link_error": signature("after.failure")}))
    plant.finish(outcome="lost", error=error)
    plant.run(ops.record_outcome(plant.keys, "r", "lost", {"error": json.dumps(error.to_json())}))
    monkeypatch.setattr("celery.canvas.Signature.apply_async", lambda self, **_: called.append(self.task))

    def call_errbacks(*_):
        if deaths and deaths.pop():
            raise KeyboardInterrupt
        called.append("after.failure")

    monkeypatch.setattr(type(plant.app.backend), "_call_task_errbacks", call_errbacks)
    dispatcher = Dispatcher(plant.producer)
    _look(plant, dispatcher, 6, 6)
    with suppress(KeyboardInterrupt):
        _deliver(plant)
    assert plant.app.backend.get_state("r") == "FAILURE"
    _look(plant, dispatcher, 400)
    _deliver(plant)
    assert called[-1] == "after.failure"
    _look(plant, dispatcher, 400)
    assert plant.view().waiters == {}


def _look(plant, dispatcher, *seconds):
    for one in seconds:
        plant.clock.forward(one)
        dispatcher.dispatch_due()
        if dispatcher._asking.ident is not None:
            dispatcher._asking.join()


def _deliver(plant):
    task = plant.app.tasks[deliver_outcome.name]
    request = {"id": "r", "errbacks": [signature("after.failure")], "args": ["r"], "kwargs": {}, "delivery_info": {}}
    build_tracer(routing.DELIVER_OUTCOME, task, app=plant.app)("r", ["r"], {}, {**request, "hostname": "h"})


def test_a_revocation_that_the_store_did_not_hear_is_told_again(plant, monkeypatch):
    plant.begin()
    plant.buy()
    dispatcher = Dispatcher(plant.producer)
    monkeypatch.setattr("scrape_do_celery.worker.dispatcher.revoked", {"r"})
    with monkeypatch.context() as patch:
        patch.setattr(plant.producer, "request_stop", _away)
        with pytest.raises(StoreUnavailableError):
            dispatcher.dispatch_due()
    dispatcher.dispatch_due()
    assert plant.view().stop_reason == CANCEL


def _away(*_):
    raise StoreUnavailableError("away")


def test_a_draft_that_others_wait_for_does_not_expire_with_its_first_message(plant, scrape, monkeypatch):
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda *_, **__: None)
    request = {"targets": [URL], "idempotency_key": "k"}
    scrape.apply_async((), dict(request), task_id="one", expires=30)
    scrape.apply_async((), dict(request), task_id="two", countdown=40)
    plant.app.backend.store_result("one", None, "REVOKED")
    plant.clock.forward(45)
    for run in plant.look().runs:
        start_draft(plant.producer, run.run_id, plant.clock.time())
    record = plant.view("one")
    assert (record.stop_reason, record.waiters.keys()) == (None, {"one", "two"})
    assert record.accepted is not None


def test_a_draft_whose_message_expires_is_canceled(plant, scrape, monkeypatch):
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda *_, **__: None)
    scrape.apply_async((), {"targets": [URL]}, task_id="one", expires=30)
    start_draft(plant.producer, "one", plant.clock.time() + 35)
    assert plant.view("one").stop_reason == CANCEL


def test_who_comes_at_the_end_of_a_records_life_is_told(plant):
    plant.begin(each=[URL], key="k")
    end(plant, "r")
    plant.clock.forward(plant.producer.retention.record - 1)
    assert plant.run(ops.accept_run(plant.keys, "r", "caller", "")) == 1
    plant.clock.forward(2)
    assert [run.run_id for run in plant.look().runs] == ["r"]
    plant.run(ops.acknowledge_delivery(plant.keys, "r", "caller", plant.producer.retention))
    assert plant.ttls()[plant.keys.run("r")] is not None


def test_a_key_that_has_passed_to_another_run_stays_with_it(plant):
    plant.begin(each=[URL], key="k")
    end(plant, "r")
    plant.clock.forward(plant.producer.retention.record - 1)
    plant.run(ops.accept_run(plant.keys, "r", "caller", ""))
    plant.clock.forward(2)
    assert plant.begin("another", each=[URL], key="k").run_id == "r", "as long as its run is there"
    plant.redis.delete(plant.keys.idempotency("k"))
    plant.begin("new", each=[URL], key="k")
    plant.run(ops.acknowledge_delivery(plant.keys, "r", "caller", plant.producer.retention))
    assert plant.ttls()[plant.keys.idempotency("k")] is None
    plant.run(ops.forget_run(plant.keys, "r"))
    assert plant.begin("again", each=[URL], key="k").run_id == "new"


@pytest.mark.parametrize("bought", [False, True])
def test_a_run_whose_key_is_lost_can_be_freed(plant, bought):
    old, new = (type(plant.keys)("p", Encryptor([letter * 32])) for letter in (b"1", b"2"))

    def tick(name):
        return start_scheduled_run(plant.producer, ops.ScheduleTick("prices", name, "skip"), {"targets": [URL]})

    plant.producer.store.keys = plant.keys = old
    run_id = tick("t1")
    if bought:
        plant.buy(run_id)
    handle = RunHandle(run_id, producer=plant.producer)
    plant.producer.store.keys = plant.keys = new
    handle.cancel()
    with pytest.raises(Exception, match="has not ended"):
        handle.forget()
    plant.clock.forward(plant.settings.cancel_grace + 1)
    plant.producer.store.keys = plant.keys = old
    if bought:
        with pytest.raises(Exception, match="has not ended"):
            handle.forget()
    plant.producer.store.keys = plant.keys = new
    handle.forget()
    assert plant.run_ids() == set()
    assert not [part_id for part_id in plant.due() if part_id.startswith(run_id)]
    assert plant.redis.keys("p:content_expiry") == plant.redis.keys("p:schedule:*") == []
    assert tick("t2") is not None
