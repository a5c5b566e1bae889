"""Test schedules by name: the list, pauses, and runs that a command starts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from celery.schedules import crontab
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scrape_do_celery import routing
from scrape_do_celery.errors import ConfigurationError, StoreUnavailableError
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.rules.schedules import TickDecision
from scrape_do_celery.runs import (
    AppContext,
    RunHandle,
    list_schedules,
    pause_schedule,
    resume_schedule,
    run_schedule,
    schedule_control,
    scheduled_run,
)
from scrape_do_celery.runs.hooks import hooks, override_hooks
from scrape_do_celery.runs.ticks import create_tick_run
from scrape_do_celery.schedule_checks import check_schedules
from scrape_do_celery.signals import run_changed
from scrape_do_celery.steps.schedule import start_scheduled_run
from scrape_do_celery.store import PartState, RunSpec
from scrape_do_celery.store.commands.creation import CreateResult, CreateRun, ScheduleTick
from scrape_do_celery.store.commands.runs import ForgetRun, ReadSpec, RecordOutcome
from scrape_do_celery.store.commands.schedules import PauseSchedule, ReadSchedules
from scrape_do_celery.store.retention import MAX_SCHEDULES, SCHEDULE_TTL

URLS = ["https://shop.example/1"]


@pytest.fixture
def harness(step_harness, monkeypatch):
    monkeypatch.setattr(AppContext, "for_app", lambda *_, **__: step_harness.app_context)
    return step_harness


@pytest.fixture
def declare(harness):
    """Return a function that declares a schedule in the app."""

    def one(name="prices", when=60, key=None, targets=URLS, **options):
        entry = scheduled_run(name, when, targets, **options)
        harness.app.conf.beat_schedule = {**harness.app.conf.beat_schedule, key or name: entry}
        return entry

    return one


@pytest.fixture
def publish(harness):
    """Return a function that carries out the message of a tick, and returns the run."""

    def one(entry, tick, message="m"):
        step = harness.app.tasks[routing.SCHEDULED_RUN]
        step.push_request(id=message, delivery_info={})
        try:
            return step.run(**entry["kwargs"], tick=tick)
        finally:
            step.pop_request()

    return one


def end(harness, run_id):
    if harness.part(run_id).state is not PartState.DONE:
        harness.finish_part(run_id)
    harness.run(RecordOutcome(run_id, "succeeded", {}))


def get(name="prices"):
    return next(one for one in list_schedules() if one.name == name)


def test_schedule_is_known_before_and_after_its_first_tick(harness, declare, publish):
    assert list_schedules() == []
    entry = declare(when=crontab(minute=0, hour="*/6"), if_running="queue")
    now = datetime.fromtimestamp(harness.clock.time(), UTC)
    found = get()
    assert (found.rule, found.if_running, found.is_declared, found.is_paused) == (
        "0 */6 * * * (UTC)",
        "queue",
        True,
        False,
    )
    assert (found.last_tick, found.last_decision, found.decided_at, found.last_run) == (None, None, None, None)
    assert now < found.next_tick <= now + timedelta(hours=7)

    run_id = publish(entry, "2026-11-26T06:00Z")
    harness.app.conf.beat_schedule = {}
    found = get()
    assert (found.rule, found.is_declared) == ("0 */6 * * * (UTC)", False)
    assert now < found.next_tick <= now + timedelta(hours=7)
    assert found.last_tick == datetime(2026, 11, 26, 6, tzinfo=UTC)
    assert (found.last_decision, found.last_run, found.live_run) == (TickDecision.STARTED, run_id, run_id)
    assert found.decided_at >= now.replace(microsecond=0)
    waiting = publish(entry, "2026-11-26T12:00Z")
    assert (get().last_decision, get().last_run, get().live_run) == (TickDecision.QUEUED, waiting, waiting)


def test_entries_in_each_form_of_celery_are_found(harness, declare):
    entry = declare()
    harness.app.conf.beat_schedule = {
        "object": SimpleNamespace(**{**entry, "kwargs": {**entry["kwargs"], "name": "object"}}),
        "other": {"task": "other", "schedule": 60, "kwargs": {"name": "other"}},
        "by hand": {"task": routing.SCHEDULED_RUN, "schedule": 60},
    }
    assert [one.name for one in list_schedules()] == ["object"]


def test_late_message_of_an_earlier_tick_is_not_the_last_tick(harness, declare, publish):
    entry = declare()
    end(harness, publish(entry, "1000000080"))
    late = publish(entry, "1000000020")
    assert get().last_tick == datetime.fromtimestamp(1_000_000_080, UTC)
    assert get().last_run == late


def test_record_of_a_schedule_expires_and_their_number_is_bounded(harness, declare, publish, monkeypatch):
    publish(declare("old"), "1000000020")
    assert SCHEDULE_TTL - 3600 < harness.redis.ttl(harness.keys.schedule_record("old")) <= SCHEDULE_TTL
    harness.app.conf.beat_schedule = {}
    assert [one.name for one in list_schedules()] == ["old"]
    harness.clock.forward(SCHEDULE_TTL + 1)
    assert list_schedules() == []
    record = harness.keys.schedule_record("first")
    publish(declare("first"), "1000000020")
    # As after ticks of so many schedules.
    harness.redis.zadd(harness.keys.schedules, {f"s{n}": harness.clock.time() + 1 for n in range(MAX_SCHEDULES - 1)})
    assert harness.redis.exists(record)
    harness.clock.forward(2)
    publish(declare("last"), "1000000020")
    assert harness.redis.zcard(harness.keys.schedules) == MAX_SCHEDULES
    assert not harness.redis.exists(record)
    assert harness.redis.zscore(harness.keys.schedules, "old") is None


def test_name_of_any_form_is_one_schedule(harness, declare, publish):
    for name in ("a:b", "a" * 64, "ä " * 300, "0" * 64):
        run_id = publish(declare(name), "1000000020")
        harness.app.conf.beat_schedule = {}
        assert get(name).live_run == run_id
        assert pause_schedule(name)
        assert get(name).is_paused


def test_paused_tick_stays_without_a_run(harness, declare, publish):
    entry = declare()
    assert pause_schedule("prices", by="ann", note="the shop is closed")
    assert publish(entry, "1000000020") is None
    found = get()
    assert (found.last_decision, found.last_run) == (TickDecision.PAUSED, None)
    assert (found.pause.by, found.pause.note) == ("ann", "the shop is closed")
    assert not pause_schedule("prices", by="bob")
    assert get().pause == found.pause, "the first pause keeps its reason"
    assert resume_schedule("prices")
    assert not resume_schedule("prices")
    for message in ("m", "m2"):
        assert publish(entry, "1000000020", message) is None, "what was decided of a tick stands after the pause"
    assert harness.run_ids() == set()
    assert publish(entry, "1000000080") is not None
    assert get().pause is None


def test_pause_leaves_runs_alone(harness, declare, publish):
    """Let a run that waits start although its schedule is paused: its tick was decided before."""
    entry = declare(if_running="queue")
    first, second = publish(entry, "1000000020"), publish(entry, "1000000080")
    pause_schedule("prices")
    end(harness, first)
    assert harness.read_run(first).stop_reason is None
    assert harness.due_parts()[f"{second}:run"] <= 0
    assert get().live_run == second


def test_pause_outlives_the_record_of_its_schedule_and_a_full_store(harness, declare, publish, monkeypatch):
    publish(declare(), "1000000020")
    pause_schedule("prices")
    harness.app.conf.beat_schedule = {}
    harness.clock.forward(2 * SCHEDULE_TTL)
    harness.run(CreateRun("r", RunSpec(JobCreationRequest(targets=URLS)), tick=ScheduleTick("other", "1", "skip")))
    found = get()
    assert (found.rule, found.next_tick, found.is_paused) == (None, None, True)
    assert resume_schedule("prices")


@pytest.mark.parametrize("act", [pause_schedule, resume_schedule, run_schedule])
def test_unknown_name_is_refused_with_the_known_one(harness, declare, act):
    declare("prices")
    with pytest.raises(ValueError, match=r"no schedule with the name 'price' .*; did you mean prices\?"):
        act("price")
    with pytest.raises(ValueError, match="no schedule with the name 'zzz' has ticked in the last 91 days"):
        act("zzz")
    assert harness.run(ReadSchedules()).pauses == {}
    assert harness.run_ids() == set()


def test_unknown_name_is_paused_by_force_before_its_first_tick(harness, declare, publish):
    assert pause_schedule("prices", force=True)
    assert get() == replace(get(), rule=None, if_running=None, is_declared=False)
    assert publish(declare(), "1000000020") is None


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"name": " "}, "name must not be blank"),
        ({"name": 7}, "name must be text"),
        ({"note": "x" * 501}, "note has 501 characters"),
        ({"note": ""}, "note must not be blank"),
        ({"by": "\ud800"}, "by holds a lone surrogate"),
    ],
)
def test_wrong_argument_of_a_pause_is_named_and_nothing_is_written(harness, declare, arguments, named):
    declare()
    with pytest.raises(ValueError, match=named):
        pause_schedule(**{"name": "prices", "force": True, **arguments})
    assert harness.run(ReadSchedules()).pauses == {}


def test_command_starts_a_run_of_the_entry_once(harness, declare):
    @harness.app.task(name="follow")
    def follow(result):
        pass

    declare(geo_code="us", tags=["shop"], on_success=follow.s())
    pause_schedule("prices")
    start = run_schedule("prices", idempotency_key="k")
    assert (start.decision, start.live_run) == (TickDecision.STARTED, None)
    spec = harness.run(ReadSpec(start.run_id, 1))
    assert (spec.request.geo_code, tuple(spec.tags)) == ("us", ("shop",))
    assert "follow" in harness.read_run(start.run_id).waiters[start.run_id]
    assert {name for _, names in harness.step_messages() for name in names} == {f"{start.run_id}:0"}
    assert run_schedule("prices", idempotency_key="k") == start
    end(harness, start.run_id)
    harness.run(ForgetRun(start.run_id))
    assert run_schedule("prices", idempotency_key="k") == start, "also after its end"
    other = run_schedule("prices")
    assert other.run_id != start.run_id
    found = get()
    assert (found.last_run, found.last_tick, found.last_decision) == (other.run_id, None, None)


def test_command_announces_its_run_once(harness, declare):
    heard = []

    @run_changed.connect(weak=True)
    def hear(status, **_):
        heard.append((status.run_id, status.label))

    declare(if_running="queue")
    first = run_schedule("prices", idempotency_key="k")
    assert run_schedule("prices", idempotency_key="k") == first
    queued = run_schedule("prices")
    assert heard == [(first.run_id, "prices"), (queued.run_id, "prices")]


def test_command_obeys_if_running(harness, declare):
    declare("skip")
    declare("queue", if_running="queue")
    declare("cancel", if_running="cancel_previous")
    first = {name: run_schedule(name).run_id for name in ("skip", "queue", "cancel")}
    skipped = run_schedule("skip", idempotency_key="k")
    assert (skipped.decision, skipped.run_id, skipped.live_run) == (TickDecision.SKIPPED, None, first["skip"])
    end(harness, first["skip"])
    assert run_schedule("skip", idempotency_key="k") == replace(skipped, live_run=None), "the decision stands"
    queued = run_schedule("queue")
    assert (queued.decision, harness.read_run(queued.run_id).after) == (TickDecision.QUEUED, first["queue"])
    assert run_schedule("cancel").decision is TickDecision.STARTED
    assert harness.read_run(first["cancel"]).stop_reason == "cancel"


def test_late_message_of_an_earlier_tick_does_not_cancel_the_run_of_a_command(harness, declare, publish):
    entry = declare(if_running="cancel_previous")
    run_id = run_schedule("prices").run_id
    now = int(harness.run_fields(run_id)["tick"])
    assert publish(entry, f"{now - 60}") is None
    assert harness.read_run(run_id).stop_reason is None
    assert publish(entry, f"{now + 60}") is not None
    assert harness.read_run(run_id).stop_reason == "cancel"


def test_command_without_the_request_says_where_to_run_it(harness, declare, publish):
    publish(declare(), "1000000020")
    harness.app.conf.beat_schedule = {}
    with pytest.raises(ValueError, match=r"'prices' is not known here: .* `celery -A <app> scrape-do schedules run`"):
        run_schedule("prices")
    with pytest.raises(ValueError, match="idempotency_key must be a str"):
        run_schedule("prices", idempotency_key=" ")


def test_command_with_two_entries_of_one_name_is_refused(harness, declare):
    declare()
    declare(key="again")
    assert run_schedule("prices").run_id
    declare(key="other", targets=["https://other.example/"])
    with pytest.raises(ValueError, match="two different entries with the name 'prices'"):
        run_schedule("prices")


def test_credentials_that_this_process_lacks_are_named(harness, declare):
    declare(credentials="shop")
    with pytest.raises(ValueError, match="'shop' is not in SCRAPE_DO_CREDENTIALS"):
        run_schedule("prices")
    assert harness.run_ids() == set()


def test_command_buys_nothing_in_a_test_of_the_application(harness, declare, monkeypatch):
    declare()
    monkeypatch.setattr("scrape_do_celery.runs.store_guard.find_test_runner", lambda: "pytest")
    with pytest.raises(ConfigurationError, match="this is a test run"):
        run_schedule("prices")


def test_entry_of_the_database_of_beat_comes_first(harness, declare):
    declare()
    edited = scheduled_run("prices", 300, ["https://edited.example/"])["kwargs"]
    disabled = scheduled_run("stock", 300, URLS)["kwargs"]
    rows = [(edited, True), (disabled, False), (None, True), ({"name": "broken"}, True)]
    with override_hooks(lambda installed: replace(installed, stored_entries=lambda: rows)):
        assert hooks().stored_entries() == rows
        assert [(one.name, one.rule, one.next_tick is None) for one in list_schedules()] == [
            ("prices", "every 300 s", False),
            ("stock", "every 300 s", True),
        ]
        run_id = run_schedule("prices").run_id
    assert harness.run(ReadSpec(run_id, 1)).request.targets == ["https://edited.example/"]


def test_record_that_another_version_has_written_is_listed(harness):
    harness.run(
        CreateRun(
            "r",
            RunSpec(JobCreationRequest(targets=URLS)),
            tick=ScheduleTick("prices", "t1", "skip", rule='{"newer": 1}'),
        )
    )
    harness.redis.hset(harness.keys.schedule_record("prices"), "decision", "newer")
    assert get() == replace(get(), rule=None, next_tick=None, last_tick=None, last_decision=None, last_run="r")


def test_run_of_a_command_is_a_run_like_others(harness, declare):
    declare()
    start = run_schedule("prices")
    assert RunHandle(start.run_id, app_context=harness.app_context).cancel()
    assert harness.read_run(start.run_id).stop_reason == "cancel"


def test_lost_answer_of_a_command_makes_no_second_run(harness, declare, monkeypatch):
    declare(if_running="queue")
    run = harness.app_context.store.run

    def losing(command):
        reply = run(command)
        if isinstance(command, CreateRun):
            raise StoreUnavailableError("away")
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(harness.app_context.store, "run", losing)
        with pytest.raises(StoreUnavailableError):
            run_schedule("prices", idempotency_key="k")
    assert {run_schedule("prices", idempotency_key="k").run_id} == harness.run_ids()


def test_doctor_tells_of_pauses(harness):
    assert list(check_schedules(harness.sync_store)) == []
    harness.run(PauseSchedule("my prices", is_paused=True, by="ann", note="sale"))
    harness.run(PauseSchedule("stock", is_paused=True))
    first, second = (one.text for one in check_schedules(harness.sync_store))
    assert "'my prices' is paused since " in first
    assert first.endswith("by ann (sale), and its ticks make no runs; to go on: scrape-do schedules resume 'my prices'")
    assert second.endswith("UTC, and its ticks make no runs; to go on: scrape-do schedules resume stock")


def test_paused_tick_with_a_wrong_request_is_told(harness):
    with pytest.raises(ValueError, match="name must not be blank"):
        start_scheduled_run(harness.app_context, ScheduleTick(" ", "t1", "skip"), {"targets": URLS})


ACTS = ("tick", "tick", "late", "command", "again", "again", "end", "pause", "resume")


class Model:
    """What a schedule must do with `if_running="skip"`: which ticks and commands have runs."""

    def __init__(self, harness):
        self.harness, self.answers, self.kinds, self.is_paused, self.live = harness, {}, [], False, None

    def decide(self, key, tick, command_id=""):
        """Decide a tick or a command, also again. Compare the answer with that of the model."""
        named = ScheduleTick("prices", tick, "skip", command_id=command_id)
        spec = RunSpec(JobCreationRequest(targets=URLS))
        made = create_tick_run(self.harness.app_context, named, spec)
        skipped = made.result in {CreateResult.TICK_SKIPPED, CreateResult.TICK_PAUSED}
        answer = None if skipped else made.run_id
        if key in self.answers:
            assert answer == self.answers[key], "a decision stands"
        else:
            has_run = self.live is None and (bool(command_id) or not self.is_paused)
            assert (answer is not None) == has_run
            self.answers[key], self.live = answer, answer or self.live

    def act(self, number, what, which):
        if what == "tick":
            self.decide(number, f"{2_000_000_000 + number}")
        elif what == "late":
            self.decide(number, f"{1_900_000_000 - number}")
        elif what == "command":
            self.decide(number, "1500000000", command_id=f"c{number}")
        elif what == "again" and self.answers:
            self.repeat(sorted(self.answers)[which % len(self.answers)])
        elif what == "end" and self.live:
            end(self.harness, self.live)
            self.live = None
        elif what in {"pause", "resume"}:
            self.is_paused = what == "pause"
            self.harness.run(PauseSchedule("prices", is_paused=self.is_paused))

    def repeat(self, number):
        self.act(number, self.kinds[number], 0)


@given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 9)), max_size=25))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tick_is_decided_once_between_pauses_and_commands(harness, acts):
    """A pause skips the ticks that are decided in its time for good, and no other. Commands make runs all the same."""
    harness.redis.flushall()
    model = Model(harness)
    model.kinds = [what for what, _ in acts]
    for number, (what, which) in enumerate(acts):
        model.act(number, what, which)
    assert {run_id for run_id in model.answers.values() if run_id} == harness.run_ids()


def test_longest_note_is_kept(harness, declare):
    declare()
    pause_schedule("prices", note="x" * schedule_control.LONGEST_NOTE)
    assert len(get().pause.note) == schedule_control.LONGEST_NOTE
