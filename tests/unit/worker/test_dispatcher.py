"""Test the dispatcher: due work is dispatched in as few messages as possible, and no error ends the thread."""

from __future__ import annotations

import logging
import threading

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from scrape_do_celery import routing
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.runs import BATCH, StepMessage
from scrape_do_celery.runs.timing import PASS_INTERVAL
from scrape_do_celery.store import CANCEL, PartId, PartState
from scrape_do_celery.store.commands.dispatch import REDISPATCH_MIN, ClaimNamespace, DuePart
from scrape_do_celery.store.commands.runs import RecordOutcome
from scrape_do_celery.worker.dispatcher import SHORTEST, Dispatcher, messages_for


def due(run_id, state="queued", *, stop_requested=False, cancel_sent=False, attempts=0):
    return DuePart(
        PartId(run_id, 0),
        state,
        stop_requested=stop_requested,
        cancel_sent=cancel_sent,
        attempts=attempts,
        dispatches=1,
    )


class WholeDispatcher(Dispatcher):
    """A dispatcher whose `dispatch_due` also waits for the thread that asks Celery."""

    def dispatch_due(self):
        wait = super().dispatch_due()
        if self._asking.ident is not None:
            self._asking.join()
        return wait


@pytest.fixture
def dispatcher(step_harness):
    made = WholeDispatcher(step_harness.app_context)
    yield made
    made.stop()


def _store_away(*_):
    raise StoreUnavailableError("away")


def test_members_of_one_step_share_a_message():
    parts = [
        due("a"),
        due("b", "running"),
        due("c"),
        due("d", "submitting"),
        due("e", "reconciling"),
        due("f", "fetching"),
    ]
    assert list(messages_for(parts)) == [
        StepMessage(routing.SUBMIT_JOBS, ("a:0", "c:0")),
        StepMessage(routing.POLL_JOBS, ("b:0",)),
        StepMessage(routing.RECONCILE_SUBMIT, ("d:0", "e:0")),
        StepMessage(routing.FETCH_TASKS, ("f:0",)),
    ]


def test_a_stop_request_turns_a_poll_into_a_cancel_once():
    parts = [
        due("a", "running", stop_requested=True),
        due("b", "running", stop_requested=True, cancel_sent=True),
        due("c", stop_requested=True),
    ]
    assert list(messages_for(parts)) == [
        StepMessage(routing.CANCEL_RUN, ("a:0",)),
        StepMessage(routing.POLL_JOBS, ("b:0",)),
        StepMessage(routing.SUBMIT_JOBS, ("c:0",)),
    ]


def test_part_of_a_dead_step_is_published_alone():
    parts = [due("a"), due("dead", attempts=1), due("b"), due("worse", attempts=4)]
    assert sorted(messages_for(parts), key=lambda message: len(message.ids)) == [
        StepMessage(routing.SUBMIT_JOBS, ("dead:0",)),
        StepMessage(routing.SUBMIT_JOBS, ("worse:0",)),
        StepMessage(routing.SUBMIT_JOBS, ("a:0", "b:0")),
    ]


def test_messages_have_a_size():
    found = list(messages_for([due(f"r{n}") for n in range(2 * BATCH + 1)]))
    assert [len(message.ids) for message in found] == [BATCH, BATCH, 1]


def test_done_part_needs_no_message():
    assert list(messages_for([due("a", "done")])) == []


def test_nothing_to_do(step_harness, dispatcher):
    assert dispatcher.dispatch_due() == PASS_INTERVAL
    assert step_harness.sent == []


def test_due_parts_are_published_before_the_next_pass(step_harness, dispatcher):
    for run_id in ("a", "b"):
        step_harness.create_run(run_id)
    assert dispatcher.dispatch_due() == PASS_INTERVAL
    step_harness.clock.forward(REDISPATCH_MIN)
    assert SHORTEST <= dispatcher.dispatch_due() <= PASS_INTERVAL
    ((step, names),) = step_harness.step_messages()
    assert (step, sorted(names)) == (routing.SUBMIT_JOBS, ["a:0", "b:0"])
    assert dispatcher.dispatch_due() == PASS_INTERVAL
    assert step_harness.step_messages() == []


def test_the_dispatcher_sleeps_until_the_earliest_due_time(step_harness, dispatcher):
    step_harness.create_run()
    step_harness.update_part(step_harness.claim_part(), after=0.5)
    assert SHORTEST < dispatcher.dispatch_due() <= 0.5
    step_harness.clock.forward(0.495)
    assert dispatcher.dispatch_due() >= SHORTEST


