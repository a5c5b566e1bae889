"""The ticker: what is due is rung for, in as few messages as may be, and nothing ends it."""

from __future__ import annotations

import logging
import threading

import pytest
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from scrape_do_celery import routing
from scrape_do_celery.runs import BATCH, Bell
from scrape_do_celery.store import DuePart, Member, PartState, ops
from scrape_do_celery.store.ops import RING
from scrape_do_celery.worker.ticker import LONGEST, SHORTEST, Ticker, bells


def due(run_id, state="queued", *, wish=False, canceling=False, attempts=0):
    return DuePart(Member(run_id, 0), state, wish=wish, canceling=canceling, attempts=attempts, rings=1)


class WholeTicker(Ticker):
    """One whose look ends when what it left to a thread has ended too."""

    def tick(self):
        wait = super().tick()
        if self._asking.ident is not None:
            self._asking.join()
        return wait


@pytest.fixture
def ticker(plant):
    made = WholeTicker(plant.producer)
    yield made
    made.stop()


def test_members_of_one_step_share_a_message():
    parts = [
        due("a"),
        due("b", "running"),
        due("c"),
        due("d", "submitting"),
        due("e", "doubtful"),
        due("f", "collecting"),
    ]
    assert list(bells(parts)) == [
        Bell(routing.SUBMIT_JOBS, ("a:0", "c:0")),
        Bell(routing.POLL_JOBS, ("b:0",)),
        Bell(routing.RECONCILE_SUBMIT, ("d:0", "e:0")),
        Bell(routing.FETCH_TASKS, ("f:0",)),
    ]


def test_a_wish_turns_a_poll_into_a_cancel_once():
    parts = [due("a", "running", wish=True), due("b", "running", wish=True, canceling=True), due("c", wish=True)]
    assert list(bells(parts)) == [
        Bell(routing.CANCEL_RUN, ("a:0",)),
        Bell(routing.POLL_JOBS, ("b:0",)),
        Bell(routing.SUBMIT_JOBS, ("c:0",)),
    ]


def test_what_died_is_rung_alone():
    parts = [due("a"), due("dead", attempts=1), due("b"), due("worse", attempts=4)]
    assert sorted(bells(parts), key=lambda bell: len(bell.names)) == [
        Bell(routing.SUBMIT_JOBS, ("dead:0",)),
        Bell(routing.SUBMIT_JOBS, ("worse:0",)),
        Bell(routing.SUBMIT_JOBS, ("a:0", "b:0")),
    ]


def test_messages_have_a_size():
    found = list(bells([due(f"r{n}") for n in range(2 * BATCH + 1)]))
    assert [len(bell.names) for bell in found] == [BATCH, BATCH, 1]


def test_what_is_done_needs_no_bell():
    assert list(bells([due("a", "done")])) == []


def test_nothing_to_do(plant, ticker):
    assert ticker.tick() == LONGEST
    assert plant.sent == []


def test_what_is_due_is_rung_for_and_the_next_look_is_in_time(plant, ticker):
    for run_id in ("a", "b"):
        plant.begin(run_id)
    assert ticker.tick() == LONGEST
    plant.clock.forward(RING)
    assert SHORTEST <= ticker.tick() <= LONGEST
    ((step, names),) = plant.bells()
    assert (step, sorted(names)) == (routing.SUBMIT_JOBS, ["a:0", "b:0"])
    assert ticker.tick() == LONGEST
    assert plant.bells() == []


def test_the_ticker_sleeps_until_the_earliest_due_time(plant, ticker):
    plant.begin()
    plant.update(plant.take(), after=0.5)
    assert SHORTEST < ticker.tick() <= 0.5
    plant.clock.forward(0.495)
    assert ticker.tick() >= SHORTEST


def test_a_backlog_of_bells_is_not_multiplied(plant, ticker, settings):
    plant.producer.settings = settings.model_copy(update={"max_bells": 2})
    for n in range(5):
        plant.begin(f"r{n}")
    plant.clock.forward(RING)
    ticker.tick()
    assert len(plant.bells()[0][1]) == 2
    assert ticker.tick() == LONGEST
    assert plant.bells() == []


def test_entries_without_a_record_are_dropped_and_counted(plant, ticker, caplog):
    plant.redis.zadd(plant.keys.due, {"ghost:0": 1, "ghost:run": 1})
    ticker.tick()
    assert "2 due entries" in caplog.text
    assert plant.due() == {}


def test_a_run_whose_parts_have_ended_is_aggregated(plant, ticker):
    plant.begin()
    plant.finish()
    plant.clock.forward(RING)
    ticker.tick()
    assert plant.bells() == [(routing.AGGREGATE_RUN, ["r"])]


def test_an_outcome_is_reported_until_celery_has_it(plant, ticker):
    plant.begin()
    plant.finish()
    plant.run(ops.decide(plant.keys, "r", "succeeded", {}))
    for _ in range(2):
        plant.clock.forward(3 * RING)
        ticker.tick()
    assert [(m.name, m.options["task_id"]) for m in plant.sent] == [(routing.FINISH_RUN, "r")] * 2
    plant.app.backend.store_result("r", {}, "SUCCESS")
    plant.clock.forward(5 * RING)
    ticker.tick()
    assert len(plant.sent) == 2
    assert plant.view().waiters == {}
    assert plant.due() == {}


