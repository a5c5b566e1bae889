"""Test schedules: their declaration, one run per tick, and ticks while a run is live."""

from __future__ import annotations

import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from celery.canvas import signature
from celery.schedules import crontab
from django_celery_beat.tzcrontab import TzAwareCrontab
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from scrape_do_celery import routing
from scrape_do_celery.models import RenderOptions
from scrape_do_celery.runs import scheduled_run
from scrape_do_celery.steps.once import RecentFilter
from scrape_do_celery.steps.schedule import start_scheduled_run
from scrape_do_celery.steps.scrape import start_draft
from scrape_do_celery.store import CANCEL, PartState, RunState
from scrape_do_celery.store.commands import dispatch
from scrape_do_celery.store.commands.creation import ScheduleTick
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ForgetRun, ReadSpec, RecordOutcome
from scrape_do_celery.store.commands.schedules import PauseSchedule

URLS = ["https://shop.example/1"]
REQUEST = {"targets": URLS}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": " "}, "name"),
        ({"schedule": "daily"}, "schedule"),
        ({"targets": ["nonsense"]}, r"targets\[0\]"),
        ({"geo_code": "usa"}, "geo_code"),
        ({"max_wait": -1}, "max_wait"),
        ({"if_running": "wait"}, "if_running"),
        ({"on_success": "parse"}, "on_success must be a Celery signature"),
        ({"headers": {"A": "b"}}, "headers.*credentials"),
        ({"set_cookies": "a=b"}, "set_cookies.*credentials"),
        ({"Headers": {"A": "b"}}, "headers.*credentials"),
        ({"credentials": 5}, "credentials must be text"),
        ({"name": "\ud800"}, "name holds a lone surrogate"),
        ({"targets": set(URLS)}, "targets must be a list of .*their order counts"),
        ({"targets": URLS[0].encode()}, "targets must be a list of URLs, not one string"),
        ({"timeout": "soon"}, "timeout"),
        ({"webhook_url": "https://a.example/", "webhook_headers": {"A": "b"}}, "webhook_headers.*credentials"),
    ],
)
def test_a_wrong_one_is_named_when_it_is_declared(change, named):
    with pytest.raises(ValueError, match=named):
        scheduled_run(**{"name": "prices", "schedule": 60, "targets": URLS, **change})


def test_an_entry_is_plain_json_without_secrets():
    when = crontab(minute=0)
    entry = scheduled_run("prices", when, iter(URLS), credentials="shop", geo_code="us", early=False, max_wait=60)
    assert entry == {
        "task": routing.SCHEDULED_RUN,
        "schedule": when,
        "kwargs": {
            "name": "prices",
            "rule": {"cron": ["0", "*", "*", "*", "*"]},
            "if_running": "skip",
            "request": {
                "targets": URLS,
                "geo_code": "us",
                "max_wait": 60,
                "early": False,
                "credentials": "shop",
            },
        },
    }


def test_an_entry_holds_the_checked_values():
    entry = scheduled_run("prices", 60, URLS, timeout=Decimal(6000), session_id="7", render=RenderOptions())
    request = entry["kwargs"]["request"]
    assert (request["timeout"], request["session_id"], request["render"]) == (6000, "7", {})


def test_credentials_with_a_body_do_not_warn_a_worker(step_harness, monkeypatch):
    known = SecretStr('{"shop": {"body": "x"}}')
    monkeypatch.setattr(
        step_harness.app_context, "settings", step_harness.settings.model_copy(update={"credentials": known})
    )
    run_id = start_scheduled_run(
        step_harness.app_context, ScheduleTick("prices", "t1", "skip"), {**REQUEST, "credentials": "shop"}
    )
    assert step_harness.run(ReadSpec(run_id, 1)).request.body == "x"


