"""Test the checks that `doctor` and a starting worker run."""

from __future__ import annotations

import re
from importlib import import_module

import fakeredis
import pytest
from celery import Celery, Task
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ResponseError

from scrape_do_celery import Settings, diagnostics, runs
from scrape_do_celery.diagnostics import (
    OK,
    WARNING,
    WRONG,
    check_broker,
    check_celery_app,
    check_durability,
    check_server_urls,
    check_store,
    check_workers,
)
from scrape_do_celery.runs import AppContext, make_app
from scrape_do_celery.store.part_ids import PartId
from tests.support.diagnosed_redis import FACTS, DiagnosedRedis

SECRET = "a-secret-of-the-user"
URLS = ["https://a.example/", "https://b.example/x?y=1"]


@pytest.fixture
def app_context(clean_environment, monkeypatch):
    settings = Settings(
        redis_url="redis://localhost:1/0", broker_url="memory://", result_backend="cache+memory://", api_key=SECRET
    )
    made = AppContext(make_app(settings), settings)
    made.store = type(made.store)(fakeredis.FakeRedis(), made.store.keys, "redis://here")
    monkeypatch.setattr(made, "publish", lambda *_, **__: None)
    monkeypatch.setattr(AppContext, "for_app", lambda *_, **__: made)
    return made


@pytest.fixture
def store(app_context):
    return app_context.store


def levels(found):
    return [finding.level for finding in found]


def texts(found):
    """Return the texts of findings, which are all warnings."""
    found = list(found)
    assert {finding.level for finding in found} <= {WARNING}
    return [finding.text for finding in found]


# Settings


@pytest.mark.parametrize(
    ("store", "broker", "warned"),
    [
        ("redis://localhost/0", "redis://127.0.0.1:6379", True),
        ("redis://h/0", "rediss://h/0?ssl_cert_reqs=required", True),
        ("unix:///a.sock", "redis+socket:///a.sock?virtual_host=0", True),
        ("redis://h/0", "redis://h/1", False),
        ("redis://h/0", "redis://h:7/0", False),
        ("redis://h/0", "redis://h/1;redis://h/2", False),
    ],
)
def test_a_broker_in_the_database_of_the_store(clean_environment, store, broker, warned):
    messages = texts(check_server_urls(Settings(redis_url=store, broker_url=broker)))
    assert [message.split()[0] for message in messages] == ["SCRAPE_DO_BROKER_URL"] * warned


def test_results_in_the_database_of_the_store_and_unchecked_certificates(clean_environment):
    settings = Settings(redis_url="rediss://:sesame@h/0", result_backend="rediss://:sesame@h/0")
    messages = texts(check_server_urls(settings))
    assert [message.split()[0] for message in messages] == ["SCRAPE_DO_RESULT_BACKEND"] * 2
    assert "ssl_cert_reqs=required" in messages[1]
    assert "sesame" not in str(messages)


# The Celery app


def foreign(**conf):
    app = Celery("shop", set_as_current=False, broker="redis://localhost/1", backend="redis://localhost/2")
    app.conf.update(**conf)
    return app


def test_our_own_app_has_nothing_to_warn_of(clean_environment):
    assert texts(check_celery_app(make_app(Settings()))) == []


def test_a_default_app_is_warned_of_each_thing(clean_environment):
    app = Celery("shop", set_as_current=False, broker="redis://localhost/1")
    found = texts(check_celery_app(app))
    for name in (
        "result_backend_always_retry",
        "worker_prefetch_multiplier",
        "result_backend is not set",
        "visibility_timeout",
    ):
        assert sum(name in text for text in found) == 1, name
    assert all("\n" not in text for text in found)


SAFE = {
    "result_backend_always_retry": True,
    "worker_prefetch_multiplier": 1,
    "broker_connection_retry_on_startup": True,
    "broker_transport_options": {"visibility_timeout": 900},
}


def test_suitable_foreign_app_gets_no_warning(clean_environment):
    assert texts(check_celery_app(foreign(**SAFE))) == []


