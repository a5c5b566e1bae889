"""Test the delivery of a run's outcome to its waiters."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from types import SimpleNamespace

import pytest
from celery import signature
from celery.app.trace import build_tracer
from celery.backends.rpc import RPCBackend
from celery.exceptions import Ignore, Reject
from kombu.exceptions import OperationalError

from scrape_do_celery import routing
from scrape_do_celery.errors import JobLostError, RunNotFoundError, StoreUnavailableError
from scrape_do_celery.runs.canvas import delivery_signature, is_followed
from scrape_do_celery.steps import requeue
from scrape_do_celery.steps.deliver import acknowledge_waiter, deliver_run
from scrape_do_celery.steps.scrape import start_draft
from scrape_do_celery.store import CANCEL
from scrape_do_celery.store.commands.creation import AcceptRun, ScheduleTick
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ForgetRun, RecordOutcome
from scrape_do_celery.tasks import aggregate_run, deliver_outcome
from scrape_do_celery.tasks.deliver import acknowledge_delivery, acknowledge_revoked
from scrape_do_celery.worker.dispatcher import Dispatcher
from tests.support.module_sleep import replace_sleep


@pytest.fixture
def ended(step_harness):
    """Return an ended run with two waiters, of which one has a canvas."""
    step_harness.create_run(waiter="plain")
    canvas = signature("scrape_do.deliver_outcome", args=["r"], task_id="canvas", link=[signature("shop.save")])
    step_harness.run(AcceptRun("r", "canvas", json.dumps(canvas)))
    step_harness.finish_part()
    step_harness.run(RecordOutcome("r", "succeeded", {}))
    return step_harness


@pytest.fixture
def sent(step_harness, monkeypatch):
    """Catch what signatures send: a registered task bypasses `send_task`."""
    caught = []
    monkeypatch.setattr(
        "celery.canvas.Signature.apply_async",
        lambda self, **_: caught.append((self.task, self.args, dict(self.options))),
    )
    return caught


def _dispatch_after(step_harness, dispatcher, *seconds):
    for one in seconds:
        step_harness.clock.forward(one)
        dispatcher.dispatch_due()
        if dispatcher._asking.ident is not None:
            dispatcher._asking.join()


def _deliver(step_harness):
    task = step_harness.app.tasks[deliver_outcome.name]
    request = {"id": "r", "errbacks": [signature("after.failure")], "args": ["r"], "kwargs": {}, "delivery_info": {}}
    build_tracer(routing.DELIVER_OUTCOME, task, app=step_harness.app)("r", ["r"], {}, {**request, "hostname": "h"})


def aggregate(step_harness):
    on(step_harness, aggregate_run)(["r"])
    return step_harness.read_run()


def on(step_harness, step):
    """Return the step from the harness's app."""
    return step_harness.app.tasks[step.name].run


@pytest.fixture
def run_deliver(step_harness, monkeypatch):
    """Return a function that runs `deliver_outcome` under a Celery id."""
    step = step_harness.app.tasks[deliver_outcome.name]

    def call(run_id="r", task_id="r"):
        step.push_request(id=task_id, args=[run_id])
        try:
            return step.run(run_id)
        finally:
            step.pop_request()

    return call


def away(*_, **__):
    raise StoreUnavailableError("away")


@pytest.fixture
def acknowledge(step_harness, end_part):
    step_harness.create_run()
    end_part()
    aggregate(step_harness)
    return lambda state="SUCCESS", args=("r",), step=deliver_outcome: acknowledge_delivery(
        task=step_harness.app.tasks[step.name], task_id="r", args=list(args), state=state
    )


def test_each_waiter_gets_its_message(ended, sent):
    deliver_run(ended.app_context, "r")
    (message,) = ended.sent
    assert (message.name, message.args, message.options["task_id"]) == (routing.DELIVER_OUTCOME, ["r"], "plain")
    assert message.options["queue"] == ended.settings.queue
    assert not message.options.get("ignore_result")
    ((step, arguments, options),) = sent
    assert (step, list(arguments), options["task_id"]) == (routing.DELIVER_OUTCOME, ["r"], "canvas")
    assert [link["task"] for link in options["link"]] == ["shop.save"]
    assert len(ended.read_run().waiters) == 2


