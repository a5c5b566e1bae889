"""Test the metrics for Prometheus, from an in-memory store."""

from __future__ import annotations

import importlib
import threading
import urllib.request
from types import SimpleNamespace

import prometheus_client
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from scrape_do_celery import cli, errors
from scrape_do_celery.metrics import account as account_module
from scrape_do_celery.metrics import live_runs as live_runs_module
from scrape_do_celery.metrics.account import AccountReader
from scrape_do_celery.metrics.collector import StoreCollector
from scrape_do_celery.metrics.definitions import METRICS
from scrape_do_celery.metrics.live_runs import LiveRunCounter
from scrape_do_celery.models import UserInformation
from scrape_do_celery.runs import AppContext
from scrape_do_celery.store import PartId
from scrape_do_celery.store.commands import stats
from scrape_do_celery.store.commands.deliveries import ReadDeliveryTarget, TakeDelivery
from scrape_do_celery.store.commands.limits import AllocateRequests, PauseAPI
from scrape_do_celery.store.commands.runs import RecordOutcome
from scrape_do_celery.store.commands.webhook_trust import DistrustWebhooks

metrics_command = importlib.import_module("scrape_do_celery.cli.metrics")
MEMORY = {"used_memory": 500, "maxmemory": 1000}


class Client:
    """The account's answers, in order. The last answer is repeated."""

    answers = (UserInformation(available_credits=12, free_concurrency=3),)
    asked = 0

    def __init__(self, *_, **options):
        self.options = options

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def get_user_info(self):
        type(self).asked += 1
        answer = self.answers[min(self.asked, len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def api(monkeypatch):
    made = type("Answers", (Client,), {})
    monkeypatch.setattr(account_module, "ScrapeDoAsyncAPIClient", made)
    return made


@pytest.fixture
def collector(step_harness, api, monkeypatch):
    monkeypatch.setattr(step_harness.app_context.store.client, "info", lambda *_: MEMORY)
    return StoreCollector(step_harness.app_context.store, step_harness.settings)


def scrape(collector):
    """Return each value by sample name and labels."""
    registry = CollectorRegistry()
    registry.register(collector)
    text = generate_latest(registry).decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(found, name, **labels):
    return found["scrape_do_" + name, *sorted(labels.items())]


def test_all_defined_metrics_are_served_and_nothing_else(collector):
    registry = CollectorRegistry()
    registry.register(collector)
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    kinds = {family.name + ("_total" if family.type == "counter" else ""): family.type for family in families}
    assert kinds == {metric.name: metric.kind for metric in METRICS}
    assert len(kinds) == len(METRICS)


def test_figures_of_the_store(collector, step_harness, make):
    mine = step_harness.settings.account_id
    step_harness.create_run("queued")
    step_harness.create_run("r")
    step_harness.make_running("r", state="fetching")
    step_harness.store_content("r", scrape_do_metadata={"Request-Cost": "2.5"})
    step_harness.store_content("r", position=1, status="error", content=None, gone=True)
    step_harness.clock.forward(5)
    step_harness.finish_part("r")
    step_harness.run(RecordOutcome("r", "succeeded", {}))
    counted = {"requests:get_job:ok": 3, "requests:create_job:no_answer": 1, "seconds:get_job": 1.5, "late:poll:2": 4}
    step_harness.run(AllocateRequests("p", 3, 0, limit=2, counted=counted | {"late:poll:inf": 1, "late:poll:sum": 9.5}))
    hour = int(step_harness.clock.time() // 3600)
    counted = {"bytes": 700, f"stored:{hour - 1}": 300, f"stored:{hour + 24}": 400}
    step_harness.run(AllocateRequests("p", 3, 0, limit=2, counted=counted))
    step_harness.run(PauseAPI(30))
    found = scrape(collector)
    assert of(found, "store_up") == 1
    assert (of(found, "store_memory_bytes"), of(found, "store_memory_limit_bytes")) == (500, 1000)
    assert of(found, "runs", state="queued") == of(found, "runs", state="delivering") == 1
    assert of(found, "runs", state="running") == 0
    assert 5 <= of(found, "oldest_run_seconds", state="queued") < 30
    assert of(found, "runs_accepted_total") == 2
    assert of(found, "runs_ended_total", outcome="succeeded") == 1
    assert of(found, "runs_ended_total", outcome="in_doubt") == 0
    assert of(found, "tasks_total", result="success") == of(found, "tasks_total", result="gone") == 1
    assert str(of(found, "tasks_total", result="failed")) == "0.0"
    assert of(found, "credits_spent_total") == 2.5
    assert (of(found, "contents_written_bytes_total"), of(found, "contents_bytes")) == (700, 400)
    assert of(found, "api_requests_total", call="get_job", outcome="ok") == 3
    assert of(found, "api_requests_total", call="create_job", outcome="no_answer") == 1
    assert of(found, "api_request_seconds_total", call="get_job") == 1.5
    assert of(found, "step_latency_seconds_bucket", step="poll", le="1.0") == 0
    assert of(found, "step_latency_seconds_bucket", step="poll", le="300.0") == 4
    assert of(found, "step_latency_seconds_bucket", step="poll", le="+Inf") == 5
    assert of(found, "step_latency_seconds_count", step="poll") == 5
    assert of(found, "step_latency_seconds_sum", step="poll") == 9.5
    assert (of(found, "api_requests_wanted"), of(found, "api_requests_granted")) == (3, 2)
    assert 20 < of(found, "api_pause_seconds") <= 30
    assert of(found, "breaker_open_seconds", account=mine) == 0


def test_deliveries_of_webhooks_are_counted(collector, step_harness, make):
    mine = step_harness.settings.account_id
    assert of(scrape(collector), "webhook_trust", account=mine) == 1
    step_harness.run(TakeDelivery(PartId("nobody", 0), 1, None))
    for run_id, is_called in (("called", True), ("silent", False), ("plain", False)):
        step_harness.create_run(run_id)
        step_harness.make_running(run_id, state="fetching")
        if run_id != "plain":
            step_harness.redis.hset(step_harness.keys.part(PartId(run_id, 0)), "webhook", 1)
        if is_called:
            target = step_harness.run(ReadDeliveryTarget(PartId(run_id, 0)))
            page = make.task(0)
            ids = (target.job_id, target.task_ids[0])
            taken = step_harness.run(TakeDelivery(PartId(run_id, 0), target.purchases, target, *ids, page=page))
            assert taken.result == "stored"
            step_harness.redis.hdel(step_harness.keys.part(PartId(run_id, 0)), "hints")
        step_harness.finish_part(run_id)
    step_harness.run(DistrustWebhooks(mine, "a page differed"))
    found = scrape(collector)
    assert (of(found, "webhook_deliveries_total", result="gone"), of(found, "webhook_trust", account=mine)) == (1, 0)
    assert of(found, "webhook_deliveries_total", result="stored") == 1
    assert of(found, "webhook_deliveries_total", result="hinted") == 0
    assert of(found, "webhook_parts_total", result="called") == of(found, "webhook_parts_total", result="silent") == 1


def test_late_parts_and_expiring_contents_are_counted(collector, step_harness):
    mine, now = step_harness.settings.account_id, step_harness.clock.time()
    step_harness.redis.zadd(step_harness.keys.due, {"x:0": now - 90})
    step_harness.redis.sadd(step_harness.keys.accounts, mine, "other")
    step_harness.redis.zadd(step_harness.keys.poll_set("other"), {"y:0": now - 45})
    step_harness.redis.zadd(step_harness.keys.content_expiry, {"y:0": now + 7000, "z:0": now + 80000})
    found = scrape(collector)
    assert of(found, "dispatch_lag_seconds", of="due") == pytest.approx(90, abs=10)
    assert of(found, "dispatch_lag_seconds", of="polled") == pytest.approx(45, abs=10)
    assert of(found, "jobs_polled_by_list", account="other") == 1
    assert of(found, "paid_expiry_seconds") == pytest.approx(7000, abs=10)
    assert [of(found, "contents_unfetched", within=text) for text in ("1h", "6h", "24h", "all")] == [0, 1, 2, 2]


def test_answers_that_are_not_as_expected_are_counted(collector, step_harness):
    counted = {"unknown_status:job": 2, "unreadable:task": 3, "defaults:JobDetails.canceled": 4}
    counted["defaults:JobsListResponse.jobs[]"] = 5
    step_harness.run(AllocateRequests("p", 0, 0, limit=2, counted={**counted, "surplus_ids": 6}))
    found = scrape(collector)
    assert of(found, "unknown_statuses_total", of="job") == 2
    assert of(found, "unreadable_answers_total", of="task") == 3
    assert of(found, "defaulted_fields_total", of="JobDetails.canceled") == 4
    assert of(found, "dropped_entries_total", of="JobsListResponse.jobs") == 5
    assert of(found, "surplus_task_ids_total") == 6


def test_labels_are_bounded(collector, step_harness, make):
    """Serve no run id, URL or secret. More runs in the store must not make the page longer."""
    before = len(scrape(collector))
    for number in range(30):
        step_harness.create_run(f"run-{number}")
    step_harness.make_running("run-3")
    after = scrape(collector)
    assert len(after) == before + 1  # the first page to expire
    assert not any("run-" in str(key) or "http" in str(key) or make.token in str(key) for key in after)


def test_a_store_that_is_away_is_told_and_nothing_else(collector, step_harness, monkeypatch):
    def away(*_):
        raise RedisConnectionError("away")

    monkeypatch.setattr(type(step_harness.app_context.store), "run", away)
    assert scrape(collector) == {("scrape_do_store_up",): 0.0}


def test_a_user_without_info_sees_no_memory(collector, step_harness, monkeypatch):
    def refused(*_):
        raise ResponseError("NOPERM")

    monkeypatch.setattr(step_harness.app_context.store.client, "info", refused)
    found = scrape(collector)
    assert of(found, "store_up") == 1
    assert ("scrape_do_store_memory_bytes",) not in found


def test_credits_are_asked_for_once_a_minute(collector, step_harness, api):
    mine = step_harness.settings.account_id
    for _ in range(3):
        found = scrape(collector)
    assert (of(found, "credits_left", account=mine), of(found, "concurrency_free", account=mine)) == (12, 3)
    assert of(found, "account_status", outcome="answered") == 1
    assert of(found, "account_status", outcome="no_token") == 0
    assert api.asked == 1


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.AsyncAPIAuthError("", 401), "refused"),
        (errors.AsyncAPIRateLimitError("", 429), "paused"),
        (errors.APIConnectionError(), "no_answer"),
        (errors.AsyncAPIServerError("", 500), "error"),
    ],
)
def test_why_credits_are_not_known(collector, api, step_harness, error, outcome):
    api.answers = (error,)
    found = scrape(collector)
    assert of(found, "account_status", outcome=outcome) == 1
    assert sum(value for key, value in found.items() if key[0] == "scrape_do_account_status") == 1
    assert ("scrape_do_credits_left", ("account", step_harness.settings.account_id)) not in found