def test_callbacks_follow_each_of_its_runs(step_harness):
    @step_harness.app.task(name="parse")
    def parse(result, note):
        pass

    entry = scheduled_run("prices", 60, URLS, on_success=parse.s(note="x"), on_failure=parse.si(note="y"))
    assert json.loads(json.dumps(entry["kwargs"])) == entry["kwargs"]
    canvas = entry["kwargs"]["canvas"]
    for name in ("t1", "t2"):
        tick = ScheduleTick("prices", name, "queue")
        run_id = start_scheduled_run(step_harness.app_context, tick, REQUEST, canvas)
        finish = signature(json.loads(step_harness.read_run(run_id).waiters[run_id]))
        assert (finish.args, finish.options["task_id"]) == ([run_id], run_id)
        assert [one["kwargs"] for one in finish.options["link"] + finish.options["link_error"]] == [
            {"note": "x"},
            {"note": "y"},
        ]


@pytest.fixture
def tick(step_harness):
    def one(name, if_running="skip", **request):
        return start_scheduled_run(
            step_harness.app_context, ScheduleTick("prices", name, if_running), {**REQUEST, **request}
        )

    return one


@pytest.fixture
def end(step_harness):
    """Return a function that ends a run as its steps would, regardless of the state of its parts."""

    def one(run_id, outcome="succeeded"):
        if step_harness.part(run_id).state is not PartState.DONE:
            step_harness.finish_part(run_id)
        step_harness.run(RecordOutcome(run_id, outcome, {}))

    return one


def due_now(step_harness):
    return {name for name, at in step_harness.due_parts().items() if at <= 0}


def published(step_harness):
    return {part_id for _, part_ids in step_harness.step_messages() for part_id in part_ids}


def test_a_tick_is_one_run(step_harness, tick, end):
    first = tick("t1")
    assert tick("t1") == first
    assert step_harness.read_run(first).state is RunState.QUEUED
    assert published(step_harness) == {f"{first}:0"}
    end(first)
    assert tick("t1") == first
    assert tick("t2") not in {None, first}


def test_a_tick_whose_run_was_forgotten_is_not_bought_again(step_harness, tick, end):
    first = tick("t1")
    end(first)
    for waiter in step_harness.read_run(first).waiters:
        step_harness.run(AcknowledgeDelivery(first, waiter, step_harness.app_context.retention))
    assert step_harness.run(ForgetRun(first)) == "freed"
    assert tick("t1") == first
    assert step_harness.read_run(first) is None


def test_while_one_goes_on_the_next_is_left_out(step_harness, tick, end):
    first = tick("t1")
    assert tick("t2") is None
    assert tick("t1") == first
    end(first)
    assert tick("t2") is None, "what was decided of a tick stands, when its message comes again"
    assert tick("t3") is not None


def test_run_older_than_the_retention_is_still_waited_for(step_harness, tick):
    first = tick("t1")
    step_harness.clock.forward(8 * 86400)
    assert tick("t2") is None
    assert step_harness.read_run(first).outcome is None


def test_while_one_goes_on_the_next_waits(step_harness, tick, end):
    first, second, third = (tick(name, "queue") for name in ("t1", "t2", "t3"))
    assert [tick(name, "queue") for name in ("t1", "t2", "t3")] == [first, second, third]
    assert len({first, second, third}) == 3
    assert published(step_harness) == {f"{first}:0"}
    assert (step_harness.read_run(second).accepted, step_harness.read_run(third).accepted) == (None, None)
    step_harness.clock.forward(1000)
    assert {run.run_id for run in step_harness.claim_due().runs} == {second, third}, (
        "a dispatcher looks, and leaves them"
    )
    for run_id in (second, third):
        start_draft(step_harness.app_context, run_id, step_harness.clock.time())
        assert step_harness.read_run(run_id).accepted is None
    end(first)
    assert f"{second}:run" in due_now(step_harness)
    assert f"{third}:run" not in due_now(step_harness)
    start_draft(step_harness.app_context, second, step_harness.clock.time())
    assert step_harness.read_run(second).accepted is not None


