"""Test events about runs without a message of their own."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from celery.events.state import State
from kombu.exceptions import OperationalError

from scrape_do_celery.errors import JobLostError
from scrape_do_celery.runs.hooks import override_hooks
from scrape_do_celery.runs.new_runs import announce_runs, read_statuses
from scrape_do_celery.runs.status import RunStatus
from scrape_do_celery.signals import run_changed
from scrape_do_celery.store import CANCEL
from scrape_do_celery.store.commands.changes import AcknowledgeChangedRuns, TakeChangedRuns
from scrape_do_celery.store.commands.limits import PauseAPI
from scrape_do_celery.store.commands.runs import ReadRunWait, RecordOutcome, RequestStop
from scrape_do_celery.worker.notifier import ChangeNotifier
from scrape_do_celery.worker.task_events import TaskEventSender, event_for_run


class Consumer:
    """A worker's consumer with caught events."""

    def __init__(self, *, enabled=True, groups=()):
        self.event_dispatcher = SimpleNamespace(enabled=enabled, groups=set(groups))
        self.hostname, self.sent, self.error = "w@here", [], None
        self.app = SimpleNamespace(events=self)

    @contextmanager
    def default_dispatcher(self, hostname):
        if self.error:
            raise self.error
        yield SimpleNamespace(send=lambda kind, **fields: self.sent.append((hostname, kind, fields)))


def read(step_harness, run_id="r"):
    """Return the record of a run and its status, as the notifier reads them."""
    step_harness.note_worker()
    record, waiting_for = step_harness.run(ReadRunWait(run_id, step_harness.account))
    return record, RunStatus.from_record(record, waiting_for)


def test_a_run_that_goes_on_is_told_with_its_progress(step_harness):
    step_harness.create_run(targets=3, request={"geo_code": "us"})
    step_harness.make_running()
    step_harness.store_content(position=0)
    step_harness.store_content(position=1, status="error")
    kind, fields = event_for_run(*read(step_harness))
    assert kind == "task-running"
    assert fields["uuid"] == "r"
    assert fields["name"] == "scrape_do.scrape"
    assert fields["args"] == "('r',)"
    assert fields["kwargs"] == "{'targets': 3, 'host': 'shop.example', 'geo_code': 'us'}"
    assert fields["result"] == "1 of 3 tasks done, 1 failed"
    assert fields["run"]["state"] == "running"


def test_an_event_says_what_the_run_waits_for(step_harness):
    step_harness.create_run(targets=3)
    step_harness.run(PauseAPI(60))
    _, fields = event_for_run(*read(step_harness))
    assert fields["result"].startswith("0 of 3 tasks done; waits: the API answered 429")
    assert fields["run"]["waiting_for"]["kind"] == "rate_limited"


def test_a_draft_is_its_own_messages_affair(step_harness):
    step_harness.create_run(start_delay=60)
    assert event_for_run(*read(step_harness)) is None


def test_end_event_is_sent_only_for_a_canceled_run(step_harness):
    step_harness.create_run()
    step_harness.finish_part(outcome="lost", error=JobLostError("gone", "r"))
    step_harness.run(RecordOutcome("r", "lost", {}))
    assert event_for_run(*read(step_harness)) is None
    step_harness.create_run("s")
    step_harness.run(RequestStop("s", CANCEL))
    step_harness.run(RecordOutcome("s", "canceled", {}))
    assert event_for_run(*read(step_harness, "s"))[0] == "task-canceled"


def test_celery_state_is_replaced_only_by_an_end(step_harness):
    """Read the events as Celery's `State` does, because Flower shows its states."""
    state = State()

    def hear(kind, clock, **fields):
        state.event({"type": kind, "uuid": "r", "hostname": "w", "timestamp": 1.0 * clock, "local_received": 1.0,
                     "clock": clock, **fields})  # fmt: skip
        return state.tasks["r"]

    step_harness.create_run()
    hear("task-received", 1, name="scrape_do.scrape", args="('r',)", kwargs="{}")
    hear("task-started", 2)
    kind, fields = event_for_run(*read(step_harness))
    fields.pop("uuid")
    assert hear(kind, 3, **fields).state == "QUEUED"
    step_harness.make_running()
    kind, fields = event_for_run(*read(step_harness))
    fields.pop("uuid")
    assert hear(kind, 4, **fields).state == "RUNNING"
    assert hear("task-received", 5, name="scrape_do.scrape", args="('r',)", kwargs="{'targets': 2}").state == "RUNNING"
    assert hear("task-started", 6).state == "RUNNING"
    assert hear("task-succeeded", 7, result="{'outcome': 'succeeded'}").state == "SUCCESS"
    assert hear(kind, 8, **fields).state == "SUCCESS"


