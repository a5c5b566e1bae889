"""Test `enqueue`: errors raise in the caller, and the same request twice is one run."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from celery import signature
from kombu.exceptions import OperationalError
from pydantic import ValidationError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError

from scrape_do_celery import routing
from scrape_do_celery.errors import IdempotencyConflictError, RunNotFoundError, ScrapeDoError, StoreUnavailableError
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.runs import RunHandle, enqueue, enqueue_many
from scrape_do_celery.runs.hooks import override_hooks
from scrape_do_celery.runs.publishing import DeadlineProducer
from scrape_do_celery.signals import run_changed
from scrape_do_celery.store import RunSpec, RunState
from scrape_do_celery.store.codec import pack, unpack
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ReadSpec, RecordOutcome
from scrape_do_celery.store.scripts import LoadedScript

URL = "https://shop.example/0"


@pytest.mark.parametrize(
    ("arguments", "options", "named"),
    [
        (([],), {}, "targets"),
        ((), {}, "targets"),
        (((),), {}, "targets"),
        ((URL,), {}, "targets"),
        ((URL.encode(),), {}, "targets"),
        (([URL, "shop.example"],), {}, r"targets\[1\]"),
        ((["ftp://shop.example/"],), {}, r"targets\[0\]"),
        (([None],), {}, "targets"),
        (([URL],), {"geo_code": "usa"}, "geo_code must be two letters"),
        (([URL],), {"render": {"actions": [{"Action": "Wait", "Timeout": "soon"}]}}, r"Wait\.timeout"),
        (([URL],), {"regional_geo_code": "europe"}, "regional_geo_code needs super"),
        (([URL],), {"geocode": "us"}, "geocode.*geo_code"),
        (([URL],), {"max_wait": 0}, "max_wait"),
        (([URL],), {"fairness_key": 7}, "fairness_key must be a text, such as 'customer:7', or None; not int"),
        (([URL],), {"fairness_key": ""}, "fairness_key must have 1 to 64 bytes, and no space"),
        (([URL],), {"fairness_key": "a b"}, "fairness_key must have 1 to 64 bytes, and no space"),
        (([URL],), {"fairness_key": "ü" * 33}, "fairness_key must have 1 to 64 bytes"),
        (([URL],), {"fairness_key": "a\n"}, "fairness_key must have .* no space or control character"),
        (([URL],), {"fairness_key": "a\ud800"}, "fairness_key must have .* control character"),
        (([URL],), {"fairness_key": "a", "fairness_weight": 0}, "fairness_weight must be a number from 0.001 to 1000"),
        (([URL],), {"fairness_key": "a", "fairness_weight": 1001}, "fairness_weight must be a number from 0.001"),
        (([URL],), {"fairness_key": "a", "fairness_weight": float("nan")}, "fairness_weight must be a number"),
        (([URL],), {"fairness_key": "a", "fairness_weight": True}, "fairness_weight must be a number"),
        (([URL],), {"fairness_weight": 2}, "fairness_weight needs a fairness_key"),
        (([URL],), {"priority": 10}, "priority must be a whole number from -9 to 9"),
        (([URL],), {"priority": 1.5}, "priority must be a whole number"),
        (([URL],), {"priority": True}, "priority must be a whole number"),
        (([URL],), {"max_wait": -3.5}, "max_wait"),
        (([URL],), {"idempotency_key": ""}, "idempotency_key"),
        (([URL],), {"idempotency_key": "  "}, "idempotency_key"),
        (([URL],), {"idempotency_key": 7}, "idempotency_key"),
        ((5,), {}, "targets must be a list"),
        (({URL},), {}, "targets must be a list of .*their order counts"),
        (([f"{URL}\ud800"],), {}, r"targets\[0\] holds a lone surrogate at position 22"),
        (([URL],), {"timeout": "soon"}, "timeout"),
        (([URL],), {"headers": {"a": "b\n"}}, "headers: the value of 'a' holds a control character"),
        (([URL],), {"max_wait": "60"}, "max_wait must be a number of seconds, or None; not str"),
        (([URL],), {"max_wait": True}, "max_wait must be a number of seconds"),
        (([URL],), {"max_wait": timedelta(seconds=1)}, "max_wait .* timedelta: use .total_seconds"),
        (([URL],), {"max_wait": 10**400}, "max_wait must be a positive, finite"),
        (([URL],), {"max_wait": float("nan")}, "max_wait must be a positive, finite"),
        (([URL],), {"idempotency_key": "a\ud800"}, "idempotency_key holds a lone surrogate at position 1"),
        ((JobCreationRequest(targets=[URL]).model_copy(update={"timeout": "soon"}),), {}, "timeout"),
        ((JobCreationRequest.model_construct(targets=["x"]),), {}, r"targets\[0\]"),
        ((JobCreationRequest(targets=[URL]),), {"super": True, "geo_code": "us"}, "geo_code, super"),
    ],
)
def test_a_wrong_request_raises_here_and_writes_nothing(step_harness, start_run, arguments, options, named):
    with pytest.raises((ValueError, ValidationError), match=named):
        start_run(*arguments, **options)
    assert step_harness.redis.keys() == []
    assert step_harness.sent == []


@pytest.mark.parametrize(
    "door",
    [
        lambda: enqueue([URL], body="x"),
        lambda: enqueue_many([[URL]], body="x")[0],
        lambda: enqueue(JobCreationRequest(targets=[URL], body="x")),
    ],
    ids=["fields", "many", "whole"],
)
def test_body_with_get_warns_once_at_the_caller(step_harness, start_run, door):
    with pytest.warns(UserWarning, match="body is sent with GET") as seen:
        handle = door()
    assert [warning.filename for warning in seen] == [__file__]
    # A worker reads the record, and has no caller to warn.
    assert step_harness.claim_part(handle.run_id).spec().request.body == "x"


def test_request_of_an_earlier_version_can_be_read(step_harness, start_run):
    """Read a request that a stricter rule would refuse now, because its run may be paid for."""
    spec, _ = RunSpec(JobCreationRequest(targets=[URL])).packed()
    data = unpack(spec)
    data["request"] |= {"Headers": {"a b": "c\n"}, "SetCookies": "a\n", "WebhookURL": "hooks"}
    data["request"].pop("Headers")
    read = RunSpec.unpacked(pack(data), [pack(["http://a b/"])]).request
    assert (read.targets, read.set_cookies, read.webhook_url) == (["http://a b/"], "a\n", "hooks")
    data["request"] = {"Headers": {"a b": "c\n"}}
    assert RunSpec.unpacked(pack(data), [pack([URL])]).request.headers == {"a b": "c\n"}


def test_a_run_starts_with_a_record_and_a_message(step_harness, start_run, make):
    handle = start_run(make.urls(2), geo_code="us", raise_on_task_failure=True, max_wait=60)
    assert handle.state is RunState.QUEUED
    assert step_harness.step_messages() == [(routing.SUBMIT_JOBS, [f"{handle.run_id}:0"])]
    spec = step_harness.run(ReadSpec(handle.run_id, 1))
    assert (spec.request.targets, spec.request.geo_code) == (make.urls(2), "us")
    assert (spec.raise_on_task_failure, spec.max_wait) == (True, 60)


@pytest.mark.parametrize("as_", [list, tuple, iter], ids=["list", "tuple", "iterator"])
def test_targets_may_be_anything_that_has_an_order(step_harness, start_run, make, as_):
    handle = start_run(as_(make.urls(3)))
    assert step_harness.run(ReadSpec(handle.run_id, 1)).request.targets == make.urls(3)


def test_a_request_may_be_given_whole(step_harness, start_run, make):
    request = JobCreationRequest(targets=make.urls(1), super=True)
    assert step_harness.run(ReadSpec(start_run(request).run_id, 1)).request == request
    plugin = start_run(plugin={"key": "google/search", "params": [{"q": "a"}, {"q": "b"}]})
    assert plugin.progress.total == 2


def test_every_part_has_its_message(step_harness, start_run, make):
    handle = start_run(make.urls(2_500))
    assert step_harness.step_messages() == [(routing.SUBMIT_JOBS, [f"{handle.run_id}:{n}" for n in range(3)])]
    assert handle.progress.total == 2_500


def test_the_message_has_ids_only_and_goes_to_our_queue(step_harness, start_run):
    start_run(["https://shop.example/secret"], set_cookies="session=secret")
    (message,) = step_harness.sent
    assert "secret" not in repr(message)
    assert make_token_free(step_harness, message)
    assert message.options["queue"] == step_harness.settings.queue
    assert message.options["ignore_result"]


def make_token_free(step_harness, message):
    token = step_harness.settings.api_key.get_secret_value()
    everything = b"".join(filter(None, step_harness.dump_keys().values()))
    return token not in repr(message) and token.encode() not in everything


@pytest.mark.parametrize("error", [OperationalError("down"), ConnectionRefusedError()])
def test_a_broker_that_is_away_does_not_stop_a_run(step_harness, start_run, monkeypatch, caplog, error):
    def publish(*_, **__):
        raise error

    monkeypatch.delattr(step_harness.app, "send_task")
    monkeypatch.setattr(DeadlineProducer, "publish", publish)
    handle = start_run([URL])
    assert handle.state is RunState.QUEUED
    assert f"{handle.run_id}:0" in step_harness.due_parts()
    assert "could not publish a message for scrape_do.submit_jobs" in caplog.text


def test_two_runs_without_a_key_are_two(step_harness, start_run):
    assert start_run([URL]) != start_run([URL])


def test_the_same_key_and_request_give_the_same_run(step_harness, start_run):
    first = start_run([URL], idempotency_key="prices")
    before = step_harness.dump_keys()
    second = start_run([URL], idempotency_key="prices")
    assert second == first
    assert hash(second) == hash(first)
    assert step_harness.dump_keys() == before
    assert start_run([URL], idempotency_key="other") != first


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_same_key_returns_an_ended_run(step_harness, start_run, outcome):
    first = start_run([URL], idempotency_key="prices")
    step_harness.finish_part(first.run_id, outcome=outcome)
    step_harness.run(RecordOutcome(first.run_id, outcome, {}))
    again = start_run([URL], idempotency_key="prices")
    assert (again, again.state) == (first, RunState(outcome))


def test_the_same_key_with_another_request_is_a_conflict(step_harness, start_run):
    first = start_run([URL], idempotency_key="prices", geo_code="us")
    step_harness.step_messages()
    before = step_harness.dump_keys()
    with pytest.raises(IdempotencyConflictError) as caught:
        start_run([URL], idempotency_key="prices", geo_code="de", super=True, max_wait=5)
    assert caught.value.fields == ("geo_code", "super", "max_wait")
    assert caught.value.run_id == first.run_id
    assert "geo_code, super, max_wait" in str(caught.value)
    assert step_harness.dump_keys() == before
    assert step_harness.sent == []


def test_conflict_names_a_missing_record(step_harness, start_run):
    first = start_run([URL], idempotency_key="prices")
    step_harness.redis.delete(step_harness.keys.run(first.run_id))
    with pytest.raises(IdempotencyConflictError, match="gone") as caught:
        start_run([URL, URL], idempotency_key="prices")
    assert caught.value.fields == ()


def test_conflict_names_the_run_if_no_field_differs(step_harness, start_run):
    first = start_run([URL], idempotency_key="prices")
    key = step_harness.keys.idempotency("prices")
    # Another version wrote the key, and hashed the same request in another way.
    step_harness.redis.set(key, f"{first.run_id} {'0' * 32}", keepttl=True)
    with pytest.raises(IdempotencyConflictError, match="no field differs: another version") as caught:
        start_run([URL], idempotency_key="prices")
    assert (caught.value.run_id, caught.value.fields) == (first.run_id, ())
    assert f"read run {first.run_id}" in str(caught.value)


def test_twenty_threads_with_one_key_start_one_run(step_harness, start_run):
    barrier, handles = threading.Barrier(20), []

    def work():
        barrier.wait()
        handles.append(start_run([URL], idempotency_key="prices"))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(handles) == 20
    assert len({handle.run_id for handle in handles}) == 1
    assert len(step_harness.redis.keys("p:run:*")) == 1


def test_a_draft_that_has_the_key_is_brought_to_life(step_harness, start_run, make):
    step_harness.create_run("drafted", each=[URL], key="prices", start_delay=1000)
    handle = start_run([URL], idempotency_key="prices")
    assert handle == RunHandle("drafted", app_context=step_harness.app_context)
    assert step_harness.read_run("drafted").accepted is not None
    assert step_harness.step_messages() == [(routing.SUBMIT_JOBS, ["drafted:0"])]


def test_store_outage_after_the_write_raises_nothing(start_run, step_harness, monkeypatch, caplog):
    """Raise nothing, because a caller that sees an error asks again, and pays again."""
    told = []

    def receive(status, **_):
        told.append(status)

    def away(_):
        raise RedisConnectionError

    run_changed.connect(receive)
    try:
        monkeypatch.setattr(
            step_harness.app_context.store, "run_all", _after_one(step_harness.app_context.store.run_all, away)
        )
        handle = start_run([URL])
    finally:
        run_changed.disconnect(receive)
    assert step_harness.read_run(handle.run_id) is not None
    assert told == []
    assert "could not send run_changed" in caplog.text


def _after_one(first, then):
    calls = iter([first])
    return lambda operations: next(calls, then)(operations)  # noqa: PLW0108 (each call takes the next)


@pytest.fixture
def transactions(start_run):
    """Return transactions of a host, to call `enqueue` in one of them and to commit it."""
    return Transactions(start_run)


class Transactions(dict):
    """Open transactions by name, each with its calls to make at the commit."""

    now = None

    def __init__(self, start_run):
        self.start = start_run

    def enqueue(self, name, *args, **options):
        self.now = name
        with override_hooks(lambda hooks: replace(hooks, after_commit=lambda: self.setdefault(name, []).append)):
            return self.start(*args, **options)

    def commit(self, name):
        for act in self.pop(name):
            act()


def test_in_a_transaction_nothing_is_written_before_the_commit(step_harness, transactions):
    handle = transactions.enqueue("a", [URL])
    assert step_harness.redis.keys() == step_harness.sent == []
    transactions.commit("a")
    assert step_harness.run_ids() == {handle.run_id}
    assert len(step_harness.step_messages()) == 1


def test_two_transactions_with_one_key_have_one_run(step_harness, transactions):
    one, other = (
        transactions.enqueue("a", [URL], idempotency_key="k"),
        transactions.enqueue("b", [URL], idempotency_key="k"),
    )
    assert one.run_id == other.run_id
    transactions.commit("b")
    transactions.commit("a")
    assert step_harness.run_ids() == {one.run_id}


def test_key_of_a_rolled_back_transaction_is_free(step_harness, transactions, start_run):
    given = transactions.enqueue("a", [URL], idempotency_key="k")
    other = start_run(["https://other.example/"], idempotency_key="k")
    assert other.run_id != given.run_id
    assert step_harness.run_ids() == {other.run_id}


@pytest.mark.parametrize("many", [False, True])
def test_caller_outside_starts_the_run_reserved_by_a_transaction(step_harness, transactions, start_run, many, make):
    given = transactions.enqueue("a", [URL], idempotency_key="k")
    if many:
        keys = [f"k{n}" if n else "k" for n in range(3)]
        handles = enqueue_many([[URL]] * 3, idempotency_keys=keys)
        assert len({handle.run_id for handle in handles}) == 3
        handle = handles[0]
    else:
        handle = start_run([URL], idempotency_key="k", on_success=make_signature(step_harness))
    assert handle.run_id == given.run_id
    assert handle.state is RunState.QUEUED
    before = step_harness.dump_keys()
    transactions.commit("a")
    assert step_harness.run_ids() == set(keys_of(step_harness))
    assert step_harness.dump_keys() == before


def make_signature(step_harness):
    @step_harness.app.task(name="after")
    def after(result):
        pass

    return after.s()


def keys_of(step_harness):
    return [
        value.decode().split()[0]
        for key in step_harness.redis.keys("p:idem:*")
        for value in [step_harness.redis.get(key)]
    ]


def test_key_taken_before_the_commit_drops_nothing_else(step_harness, transactions, start_run, caplog):
    """Enqueue one key twice at once. The second conflict shows only at its commit, which cannot raise to a caller."""
    transactions.enqueue("a", [URL], idempotency_key="k")
    other = transactions.enqueue("a", [URL])
    first = start_run(["https://other.example/"], idempotency_key="k")
    transactions.commit("a")
    assert step_harness.run_ids() == {first.run_id, other.run_id}
    assert "the key belongs to run" in caplog.text
    with pytest.raises(IdempotencyConflictError):
        transactions.enqueue("b", [URL], idempotency_key="k")


def test_in_any_order_of_transactions_a_key_has_one_run(step_harness, transactions, start_run):
    """Give every committed or outside request of a key the id of the one run."""
    for orders in itertools.permutations(["open a", "open b", "commit a", "commit b", "outside", "roll c back"]):
        if orders.index("open a") > orders.index("commit a") or orders.index("open b") > orders.index("commit b"):
            continue
        step_harness.redis.flushall()
        transactions.clear()
        held = set()
        for act in orders:
            what, _, name = act.partition(" ")
            if what == "commit":
                transactions.commit(name)
            elif what == "open":
                held.add(transactions.enqueue(name, [URL], idempotency_key="k").run_id)
            elif what == "roll":
                transactions.enqueue("c", [URL], idempotency_key="k")
                transactions.pop("c")
            else:
                held.add(start_run([URL], idempotency_key="k").run_id)
        assert held == step_harness.run_ids()
        assert len(held) == 1


def test_each_reservation_lasts_its_full_time(step_harness, transactions, start_run):
    transactions.enqueue("a", [URL], idempotency_key="k")
    transactions.clear()
    step_harness.clock.forward(86_400 - 30)
    given = transactions.enqueue("b", [URL], idempotency_key="k")
    step_harness.clock.forward(60)
    assert start_run([URL], idempotency_key="k").run_id == given.run_id
    transactions.commit("b")
    assert given.state is RunState.QUEUED


def test_unsendable_callback_raises_before_the_commit(step_harness, transactions):
    with pytest.raises(TypeError):
        transactions.enqueue("a", [URL], on_success=signature("after", args=(object(),)))
    transactions.commit("a")
    assert step_harness.redis.keys() == step_harness.sent == []


def test_key_forgotten_before_the_commit_is_named(step_harness, transactions, start_run, caplog):
    transactions.enqueue("a", [URL], idempotency_key="k")
    handle = start_run([URL], idempotency_key="k")
    step_harness.finish_part(handle.run_id)
    step_harness.run(RecordOutcome(handle.run_id, "succeeded", {}))
    step_harness.run(AcknowledgeDelivery(handle.run_id, handle.run_id, step_harness.app_context.retention))
    handle.forget()
    transactions.commit("a")
    assert f"run {handle.run_id} of its key has ended and was forgotten" in caplog.text


def test_callbacks_of_transactions_are_called_whoever_writes_the_run(step_harness, transactions, start_run):
    transactions.enqueue("rolled back", [URL], idempotency_key="k")
    given = transactions.enqueue("a", [URL], idempotency_key="k", on_success=signature("first"))
    start_run([URL], idempotency_key="k")
    transactions.enqueue("late", [URL], idempotency_key="k", on_success=signature("second"))
    transactions.commit("late")
    transactions.commit("a")
    waiting = "".join(step_harness.read_run(given.run_id).waiters.values())
    assert waiting.count('"first"') == 1
    assert '"second"' not in waiting, "its key had a run"


def test_callback_is_stored_once_after_a_lost_reply(step_harness, transactions, monkeypatch):
    given = transactions.enqueue("a", [URL], idempotency_key="k", on_success=signature("first"))
    run_all = step_harness.app_context.store.run_all

    def twice(operations):
        run_all(operations)
        return run_all(operations)

    monkeypatch.setattr(step_harness.app_context.store, "run_all", twice)
    transactions.commit("a")
    assert len(step_harness.read_run(given.run_id).waiters) == 1


def test_each_run_of_a_commit_is_announced(step_harness, transactions, start_run, caplog):
    with override_hooks(lambda hooks: replace(hooks, after_commit=lambda: transactions.setdefault("a", []).append)):
        handles = enqueue_many([[URL], [URL], [URL]], idempotency_keys=["a", "b", "c"], on_success=signature("after"))
    start_run([URL], idempotency_key="a")
    start_run(["https://other.example/"], idempotency_key="b")
    transactions.commit("a")
    assert caplog.text.count("committed too late") == 1
    for handle in (handles[0], handles[2]):
        assert '"after"' in "".join(step_harness.read_run(handle.run_id).waiters.values())


def test_an_id_with_another_request_raises_in_the_transaction(step_harness, transactions, start_run):
    """At the commit nobody could catch the error: it would only be in a log."""
    start_run([URL], run_id="order-1")
    step_harness.sent.clear()
    with pytest.raises(IdempotencyConflictError, match=r"the id belongs to run order-1, .* differ in geo_code"):
        transactions.enqueue("a", [URL], run_id="order-1", geo_code="us")
    with pytest.raises(IdempotencyConflictError, match="the id belongs to run order-1"):
        transactions.enqueue("a", [URL], run_id="order-1", geo_code="us", idempotency_key="k")
    assert transactions.enqueue("a", [URL], run_id="order-1").run_id == "order-1"
    assert transactions.enqueue("a", [URL], run_id="order-2").run_id == "order-2"
    assert step_harness.run_ids() == {"order-1"}
    transactions.commit("a")
    assert step_harness.run_ids() == {"order-1", "order-2"}


def test_a_forgotten_id_raises_in_the_transaction(step_harness, transactions, start_run):
    handle = start_run([URL], run_id="order-1")
    step_harness.redis.hset(step_harness.keys.run("order-1"), "forgotten", 1)
    with pytest.raises(RunNotFoundError, match="order-1 has ended and was forgotten"):
        transactions.enqueue("a", [URL], run_id=handle.run_id)


def test_a_store_that_is_away_leaves_a_given_id_to_the_commit(step_harness, transactions, monkeypatch):
    def refuse(commands):
        raise StoreUnavailableError("away", "LOADING")

    # Without this context, `undo` would also take back the recorder of messages.
    with monkeypatch.context() as patched:
        patched.setattr(step_harness.app_context.store, "run_all", refuse)
        assert transactions.enqueue("a", [URL], run_id="order-1").run_id == "order-1"
    transactions.commit("a")
    assert step_harness.run_ids() == {"order-1"}


def test_a_new_id_costs_no_command_in_the_transaction(step_harness, transactions, monkeypatch):
    monkeypatch.setattr(step_harness.app_context.store, "_exchange", None)
    transactions.enqueue("a", [URL])


def test_a_repeat_at_a_commit_with_another_request_names_the_id(transactions, start_run, caplog):
    """The call has no key, so a log line about a key would send its reader the wrong way."""
    transactions.enqueue("a", [URL], run_id="r-1")
    start_run(["https://other.example/"], run_id="r-1")
    transactions.commit("a")
    assert "the id belongs to run r-1, with another request" in caplog.text


def test_two_requests_with_one_key_have_no_run_in_common(step_harness, transactions, caplog):
    one = transactions.enqueue("a", [URL], idempotency_key="k")
    other = transactions.enqueue("b", ["https://other.example/"], idempotency_key="k")
    assert one.run_id != other.run_id
    transactions.commit("b")
    transactions.commit("a")
    assert step_harness.run_ids() == {other.run_id}
    assert "its run was not created: the key belongs to run" in caplog.text
    with pytest.raises(RunNotFoundError):
        assert one.state


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "5", True, "x"], ids=str)
def test_invalid_max_wait_raises_and_writes_nothing(step_harness, start_run, value):
    with pytest.raises(ValueError, match="max_wait"):
        start_run([URL], max_wait=value)
    assert step_harness.redis.keys() == []


def test_int_and_float_max_wait_are_one_request(step_harness, start_run):
    assert start_run([URL], max_wait=60, idempotency_key="k") == start_run([URL], max_wait=60.0, idempotency_key="k")


def test_one_and_true_are_one_request(step_harness, start_run):
    assert start_run([URL], raise_on_task_failure=1, idempotency_key="k") == start_run(
        [URL], raise_on_task_failure=True, idempotency_key="k"
    )


def test_the_same_id_and_request_is_the_same_run(step_harness, start_run):
    first = start_run([URL], run_id="order-1")
    assert first.run_id == "order-1"
    assert start_run([URL], run_id="order-1", on_success=signature("mine.task")) == first
    assert step_harness.run_ids() == {"order-1"}


def test_an_id_with_another_request_is_a_conflict(step_harness, start_run):
    start_run([URL], run_id="order-1")
    with pytest.raises(IdempotencyConflictError, match=r"the id belongs to run order-1, .* differ in geo_code"):
        start_run([URL], run_id="order-1", geo_code="us")
    assert step_harness.run_ids() == {"order-1"}


def test_an_id_whose_run_was_forgotten_starts_no_other(step_harness, start_run):
    start_run([URL], run_id="order-1")
    step_harness.redis.hset(step_harness.keys.run("order-1"), "forgotten", 1)
    with pytest.raises(RunNotFoundError, match="has ended and was forgotten"):
        start_run([URL], run_id="order-1")


@pytest.mark.parametrize("run_id", ["", "a:0", "../x", "a b", "x" * 129, 7])
def test_an_id_is_safe_in_the_names_of_keys(step_harness, start_run, run_id):
    with pytest.raises(ValueError, match="run_id must be"):
        start_run([URL], run_id=run_id)
    assert step_harness.redis.keys() == []


def lose_answers(patch, script):
    """Let a script do its work, and lose its answer each time."""
    call = LoadedScript.__call__

    def dying(self, *args, **options):
        call(self, *args, **options)
        if script in self.script:
            raise RedisTimeoutError("Timeout reading from socket")

    patch.setattr(LoadedScript, "__call__", dying)
    patch.setattr("scrape_do_celery.store.pending._ATTEMPTS", 1)


def test_a_write_whose_answer_is_lost_is_repeated_with_the_id_of_the_error(step_harness, start_run, monkeypatch):
    with monkeypatch.context() as patch:
        lose_answers(patch, "reserved_digest")
        with pytest.raises(StoreUnavailableError) as caught:
            start_run([URL])
    assert caught.value.may_be_written
    assert caught.value.run_ids == (caught.value.run_id,)
    assert ScrapeDoError.from_json(caught.value.to_json()).run_id == caught.value.run_id
    assert start_run([URL], run_id=caught.value.run_id).run_id == caught.value.run_id
    assert step_harness.run_ids() == {caught.value.run_id}


def test_a_run_that_exists_may_be_written_although_the_store_refuses_later(step_harness, start_run, monkeypatch):
    start_run([URL], run_id="order-1")
    call = LoadedScript.__call__

    def refuse(self, *args, **options):
        if "keep_draft" in self.script:
            raise OutOfMemoryError("command not allowed")
        return call(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(LoadedScript, "__call__", refuse)
        with pytest.raises(StoreUnavailableError) as caught:
            start_run([URL], run_id="order-1")
    assert caught.value.may_be_written
    assert caught.value.reason == "OOM"


def test_a_refused_write_was_not_written(step_harness, start_run, monkeypatch):
    def refuse(*_, **__):
        raise OutOfMemoryError("command not allowed")

    monkeypatch.setattr(LoadedScript, "__call__", refuse)
    with pytest.raises(StoreUnavailableError, match="OOM command not allowed") as caught:
        start_run([URL])
    assert not caught.value.may_be_written
    assert caught.value.run_id