def test_waiter_with_a_result_is_only_acknowledged(ended, sent):
    ended.app.backend.store_result("plain", {}, "SUCCESS")
    deliver_run(ended.app_context, "r", redelivery=True)
    assert ended.sent == []
    assert len(sent) == 1
    assert ended.read_run().waiters.keys() == {"canvas"}
    ended.app.backend.store_result("canvas", {}, "FAILURE")
    deliver_run(ended.app_context, "r", redelivery=True)
    assert ended.read_run().waiters.keys() == {"canvas"}, "a callback that could not be sent is no outcome"
    ended.app.backend.store_result("canvas", {}, "SUCCESS")
    deliver_run(ended.app_context, "r", redelivery=True)
    assert ended.read_run().waiters == {}
    assert len(sent) == 2
    assert ended.ttls()[ended.keys.run("r")] is not None


def test_revoked_waiter_is_not_delivered_again(ended, sent):
    ended.app.backend.store_result("canvas", None, "REVOKED")
    deliver_run(ended.app_context, "r", redelivery=True)
    assert ended.read_run().waiters.keys() == {"plain"}
    assert sent == []


@pytest.mark.parametrize(
    ("option", "state", "owed"),
    [
        ("link", "SUCCESS", False),
        ("chain", "SUCCESS", False),
        ("chord", "SUCCESS", True),
        ("link_error", "SUCCESS", False),
        ("link_error", "FAILURE", True),
        ("chain", "FAILURE", True),
        ("chord", "FAILURE", True),
        ("chord", "REVOKED", False),
    ],
)
def test_some_callbacks_run_after_the_result_is_stored(option, state, owed):
    stored = json.dumps({"task": "t", "options": {option: [{"task": "after"}]}})
    assert is_followed(stored, state) is owed
    assert not is_followed("", state)


@pytest.fixture
def owed(ended):
    """Return an ended run whose waiter is a chord's finish. Celery has stored the outcome."""
    finish = {"task": routing.DELIVER_OUTCOME, "args": ["r"], "kwargs": {}, "options": {"chord": {"task": "after"}}}
    ended.redis.hset(ended.keys.run("r"), "waiter:canvas", json.dumps(finish))
    ended.redis.hdel(ended.keys.run("r"), "waiter:plain")
    ended.app.backend.store_result("canvas", {}, "SUCCESS")
    return ended


def test_missed_callbacks_are_published_once_more(owed, sent):
    for _ in range(3):
        deliver_run(owed.app_context, "r", redelivery=True)
    assert len(sent) == 1
    assert owed.read_run().waiters == {}


def test_callbacks_that_could_not_be_sent_are_not_repeated(owed, sent, monkeypatch):
    def away(*_, **__):
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr("celery.canvas.Signature.apply_async", away)
        deliver_run(owed.app_context, "r", redelivery=True)
    deliver_run(owed.app_context, "r", redelivery=True)
    assert len(sent) == 1


def test_crash_before_the_claim_publishes_callbacks_again(owed, sent, monkeypatch):
    run = owed.app_context.store.run

    def dying(command):
        if command.script == "claim_once":
            raise KeyboardInterrupt
        return run(command)

    with monkeypatch.context() as patch:
        patch.setattr(owed.app_context.store, "run", dying)
        with pytest.raises(KeyboardInterrupt):
            deliver_run(owed.app_context, "r", redelivery=True)
    deliver_run(owed.app_context, "r", redelivery=True)
    assert len(sent) == 2


def test_the_first_report_asks_nobody(ended, sent, monkeypatch):
    monkeypatch.setattr(ended.app.backend, "get_state", None)
    deliver_run(ended.app_context, "r")
    assert len(ended.sent) + len(sent) == 2


def test_backend_outage_publishes_the_outcome_again(ended, sent, monkeypatch, caplog):
    def get_state(_):
        raise ConnectionError("no token here")

    monkeypatch.setattr(ended.app.backend, "get_state", get_state)
    deliver_run(ended.app_context, "r", redelivery=True)
    assert len(ended.sent) + len(sent) == 2
    assert "ConnectionError" in caplog.text


@pytest.mark.parametrize("error", [OperationalError("down"), ConnectionResetError()])
def test_a_broker_that_is_away_is_only_logged(ended, monkeypatch, caplog, error):
    def send(*_, **__):
        raise error

    monkeypatch.setattr(ended.app, "send_task", send)
    monkeypatch.setattr("celery.canvas.Signature.apply_async", send)
    deliver_run(ended.app_context, "r")
    assert caplog.text.count("could not publish the outcome of run r") == 2
    assert len(ended.read_run().waiters) == 2


def test_nothing_to_report(step_harness):
    deliver_run(step_harness.app_context, "nobody")
    step_harness.create_run()
    deliver_run(step_harness.app_context, "r")
    assert step_harness.sent == []