def test_a_backlog_of_messages_is_not_multiplied(step_harness, dispatcher, settings):
    step_harness.app_context.settings = settings.model_copy(update={"max_dispatched_parts": 2})
    for n in range(5):
        step_harness.create_run(f"r{n}")
    step_harness.clock.forward(REDISPATCH_MIN)
    dispatcher.dispatch_due()
    assert len(step_harness.step_messages()[0][1]) == 2
    assert dispatcher.dispatch_due() == PASS_INTERVAL
    assert step_harness.step_messages() == []


def test_entries_without_a_record_are_dropped_and_counted(step_harness, dispatcher, caplog):
    step_harness.redis.zadd(step_harness.keys.due, {"ghost:0": 1, "ghost:run": 1})
    dispatcher.dispatch_due()
    assert "2 due entries" in caplog.text
    assert step_harness.due_parts() == {}


def test_a_run_whose_parts_have_ended_is_aggregated(step_harness, dispatcher):
    step_harness.create_run()
    step_harness.finish_part()
    step_harness.clock.forward(REDISPATCH_MIN)
    dispatcher.dispatch_due()
    assert step_harness.step_messages() == [(routing.AGGREGATE_RUN, ["r"])]


def test_an_outcome_is_reported_until_celery_has_it(step_harness, dispatcher):
    step_harness.create_run()
    step_harness.finish_part()
    step_harness.run(RecordOutcome("r", "succeeded", {}))
    for _ in range(2):
        step_harness.clock.forward(3 * REDISPATCH_MIN)
        dispatcher.dispatch_due()
    assert [(m.name, m.options["task_id"]) for m in step_harness.sent] == [(routing.DELIVER_OUTCOME, "r")] * 2
    step_harness.app.backend.store_result("r", {}, "SUCCESS")
    step_harness.clock.forward(5 * REDISPATCH_MIN)
    dispatcher.dispatch_due()
    assert len(step_harness.sent) == 2
    assert step_harness.read_run().waiters == {}
    assert step_harness.due_parts() == {}


def test_deadline_ends_unsent_parts_and_stops_running_ones(step_harness, dispatcher):
    step_harness.create_multi_part_run(2, max_wait=60)
    step_harness.make_running(part=1)
    step_harness.clock.forward(30)
    dispatcher.dispatch_due()
    assert step_harness.read_run().stop_reason is None
    step_harness.step_messages()
    step_harness.clock.forward(31)
    dispatcher.dispatch_due()
    assert (routing.CANCEL_RUN, ["r:1"]) in step_harness.step_messages()
    record = step_harness.read_run()
    assert record.stop_reason == "deadline"
    assert record.parts[0].outcome == "timed_out"
    assert record.parts[1].state is PartState.RUNNING


def test_deadline_ends_an_unsent_run(step_harness, dispatcher):
    step_harness.create_run(max_wait=60)
    step_harness.update_part(step_harness.claim_part(), after=1000)
    step_harness.clock.forward(61)
    dispatcher.dispatch_due()
    assert step_harness.step_messages() == []
    dispatcher.dispatch_due()
    assert step_harness.step_messages() == [(routing.AGGREGATE_RUN, ["r"])]


def test_draft_without_its_message_is_started(step_harness, dispatcher):
    step_harness.create_run(start_delay=10, waiter="w", signature="{}")
    step_harness.clock.forward(10 + REDISPATCH_MIN)
    dispatcher.dispatch_due()
    assert step_harness.read_run().accepted is not None
    assert step_harness.step_messages() == [(routing.SUBMIT_JOBS, ["r:0"])]


def test_broker_outage_loses_no_due_part(step_harness, dispatcher, monkeypatch):
    def send_task(*_, **__):
        raise OperationalError("away")

    step_harness.create_run()
    step_harness.clock.forward(REDISPATCH_MIN)
    with monkeypatch.context() as patch:
        patch.setattr(step_harness.app, "send_task", send_task)
        dispatcher.dispatch_due()
    step_harness.clock.forward(REDISPATCH_MIN + 1)
    dispatcher.dispatch_due()
    assert step_harness.step_messages() == [(routing.SUBMIT_JOBS, ["r:0"])]


def test_failing_run_does_not_block_the_others(step_harness, dispatcher, monkeypatch, caplog):
    for run_id in ("bad", "good"):
        step_harness.create_run(run_id)
        step_harness.finish_part(run_id)
    real = step_harness.app_context.publish

    def publish(step, names, **options):
        if names == ["bad"]:
            raise KeyError("a bug")
        return real(step, names, **options)

    monkeypatch.setattr(step_harness.app_context, "publish", publish)
    step_harness.clock.forward(REDISPATCH_MIN)
    dispatcher.dispatch_due()
    assert step_harness.step_messages() == [(routing.AGGREGATE_RUN, ["good"])]
    assert "could not continue run bad" in caplog.text
    assert step_harness.due_parts()["bad:run"] > 0