def test_run_canceled_while_waiting_leaves_the_queue(step_harness, tick, end):
    first, second, third = (tick(name, "queue") for name in ("t1", "t2", "t3"))
    step_harness.app_context.request_stop(second, CANCEL)
    end(second, "canceled")
    assert step_harness.read_run(third).after == first
    step_harness.app_context.request_stop(third, CANCEL)
    end(third, "canceled")
    fourth = tick("t4", "queue")
    assert step_harness.read_run(fourth).after == first
    end(first)
    assert f"{fourth}:run" in due_now(step_harness)
    assert f"{second}:run" not in {
        name for name in step_harness.due_parts() if step_harness.read_run(second).outcome is None
    }


def test_while_one_goes_on_it_is_canceled(step_harness, tick):
    first, second = tick("t1", "cancel_previous"), tick("t2", "cancel_previous")
    assert step_harness.read_run(first).stop_reason == "cancel"
    assert step_harness.part(first).outcome == "canceled"
    assert step_harness.read_run(second).accepted is not None
    step_harness.make_running(second)
    third = tick("t3", "cancel_previous")
    assert step_harness.read_run(second).stop_reason == "cancel"
    assert f"{second}:0" in due_now(step_harness), "the dispatcher has its job canceled"
    assert step_harness.read_run(third).stop_reason is None


def test_a_late_message_of_an_earlier_tick_cancels_nothing(step_harness, tick):
    later = tick("1000000020", "cancel_previous")
    assert tick("1000000010", "cancel_previous") is None
    assert step_harness.read_run(later).stop_reason is None
    assert tick("1000000030", "cancel_previous") is not None
    assert step_harness.read_run(later).stop_reason == "cancel"


def test_a_line_is_canceled_as_a_whole(step_harness, tick):
    waiting = [tick(name, "queue") for name in ("t1", "t2", "t3")]
    last = tick("t4", "cancel_previous")
    assert [step_harness.read_run(run_id).stop_reason for run_id in waiting] == ["cancel"] * 3
    assert step_harness.read_run(last).accepted is not None


@pytest.mark.parametrize("if_running", ["skip", "queue", "cancel_previous"])
def test_an_answer_that_is_lost_makes_no_second_run(step_harness, tick, if_running, monkeypatch):
    first = tick("t1", if_running)
    run = step_harness.app_context.store.run

    def dying(command):
        run(command)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(step_harness.app_context.store, "run", dying)
        with pytest.raises(KeyboardInterrupt):
            tick("t2", if_running)
    second = tick("t2", if_running)
    assert tick("t2", if_running) == second
    assert (second is None) is (if_running == "skip")
    assert step_harness.run_ids() == {first, second} - {None}
    if if_running == "cancel_previous":
        assert step_harness.due_parts()[f"{second}:0"] <= dispatch.REDISPATCH_MIN, (
            "the dispatcher publishes a step message for it"
        )


