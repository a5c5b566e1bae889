"""Test the fixtures for users' tests, used as a user does, in this process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import redis
from celery import Celery, _state, shared_task
from kombu import pools

import scrape_do_celery.tasks
from scrape_do_celery import (
    AsyncAPIAuthError,
    JobCanceledError,
    JobFailedError,
    JobLostError,
    ResultExpiredError,
    RunHandle,
    RunNotFoundError,
    RunState,
    Settings,
    enqueue,
    scheduled_run,
)
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.runs import is_own_app, make_app
from scrape_do_celery.runs.hooks import FrameworkHooks, hooks, install_hooks
from scrape_do_celery.signals import run_changed
from scrape_do_celery.testing import Worker, environment
from scrape_do_celery.testing.clock_offset import ClockOffset
from scrape_do_celery.testing.worker import WorkerError

# The plugin adds the same filter to tests that use its fixtures.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:celery")
HOUR = 3600.0
URL = "https://shop.example/42"
seen = []


@pytest.fixture(scope="session")
def scrape_do_redis_url(server_url):
    return server_url


@shared_task(name="tests.note")
def note(result):
    seen.append((result["outcome"], threading.current_thread().name))


@shared_task(name="tests.alert")
def alert(*_):
    seen.append("alert")


@pytest.fixture(autouse=True)
def _unseen():
    seen.clear()


def test_a_run_from_end_to_end(scrape_do_worker, scrape_do_sandbox):
    scrape_do_sandbox.page("shop.example/42", "<b>9.99</b>")
    scrape_do_sandbox.page("shop.example/43", '{"price": 1}', status=404, content_type="application/json")
    run = enqueue([URL, "https://shop.example/43"], on_success=note.s())
    first, second = run.result(timeout=30).tasks
    assert (first.content, first.status_code) == ("<b>9.99</b>", 200)
    assert (second.content, second.status_code) == ('{"price": 1}', 404)
    assert run.async_result.get(timeout=30)["outcome"] == "succeeded"
    [job] = scrape_do_sandbox.jobs()
    assert job["targets"] == [URL, "https://shop.example/43"]
    assert scrape_do_sandbox.stats()["jobs_created"] == 1
    # Two tests in a row share nothing.
    assert RunHandle(run.run_id).state is RunState.SUCCEEDED


def test_leftovers_of_a_test_are_deleted(request, scrape_do_redis_url):
    prefixes = []
    for _ in range(2):
        with an_environment(request) as one, Worker(one.app):
            prefixes.append(one.settings.key_prefix)
            run = enqueue([URL])
            assert len(run.result(timeout=30).tasks) == 1
            assert len(one.servers.sandbox.jobs()) == 1
    assert len(set(prefixes)) == 2
    for database in range(3):
        with redis.Redis.from_url(f"{scrape_do_redis_url.rpartition('/')[0]}/{database}") as client:
            assert [key for prefix in prefixes for key in client.scan_iter(match=f"{prefix}*")] == []


def an_environment(request, **given):
    servers = request.getfixturevalue("_scrape_do_session_servers")
    app = request.getfixturevalue("scrape_do_app")
    return environment.sandbox_environment(servers, app, given)


def test_hours_pass_in_a_moment(scrape_do_worker, scrape_do_sandbox, scrape_do_clock):
    scrape_do_sandbox.fault("job_takes", seconds=3 * HOUR)
    began, here = time.monotonic(), scrape_do_clock.now()
    run = enqueue([URL], on_success=note.s())
    scrape_do_clock.wait_until_idle()
    assert run.state is RunState.RUNNING
    scrape_do_clock.forward(2 * HOUR)
    assert run.state is RunState.RUNNING
    scrape_do_clock.forward(timedelta(hours=1))
    assert run.state is RunState.SUCCEEDED
    assert [outcome for outcome, _ in seen] == ["succeeded"]
    assert abs(scrape_do_clock.now() - here - timedelta(hours=3)) < timedelta(seconds=time.monotonic() - began + 2)
    assert abs(here - datetime.now(UTC)) < timedelta(seconds=60)


def test_events_happen_in_virtual_time_order(scrape_do_worker, scrape_do_sandbox, scrape_do_clock):
    scrape_do_sandbox.fault("job_takes", seconds=3 * HOUR)
    late, early = enqueue([URL], max_wait=HOUR), enqueue(["https://shop.example/1"], max_wait=4 * HOUR)
    failing = enqueue(["https://shop.example/2"], max_wait=HOUR, on_failure=alert.s())
    scrape_do_clock.forward(3 * HOUR)
    assert (late.state, early.state, failing.state) == (RunState.TIMED_OUT, RunState.SUCCEEDED, RunState.TIMED_OUT)
    assert seen == ["alert"]


def test_pages_and_records_have_their_lives(scrape_do_worker, scrape_do_clock):
    run = enqueue([URL])
    scrape_do_clock.forward(60)
    assert len(run.result().tasks) == 1
    scrape_do_clock.forward(timedelta(days=1))
    with pytest.raises(ResultExpiredError):
        run.result()
    scrape_do_clock.forward(timedelta(days=7))
    with pytest.raises(RunNotFoundError):
        _ = run.state


def test_a_lost_answer_is_paid_for_once(scrape_do_worker, scrape_do_sandbox, scrape_do_clock):
    scrape_do_sandbox.fault("submit_answer_lost")
    run = enqueue([URL])
    scrape_do_clock.forward(600)
    assert run.state is RunState.SUCCEEDED
    assert len(scrape_do_sandbox.jobs()) == 1


@pytest.mark.scrape_do(poll_initial_interval=20, poll_max_interval=30)
def test_ended_job_is_fetched_before_its_next_poll(scrape_do_worker, scrape_do_sandbox, scrape_do_clock):
    scrape_do_sandbox.fault("job_takes", seconds=100)
    run = enqueue([URL])
    # The last poll before the job's end is at 85 s, the next one 20 s to 30 s later.
    scrape_do_clock.forward(85)
    scrape_do_clock.forward(16)
    assert run.state is RunState.SUCCEEDED


@pytest.mark.scrape_do(submit_deadline=0.5)
def test_a_late_purchase_is_found(scrape_do_worker, scrape_do_sandbox, scrape_do_clock):
    scrape_do_sandbox.fault("submit_accepted_late", seconds=1.0)
    run = enqueue([URL])
    scrape_do_clock.forward(600)
    assert run.state is RunState.SUCCEEDED
    assert len(scrape_do_sandbox.jobs()) == 1


def test_a_pause_of_minutes_is_over_in_a_moment(scrape_do_worker, scrape_do_sandbox, scrape_do_clock):
    scrape_do_sandbox.fault("rate_limited", retry_after=200)
    run = enqueue([URL])
    scrape_do_clock.forward(180)
    assert scrape_do_sandbox.jobs() == []
    scrape_do_clock.forward(30)
    assert run.state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    ("fault", "options", "error"),
    [
        ("job_fails", {}, JobFailedError),
        ("job_cancels", {"seconds": 0.01}, JobCanceledError),
        ("job_lost", {}, JobLostError),
        ("token_refused", {}, AsyncAPIAuthError),
    ],
)
def test_failures_are_types(scrape_do_worker, scrape_do_sandbox, scrape_do_clock, fault, options, error):
    scrape_do_sandbox.fault("job_takes", seconds=10)
    scrape_do_sandbox.fault(fault, **options)
    run = enqueue([URL])
    scrape_do_clock.forward(timedelta(minutes=20))
    with pytest.raises(error):
        run.result(timeout=0)


def test_one_page_fails(scrape_do_worker, scrape_do_sandbox):
    scrape_do_sandbox.fault("task_fails", target="/2")
    scrape_do_sandbox.fault("page_gone", target="/3")
    result = enqueue([f"https://shop.example/{n}" for n in (1, 2, 3)]).result(timeout=30)
    assert [task.is_success for task in result.tasks] == [True, False, False]


def test_many_running_jobs_are_swept(scrape_do_worker, scrape_do_sandbox, scrape_do_clock):
    scrape_do_sandbox.fault("job_takes", seconds=HOUR)
    runs = [enqueue([f"https://shop.example/{n}"]) for n in range(25)]
    scrape_do_clock.forward(2 * HOUR)
    assert {run.state for run in runs} == {RunState.SUCCEEDED}


def test_receivers_are_told_before_the_clock_stands(scrape_do_worker, scrape_do_clock):
    states = []

    def hear(status, **_):
        states.append(status.state)

    run_changed.connect(hear)
    run = enqueue([URL])
    scrape_do_clock.forward(60)
    assert run.state is RunState.SUCCEEDED
    assert states[-1] is RunState.SUCCEEDED


def test_without_a_worker_nothing_is_done(scrape_do_clock, scrape_do_sandbox):
    run = enqueue([URL], max_wait=60)
    scrape_do_clock.forward(HOUR)
    assert run.state is RunState.QUEUED
    assert scrape_do_sandbox.jobs() == []


@pytest.mark.parametrize("by", [-1, float("inf"), timedelta(days=-1)])
def test_time_goes_forward(scrape_do_clock, by):
    with pytest.raises(ValueError, match="advance the time"):
        scrape_do_clock.forward(by)


@shared_task(name="tests.hold")
def hold(*_):
    time.sleep(1)


def test_a_worker_that_does_not_get_done(scrape_do_worker, scrape_do_clock, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.testing.clock._TIMEOUT", 0.2)
    hold.delay()
    with pytest.raises(TimeoutError, match=r"tests\.hold"):
        scrape_do_clock.wait_until_idle()


@pytest.mark.scrape_do(queue="elsewhere", result_ttl=120)
def test_a_mark_changes_settings(scrape_do_settings, scrape_do_worker):
    assert (scrape_do_settings.queue, scrape_do_settings.result_ttl) == ("elsewhere", 120)
    assert enqueue([URL]).result(timeout=30).tasks[0].is_success


def test_settings_are_found_by_whoever_names_none(scrape_do_settings, scrape_do_app, monkeypatch):
    assert hooks().settings() == scrape_do_settings
    before = hooks()
    # An extension may be set up within the test.
    install_hooks(
        FrameworkHooks(settings=lambda: Settings(redis_url="redis://nowhere.example", max_dispatched_parts=7))
    )
    try:
        assert (hooks().settings().redis_url, hooks().settings().max_dispatched_parts) == (
            scrape_do_settings.redis_url,
            7,
        )
    finally:
        install_hooks(FrameworkHooks())
    assert before.after_commit() is None
    assert is_own_app(scrape_do_app)


def test_a_users_app_comes_back_as_it_was(request, monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://nowhere.example//")
    mine = Celery("mine", broker="amqp://nobody@nowhere.example//", set_as_current=False)
    mine.conf.update(include=["scrape_do_celery.tasks"], task_always_eager=True, broker_use_ssl=True)
    mine.conf.task_default_queue = "mine"
    pool = mine.pool
    before, default = dict(mine.conf.changes), _state.default_app
    with (
        environment.sandbox_environment(request.getfixturevalue("_scrape_do_session_servers"), mine, {}) as one,
        Worker(mine),
    ):
        assert not one.settings.broker_url.startswith("amqp")
        run = enqueue([URL], on_success=note.s())
        assert run.async_result.app is mine
        assert run.async_result.get(timeout=30)["outcome"] == "succeeded"
    assert dict(mine.conf.changes) == before
    assert mine.pool is pool
    assert _state.default_app is default
    assert str(mine.conf.broker_url) == "amqp://nowhere.example//"


def test_a_worker_that_cannot_start_says_why(request, monkeypatch):
    def refuse(_):
        raise SystemExit("scrape-do-celery: this cannot be")

    with an_environment(request) as one:
        monkeypatch.setattr("scrape_do_celery.worker.lifecycle.start", refuse)
        with pytest.raises(WorkerError, match="this cannot be"), Worker(one.app):
            pass


def test_worker_that_does_not_stop_names_its_tasks(request, monkeypatch):
    with an_environment(request) as one:
        worker = Worker(one.app).__enter__()
        hold.delay()
        deadline = time.monotonic() + 20
        while not worker.messages.names:
            if time.monotonic() > deadline:
                raise TimeoutError
        monkeypatch.setattr("scrape_do_celery.testing.worker._TIMEOUT", 0.05)
        with pytest.raises(WorkerError, match=r"tests\.hold"):
            worker.__exit__(None, None, None)
        worker._thread.join(20)


def test_waiting_and_refused_parts_count_as_idle(scrape_do_worker, scrape_do_clock, scrape_do_app, eventually):
    scrape_do_app.send_task("tests.nobody_knows", queue="scrape_do")
    scrape_do_app.send_task("tests.note", args=[{"outcome": "x"}], exchange="nobody", routing_key="listens")
    scrape_do_app.send_task("tests.note", args=[{"outcome": "x"}], countdown=600)
    scrape_do_app.send_task("tests.note", args=[{"outcome": "soon"}], countdown=0.3)
    scrape_do_app.send_task("tests.note", args=[{"outcome": "expired"}], expires=-1)
    scrape_do_clock.wait_until_idle()
    assert seen == []
    eventually(lambda: seen)
    assert [outcome for outcome, _ in seen] == ["soon"]


def test_a_schedule_ticks_once(scrape_do_worker, scrape_do_sandbox, scrape_do_clock):
    entry = scheduled_run("prices", 3600, [URL])
    tick = scrape_do_celery.tasks.scheduled_run
    for _ in range(2):
        tick.apply_async(kwargs=entry["kwargs"], headers={"scrape_do_tick": "one"})
        scrape_do_clock.forward(60)
    assert len(scrape_do_sandbox.jobs()) == 1


def test_a_server_of_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("SCRAPE_DO_REDIS_URL", "redis://mine.example/3")
    with environment.server(tmp_path) as url:
        assert url == "redis://mine.example/3"
    monkeypatch.delenv("SCRAPE_DO_REDIS_URL")
    monkeypatch.setattr("scrape_do_celery.embedded.server_binary", _no_binary)
    with pytest.raises(ConfigurationError, match="install"), environment.server(tmp_path):
        pass


def _no_binary():
    raise ConfigurationError("pip install it")


def test_the_users_app_is_found(monkeypatch):
    mine = Celery("mine", broker="memory://", set_as_current=False)
    monkeypatch.setattr(_state, "default_app", mine)
    monkeypatch.setattr(_state._tls, "current_app", None)
    with environment.found_app() as app:
        assert app is mine
    # Build the app as the application of `worker/` in this repository does.
    theirs = make_app(Settings(), "worker")
    monkeypatch.setattr(_state, "default_app", theirs)
    with environment.found_app() as app:
        assert app is theirs
    monkeypatch.setattr(_state, "default_app", None)
    monkeypatch.setattr(_state, "_get_active_apps", lambda: [theirs])
    with environment.found_app() as app:
        assert app is theirs
    monkeypatch.setattr(_state, "_get_active_apps", list)
    with environment.found_app() as app:
        assert is_own_app(app)


def test_tests_cannot_reach_the_real_api(scrape_do_settings, monkeypatch):
    """Keep code that reads the environment within the test, and child processes, away from the real API."""
    script = "from scrape_do_celery import Settings as S; s = S(); print(s.redis_url, s.api_url, s.key_prefix, s.queue)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    ours = scrape_do_settings
    assert told == [ours.redis_url, ours.api_url, ours.key_prefix, ours.queue]
    assert Settings().api_key == ours.api_key


def test_the_environment_comes_back(request, monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_API_KEY", "real-token")
    monkeypatch.setenv("SCRAPE_DO_MAX_ACTIVE_JOBS", "3")
    before = dict(os.environ)
    with an_environment(request, max_active_jobs=None, credentials={"shop": {"body": "x"}}):
        assert os.environ["SCRAPE_DO_API_KEY"] != "real-token"
        assert "SCRAPE_DO_MAX_ACTIVE_JOBS" not in os.environ
        assert json.loads(os.environ["SCRAPE_DO_CREDENTIALS"])["shop"]["body"] == "x"
    assert dict(os.environ) == before


def test_only_what_the_test_has_made_is_deleted(request, scrape_do_redis_url):
    with pytest.raises(ValueError, match="key_prefix"), an_environment(request, key_prefix="shop"):
        pass
    with redis.Redis.from_url(scrape_do_redis_url) as client:
        with an_environment(request) as one:
            client.set(f"{one.settings.key_prefix}s-neighbour", 1)
        assert client.delete(f"{one.settings.key_prefix}s-neighbour") == 1


def test_the_last_database_of_a_server_will_do(scrape_do_redis_url, scrape_do_app):
    last = f"{scrape_do_redis_url.rpartition('/')[0]}/15"
    with (
        environment.session_servers(last) as servers,
        environment.sandbox_environment(servers, scrape_do_app, {}) as one,
        Worker(one.app),
    ):
        run = enqueue([URL])
        assert run.async_result.get(timeout=30)["outcome"] == "succeeded"
    with redis.Redis.from_url(last) as client:
        assert client.keys() == []


def test_sessions_take_the_same_few_names(scrape_do_redis_url):
    names = []
    for _ in range(2):
        with closing(ClockOffset(scrape_do_redis_url)) as one, closing(ClockOffset(scrape_do_redis_url)) as other:
            names.append((one.key, other.key))
    assert names[0] == names[1]
    assert len(set(names[0])) == 2


def test_no_connection_is_left_for_each_test(request):
    with an_environment(request):
        before = len(pools.connections), len(pools.producers)
    for _ in range(3):
        with an_environment(request) as one, Worker(one.app):
            assert enqueue([URL]).result(timeout=30).tasks
    assert (len(pools.connections), len(pools.producers)) == before


def test_queues_of_other_workers_are_served(scrape_do_app, scrape_do_worker, scrape_do_clock):
    scrape_do_app.conf.task_routes = {"tests.note": {"queue": "shop"}}
    scrape_do_app.amqp.flush_routes()
    enqueue([URL], on_success=note.s())
    scrape_do_clock.forward(60)
    assert [outcome for outcome, _ in seen] == ["succeeded"]


def test_worker_left_by_a_test_keeps_the_test_servers(request):
    mine = Celery("mine", broker="memory://nowhere", set_as_current=False)
    with environment.sandbox_environment(request.getfixturevalue("_scrape_do_session_servers"), mine, {}) as one:
        one.worker = object()  # stands for a worker that did not stop
        broker, default = mine.conf.broker_url, _state.default_app
    try:
        assert mine.conf.broker_url == broker != "memory://nowhere"
        assert _state.default_app is default is mine
    finally:
        _state.set_default_app(None)
        _state._set_current_app(None)
