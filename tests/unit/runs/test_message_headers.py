"""Test the headers that an app adds to its messages: a run keeps them, within bounds and without a repr."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from celery import Task, signals
from celery.app.task import Context
from kombu.exceptions import OperationalError

from scrape_do_celery import routing
from scrape_do_celery.errors import InvalidRequestError, StoreUnavailableError
from scrape_do_celery.runs import enqueue_many
from scrape_do_celery.runs.hooks import override_hooks
from scrape_do_celery.runs.message_headers import LARGEST_HEADERS, select_app_headers
from scrape_do_celery.runs.publishing import DeadlineProducer
from scrape_do_celery.runs.stand_in_producers import CAPTURED, DeliveryProducer, MessageCapture
from scrape_do_celery.steps.deliver import deliver_run
from scrape_do_celery.store.commands.creation import AcceptRun
from scrape_do_celery.store.commands.runs import RecordOutcome

URL = "https://shop.example/0"


@pytest.fixture
def published(step_harness, monkeypatch):
    """Let Celery make real messages, and catch what reaches the broker: bodies and options."""
    caught = []
    monkeypatch.delattr(step_harness.app, "send_task")
    monkeypatch.setattr(DeadlineProducer, "publish", lambda self, body, **options: caught.append((body, options)))
    monkeypatch.setattr(DeadlineProducer, "declare", lambda self, queue: caught.append(("declared", queue.name)))
    return caught


@pytest.fixture
def tenant():
    """Return a list with the tenant of the process. A receiver adds its last value to each message."""
    tenants, seen = ["public"], []

    def add_tenant(headers, body, sender, **_):
        seen.append((sender, body[0], body[1]))
        headers["tenant"] = tenants[-1]

    signals.before_task_publish.connect(add_tenant)
    tenants_and_seen = (tenants, seen)
    yield tenants_and_seen
    signals.before_task_publish.disconnect(add_tenant)


def kept(step_harness, run_id, waiter=None):
    return json.loads(step_harness.read_run(run_id).waiters[waiter or run_id])["options"]


def test_enqueue_keeps_the_headers_of_its_caller(step_harness, start_run, published, tenant):
    tenants, seen = tenant
    tenants.append("red")
    run_id = start_run([URL]).run_id
    assert kept(step_harness, run_id)["headers"] == {"tenant": "red"}
    # The app's own code sees the id, and not the request.
    assert seen[0] == (routing.SCRAPE, (), {"run_id": run_id, CAPTURED: True})
    # Nothing was published but the step.
    assert [options["headers"]["task"] for _, options in published] == [routing.SUBMIT_JOBS]
    assert "tenant" not in repr(step_harness.read_run(run_id))


def test_a_run_without_headers_keeps_no_message(step_harness, start_run, published):
    run_id = start_run([URL]).run_id
    assert step_harness.read_run(run_id).waiters == {run_id: ""}


def test_each_of_many_runs_has_its_own_message(step_harness, start_run, published, tenant, monkeypatch):
    runs = enqueue_many([[URL], [URL]])
    assert [message[2]["run_id"] for message in tenant[1][:2]] == [run.run_id for run in runs]
    assert {kept(step_harness, run.run_id)["headers"]["tenant"] for run in runs} == {"public"}


def test_headers_are_those_of_the_call_and_not_of_the_commit(step_harness, start_run, published, tenant):
    commits = []
    tenant[0].append("red")
    with override_hooks(lambda hooks: replace(hooks, after_commit=lambda: commits.append)):
        run_id = start_run([URL]).run_id
    tenant[0].append("blue")
    commits[0]()
    assert kept(step_harness, run_id)["headers"] == {"tenant": "red"}


def test_apply_async_of_the_app_s_tasks_adds_headers(step_harness, start_run, published, monkeypatch):
    class TenantTask(Task):
        abstract = True
        queue = "shop"

        def apply_async(self, args=None, kwargs=None, **options):
            return super().apply_async(
                args, kwargs, headers={"tenant": "red", "at": datetime(2026, 1, 1, tzinfo=UTC)}, **options
            )

    monkeypatch.setattr(
        step_harness.app, "Task", step_harness.app.subclass_with_self(TenantTask, name="T", attribute="_app")
    )
    run_id = start_run([URL]).run_id
    headers = kept(step_harness, run_id)["headers"]
    assert headers["tenant"] == "red"
    assert set(headers) == {"tenant", "at"}


def test_an_exception_of_the_app_raises_and_nothing_is_written(step_harness, start_run, published, monkeypatch):
    def send_task(*_, **__):
        raise LookupError("no tenant")

    monkeypatch.setattr(step_harness.app, "send_task", send_task)
    for call in (start_run, step_harness.app.tasks[routing.SCRAPE].delay):
        with pytest.raises(LookupError):
            call([URL])
    assert step_harness.redis.keys() == []


def test_a_call_keeps_the_headers_of_its_message(step_harness, scrape_task, published, tenant):
    tenant[0].append("red")
    scrape_task.apply_async(([URL],), {"idempotency_key": "k"}, task_id="first", headers={"own": 1})
    tenant[0].append("blue")
    scrape_task.apply_async(([URL],), {"idempotency_key": "k"}, task_id="second")
    assert kept(step_harness, "first")["headers"] == {"own": 1, "tenant": "red"}
    assert kept(step_harness, "first", "second")["headers"] == {"tenant": "blue"}
    # Each message was made once, and names the run that has the key.
    assert len(tenant[1]) == 2
    assert [body[:2] for body, _ in published] == [((), {"run_id": "first"})] * 2
    assert [options["headers"]["id"] for _, options in published] == ["first", "second"]


def test_a_call_in_the_first_version_of_celery_s_messages(step_harness, scrape_task, published):
    step_harness.app.conf.task_protocol = 1
    scrape_task.apply_async(([URL],), task_id="celery-id")
    ((body, _),) = published
    assert (body["args"], body["kwargs"], body["id"]) == ((), {"run_id": "celery-id"}, "celery-id")
    step_harness.read_run("celery-id")


def test_an_event_beside_the_message_is_published(step_harness, scrape_task, start_run, published):
    step_harness.app.conf.task_send_sent_event = True
    start_run([URL])
    scrape_task.apply_async(([URL],), task_id="celery-id")
    kinds = [body.get("type") if isinstance(body, dict) else options["headers"]["task"] for body, options in published]
    assert kinds == [routing.SUBMIT_JOBS, "task-sent", routing.SCRAPE, "task-sent"]


def test_a_repeated_publication_writes_one_draft(step_harness, scrape_task, monkeypatch):
    bodies = []

    def publish_twice(task, args, kwargs, *, producer, **_):
        message = (args, kwargs, {})
        for _ in range(2):
            producer.publish(message, headers={"tenant": "red"})

    monkeypatch.setattr(DeadlineProducer, "publish", lambda self, body, **_: bodies.append(body))
    monkeypatch.setattr("celery.app.task.Task.apply_async", publish_twice)
    scrape_task.apply_async(([URL],), task_id="celery-id")
    assert bodies == [((), {"run_id": "celery-id"}, {})] * 2


def test_a_producer_for_another_broker_is_the_caller_s(step_harness, scrape_task, published):
    app, sent = step_harness.app, []

    class Elsewhere:
        connection = app.connection_for_write("memory://elsewhere/")

        def publish(self, body, **_):
            sent.append(body[1])

    scrape_task.apply_async(([URL],), task_id="first", producer=Elsewhere())
    assert (sent, published) == ([{"run_id": "first"}], [])
    # A canvas passes the producer of Celery's pool, which has no deadline.
    with app.producer_or_acquire() as pooled:
        scrape_task.apply_async(([URL],), task_id="second", producer=pooled)
    assert len(published) == 1
    with app.connection_for_write() as connection:
        scrape_task.apply_async(([URL],), task_id="third", connection=connection)
        assert connection.default_channel.queue_declare(step_harness.settings.queue).message_count == 1
    assert len(published) == 1


def test_store_errors_of_a_call_are_no_errors_of_the_broker(step_harness, scrape_task, published, monkeypatch):
    def away(*_, **__):
        raise StoreUnavailableError("away")

    monkeypatch.setattr(type(step_harness.app_context.store), "run", away)
    with pytest.raises(StoreUnavailableError) as caught:
        scrape_task.apply_async(([URL],), task_id="celery-id")
    assert caught.value.run_id == "celery-id"
    assert published == []


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ({"tenant": "x" * LARGEST_HEADERS}, "as JSON, and a run keeps at most 16,384; .* longest is tenant"),
        ({"x" * 200: 1}, "header that the app adds .* has 200 characters; use at most 128"),
        ({5: 1}, "must be text"),
        ({"tenant": object()}, "the header tenant .* must be a value of JSON"),
    ],
)
def test_headers_have_bounds(step_harness, start_run, scrape_task, published, headers, fault):
    def add(headers, _added=headers, **_):
        headers.update(_added)

    signals.before_task_publish.connect(add)
    try:
        for call in (start_run, scrape_task.delay):
            with pytest.raises(ValueError, match=fault) as caught:
                call([URL])
            assert "xxxx" not in str(caught.value)
        in_transaction = override_hooks(lambda hooks: replace(hooks, after_commit=lambda: pytest.fail))
        with in_transaction, pytest.raises(ValueError, match=fault):
            start_run([URL])
    finally:
        signals.before_task_publish.disconnect(add)
    assert step_harness.redis.keys() == []


def test_headers_of_a_message_by_name_have_bounds(step_harness, scrape_task):
    scrape_task.push_request(id="celery-id", args=(), kwargs={}, tenant="x" * LARGEST_HEADERS)
    with pytest.raises(InvalidRequestError, match="16,384"):
        scrape_task.run([URL])
    scrape_task.pop_request()
    assert step_harness.redis.keys() == []


def test_headers_of_celery_brokers_and_traces_are_not_kept(monkeypatch):
    message = {"id": "x", "task": "t", "lang": "py", "x-death": [], "x-delivery-count": 2, "tenant": "red"}
    request = Context({**message, "hostname": "h", "traceparent": "00-1"})
    assert select_app_headers(vars(request)) == {"tenant": "red", "traceparent": "00-1"}
    # A run that keeps its trace continues it with its own spans.
    monkeypatch.setattr("scrape_do_celery.tracing.current", lambda: "00-1")
    assert select_app_headers(vars(request)) == {"tenant": "red"}


def test_headers_in_a_header_are_kept():
    nested = {"headers": {"trace": 1}, "tenant": "red"}
    assert select_app_headers(nested) == nested
    assert select_app_headers({"headers": {"trace": 1}, "trace": 1}) == {"trace": 1}


def test_a_delivery_carries_the_headers_of_the_call(step_harness, start_run, published, tenant):
    tenant[0].append("red")
    run_id = start_run([URL]).run_id
    tenant[0].append("dispatcher")
    step_harness.run(AcceptRun(run_id, "plain"))
    step_harness.finish_part(run_id)
    step_harness.run(RecordOutcome(run_id, "succeeded", {}))
    published.clear()
    deliver_run(step_harness.app_context, run_id)
    sent = {options["headers"]["id"]: options["headers"]["tenant"] for _, options in published}
    assert sent == {run_id: "red", "plain": "dispatcher"}


@pytest.fixture
def rpc(step_harness, published):
    step_harness.app.conf.result_backend = "rpc://"
    return step_harness


def test_with_rpc_the_queue_of_the_caller_s_results_is_kept_and_declared(rpc, start_run, scrape_task, published):
    mine = rpc.app.thread_oid
    runs = enqueue_many([[URL], [URL]])
    assert {kept(rpc, run.run_id)["reply_to"] for run in runs} == {mine}
    assert published.count(("declared", mine)) == 1
    scrape_task.apply_async(([URL],), task_id="celery-id")
    assert kept(rpc, "celery-id")["reply_to"] == mine
    assert published.count(("declared", mine)) == 2


def test_with_rpc_a_broker_that_is_away_does_not_stop_a_run(rpc, start_run, monkeypatch):
    def away(*_, **__):
        raise OperationalError("away")

    monkeypatch.setattr(DeadlineProducer, "declare", away)
    assert kept(rpc, start_run([URL]).run_id)["reply_to"]


@pytest.mark.parametrize(("canvas", "queue"), [({"reply_to": "caller"}, "caller"), ({}, "")])
def test_with_rpc_a_delivery_goes_to_the_caller_or_to_nobody(rpc, published, canvas, queue):
    rpc.app.send_task("work", producer=DeliveryProducer(rpc.app_context, canvas))
    ((_, options),) = published
    assert options["reply_to"] == queue


def test_a_captured_message_has_its_own_id(step_harness, published):
    ids = []

    def note(headers, **_):
        ids.append(headers["id"])

    signals.before_task_publish.connect(note)
    capture = MessageCapture(step_harness.app_context)
    assert [capture.capture("a"), MessageCapture(step_harness.app_context).capture("b")] == [{}, {}]
    signals.before_task_publish.disconnect(note)
    assert (ids, published) == (["a", "b"], [])