def test_a_deadline_ends_what_was_not_sent_and_stops_what_runs(plant, ticker):
    plant.part_by_part(2, max_wait=60)
    plant.buy(part=1)
    plant.clock.forward(30)
    ticker.tick()
    assert plant.view().wish is None
    plant.bells()
    plant.clock.forward(31)
    ticker.tick()
    assert (routing.CANCEL_RUN, ["r:1"]) in plant.bells()
    record = plant.view()
    assert record.wish == "deadline"
    assert record.parts[0].outcome == "timed_out"
    assert record.parts[1].state is PartState.RUNNING


def test_a_deadline_of_a_run_that_was_not_sent_leads_to_its_end(plant, ticker):
    plant.begin(max_wait=60)
    plant.update(plant.take(), after=1000)
    plant.clock.forward(61)
    ticker.tick()
    assert plant.bells() == []
    ticker.tick()
    assert plant.bells() == [(routing.AGGREGATE_RUN, ["r"])]


def test_a_draft_whose_message_did_not_come_is_brought_to_life(plant, ticker):
    plant.begin(hold=10, waiter="w", signature="{}")
    plant.clock.forward(10 + RING)
    ticker.tick()
    assert plant.view().accepted is not None
    assert plant.bells() == [(routing.SUBMIT_JOBS, ["r:0"])]


def test_a_broker_that_is_away_does_not_lose_what_is_due(plant, ticker, monkeypatch):
    def send_task(*_, **__):
        raise OperationalError("away")

    plant.begin()
    plant.clock.forward(RING)
    with monkeypatch.context() as patch:
        patch.setattr(plant.app, "send_task", send_task)
        ticker.tick()
    plant.clock.forward(RING + 1)
    ticker.tick()
    assert plant.bells() == [(routing.SUBMIT_JOBS, ["r:0"])]


def test_a_run_that_cannot_be_brought_on_does_not_keep_the_others(plant, ticker, monkeypatch, caplog):
    for run_id in ("bad", "good"):
        plant.begin(run_id)
        plant.finish(run_id)
    real = plant.producer.ring

    def ring(step, names, **options):
        if names == ["bad"]:
            raise KeyError("a bug")
        return real(step, names, **options)

    monkeypatch.setattr(plant.producer, "ring", ring)
    plant.clock.forward(RING)
    ticker.tick()
    assert plant.bells() == [(routing.AGGREGATE_RUN, ["good"])]
    assert "run bad could not be brought on" in caplog.text
    assert plant.due()["bad:run"] > 0


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
def test_nothing_that_goes_wrong_ends_the_thread(ticker, monkeypatch, caplog, error, traced):
    looks, again = [], threading.Event()

    def tick():
        looks.append(1)
        if len(looks) == 1:
            raise error
        again.set()
        return LONGEST

    monkeypatch.setattr("scrape_do_celery.worker.ticker.LONGEST", 0.01)
    monkeypatch.setattr(ticker, "tick", tick)
    with caplog.at_level(logging.WARNING):
        ticker.start()
        assert again.wait(10)
        ticker.stop()
    assert not ticker.is_alive()
    (record,) = [record for record in caplog.records if "the ticker will look again" in record.message]
    assert bool(record.exc_info) is traced


def test_a_ticker_that_was_not_started_can_be_stopped(plant):
    ticker = Ticker(plant.producer)
    ticker.stop()
    assert not ticker.is_alive()


def test_the_thread_rings_by_itself_and_ends_when_it_is_told(plant, ticker, monkeypatch):
    rung = threading.Event()
    monkeypatch.setattr(plant.app, "send_task", lambda *_, **__: rung.set())
    plant.begin()
    plant.clock.forward(RING)
    ticker.start()
    assert ticker.daemon
    assert rung.wait(10)
    ticker.stop()
    assert not ticker.is_alive()


def test_a_store_of_another_application_is_left_alone(plant, ticker, caplog):
    plant.begin()
    plant.clock.forward(RING)
    plant.run(ops.home(plant.keys, "broker elsewhere", 30))
    assert ticker.tick() == LONGEST
    assert plant.sent == []
    assert "another application now (broker elsewhere)" in caplog.text


def test_a_run_whose_revocation_only_celery_remembers_is_canceled(plant, ticker):
    """The worker that was told is gone: what is left is the state that it wrote."""
    for run_id in ("r", "other"):
        plant.begin(run_id)
        plant.buy(run_id)
    plant.app.backend.mark_as_revoked("r", "revoked")
    plant.clock.forward(RING)
    ticker.tick()
    assert plant.view("r").wish == "cancel"
    assert plant.view("other").wish is None


def test_a_revoked_id_cancels_its_run_once(plant, ticker, monkeypatch):
    plant.begin()
    plant.buy()
    monkeypatch.setattr("scrape_do_celery.worker.ticker.revoked", {"r", "some other task"})
    ticker.tick()
    assert plant.view().wish == "cancel"
    assert (routing.CANCEL_RUN, ["r:0"]) in plant.bells()
    ticker.tick()
    assert plant.bells() == []