def test_a_run_that_nobody_waits_for_is_counted_down(ended, sent):
    ended.redis.hdel(ended.keys.run("r"), "waiter:plain", "waiter:canvas")
    ended.redis.hset(ended.keys.run("r"), "waiting", 0)
    deliver_run(ended.app_context, "r")
    assert ended.sent == sent == []
    assert ended.ttls()[ended.keys.run("r")] is not None


def test_draft_without_its_message_is_started(step_harness):
    step_harness.create_run(start_delay=10, waiter="w", signature="{}")
    start_draft(step_harness.app_context, "r", step_harness.clock.time())
    assert step_harness.read_run().accepted is not None
    assert step_harness.step_messages() == [(routing.SUBMIT_JOBS, ["r:0"])]


def test_a_draft_that_was_revoked_is_canceled(step_harness):
    step_harness.create_run(start_delay=10, waiter="w", signature="{}")
    step_harness.app.backend.store_result("w", None, "REVOKED")
    start_draft(step_harness.app_context, "r", step_harness.clock.time())
    assert step_harness.read_run().stop_reason == "cancel"
    assert step_harness.part().outcome == "canceled"
    assert step_harness.due_parts()["r:run"] <= 0


def test_canceled_waiting_draft_ends_at_once(step_harness):
    step_harness.create_run("first", tick=ScheduleTick("prices", "t1", "queue"))
    step_harness.create_run(tick=ScheduleTick("prices", "t2", "queue"), start_delay=60)
    start_draft(step_harness.app_context, "r", step_harness.clock.time())
    assert step_harness.read_run().accepted is None
    step_harness.app_context.request_stop("r", CANCEL)
    start_draft(step_harness.app_context, "r", step_harness.clock.time())
    assert step_harness.read_run().accepted is not None
    assert step_harness.part().outcome == "canceled"


def test_a_draft_that_is_gone_is_left_alone(step_harness):
    start_draft(step_harness.app_context, "r", step_harness.clock.time())
    assert step_harness.sent == []
    assert step_harness.redis.keys() == []


def test_callbacks_run_after_a_crash_between_result_and_callbacks(step_harness, monkeypatch):
    """Kill the worker after Celery stored the result and before it calls errbacks. The delivery was published twice."""
    called, deaths, error = [], [True], JobLostError("lost", "r")
    step_harness.create_run(
        signature=delivery_signature(step_harness.app_context, "r", "r", {"link_error": signature("after.failure")})
    )
    step_harness.finish_part(outcome="lost", error=error)
    step_harness.run(RecordOutcome("r", "lost", {"error": json.dumps(error.to_json())}))
    monkeypatch.setattr("celery.canvas.Signature.apply_async", lambda self, **_: called.append(self.task))

    def call_errbacks(*_):
        if deaths and deaths.pop():
            raise KeyboardInterrupt
        called.append("after.failure")

    monkeypatch.setattr(type(step_harness.app.backend), "_call_task_errbacks", call_errbacks)
    dispatcher = Dispatcher(step_harness.app_context)
    _dispatch_after(step_harness, dispatcher, 6, 6)
    with suppress(KeyboardInterrupt):
        _deliver(step_harness)
    assert step_harness.app.backend.get_state("r") == "FAILURE"
    _dispatch_after(step_harness, dispatcher, 400)
    _deliver(step_harness)
    assert called[-1] == "after.failure"
    _dispatch_after(step_harness, dispatcher, 400)
    assert step_harness.read_run().waiters == {}


def test_succeeded_run_returns_its_summary(step_harness, end_part, run_deliver):
    step_harness.create_run()
    end_part()
    record = aggregate(step_harness)
    assert run_deliver() == record.result


def test_failed_run_raises_its_error(step_harness, run_deliver):
    step_harness.create_run()
    step_harness.finish_part(outcome="lost", error=JobLostError("gone", "r"))
    aggregate(step_harness)
    with pytest.raises(JobLostError) as caught:
        run_deliver()
    assert pickle.loads(pickle.dumps(caught.value)).args == ("gone", "r")


def test_early_or_repeated_message_is_ignored(step_harness, end_part, run_deliver):
    step_harness.create_run()
    with pytest.raises(Ignore):
        run_deliver()
    end_part()
    aggregate(step_harness)
    with pytest.raises(Ignore):
        run_deliver(task_id="a-stranger")
    step_harness.run(AcknowledgeDelivery("r", "r", step_harness.app_context.retention))
    with pytest.raises(Ignore):
        run_deliver()


