"""Test runs with webhooks as a whole: a real worker, the sandbox, the store, and a receiver in a process of its own."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import sys
import uuid
from collections import Counter
from hashlib import sha256

import httpx
import pytest
from example_project import ExampleProject
from pipeline import Pipeline
from webhook_receivers import KEY, ReceiverProcess

from scrape_do_celery import GoogleSearch, JobCanceledError, SearchParams, Settings, enqueue, retry_failed
from scrape_do_celery.store.webhook_trusts import read_trusts

pytestmark = pytest.mark.long
#: The first delivered pages of an account, which workers fetch and compare.
CHECKS = 20
#: The lines of a Django project with webhooks.
URLS = """urlpatterns = [
    path("hooks/", include("scrape_do_celery.contrib.django.webhook_urls")),
    """


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Hooks:
    """A pipeline whose runs have webhooks, and the place where its receivers listen."""

    def __init__(self, redis_url, sandbox, folder, **settings):
        self.sandbox, self.folder, self.prefix = sandbox, folder, f"t{uuid.uuid4().hex[:8]}"
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/hooks"
        hooks = {"webhook_base_url": self.base_url, "webhook_keys": KEY.decode(), "webhooks": True, "lease_seconds": 10}
        self.pipeline = Pipeline(redis_url, sandbox, folder, self.prefix, **hooks, **settings)
        self._receivers, self._trust = [], None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pipeline.__exit__()
        self.close_receivers()

    def close_receivers(self):
        while self._receivers:
            self._receivers.pop().stop()

    def receive(self, trust, **settings):
        """Start a receiver where the webhooks of the runs go. A receiver that another test has left is used again."""
        if self._receivers and self._trust == trust:
            return
        self.close_receivers()
        self._trust = trust
        shared = {name: getattr(self.pipeline.settings, name) for name in ("broker_url", "result_backend")}
        values = {**self.pipeline.values, **shared, "webhook_trust": trust, **settings}
        url, prefix = values.pop("redis_url"), values.pop("key_prefix")
        self._receivers.append(ReceiverProcess("command", url, prefix, self.folder, port=self.port, **values))

    def kill_receiver(self):
        self._receivers.pop().kill()

    def enqueue(self, *args, **kwargs):
        return self.pipeline.enqueue(*args, **kwargs)

    def count_requests(self):
        """Return how often the API was called, by kind of call."""
        return Counter(entry["kind"] for entry in self.sandbox.log() if entry["kind"] not in {"webhook", "other"})

    def count_fetches(self):
        """Return the fetches of each task."""
        return Counter(task["fetched"] for job in self.sandbox.jobs() for task in job["tasks"])

    def deliveries(self):
        return [entry for entry in self.sandbox.log() if entry["kind"] == "webhook"]


@pytest.fixture(scope="module")
def shared_hooks(server_url, shared_sandbox, tmp_path_factory):
    """Provide one worker for the tests that need no other settings."""
    with Hooks(server_url, shared_sandbox, tmp_path_factory.mktemp("hooks")) as one:
        one.pipeline.work()
        yield one


@pytest.fixture
def hooks(shared_hooks, sandbox):
    return shared_hooks


def pages(count, query=""):
    """Return the URLs of pages that no other test asks for."""
    host = uuid.uuid4().hex[:8]
    return [f"https://{host}.example/{n}{query}" for n in range(count)]


def check_whole(handle, targets, within=60):
    """Check that a run ends with all its pages."""
    result = handle.result(timeout=within)
    assert [task.url for task in result.tasks] == targets
    assert all(task.decoded_content() for task in result.tasks)
    assert handle.status.done == len(targets)


def calibrate(hooks):
    """Let the account's first deliveries be compared."""
    targets = pages(CHECKS)
    check_whole(hooks.enqueue(targets), targets)
    assert hooks.count_fetches() == {1: CHECKS}
    hooks.sandbox.reset()


def set_taken(hooks, count):
    """Set the number of pages that were delivered for the account: a shortcut for the runs that deliver them."""
    store = hooks.pipeline.app_context.store
    (account,) = read_trusts(store) or [hooks.pipeline.settings.account_id]
    store.client.delete(store.keys.webhook_trust(account))
    store.client.hset(store.keys.webhook_trust(account), "taken", count)


def test_each_hinted_task_is_fetched_once(hooks):
    hooks.receive("hint")
    targets = pages(60)
    check_whole(hooks.enqueue(targets), targets)
    requests = hooks.count_requests()
    assert hooks.count_fetches() == {1: 60}
    assert requests["create_job"] == 1
    assert requests.total() - 60 <= 1 + 5, requests


def test_delivered_pages_cost_no_requests_once_the_first_were_compared(hooks):
    hooks.receive("content")
    calibrate(hooks)
    targets = pages(60)
    check_whole(hooks.enqueue(targets), targets)
    requests = hooks.count_requests()
    assert hooks.count_fetches() == {0: 60}
    assert requests["create_job"] == 1
    assert requests.total() <= 1 + 5, requests


def test_parts_failed_tasks_and_plugins_have_webhooks(hooks):
    hooks.receive("content")
    set_taken(hooks, CHECKS)
    of_part = [(True, ""), (True, "?status=404"), (False, "?sandbox=error")]
    wanted = {url: is_page for _ in range(3) for is_page, query in of_part for url in pages(3, query)}
    targets = list(wanted)
    settings = Settings(**hooks.pipeline.values, targets_per_job=9)
    handle = enqueue(targets, settings=settings)
    plugin = GoogleSearch([SearchParams(q=word) for word in ("coffee", "tea")])
    searches = enqueue(plugin=plugin, settings=hooks.pipeline.settings)
    assert {task.url: task.is_success for task in handle.result(timeout=60).tasks} == wanted
    assert [task.json_content()["plugin"] for task in searches.result(timeout=60).tasks] == ["google/search"] * 2
    fetched = {task["url"]: task["fetched"] for job in hooks.sandbox.jobs() for task in job["tasks"]}
    assert {url: fetched[url] for url in targets} == {url: int(not is_page) for url, is_page in wanted.items()}
    assert hooks.pipeline.posts() == 4
    assert all(entry["status"] == 200 for entry in hooks.deliveries())


def test_delivery_before_the_answer_of_its_purchase_is_used(hooks):
    hooks.receive("content")
    set_taken(hooks, CHECKS)
    hooks.sandbox.fault("webhook_early", seconds=2, count=5)
    targets = pages(5)
    check_whole(hooks.enqueue(targets), targets)
    assert hooks.pipeline.posts() == 1
    assert hooks.count_fetches().keys() == {1}


def test_delivery_names_the_job_of_a_purchase_whose_answer_is_lost(hooks):
    hooks.receive("content")
    set_taken(hooks, CHECKS)
    hooks.sandbox.fault("reset_after", kind="create_job")
    # By the list, the purchase would never have been made.
    hooks.sandbox.fault("list_lag", seconds=3_600)
    targets = pages(5)
    check_whole(hooks.enqueue(targets), targets)
    assert hooks.pipeline.posts() == 1


def test_wrong_page_ends_the_trust_and_no_wrong_page_is_kept(hooks, sandbox):
    hooks.receive("content")
    set_taken(hooks, 0)
    sandbox.fault("webhook_other_content", kind="webhook")
    targets = pages(CHECKS * 2)
    handle = hooks.enqueue(targets)
    check_whole(handle, targets)
    true = {task["url"]: task["sha256"] for task in sandbox.jobs()[0]["tasks"]}
    assert {task.url: sha256(task.decoded_content()).hexdigest() for task in handle.result().tasks} == true
    assert "no delivered page of the account is believed any more" in hooks.pipeline.log.read_text()
    (told,) = json.loads(hooks.pipeline.run_tool("webhook-trust", "list", "--json").stdout)["accounts"]
    assert not told["trusted"]
    assert "was delivered with other values of Content" in told["reason"]
    # Later runs are fetched whole, until an operator restores the trust.
    sandbox.reset()
    targets = pages(5)
    check_whole(hooks.enqueue(targets), targets)
    assert hooks.count_fetches() == {1: 5}


def test_canceled_and_forgotten_runs_take_their_deliveries(hooks, eventually):
    hooks.receive("content")
    set_taken(hooks, CHECKS)
    hooks.sandbox.fault("webhook_late", seconds=4, target="late")
    targets = [*pages(5), *pages(5, "?seconds=60"), *pages(5, "?late")]
    handle = hooks.enqueue(targets)
    eventually(lambda: handle.status.done >= 5)
    assert handle.cancel()
    with pytest.raises(JobCanceledError):
        handle.result(timeout=60)
    assert len([task for task in handle.iter_tasks(partial=True) if task.is_success]) >= 5
    eventually(handle.async_result.ready)
    handle.forget()
    eventually(lambda: len(hooks.deliveries()) == len(targets))
    eventually(lambda: {entry["status"] for entry in hooks.deliveries()} == {200})
    assert hooks.pipeline.posts() == 1
    client = hooks.pipeline.app_context.store.client
    left = [client.hgetall(key) for key in hooks.pipeline.stored_keys() if handle.run_id in key]
    assert left == [{b"forgotten": b"1"}]


def test_child_of_a_run_has_webhooks(hooks, sandbox):
    hooks.receive("content")
    set_taken(hooks, CHECKS)
    sandbox.fault("task_fails", target="bad")
    targets = [*pages(3), *pages(3, "?bad")]
    handle = hooks.enqueue(targets)
    handle.result(timeout=60)
    sandbox.clear_faults()
    child = retry_failed(handle.run_id, settings=hooks.pipeline.settings)
    check_whole(hooks.pipeline.handle(child.run_id), targets[3:])
    (job,) = [job for job in sandbox.jobs() if len(job["tasks"]) == 3]
    assert [task["fetched"] for task in job["tasks"]] == [0, 0, 0]
    assert hooks.pipeline.posts() == 2


def test_run_goes_on_after_its_receiver_was_killed(hooks, eventually):
    hooks.receive("content")
    set_taken(hooks, CHECKS)
    hooks.sandbox.configure(webhook_ladder=[0.5, 1, 2, 5, 10])
    targets = [*pages(10), *pages(20, "?seconds=2")]
    handle = hooks.enqueue(targets)
    eventually(lambda: handle.status.done >= 5)
    hooks.kill_receiver()
    eventually(lambda: any(entry["status"] == "no_answer" for entry in hooks.deliveries()))
    hooks.receive("content")
    check_whole(handle, targets)
    assert hooks.pipeline.posts() == 1


def test_run_without_any_receiver_ends_by_safety_polls(server_url, sandbox, tmp_path):
    sandbox.configure(webhook_ladder=[0.1] * 5)
    with Hooks(server_url, sandbox, tmp_path, webhook_poll_max=1) as hooks:
        hooks.pipeline.work()
        targets = pages(20)
        check_whole(hooks.enqueue(targets), targets)
        assert sandbox.stats()["webhooks_given_up"] == 20
        assert hooks.pipeline.posts() == 1


def test_receiver_without_the_key_of_a_run_gives_hints(server_url, sandbox, tmp_path):
    key = base64.b64encode(bytes(range(32))).decode()
    with Hooks(server_url, sandbox, tmp_path, encryption_key=key) as hooks:
        hooks.pipeline.work()
        hooks.receive("content")
        set_taken(hooks, CHECKS)
        targets = pages(10)
        check_whole(hooks.enqueue(targets), targets)
        assert hooks.count_fetches() == {0: 10}
        hooks.close_receivers()
        sandbox.reset()
        del hooks.pipeline.values["encryption_key"]
        hooks.receive("content")
        hooks.pipeline.values["encryption_key"] = key
        targets = pages(10)
        check_whole(hooks.enqueue(targets), targets)
        assert hooks.count_fetches() == {1: 10}


#: Example -> what a user adds for webhooks: a file, the text before, and the text after. Then the command of the site,
#: the app of its worker, and the environment of both.
SITES = {
    "django": (
        ("config/urls.py", "urlpatterns = [", URLS),
        (("manage.py", "runserver", "--noreload"), "{host}:{port}"),
        "config",
        {"DJANGO_SETTINGS_MODULE": "config.settings", "DJANGO_DATABASE": "db.sqlite3"},
    ),
    "flask": (
        ("shop/__init__.py", "ScrapeDo(app)", 'ScrapeDo(app, webhooks="/hooks")'),
        (("-m", "flask", "run", "-p"), "{port}"),
        "make_celery",
        {"FLASK_APP": "shop"},
    ),
}


@pytest.mark.parametrize("example", SITES)
def test_site_of_an_example_receives_the_webhooks_of_its_runs(pipeline, sandbox, eventually, example):
    (file, before, after), (command, address), worker, environment = SITES[example]
    port, targets = free_port(), pages(30)
    pipeline.values |= {
        "webhook_base_url": f"http://127.0.0.1:{port}/hooks",
        "webhook_keys": KEY.decode(),
        "webhook_trust": "content",
        "webhooks": True,
        "lease_seconds": 10,
    }
    with ExampleProject(example, sys.executable, pipeline, **environment) as project:
        # A checkout that is not installed is found as in this process.
        project.environment["PYTHONPATH"] += f"{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        code = project.folder / file
        code.write_text(code.read_text().replace(before, after))
        if example == "django":
            project.run("manage.py", "migrate", "-v0")
        project.work(worker)
        with httpx.Client(base_url=project.serve(*command, address=address, port=port), follow_redirects=True) as user:
            token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', user.get("/").text)
            form = {"urls": "\n".join(targets), "csrfmiddlewaretoken": token[1] if token else ""}
            status = f"{user.post('/', data=form).url.path}status"
            eventually(lambda: user.get(status).json()["state"] == "succeeded")
            assert user.get(status).json()["done"] == len(targets)
    assert sorted(task["fetched"] for task in sandbox.jobs()[0]["tasks"]) == [0] * 10 + [1] * CHECKS
    assert pipeline.posts() == 1
    assert {entry["status"] for entry in sandbox.log() if entry["kind"] == "webhook"} == {200}