def test_account_is_read_each_minute_except_in_a_pause(settings, api):
    now = [0.0]
    account = AccountReader(settings, clock=lambda: now[0])
    assert account.read_status(pause=5).outcome == "paused"
    assert api.asked == 0
    assert account.read_status().outcome == account.read_status(pause=5).outcome == "answered"
    now[0] = 59.0
    account.read_status()
    assert api.asked == 1
    now[0] = 60.0
    account.read_status()
    assert api.asked == 2


def test_without_a_token_nobody_is_asked(settings, api):
    account = AccountReader(settings.model_copy(update={"api_key": None}))
    assert account.read_status().outcome == "no_token"
    assert api.asked == 0


def test_a_count_reads_a_large_store_in_pieces(step_harness, monkeypatch):
    monkeypatch.setattr(stats, "_SLICE", 10)
    for number in range(40):
        step_harness.create_run(f"r{number}")
    store, looks = step_harness.app_context.store, []
    run = store.run

    def noted(command):
        looks.append(command.script)
        return run(command)

    store.run = noted
    counter = LiveRunCounter(store)
    assert counter.last_count() is None
    assert counter.count_once().runs == {"queued": 40}
    assert looks.count("count_live_runs") >= 3
    live_runs, age = counter.last_count()
    assert (live_runs.runs, age >= 0) == ({"queued": 40}, True)


