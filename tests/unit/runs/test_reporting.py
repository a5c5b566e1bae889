"""Telling those who wait for a run how it ended."""

from __future__ import annotations

import json

import pytest
from celery import signature
from kombu.exceptions import OperationalError

from scrape_do_celery import routing
from scrape_do_celery.runs.canvas import is_followed
from scrape_do_celery.runs.reporting import deliver, start_draft
from scrape_do_celery.store import CANCEL, ops


@pytest.fixture
def ended(step_harness):
    """A run that has ended, with a waiter that has a canvas and one that has none."""
    step_harness.create_run(waiter="plain")
    canvas = signature("scrape_do.deliver_outcome", args=["r"], task_id="canvas", link=[signature("shop.save")])
    step_harness.run(ops.accept_run(step_harness.keys, "r", "canvas", json.dumps(canvas)))
    step_harness.finish_part()
    step_harness.run(ops.record_outcome(step_harness.keys, "r", "succeeded", {}))
    return step_harness


@pytest.fixture
def sent(step_harness, monkeypatch):
    """What signatures send, which goes past `send_task` where the task is registered."""
    caught = []
    monkeypatch.setattr(
        "celery.canvas.Signature.apply_async",
        lambda self, **_: caught.append((self.task, self.args, dict(self.options))),
    )
    return caught


def test_each_waiter_gets_its_message(ended, sent):
    deliver(ended.app_context, "r")
    (message,) = ended.sent
    assert (message.name, message.args, message.options["task_id"]) == (routing.DELIVER_OUTCOME, ["r"], "plain")
    assert message.options["queue"] == ended.settings.queue
    assert not message.options.get("ignore_result")
    ((step, arguments, options),) = sent
    assert (step, list(arguments), options["task_id"]) == (routing.DELIVER_OUTCOME, ["r"], "canvas")
    assert [link["task"] for link in options["link"]] == ["shop.save"]
    assert len(ended.read_run().waiters) == 2


def test_who_has_the_result_by_now_is_only_noted(ended, sent):
    ended.app.backend.store_result("plain", {}, "SUCCESS")
    deliver(ended.app_context, "r", redelivery=True)
    assert ended.sent == []
    assert len(sent) == 1
    assert ended.read_run().waiters.keys() == {"canvas"}
    ended.app.backend.store_result("canvas", {}, "FAILURE")
    deliver(ended.app_context, "r", redelivery=True)
    assert ended.read_run().waiters.keys() == {"canvas"}, "a callback that could not be sent is no outcome"
    ended.app.backend.store_result("canvas", {}, "SUCCESS")
    deliver(ended.app_context, "r", redelivery=True)
    assert ended.read_run().waiters == {}
    assert len(sent) == 2
    assert ended.ttls()[ended.keys.run("r")] is not None


def test_what_was_revoked_is_not_reported_again(ended, sent):
    ended.app.backend.store_result("canvas", None, "REVOKED")
    deliver(ended.app_context, "r", redelivery=True)
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
def test_celery_calls_some_of_what_follows_after_it_has_stored_a_result(option, state, owed):
    stored = json.dumps({"task": "t", "options": {option: [{"task": "after"}]}})
    assert is_followed(stored, state) is owed
    assert not is_followed("", state)


@pytest.fixture
def owed(ended):
    """The canvas is a chord's, and Celery has stored the outcome."""
    finish = {"task": routing.DELIVER_OUTCOME, "args": ["r"], "kwargs": {}, "options": {"chord": {"task": "after"}}}
    ended.redis.hset(ended.keys.run("r"), "waiter:canvas", json.dumps(finish))
    ended.redis.hdel(ended.keys.run("r"), "waiter:plain")
    ended.app.backend.store_result("canvas", {}, "SUCCESS")
    return ended


def test_what_follows_is_made_up_for_once(owed, sent):
    for _ in range(3):
        deliver(owed.app_context, "r", redelivery=True)
    assert len(sent) == 1
    assert owed.read_run().waiters == {}


def test_what_could_not_be_sent_is_not_made_up_for(owed, sent, monkeypatch):
    def away(*_, **__):
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr("celery.canvas.Signature.apply_async", away)
        deliver(owed.app_context, "r", redelivery=True)
    deliver(owed.app_context, "r", redelivery=True)
    assert len(sent) == 1


def test_who_dies_before_that_is_noted_makes_up_for_it_once_more(owed, sent, monkeypatch):
    run = owed.app_context.store.run

    def dying(command):
        if command.script == "claim_once":
            raise KeyboardInterrupt
        return run(command)

    with monkeypatch.context() as patch:
        patch.setattr(owed.app_context.store, "run", dying)
        with pytest.raises(KeyboardInterrupt):
            deliver(owed.app_context, "r", redelivery=True)
    deliver(owed.app_context, "r", redelivery=True)
    assert len(sent) == 2


def test_the_first_report_asks_nobody(ended, sent, monkeypatch):
    monkeypatch.setattr(ended.app.backend, "get_state", None)
    deliver(ended.app_context, "r")
    assert len(ended.sent) + len(sent) == 2


def test_a_backend_that_is_away_means_that_it_is_published_again(ended, sent, monkeypatch, caplog):
    def get_state(_):
        raise ConnectionError("no token here")

    monkeypatch.setattr(ended.app.backend, "get_state", get_state)
    deliver(ended.app_context, "r", redelivery=True)
    assert len(ended.sent) + len(sent) == 2
    assert "ConnectionError" in caplog.text


@pytest.mark.parametrize("error", [OperationalError("down"), ConnectionResetError()])
def test_a_broker_that_is_away_is_only_logged(ended, monkeypatch, caplog, error):
    def send(*_, **__):
        raise error

    monkeypatch.setattr(ended.app, "send_task", send)
    monkeypatch.setattr("celery.canvas.Signature.apply_async", send)
    deliver(ended.app_context, "r")
    assert caplog.text.count("Could not publish the outcome of run r") == 2
    assert len(ended.read_run().waiters) == 2


def test_nothing_to_report(step_harness):
    deliver(step_harness.app_context, "nobody")
    step_harness.create_run()
    deliver(step_harness.app_context, "r")
    assert step_harness.sent == []


def test_a_run_that_nobody_waits_for_is_counted_down(ended, sent):
    ended.redis.hdel(ended.keys.run("r"), "waiter:plain", "waiter:canvas")
    ended.redis.hset(ended.keys.run("r"), "waiting", 0)
    deliver(ended.app_context, "r")
    assert ended.sent == sent == []
    assert ended.ttls()[ended.keys.run("r")] is not None


def test_a_draft_whose_message_did_not_come_is_brought_to_life(step_harness):
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


def test_a_draft_that_waits_for_another_run_ends_at_once_where_it_is_canceled(step_harness):
    step_harness.create_run("first", tick=ops.ScheduleTick("prices", "t1", "queue"))
    step_harness.create_run(tick=ops.ScheduleTick("prices", "t2", "queue"), start_delay=60)
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