@pytest.mark.parametrize("if_running", ["skip", "queue", "cancel_previous"])
def test_one_of_many_concurrent_ticks_starts_a_run(step_harness, tick, if_running):
    """Take a schedule's backlog of messages in many workers at the same time."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: tick(f"t{n % 8}", if_running), range(24)))
    runs = {run_id for run_id in made if run_id}
    assert runs == step_harness.run_ids()
    # A late message of an earlier tick cancels no later tick.
    assert len(runs) in {"skip": {1}, "queue": {8}, "cancel_previous": set(range(1, 9))}[if_running]
    records = [step_harness.read_run(run_id) for run_id in runs]
    assert len([one for one in records if one.accepted and not one.stop_reason]) == 1
    if if_running == "queue":
        assert len({one.after for one in records}) == 8, "each waits for another"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["tick", "tick", "again", "end", "cancel", "forget", "look"]),
            st.integers(0, 5),
            st.sampled_from(["skip", "queue", "queue", "cancel_previous"]),
        ),
        max_size=25,
    )
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_any_order(step_harness, tick, end, acts):
    """Check that a tick keeps its answer, that only one run goes on unless canceled, and that no run waits for ever."""
    step_harness.redis.flushall()
    said, ended = {}, set()
    for number, (what, which, if_running) in enumerate(acts):
        runs = [run_id for run_id in said.values() if run_id]
        picked = runs[which % len(runs)] if runs else None
        record = step_harness.read_run(picked) if picked else None
        if what == "tick":
            said[f"t{number}"] = tick(f"t{number}", if_running)
        elif what == "again" and said:
            name = sorted(said)[which % len(said)]
            assert tick(name, if_running) == said[name]
        elif what == "end" and record and record.accepted and record.outcome is None:
            end(picked)
            ended.add(picked)
        elif what == "cancel" and record:
            step_harness.app_context.request_stop(picked, CANCEL)
        elif what == "forget" and record and record.outcome:
            step_harness.run(ForgetRun(picked))
        elif what == "look":
            step_harness.clock.forward(100)
            _look(step_harness, end, ended)
        going = [
            one
            for one in map(step_harness.read_run, step_harness.run_ids())
            if one and one.accepted and not one.outcome
        ]
        assert len([one for one in going if one.stop_reason is None]) <= 1
    for _ in range(2 * len(acts) + 2):
        for one in [
            one
            for one in map(step_harness.read_run, step_harness.run_ids())
            if one and one.accepted and not one.outcome
        ]:
            end(one.run_id)
            ended.add(one.run_id)
        step_harness.clock.forward(400)
        _look(step_harness, end, ended)
    assert {run_id for run_id in said.values() if run_id} == ended
    assert step_harness.redis.keys("p:schedule:*") == []


def _look(step_harness, end, ended):
    """Act as the dispatcher does for due runs."""
    for run in step_harness.claim_due().runs:
        record = step_harness.read_run(run.run_id)
        if record.accepted is None:
            start_draft(step_harness.app_context, run.run_id, step_harness.clock.time())
        elif record.outcome is None and all(part.state is PartState.DONE for part in record.parts):
            end(run.run_id)
            ended.add(run.run_id)


def test_repeated_message_without_a_tick_is_one_tick(step_harness, monkeypatch):
    """Repeat a message of a beat that does not know the step. Its worker died, and a later tick is due meanwhile."""
    entry = scheduled_run("prices", 60, URLS, if_running="cancel_previous")
    step = step_harness.app.tasks[routing.SCHEDULED_RUN]
    first = _received(step, entry, "m1", "1000000020", monkeypatch)
    assert _received(step, entry, "m1", "1000000080", monkeypatch) == first
    assert _received(step, entry, "m2", "1000000080", monkeypatch) != first
    assert step_harness.read_run(first).stop_reason == "cancel"


def _received(step, entry, message_id, now, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.steps.schedule.current_tick", lambda *_: now)
    step.push_request(id=message_id)
    try:
        return step.run(**entry["kwargs"])
    finally:
        step.pop_request()


def test_credentials_are_those_of_whoever_makes_the_run(step_harness, tick, caplog):
    with pytest.raises(ValueError, match="credentials: 'shop' is not in SCRAPE_DO_CREDENTIALS, which has none"):
        tick("t1", credentials="shop")
    refused = [record for record in caplog.records if record.levelname == "ERROR"]
    assert ["credentials: 'shop' is not in" in record.getMessage() for record in refused] == [True]
    assert step_harness.redis.keys("p:run:*") == []
    step_harness.app_context.settings = type(step_harness.settings)(
        **step_harness.settings.model_dump(exclude={"credentials", "api_key"}),
        credentials={"shop": {"headers": {"Authorization": "secret"}}},
    )
    run_id = tick("t1", credentials="shop")
    assert step_harness.run(ReadSpec(run_id, 1)).request.headers == {"Authorization": "secret"}
    assert "secret" not in repr(step_harness.app_context.settings)


@pytest.mark.parametrize(("hour", "runs"), [(6, 60), ("*/6", 240)])
def test_crontab_without_a_minute_is_warned_of(hour, runs):
    with pytest.warns(UserWarning, match=rf"prices: .* {runs} runs .* set minute=0 for {runs // 60}") as caught:
        scheduled_run("prices", crontab(hour=hour), URLS)
    assert [Path(one.filename).name for one in caught] == [Path(__file__).name]


@pytest.mark.parametrize("schedule", [crontab(), crontab(minute=0, hour=6), crontab(minute="*/2", hour=6), 300])
def test_other_schedules_are_not_warned_of(schedule):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduled_run("prices", schedule, URLS)


@pytest.fixture
def lines(caplog, monkeypatch):
    """Return a function that returns the lines about ticks since its last call: level and text."""
    caplog.set_level("INFO", logger="scrape_do_celery.steps.schedule")
    monkeypatch.setattr("scrape_do_celery.steps.schedule._logged", RecentFilter())

    def take():
        found = [(one.levelname, one.getMessage()) for one in caplog.records if one.levelname != "DEBUG"]
        caplog.clear()
        return found

    return take


def test_each_tick_without_a_run_is_logged_once_with_its_reason(step_harness, tick, end, lines):
    first = tick("t1")
    assert lines() == []
    tick("t2")
    assert lines() == [
        ("INFO", f"schedule prices: the tick t2 is skipped: run {first} of another tick is live (if_running=skip)")
    ]
    for _ in range(3):
        tick("t2")
    assert [text for _, text in lines()] == [
        "schedule prices: the tick t2 is skipped: its message came again, and the tick was skipped before"
    ]
    for _ in range(3):
        tick("t1")
    assert lines() == [("INFO", f"schedule prices: a message for the tick t1 makes no run: the tick has run {first}")]
    tick("t1", targets=["https://other.example/"])
    ((level, text),) = lines()
    assert (level, "give each entry a name of its own" in text) == ("WARNING", True)
    tick("t0", "cancel_previous")
    assert f"run {first} of a later tick is live" in lines()[0][1]
    step_harness.run(PauseSchedule("prices", is_paused=True))
    tick("t3")
    told = (
        "schedule prices: the tick t3 is skipped: the schedule is paused; to go on: scrape-do schedules resume prices"
    )
    assert lines() == [("INFO", told)]


def test_messages_that_come_long_after_their_tick_are_a_warning(step_harness, lines):
    """Warn if beat publishes more often than the rule says, as after an edit of the schedule in its database."""
    named = ScheduleTick("prices", (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%MZ"), "skip")
    for _ in range(2):
        start_scheduled_run(step_harness.app_context, named, REQUEST)
    ((level, text),) = lines()
    assert (level, "declare the entry again with the schedule of beat" in text) == ("WARNING", True)
    assert "3,6" in text
    other = ScheduleTick("others", named.tick, "skip")
    for _ in range(2):
        start_scheduled_run(step_harness.app_context, other, REQUEST, is_repeated=True)
    assert [level for level, _ in lines()] == ["INFO"]


def test_the_last_keys_are_remembered(monkeypatch):
    monkeypatch.setattr("scrape_do_celery.steps.once._REMEMBERED", 2)
    recent = RecentFilter()
    assert [recent.is_first(key) for key in "aabcaa"] == [True, False, True, True, True, False]


def test_a_zone_of_the_schedule_is_in_its_rule():
    entry = scheduled_run("prices", TzAwareCrontab(minute="0", tz=ZoneInfo("Asia/Kolkata")), URLS)
    assert entry["kwargs"]["rule"]["zone"] == "Asia/Kolkata"
    with pytest.raises(ValueError, match="nowfun"):
        scheduled_run("prices", crontab(minute="0", nowfun=lambda: datetime(2020, 1, 1, tzinfo=UTC)), URLS)


def test_headers_of_beat_s_message_reach_the_callbacks(step_harness):
    step = step_harness.app.tasks[routing.SCHEDULED_RUN]
    step.push_request(id="m", args=(), kwargs={}, delivery_info={}, tenant="red")
    run_id = step.run(name="prices", rule={"every": 60}, if_running="skip", request=REQUEST)
    step.pop_request()
    assert json.loads(step_harness.read_run(run_id).waiters[run_id])["options"]["headers"] == {"tenant": "red"}