@pytest.mark.parametrize(
    ("conf", "named"),
    [
        ({"result_backend_always_retry": False}, "result_backend_always_retry is False.*set it to True"),
        ({"worker_prefetch_multiplier": 4}, "worker_prefetch_multiplier is 4.*set it to 1"),
        ({"broker_connection_retry_on_startup": False}, "broker_connection_retry_on_startup"),
        ({"broker_transport_options": {"visibility_timeout": 43200}}, "43200.*900"),
        ({"broker_transport_options": {}}, "3600"),
        ({"accept_content": ["pickle"]}, "json"),
    ],
)
def test_each_setting_that_can_lose_something_is_named(clean_environment, conf, named):
    (text,) = texts(check_celery_app(foreign(**{**SAFE, **conf})))
    assert re.search(named, text)


@pytest.mark.parametrize(
    "conf",
    [
        {"accept_content": ["application/json"]},
        {"accept_content": ["pickle"], "task_serializer": "pickle"},
        {"accept_content": ["application/x-python-serialize"], "task_serializer": "pickle"},
        {"task_annotations": {"shop.mail": {"rate_limit": "1/m"}}},
    ],
)
def test_settings_that_only_look_wrong(conf):
    assert texts(check_celery_app(foreign(**{**SAFE, **conf}))) == []


class ShopTask(Task):
    abstract = True
    autoretry_for = (Exception,)
    expires = 5


def test_options_of_all_tasks_are_named():
    app = foreign(**SAFE, task_default_rate_limit="1/m", task_annotations={"*": {"time_limit": 1, "priority": 3}})
    app.task_cls = ShopTask
    import_module("scrape_do_celery.tasks")
    own, default, ignored, applied = texts(check_celery_app(app))
    assert own.startswith("the class of the app's tasks: expires, autoretry_for does not apply")
    assert default.endswith("which set their own; SCRAPE_DO_REQUEST_RATE limits requests")
    assert ignored.startswith("task_annotations: time_limit does not apply")
    assert applied.startswith("task_annotations: priority also applies to the tasks of scrape_do")
    task = app.tasks["scrape_do.deliver_outcome"]
    assert (task.rate_limit, task.time_limit, task.expires, task.autoretry_for, task.priority) == (0, 3600, None, (), 3)


def test_another_broker_has_no_visibility_timeout(clean_environment):
    assert texts(check_celery_app(foreign(**{**SAFE, "broker_url": "amqp://x", "broker_transport_options": {}}))) == []


@pytest.mark.parametrize(
    ("conf", "named"),
    [
        ({"broker_url": "redis://h/1?tls=true"}, "broker_url has a parameter tls that kombu does not take"),
        ({"result_backend": "redis://h/1?socket_timeout=5s"}, "result_backend has a parameter socket_timeout"),
    ],
)
def test_a_wrong_parameter_of_a_foreign_app_s_url_is_named(clean_environment, conf, named):
    (finding,) = check_broker(foreign(**conf))
    assert (finding.level, named in finding.text) == (WRONG, True)
    if "broker_url" in conf:
        assert list(check_workers(foreign(**conf), "scrape_do")) == []


def test_results_in_messages_that_nobody_confirms_are_named(clean_environment):
    rpc = {**SAFE, "broker_url": "amqp://x", "broker_transport_options": {}, "result_backend": "rpc://"}
    (text,) = texts(check_celery_app(foreign(**rpc)))
    assert "set broker_transport_options confirm_publish to True" in text
    assert texts(check_celery_app(foreign(**{**rpc, "broker_transport_options": {"confirm_publish": True}}))) == []


# The servers