def test_live_run_counter_survives_errors_in_its_thread(step_harness, monkeypatch, eventually):
    monkeypatch.setattr(live_runs_module, "_REST", 0.01)
    store, failures = step_harness.app_context.store, [RedisConnectionError("away")]
    run, counted = store.run, threading.Event()

    def sometimes(command):
        if failures:
            raise failures.pop()
        counted.set()
        return run(command)

    store.run = sometimes
    counter = LiveRunCounter(store)
    counter.stop()  # also before it has begun
    counter = LiveRunCounter(store)
    counter.start()
    eventually(counter.last_count)
    step_harness.create_run()
    eventually(lambda: counter.last_count()[0].runs == {"queued": 1})
    counter.stop()
    assert not counter.is_alive()


def test_a_scrape_beside_a_count_does_not_count_by_itself(collector, step_harness, monkeypatch):
    collector.live_runs.count_once()
    monkeypatch.setattr(collector.live_runs, "is_alive", lambda: True)
    step_harness.create_run()
    assert of(scrape(collector), "runs", state="queued") == 0


def test_before_the_first_count_the_rest_is_served(collector, monkeypatch):
    monkeypatch.setattr(collector.live_runs, "is_alive", lambda: True)
    found = scrape(collector)
    assert of(found, "store_up") == 1
    assert not any(key[0] == "scrape_do_runs" for key in found)