def test_a_run_that_was_revoked_does_not_stand_as_running(step_harness):
    """Announce a revoked run as canceled, because REVOKED does not replace a state that Celery does not know."""
    state = State()
    step_harness.create_run()
    step_harness.make_running()
    for clock, kind in enumerate(("task-running", "task-revoked", "task-canceled", "task-revoked"), 1):
        state.event({"type": kind, "uuid": "r", "hostname": "w", "timestamp": clock, "local_received": 1.0,
                     "clock": clock})  # fmt: skip
    assert state.tasks["r"].state == "CANCELED"


@pytest.mark.parametrize(
    ("consumer", "told"),
    [
        (Consumer(), True),
        (Consumer(groups=["worker", "task"]), True),
        (Consumer(groups=["worker"]), False),
        (Consumer(enabled=False), False),
    ],
)
def test_nothing_is_sent_while_nobody_listens(step_harness, consumer, told):
    step_harness.create_run()
    TaskEventSender(consumer).send([read(step_harness)])
    assert bool(consumer.sent) is told


def test_consumer_without_a_broker_is_ignored(step_harness):
    consumer = Consumer()
    consumer.event_dispatcher = None
    assert not TaskEventSender(consumer).is_on


def test_changes_are_events_as_well(step_harness, clock):
    consumer = Consumer()
    notifier = ChangeNotifier(step_harness.app_context, TaskEventSender(consumer))
    step_harness.create_run()
    clock.forward(6)
    assert not notifier.notify_once()
    assert [(host, kind) for host, kind, _ in consumer.sent] == [("w@here", "task-queued")]
    clock.forward(60)
    notifier.notify_once()
    assert len(consumer.sent) == 1


def test_broker_outage_costs_only_the_event(step_harness, clock, caplog):
    consumer = Consumer()
    consumer.error = OperationalError("away")
    step_harness.create_run()
    clock.forward(6)
    with caplog.at_level(logging.INFO):
        ChangeNotifier(step_harness.app_context, TaskEventSender(consumer)).notify_once()
    assert "could not send task events of 1 runs: OperationalError" in caplog.text
    assert step_harness.redis.zcard(step_harness.keys.changed) == 0


@pytest.mark.parametrize(("took", "again"), [(1, False), (26, True), (40, True)])
def test_late_acknowledgement_keeps_a_run_marked(step_harness, clock, took, again):
    """Keep the mark: a change sets it to five seconds later at the earliest, so a late change may not have moved it."""
    step_harness.create_run()
    clock.forward(6)
    changed = step_harness.run(TakeChangedRuns(10))
    assert changed.run_ids == ("r",)
    clock.forward(took)
    step_harness.run(AcknowledgeChangedRuns(changed.receipt, changed.run_ids))
    assert (step_harness.redis.zscore(step_harness.keys.changed, "r") is not None) is again


def test_change_during_the_notification_is_sent_again(step_harness, clock):
    step_harness.create_run()
    clock.forward(6)
    changed = step_harness.run(TakeChangedRuns(10))
    step_harness.run(RequestStop("r", CANCEL))
    step_harness.run(AcknowledgeChangedRuns(changed.receipt, changed.run_ids))
    clock.forward(6)
    assert step_harness.run(TakeChangedRuns(10)).run_ids == ("r",)


def test_unreadable_run_is_left_to_workers_with_the_key(step_harness, clock):
    step_harness.create_run()
    step_harness.create_run("s")
    step_harness.redis.hset(step_harness.keys.run("s"), "key", "another")
    clock.forward(6)
    ChangeNotifier(step_harness.app_context).notify_once()
    assert step_harness.redis.zrange(step_harness.keys.changed, 0, -1) == [b"s"]


def test_connections_are_closed_around_notifications_only(step_harness, clock):
    """Close connections only in the announcing thread: no request ends there, at which a framework would close them."""
    order = []
    hear = run_changed.connect(lambda **_: order.append("told"), weak=False)
    try:
        with override_hooks(lambda hooks: replace(hooks, close_connections=lambda: order.append("tidied"))):
            step_harness.create_run()
            clock.forward(6)
            ChangeNotifier(step_harness.app_context).notify_once()
            assert order == ["tidied", "told", "tidied"]
            order.clear()
            announce_runs(step_harness.app_context, read_statuses(step_harness.app_context, ["r"]))
            assert order == ["told"]
    finally:
        run_changed.disconnect(hear)
