"""Test runs with webhooks as a whole: a real worker, the sandbox, the store, and a receiver in a process of its own."""

from __future__ import annotations

import socket
import uuid
from collections import Counter

import pytest
from pipeline import Pipeline
from webhook_receivers import KEY, ReceiverProcess

pytestmark = pytest.mark.long
#: The first delivered pages of an account, which workers fetch and compare.
CHECKS = 20


class Hooks:
    """A pipeline whose runs have webhooks, and the place where its receivers listen."""

    def __init__(self, redis_url, sandbox, folder, **settings):
        self.sandbox, self.folder, self.prefix = sandbox, folder, f"t{uuid.uuid4().hex[:8]}"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}/hooks"
        hooks = {"webhook_base_url": self.base_url, "webhook_keys": KEY.decode(), "webhooks": True}
        self.pipeline = Pipeline(redis_url, sandbox, folder, self.prefix, **hooks, **settings)
        self._receivers = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pipeline.__exit__()
        self.close_receivers()

    def close_receivers(self):
        while self._receivers:
            self._receivers.pop().stop()

    def receive(self, trust, face="command", **settings):
        """Start a receiver where the webhooks of the runs go."""
        values = {**self.pipeline.values, "webhook_trust": trust, "webhook_max_bytes": 4_000_000, **settings}
        url, prefix = values.pop("redis_url"), values.pop("key_prefix")
        one = ReceiverProcess(face, url, prefix, self.folder, port=self.port, **values)
        self._receivers.append(one)
        return one

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
    yield shared_hooks
    shared_hooks.close_receivers()


def pages(count, query=""):
    """Return the URLs of pages that no other test asks for."""
    host = uuid.uuid4().hex[:8]
    return [f"https://{host}.example/{n}{query}" for n in range(count)]


def check_whole(handle, targets, within=60):
    """Check that a run has all its pages, by one purchase."""
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