def test_forgotten_run_is_an_error_for_its_waiter(run_deliver):
    with pytest.raises(RunNotFoundError) as caught:
        run_deliver()
    assert caught.value.run_id == "r"


def test_store_outage_returns_the_message(step_harness, run_deliver, monkeypatch):
    replace_sleep(monkeypatch, requeue, lambda _: None)
    monkeypatch.setattr(step_harness.app_context.store, "run", away)
    with pytest.raises(Reject) as caught:
        run_deliver()
    assert caught.value.requeue


def test_success_turned_into_failure_is_not_acknowledged(step_harness, acknowledge):
    """Deliver the outcome again, because a callback could not be sent."""
    step_harness.app.backend.store_result("r", {}, "FAILURE")
    acknowledge("FAILURE")
    assert step_harness.read_run().waiters == {"r": ""}


@pytest.mark.parametrize("state", ["SUCCESS", "REVOKED"])
def test_delivery_is_acknowledged_once_celery_has_it(step_harness, acknowledge, state):
    acknowledge(state)
    assert step_harness.read_run().waiters == {"r": ""}
    step_harness.app.backend.store_result("r", {}, state)
    acknowledge(state)
    assert step_harness.read_run().waiters == {}
    assert step_harness.ttls()[step_harness.keys.run("r")] is not None


@pytest.mark.parametrize("state", ["IGNORED", "RETRY", "STARTED", None])
def test_delivery_without_a_result_is_not_acknowledged(step_harness, acknowledge, state):
    acknowledge(state)
    assert step_harness.read_run().waiters == {"r": ""}


def test_end_of_other_tasks_is_not_acknowledged(step_harness, acknowledge):
    acknowledge(step=aggregate_run)
    acknowledge(args=())
    assert step_harness.read_run().waiters == {"r": ""}


@pytest.fixture
def rpc(step_harness, acknowledge, monkeypatch):
    """Return the results that a worker publishes with `rpc://`. An exception among `fails` keeps the next one back."""
    taken, fails = [], []

    def store_result(_, task_id, result, state, **__):
        if fails:
            raise fails.pop()
        taken.append((task_id, state))

    monkeypatch.setattr(RPCBackend, "store_result", store_result)
    monkeypatch.setattr(step_harness.app, "_backend_cache", RPCBackend(step_harness.app))
    return taken, fails


def test_with_rpc_the_publisher_confirms_a_delivery(step_harness, rpc, monkeypatch):
    taken, fails = rpc
    monkeypatch.setattr(RPCBackend, "get_task_meta", lambda *_: pytest.fail("nobody else may read the queue"))
    deliver_run(step_harness.app_context, "r", redelivery=True)
    # The result could not be published. Celery publishes a failure then, which is not the outcome.
    fails.append(OperationalError("away"))
    with pytest.warns(RuntimeWarning, match="outside body"):
        _deliver(step_harness)
    assert taken == [("r", "FAILURE")]
    assert step_harness.read_run().waiters == {"r": ""}
    _deliver(step_harness)
    assert taken[1:] == [("r", "SUCCESS")]
    assert step_harness.read_run().waiters == {}


def test_with_rpc_a_revoked_id_is_acknowledged(step_harness, rpc):
    for step, args in ((aggregate_run, ["r"]), (deliver_outcome, []), (deliver_outcome, ["r"])):
        assert step_harness.read_run().waiters == {"r": ""}
        request = SimpleNamespace(id="r", args=args)
        acknowledge_revoked(sender=step_harness.app.tasks[step.name], request=request)
    assert step_harness.read_run().waiters == {}


def test_without_results_a_delivery_of_a_forgotten_run_changes_nothing(step_harness, rpc):
    acknowledge_waiter(step_harness.app_context, "gone", "r", "SUCCESS")
    assert step_harness.read_run("gone") is None


def test_store_outage_during_acknowledgement_is_logged(step_harness, acknowledge, monkeypatch, caplog):
    step_harness.app.backend.store_result("r", {}, "SUCCESS")
    monkeypatch.setattr(step_harness.app_context.store, "run", away)
    acknowledge()
    assert "a dispatcher asks Celery" in caplog.text


def test_repeated_delivery_after_forget_is_ignored(step_harness, run_deliver, end_part):
    """Raise no error and call nothing: the caller had the outcome before the run was forgotten."""
    step_harness.create_run()
    end_part()
    aggregate(step_harness)
    step_harness.run(AcknowledgeDelivery("r", "r", step_harness.app_context.retention))
    step_harness.run(ForgetRun("r"))
    with pytest.raises(Ignore):
        run_deliver()