@pytest.mark.parametrize(
    ("facts", "config", "expected", "text"),
    [
        ({}, {"appendfsync": "always"}, [OK], "version 7.2.4"),
        ({"valkey_version": "9.1.2"}, {"appendfsync": "always"}, [OK], "version 9.1.2"),
        ({"redis_version": "6.0.9"}, {"appendfsync": "always"}, [OK, WRONG], "6.2 or newer"),
        (
            {"aof_enabled": 0},
            {"appendfsync": "always"},
            [OK, WARNING],
            "CONFIG SET appendonly yes on the running",
        ),
        ({}, {"appendfsync": "everysec"}, [OK, WARNING], "appendfsync is everysec"),
        ({}, ResponseError("unknown command"), [OK, WARNING], "does not show"),
    ],
)
def test_store_findings_have_their_levels(store, facts, config, expected, text):
    store.client = DiagnosedRedis(**facts)
    store.client.config = config
    found = list(check_store(store))
    assert levels(found) == expected
    assert text in found[-1].text


def test_runs_that_another_account_bought_are_counted(store, monkeypatch):
    monkeypatch.setattr(store.client, "info", lambda *_: {**FACTS, "cluster_enabled": 0})
    monkeypatch.setattr(store.client, "config_get", lambda name: {name: "always"})
    watched = None
    for account in ("another", "another", "mine", None):
        run_id = runs.enqueue(URLS).run_id
        watched = run_id if account == "another" else watched
        if account:
            store.client.hset(store.keys.part(PartId(run_id, 0)), "account", account)
    # The part waits among the running jobs of its account.
    store.client.zrem(store.keys.due, f"{watched}:0")
    store.client.zadd(store.keys.poll_set("another"), {f"{watched}:0": 1})
    store.client.sadd(store.keys.accounts, "another")
    found = list(check_store(store, "mine"))
    assert levels(found) == [OK, WARNING]
    assert "2 job(s) were bought with the token of another account (another; this one is mine)" in found[-1].text


def test_a_store_that_is_away(store, monkeypatch):
    def fail():
        raise RedisConnectionError("refused")

    monkeypatch.setattr(store.client, "info", fail)
    (found,) = check_store(store)
    assert found.level == WRONG
    assert "the store at redis://here does not answer" in found.text


def test_missing_permission_is_found_with_its_cost(store, monkeypatch):
    def refuse(section):
        raise NoPermissionError("this user has no permissions to run the 'info' command")

    monkeypatch.setattr(store.client, "info", refuse)
    (text,) = texts(check_durability(store))
    assert "cannot notice a restart" in text


def test_brokers_and_backends_that_are_away(clean_environment, monkeypatch):
    settings = Settings(broker_url="redis://127.0.0.1:1/1", result_backend="redis://:pw@127.0.0.1:1/2")
    app = make_app(settings)
    monkeypatch.setattr(diagnostics, "_TIMEOUT", 0.3)
    found = list(check_broker(app))
    assert levels(found) == [WRONG, WRONG]
    assert "pw" not in str(found)
    assert list(check_workers(app, "scrape_do")) == []


def test_a_backend_on_redis_is_asked(clean_environment):
    app = make_app(Settings(broker_url="memory://", result_backend="redis://:pw@127.0.0.1:1/2"))
    app.backend.client = fakeredis.FakeRedis()
    found = list(check_broker(app))
    assert levels(found) == [OK, OK]
    assert "pw" not in str(found)


@pytest.mark.parametrize(
    ("answer", "level", "named"),
    [
        ({"w@b": [{"name": "celery"}], "w@a": [{"name": "celery"}, {"name": "scrape_do"}]}, OK, "scrape_do: w@a"),
        ({"w@b": [{"name": "celery"}], "beat@a": None}, WARNING, "beat@a, w@b consume other queues"),
        (None, WARNING, "no worker of the queue scrape_do answered within 1 s: without"),
    ],
)
def test_workers_that_take_the_queue_and_none(app_context, monkeypatch, answer, level, named):
    inspect = type("Inspect", (), {"active_queues": lambda _: answer})()
    monkeypatch.setattr(app_context.app.control, "inspect", lambda **_: inspect)
    (found,) = check_workers(app_context.app, "scrape_do")
    assert found.level == level
    assert named in found.text
