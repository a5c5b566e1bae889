"""Test runs in a user's Celery app with any settings: a run works, or the user learns why it does not."""

from __future__ import annotations

import json

import pytest
from rabbitmq_node import RabbitMQNode

SCRIPT = """
import json
from celery import chain
from celery.result import AsyncResult
from app_other_broker import app, outcome
from scrape_do_celery import JobFailedError, enqueue
from scrape_do_celery.tasks import scrape

found = {}
handle = enqueue([f"https://{name}.example/" for name in "abcd"], on_success=outcome.s())
found["tasks"] = len(handle.result(timeout=100).tasks)
found["small"] = AsyncResult(handle.run_id).get(timeout=100)["outcome"]
if not app.conf.task_ignore_result:
    found["chain"] = chain(scrape.s(targets=["https://b.example/"]), outcome.s())().get(timeout=60)
try:
    AsyncResult(enqueue(["https://a.example/?sandbox=error"]).run_id).get(timeout=100)
except JobFailedError as error:
    found["error"] = error.job.status
print(json.dumps(found))
"""
RIGHT = {"tasks": 4, "small": "succeeded", "chain": "succeeded", "error": "error"}
EVERYWHERE = {"*": {"queue": "shop-of-{prefix}", "priority": 3, "serializer": "pickle"}}
SETTINGS = {
    "another serializer": {
        "task_serializer": "pickle",
        "result_serializer": "pickle",
        "accept_content": ["pickle"],
        "task_compression": "gzip",
        "result_extended": True,
    },
    "routes for everything": {
        "task_routes": EVERYWHERE,
        "accept_content": ["json", "pickle"],
        "task_default_queue": "shop-of-{prefix}",
        "task_ignore_result": False,
    },
    "queues that are listed": {
        "task_create_missing_queues": False,
        "task_queues": {"shop-of-{prefix}": {}, "{prefix}": {}},
        "task_default_queue": "shop-of-{prefix}",
    },
    "messages that are hoarded": {"worker_prefetch_multiplier": 0, "task_acks_late": True, "task_ignore_result": True},
}


@pytest.fixture
def shop(pipeline):
    """Return a function that makes the environment of an app with a user's settings."""
    broker, backend = pipeline.settings.broker_url, pipeline.settings.result_backend

    def conf(**settings):
        text = json.dumps(settings).replace("{prefix}", pipeline.prefix)
        # Database numbers that no other test uses.
        urls = {"SHOP_BROKER": broker[:-1] + "13", "SHOP_BACKEND": backend[:-1] + "14"}
        # Without this variable Celery refuses to start a worker as root that accepts pickles.
        return {**urls, "SHOP_CONF": text, "C_FORCE_ROOT": "1"}

    return conf


def play(pipeline, environment, script=SCRIPT):
    done = pipeline.run_code(script, **environment)
    log = pipeline.log.read_text() if pipeline.log.exists() else ""
    assert done.returncode == 0, done.stderr + log
    return json.loads(done.stdout), log


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_settings_of_a_user_s_app(pipeline, shop, settings):
    environment = shop(**settings)
    pipeline.work(app="app_other_broker", **environment)
    found, log = play(pipeline, environment)
    # The last task of a chain is the user's own, so its result is ignored as well.
    expected = {what: how for what, how in RIGHT.items() if what != "chain" or not settings.get("task_ignore_result")}
    assert found == expected
    assert "Traceback" not in log
    assert pipeline.posts() == len(expected) - 1


@pytest.mark.long
def test_time_limits_of_the_app_apply_to_its_own_tasks(pipeline, shop):
    """Run steps that take longer than the app's task limits: none is cut off."""
    environment = shop(task_time_limit=2, task_soft_time_limit=1)
    pipeline.work(app="app_other_broker", pool="prefork", concurrency=2, **environment)
    pipeline.sandbox.fault("slow", seconds=2.5, kind="get_task")
    found, log = play(pipeline, environment)
    assert found == RIGHT
    assert "time limit" not in log.lower()
    assert pipeline.posts() == 3


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory):
    with RabbitMQNode(tmp_path_factory.mktemp("rabbit")) as one:
        yield one


@pytest.mark.rabbitmq
@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_rabbitmq_as_the_broker(pipeline, shop, rabbit, queue_type):
    environment = shop(task_default_queue_type=queue_type, task_default_queue="shop-of-{prefix}")
    environment["SHOP_BROKER"] = rabbit.url
    pipeline.work(app="app_other_broker", **environment)
    found, log = play(pipeline, environment)
    assert found == RIGHT
    assert "Traceback" not in log
    assert pipeline.posts() == 3


OWN_CLASS = """
import json
from celery.result import AsyncResult
from app_own_task_class import app
from scrape_do_celery import JobFailedError, enqueue
from scrape_do_celery.tasks import scrape

found = {"small": scrape.delay(["https://a.example/"]).get(timeout=60)["outcome"]}
try:
    AsyncResult(enqueue(["https://b.example/?sandbox=error"]).run_id).get(timeout=60)
except JobFailedError as error:
    found["error"] = error.job.status
print(json.dumps(found))
"""
ANNOTATIONS = {"*": {"rate_limit": "1/h", "time_limit": 0.5, "acks_late": False, "expires": 0.001, "priority": 3}}


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_task_class_annotations_and_rate_limit_of_the_app(pipeline, shop, pool):
    """Set limits, expiry and retries for all tasks of an app: runs go on, and the team's methods run beside them."""
    environment = shop(task_annotations=ANNOTATIONS, task_default_rate_limit="1/h", accept_content=["application/json"])
    environment["TENANT"] = "green-shop"
    pipeline.work(app="app_own_task_class", pool=pool, concurrency=2, **environment)
    pipeline.sandbox.fault("slow", seconds=1.0, kind="get_task")
    found, log = play(pipeline, environment, OWN_CLASS)
    assert found == {"small": "succeeded", "error": "error"}
    assert pipeline.posts() == 2
    assert "tenant green-shop runs scrape_do.scrape" in log
    assert "runs scrape_do.deliver_outcome" in log
    assert "task_default_rate_limit: rate_limit does not apply to the tasks of scrape_do" in log
    assert "task_annotations: acks_late, expires, rate_limit, time_limit does not apply" in log
    assert "task_annotations: priority also applies to the tasks of scrape_do" in log
    assert "autoretry_for" in log
    assert "accept_content" not in log


EAGER = """
import json
from celery import chain
from app_other_broker import app, outcome
from scrape_do_celery import ConfigurationError, enqueue, enqueue_many
from scrape_do_celery.tasks import scrape

URLS = ["https://a.example/"]
found = []
for call in (
    lambda: enqueue(URLS),
    lambda: enqueue_many([URLS]),
    lambda: scrape.delay(URLS),
    lambda: scrape.apply((URLS,)),
    lambda: chain(scrape.s(URLS), outcome.s())(),
):
    try:
        found.append(repr(call()))
    except ConfigurationError as error:
        found.append(str(error).split()[0])
print(json.dumps(found))
"""


def test_an_eager_app_is_told_at_once(pipeline, shop):
    found, _ = play(pipeline, shop(task_always_eager=True), EAGER)
    assert found == ["task_always_eager"] * 5
    assert pipeline.stored_keys() == []


def test_a_worker_of_an_eager_app_leaves_our_queue_alone(pipeline, shop):
    worker = pipeline.work(app="app_other_broker", **shop(task_always_eager=True))
    assert "task_always_eager" in pipeline.log.read_text()
    assert "does not consume the queue of scrapes" in pipeline.log.read_text()
    assert worker.poll() is None