@pytest.mark.parametrize(
    ("error", "traced"),
    [
        (RedisConnectionError("away"), False),
        (OSError("away"), False),
        (OperationalError("away"), False),
        (KeyError("bug"), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_nothing_that_goes_wrong_ends_the_thread(dispatcher, monkeypatch, caplog, error, traced):
    looks, again = [], threading.Event()

    def dispatch_due():
        looks.append(1)
        if len(looks) == 1:
            raise error
        again.set()
        return PASS_INTERVAL

    dispatcher.interval = 0.01
    monkeypatch.setattr(dispatcher, "dispatch_due", dispatch_due)
    with caplog.at_level(logging.WARNING):
        dispatcher.start()
        assert again.wait(10)
        dispatcher.stop()
    assert not dispatcher.is_alive()
    (record,) = [record for record in caplog.records if "a pass of the dispatcher failed" in record.message]
    assert bool(record.exc_info) is traced


def test_a_dispatcher_that_was_not_started_can_be_stopped(step_harness):
    dispatcher = Dispatcher(step_harness.app_context)
    dispatcher.stop()
    assert not dispatcher.is_alive()


def test_thread_publishes_and_stops_on_request(step_harness, dispatcher, monkeypatch):
    published = threading.Event()
    monkeypatch.setattr(step_harness.app, "send_task", lambda *_, **__: published.set())
    step_harness.create_run()
    step_harness.clock.forward(REDISPATCH_MIN)
    dispatcher.start()
    assert dispatcher.daemon
    assert published.wait(10)
    dispatcher.stop()
    assert not dispatcher.is_alive()


def test_a_store_of_another_application_is_left_alone(step_harness, dispatcher, caplog):
    step_harness.create_run()
    step_harness.clock.forward(REDISPATCH_MIN)
    step_harness.run(ClaimNamespace("broker elsewhere"))
    assert dispatcher.dispatch_due() == PASS_INTERVAL
    assert step_harness.sent == []
    assert "another application now (broker elsewhere)" in caplog.text


def test_a_run_whose_revocation_only_celery_remembers_is_canceled(step_harness, dispatcher):
    """Cancel a revoked run by its Celery state, because the worker that received the revocation is gone."""
    for run_id in ("r", "other"):
        step_harness.create_run(run_id)
        step_harness.make_running(run_id)
    step_harness.app.backend.mark_as_revoked("r", "revoked")
    step_harness.clock.forward(REDISPATCH_MIN)
    dispatcher.dispatch_due()
    assert step_harness.read_run("r").stop_reason == "cancel"
    assert step_harness.read_run("other").stop_reason is None


def test_a_revoked_id_cancels_its_run_once(step_harness, dispatcher, monkeypatch):
    step_harness.create_run()
    step_harness.make_running()
    monkeypatch.setattr("scrape_do_celery.worker.dispatcher.revoked", {"r", "some other task"})
    dispatcher.dispatch_due()
    assert step_harness.read_run().stop_reason == "cancel"
    assert (routing.CANCEL_RUN, ["r:0"]) in step_harness.step_messages()
    dispatcher.dispatch_due()
    assert step_harness.step_messages() == []


def test_revocation_is_retried_after_a_store_outage(step_harness, monkeypatch):
    step_harness.create_run()
    step_harness.make_running()
    dispatcher = Dispatcher(step_harness.app_context)
    monkeypatch.setattr("scrape_do_celery.worker.dispatcher.revoked", {"r"})
    with monkeypatch.context() as patch:
        patch.setattr(step_harness.app_context, "request_stop", _store_away)
        with pytest.raises(StoreUnavailableError):
            dispatcher.dispatch_due()
    dispatcher.dispatch_due()
    assert step_harness.read_run().stop_reason == CANCEL


def test_passes_advance_the_watched_clock(step_harness, dispatcher, monkeypatch):
    own = iter([100.0, 100.5, 100.6])
    monkeypatch.setattr(dispatcher, "_read_time", lambda: next(own))
    step_harness.clock.stop()
    dispatcher.dispatch_due()
    began = step_harness.watched
    for moved, expected in ((119.0, 0.5), (0.05, 0.55)):
        step_harness.clock.ahead += moved
        dispatcher.dispatch_due()
        assert step_harness.watched == pytest.approx(began + expected, abs=0.001)


def test_step_back_of_the_clock_is_logged_and_work_goes_on(step_harness, dispatcher, caplog):
    step_harness.create_run()
    dispatcher.dispatch_due()
    step_harness.clock.ahead -= 7200.0
    dispatcher.dispatch_due()
    assert "was set back by 7200 s" in caplog.text
    step_harness.clock.forward(REDISPATCH_MIN)
    dispatcher.dispatch_due()
    assert step_harness.step_messages() == [(routing.SUBMIT_JOBS, ["r:0"])]
