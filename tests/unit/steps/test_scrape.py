"""Test the public step: a request becomes a run under the caller's Celery id."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from celery import _state, signature
from celery.exceptions import Ignore, Reject
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from scrape_do_celery import Target, routing
from scrape_do_celery.errors import (
    IdempotencyConflictError,
    InvalidRequestError,
    RunNotFoundError,
    StoreUnavailableError,
)
from scrape_do_celery.runs.publishing import DeadlineProducer
from scrape_do_celery.runs.stand_in_producers import CapturingProducer
from scrape_do_celery.steps import requeue
from scrape_do_celery.steps import scrape as late
from scrape_do_celery.store import PartId, RunSpec
from scrape_do_celery.store.commands.creation import DisownMessage, ReserveKey
from scrape_do_celery.store.commands.dispatch import REDISPATCH_MIN
from scrape_do_celery.store.commands.parts import ReadPartSpec
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ForgetRun, ReadSpec, RecordOutcome
from scrape_do_celery.tasks import scrape as shared
from tests.support.module_sleep import replace_sleep

URL = "https://shop.example/0"


@pytest.fixture
def messages(step_harness, monkeypatch):
    """Catch the messages that `apply_async` sends after our own part of it."""
    caught = []

    def apply_async(self, args, kwargs, **options):
        producer = options["producer"]
        if isinstance(producer, CapturingProducer):
            return
        args, kwargs, _ = producer.publish((args, kwargs, {}), headers=options.get("headers"))
        caught.append((args, kwargs, options))

    monkeypatch.setattr("celery.app.task.Task.apply_async", apply_async)
    monkeypatch.setattr(DeadlineProducer, "publish", lambda self, body, **_: body)
    return caught


@pytest.fixture
def receive(scrape_task):
    """Return a function that runs the step in the way of a worker that received its message."""

    def run(*args, request=None, **kwargs):
        scrape_task.push_request(**{"id": "celery-id", "args": args, "kwargs": kwargs, **(request or {})})
        try:
            with pytest.raises(Ignore):
                scrape_task.run(*args, **kwargs)
        finally:
            scrape_task.pop_request()

    return run


def delivery_of(step_harness, waiter, run_id="celery-id"):
    return signature(json.loads(step_harness.read_run(run_id).waiters[waiter]))


def test_record_is_written_before_the_message(step_harness, scrape_task, messages):
    scrape_task.apply_async((), {"targets": [URL], "max_wait": 60}, task_id="celery-id", link=signature("shop.save"))
    ((args, kwargs, options),) = messages
    assert (args, kwargs) == ((), {"run_id": "celery-id"})
    assert options["task_id"] == "celery-id"
    assert options["queue"] == step_harness.settings.queue
    record = step_harness.read_run("celery-id")
    assert (record.accepted, record.max_wait) == (None, 60)
    assert step_harness.due_parts()["celery-id:run"] == pytest.approx(REDISPATCH_MIN, abs=1)
    finish = delivery_of(step_harness, "celery-id")
    assert (finish.task, list(finish.args), finish.options["task_id"]) == (
        routing.DELIVER_OUTCOME,
        ["celery-id"],
        "celery-id",
    )
    assert [link["task"] for link in finish.options["link"]] == ["shop.save"]


def test_a_request_may_be_positional(step_harness, scrape_task, messages):
    scrape_task.delay([URL], geo_code="us")
    ((_, kwargs, options),) = messages
    assert kwargs["run_id"] == options["task_id"]
    assert step_harness.run(ReadSpec(kwargs["run_id"], 1)).request.geo_code == "us"


@pytest.mark.parametrize(
    "when", [{"countdown": 500}, {"eta": 500}, {"eta": "500"}], ids=["countdown", "eta", "eta as text"]
)
def test_a_draft_is_held_until_its_message_is_due(step_harness, scrape_task, messages, when):
    if "eta" in when:
        moment = datetime.now(UTC) + timedelta(seconds=500)
        when = {"eta": moment.isoformat() if when["eta"] == "500" else moment}
    scrape_task.apply_async(([URL],), task_id="celery-id", **when)
    assert step_harness.due_parts()["celery-id:run"] == pytest.approx(500 + REDISPATCH_MIN, abs=2)


def test_a_wrong_request_raises_in_the_caller(step_harness, scrape_task, messages):
    for args in (([URL], "us"), ({URL},), ([f"{URL}\ud800"],)):
        with pytest.raises(ValueError, match="targets"):
            scrape_task.apply_async(args)
    with pytest.raises(ValueError, match="pass targets once"):
        scrape_task.apply_async(([URL],), {"targets": [URL]})
    for kwargs in ({"targets": []}, {"targets": ["x"]}, {"targets": [URL], "idempotency_key": " "}, {"wrong": 1}):
        with pytest.raises(ValueError, match=r"targets|idempotency_key|wrong"):
            scrape_task.apply_async((), kwargs)
    assert messages == []
    assert step_harness.redis.keys() == []


def test_invalid_request_in_a_worker_fails_under_its_id(step_harness, scrape_task, messages, monkeypatch):
    monkeypatch.setattr(type(step_harness.app), "current_worker_task", property(lambda _: scrape_task))
    scrape_task.apply_async((), {"targets": []}, task_id="celery-id")
    assert messages[0][:2] == ((), {"targets": []})
    assert step_harness.redis.keys() == []


@pytest.mark.parametrize(
    "wrong",
    [Target(URL, {1: 2}), Target(URL, "x" * 2000), {"url": URL, "meta": {"__type__": "x", "__value__": 1}}, object()],
    ids=["other keys", "too large", "unknown type", "no JSON"],
)
def test_request_that_no_worker_could_read_raises_in_a_worker(step_harness, scrape_task, messages, monkeypatch, wrong):
    """Celery drops a message that it cannot read. Then nobody would hear of the run."""
    monkeypatch.setattr(type(step_harness.app), "current_worker_task", property(lambda _: scrape_task))
    with pytest.raises(ValueError, match=r"targets\[0\]"):
        scrape_task.apply_async((), {"targets": [wrong]}, task_id="celery-id")
    assert messages == []
    assert step_harness.redis.keys() == []


def test_the_message_that_arrives_makes_the_run_live(step_harness, scrape_task, messages, receive):
    scrape_task.apply_async(([URL],), task_id="celery-id")
    receive(run_id="celery-id")
    record = step_harness.read_run("celery-id")
    assert record.accepted is not None
    assert record.waiters.keys() == {"celery-id"}
    assert step_harness.step_messages() == [(routing.SUBMIT_JOBS, ["celery-id:0"])]
    before = step_harness.redis.hgetall(step_harness.keys.run("celery-id"))
    receive(run_id="celery-id")
    assert step_harness.redis.hgetall(step_harness.keys.run("celery-id")) == before


def test_a_request_by_message_becomes_a_run_under_that_message(step_harness, receive):
    receive(targets=[URL], raise_on_task_failure=True, idempotency_key="prices")
    record = step_harness.read_run("celery-id")
    assert record.accepted is not None
    assert step_harness.run(ReadSpec("celery-id", 1)).raise_on_task_failure
    before = step_harness.dump_keys()
    receive(targets=[URL], raise_on_task_failure=True, idempotency_key="prices")
    assert step_harness.dump_keys() == before


def test_the_canvas_of_the_caller_is_kept(step_harness, receive):
    receive(
        targets=[URL],
        request={
            "callbacks": [signature("shop.save")],
            "errbacks": [signature("shop.alarm")],
            "chain": [signature("shop.third"), signature("shop.second")],
            "chord": signature("shop.body", options={"chord": None}),
            "group": "group-id",
            "group_index": 3,
            "root_id": "root",
            "parent_id": "parent",
            "priority": 5,
            "headers": {"x": "y"},
            "expires": "2026-01-01T00:00:00",
            "retries": 4,
            "delivery_info": {"routing_key": "elsewhere", "exchange": "e", "redelivered": True},
        },
    )
    options = delivery_of(step_harness, "celery-id").options
    assert [one["task"] for one in options["link"]] == ["shop.save"]
    assert [one["task"] for one in options["link_error"]] == ["shop.alarm"]
    assert [one["task"] for one in options["chain"]] == ["shop.third", "shop.second"]
    assert options["chord"]["task"] == "shop.body"
    assert (options["group_id"], options["group_index"], options["root_id"]) == ("group-id", 3, "root")
    assert options["queue"] == step_harness.settings.queue
    assert not {"expires", "retries", "routing_key", "exchange", "redelivered", "eta", "countdown"} & options.keys()


def test_broker_outage_does_not_stop_a_stored_run(step_harness, scrape_task, monkeypatch, caplog):
    def away(*_, **__):
        raise OperationalError("away")

    monkeypatch.delattr(step_harness.app, "send_task")
    monkeypatch.setattr(DeadlineProducer, "publish", away)
    result = scrape_task.apply_async(([URL],), task_id="celery-id")
    assert result.id == "celery-id"
    assert "celery-id:run" in step_harness.due_parts()
    assert "a worker's dispatcher starts it" in caplog.text


def test_message_with_an_id_is_sent_unchanged(step_harness, scrape_task, messages):
    scrape_task.apply_async((), {"run_id": "r"}, task_id="celery-id")
    assert messages[0][1] == {"run_id": "r"}
    assert step_harness.redis.keys() == []


@pytest.mark.parametrize("kwargs", [{"run_id": "celery-id"}, {"targets": [URL]}], ids=["by id", "by request"])
def test_message_of_a_forgotten_run_is_ignored(step_harness, receive, kwargs):
    receive(targets=[URL])
    step_harness.finish_part("celery-id")
    step_harness.run(RecordOutcome("celery-id", "succeeded", {}))
    step_harness.run(AcknowledgeDelivery("celery-id", "celery-id", step_harness.app_context.retention))
    step_harness.run(ForgetRun("celery-id"))
    step_harness.step_messages()
    receive(**kwargs)
    assert step_harness.sent == []
    assert step_harness.read_run("celery-id") is None


def test_imported_task_belongs_to_the_current_app(step_harness, scrape_task, monkeypatch):
    monkeypatch.setattr(_state._tls, "current_app", step_harness.app)
    assert shared.name == routing.SCRAPE
    assert shared.app is step_harness.app


def test_a_process_without_an_app_gets_ours_with_the_step(clean_environment, monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_BROKER_URL", "memory://")
    monkeypatch.setenv("SCRAPE_DO_RESULT_BACKEND", "cache+memory://")
    assert shared.app.main == "scrape_do"
    assert _state.default_app is shared.app


def test_second_caller_with_the_key_waits_for_the_run(step_harness, scrape_task, messages, receive):
    scrape_task.apply_async(([URL],), {"idempotency_key": "prices"}, task_id="first")
    scrape_task.apply_async(([URL],), {"idempotency_key": "prices"}, task_id="second")
    assert [kwargs for _, kwargs, _ in messages] == [{"run_id": "first"}] * 2
    assert step_harness.read_run("first").waiters.keys() == {"first", "second"}
    assert delivery_of(step_harness, "second", "first").options["task_id"] == "second"
    with pytest.raises(IdempotencyConflictError):
        scrape_task.apply_async(([URL],), {"idempotency_key": "prices", "super": True}, task_id="third")


def test_key_reserved_by_a_transaction_keeps_its_id(step_harness, scrape_task, messages, receive):
    digest = RunSpec.from_arguments([URL]).digest
    step_harness.run(ReserveKey("prices", "promised", digest))
    scrape_task.apply_async(([URL],), {"idempotency_key": "prices"}, task_id="first", countdown=60)
    assert [kwargs for _, kwargs, _ in messages] == [{"run_id": "promised"}]
    assert step_harness.read_run("promised").accepted is None
    assert delivery_of(step_harness, "first", "promised").options["task_id"] == "first"
    receive(run_id="promised", request={"id": "first"})
    assert step_harness.read_run("promised").accepted is not None
    assert step_harness.run_ids() == {"promised"}


def run_as(scrape_task, **kwargs):
    scrape_task.push_request(id="celery-id", args=(), kwargs=kwargs)
    try:
        scrape_task.run(**kwargs)
    finally:
        scrape_task.pop_request()


@pytest.mark.parametrize(
    "kwargs",
    [
        {"targets": []},
        {"targets": "x"},
        {"no_such": 1},
        {"targets": [URL], "timeout": "soon"},
        {"targets": [URL], "max_wait": 0},
    ],
)
def test_a_wrong_request_by_message_fails_the_step(step_harness, scrape_task, kwargs):
    with pytest.raises(InvalidRequestError) as caught:
        run_as(scrape_task, **kwargs)
    assert isinstance(caught.value, ValueError)
    assert step_harness.redis.keys() == []


def test_a_conflict_by_message_keeps_its_type(step_harness, scrape_task, receive):
    step_harness.create_run("first", key="prices")
    with pytest.raises(IdempotencyConflictError):
        run_as(scrape_task, targets=[URL], super=True, idempotency_key="prices")


def test_repeated_message_with_other_targets_is_the_same_run(step_harness, receive):
    """Repeat the step with other targets: the step before it ran twice. The first targets were bought."""
    receive(targets=[URL])
    receive(targets=["https://other.example/"])
    assert list(step_harness.read_run("celery-id").waiters) == ["celery-id"]
    assert step_harness.run(ReadPartSpec(PartId("celery-id", 0))).request.targets == [URL]


@pytest.fixture
def waits(monkeypatch):
    """Let the wait for late records take no time. Return the pauses; `during` is called in each of them."""
    clock, pauses = SimpleNamespace(now=1000.0), []

    def sleep(seconds):
        clock.now += seconds
        pauses.append(seconds)
        waiting.during()

    waiting = SimpleNamespace(pauses=pauses, during=lambda: None, clock=clock)
    monkeypatch.setattr(late, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))
    monkeypatch.setattr(late, "_late_records", late._LateRecords())
    return waiting


def test_a_message_for_a_run_that_is_gone(step_harness, scrape_task, waits):
    with pytest.raises(RunNotFoundError) as caught:
        run_as(scrape_task, run_id="gone")
    assert caught.value.run_id == "gone"
    assert sum(waits.pauses) == pytest.approx(step_harness.settings.store_timeout)


def test_waits_after_a_wait_without_a_record_are_short(step_harness, scrape_task, waits):
    for _ in range(3):
        waits.pauses.clear()
        with pytest.raises(RunNotFoundError):
            run_as(scrape_task, run_id="gone")
    assert sum(waits.pauses) == pytest.approx(0.5)
    waits.clock.now += 61.0
    waits.pauses.clear()
    with pytest.raises(RunNotFoundError):
        run_as(scrape_task, run_id="gone")
    assert sum(waits.pauses) == pytest.approx(step_harness.settings.store_timeout)


def test_a_message_that_comes_before_its_record_starts_the_run(step_harness, scrape_task, receive, waits):
    """Let an app publish past the producer that it is given. Its worker is faster than the caller."""

    def write_late():
        if len(waits.pauses) == 2:
            scrape_task.apply_async(([URL],), task_id="celery-id")

    waits.during = write_late
    receive(run_id="celery-id")
    assert len(waits.pauses) == 2
    assert step_harness.read_run("celery-id").accepted is not None
    assert list(step_harness.read_run("celery-id").waiters) == ["celery-id"]


def test_a_message_of_a_call_whose_key_has_another_run_is_ignored(step_harness, scrape_task, receive, waits):
    for task_id in ("first", "second"):
        scrape_task.apply_async(([URL],), {"idempotency_key": "k"}, task_id=task_id)
    assert [message.kwargs for message in step_harness.sent] == [{"run_id": "first"}, {"run_id": "second"}]
    receive(run_id="second", request={"id": "second"})
    assert waits.pauses == []
    assert set(step_harness.read_run("first").waiters) == {"first", "second"}
    assert step_harness.run_ids() == {"first"}


def test_the_id_of_a_run_is_never_disowned(step_harness):
    step_harness.create_run("r")
    assert step_harness.run(DisownMessage("r")) is False
    assert step_harness.run_ids() == {"r"}
    assert step_harness.run(DisownMessage("other")) is True
    assert step_harness.redis.ttl(step_harness.keys.run("other")) > 0


def test_a_message_that_was_made_for_its_headers_is_ignored(step_harness, receive, waits):
    receive(run_id="celery-id", captured=True)
    assert (waits.pauses, step_harness.sent, step_harness.redis.keys()) == ([], [], [])


def test_an_app_may_publish_lines_of_its_own_beside_copies_of_the_message(step_harness, scrape_task, monkeypatch):
    published = []

    def send_task(name, args, kwargs, *, producer, **_):
        producer.publish({"audit": "line"})
        for _ in range(2):
            producer.publish((args, kwargs, {}), headers={})

    monkeypatch.setattr(step_harness.app, "send_task", send_task)
    monkeypatch.setattr(DeadlineProducer, "publish", lambda self, body, **_: published.append(body))
    for task_id in ("first", "second"):
        scrape_task.apply_async(([URL],), {"idempotency_key": "k"}, task_id=task_id)
    assert published == [{"audit": "line"}, *[((), {"run_id": "first"}, {})] * 2] * 2
    assert step_harness.run_ids() == {"first"}


def test_a_store_that_is_away_sends_the_message_back(step_harness, scrape_task, monkeypatch):
    def away(_):
        raise StoreUnavailableError("away")

    replace_sleep(monkeypatch, requeue, lambda _: None)
    monkeypatch.setattr(step_harness.app_context.store, "run", away)
    for kwargs in ({"targets": [URL]}, {"run_id": "r"}):
        with pytest.raises(Reject) as caught:
            run_as(scrape_task, **kwargs)
        assert caught.value.requeue


def test_a_store_that_is_away_raises_in_the_caller(step_harness, scrape_task, messages, monkeypatch):
    def away(_):
        raise RedisError("away")

    monkeypatch.setattr(step_harness.app_context.store, "run", away)
    with pytest.raises(RedisError):
        scrape_task.delay([URL])
    assert messages == []