@pytest.fixture
def command(step_harness, api, monkeypatch):
    monkeypatch.setattr(AppContext, "for_app", lambda *_, **__: step_harness.app_context)
    monkeypatch.setattr(metrics_command.Store, "open", lambda *_, **__: step_harness.app_context.store)
    monkeypatch.setattr(step_harness.app_context.store.client, "info", lambda *_: MEMORY)
    return lambda *arguments: CliRunner().invoke(cli.main, ["metrics", *arguments])


def test_the_command_prints_them_once(command):
    answer = command("--once")
    assert answer.exit_code == 0
    assert "scrape_do_store_up 1.0" in answer.output


def test_without_the_extra_the_command_says_so(command, monkeypatch):
    monkeypatch.setattr(metrics_command, "find_spec", lambda _: None)
    answer = command("--once")
    assert answer.exit_code == 1
    assert "pip install 'scrape-do-celery[metrics]'" in answer.output


def test_the_command_serves_until_it_is_told_to_end(command, monkeypatch):
    pages, told = [], []

    def read():
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            pages.append(answer.read().decode())

    class Stop:
        def wait(self):
            read()

    start = prometheus_client.start_http_server

    def noted(*arguments, **options):
        nonlocal server
        server, thread = start(*arguments, **options)
        return server, thread

    server = None
    monkeypatch.setattr(prometheus_client, "start_http_server", noted)
    monkeypatch.setattr(metrics_command, "threading", SimpleNamespace(Event=Stop))
    handlers = SimpleNamespace(SIGINT=2, SIGTERM=15, signal=lambda which, _: told.append(which))
    monkeypatch.setattr(metrics_command, "signal", handlers)
    answer = command("--port", "0")
    assert answer.exit_code == 0, answer.output
    assert answer.output == f"http://127.0.0.1:{server.server_port}/metrics\n"
    assert "scrape_do_store_up 1.0" in pages[0]
    assert told == [2, 15]
