"""Test the webhooks of the sandbox: when they come, how they are sent again, and each fault of a delivery."""

from __future__ import annotations

import gzip
import http.server
import json
import socket
import threading
import time
from contextlib import closing

import httpx
import pytest
from time_limits import wait_for_answer

from scrape_do_sandbox import SandboxThread
from scrape_do_sandbox.response_faults import HTML
from scrape_do_sandbox.webhook_faults import OTHER_CONTENT


class Receiver(http.server.BaseHTTPRequestHandler):
    """A receiver that keeps connections open and reads bodies of a known length and in chunks."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.connections += 1
        self.connection.settimeout(10)

    def do_POST(self):
        body = self._read_chunks() if "chunked" in self.headers.get("Transfer-Encoding", "") else self._read_body()
        with self.server.lock:
            self.server.busiest = max(self.server.busiest, self.server.busy + 1)
            self.server.busy += 1
            answer = self.server.answers.pop(0) if self.server.answers else 200
        time.sleep(self.server.pause)
        with self.server.lock:
            self.server.busy -= 1
            self.server.seen.append((dict(self.headers), body, time.time()))
        self.send_response(answer)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def _read_body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _read_chunks(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_):
        """Say nothing."""


class QuietServer(http.server.ThreadingHTTPServer):
    """A server whose connections may break."""

    daemon_threads, request_queue_size = True, 128

    def handle_error(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def server():
    with SandboxThread(task_seconds=0.02, webhook_ladder=(0.02, 0.02), webhook_later=0.05) as server:
        yield server


@pytest.fixture
def sandbox(server):
    server.reset()
    return server


@pytest.fixture
def api(sandbox):
    with httpx.Client(base_url=f"{sandbox.url}/api/v1", headers={"X-Token": "secret"}, trust_env=False) as client:
        yield client


@pytest.fixture
def receiver():
    with QuietServer(("127.0.0.1", 0), Receiver) as receiver:
        receiver.seen, receiver.answers, receiver.lock = [], [], threading.Lock()
        receiver.connections = receiver.busy = receiver.busiest = 0
        receiver.pause, receiver.url = 0.0, f"http://127.0.0.1:{receiver.server_port}/hook"
        thread = threading.Thread(target=receiver.serve_forever, args=(0.02,))
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


def create(api, url, *targets):
    body = {"Targets": targets or ["https://a.example/"], "WebhookURL": url, "WebhookHeaders": {"X-Hook": "h"}}
    return api.post("/jobs", json=body).json()


def ended(stats):
    over = sum(stats.get(f"webhooks_{name}", 0) for name in ("accepted", "given_up", "lost"))
    return stats.get("webhooks_due", 0) == over


def deliver(api, sandbox, receiver, *targets):
    """Buy a job, wait until its deliveries are over, and return it with the headers and bodies that came."""
    job = create(api, receiver.url, *targets)
    count = sandbox.stats()["tasks_created"]
    wait_for_answer(sandbox.stats, lambda stats: stats.get("webhooks_due", 0) >= count and ended(stats))
    return job, [(headers, body) for headers, body, _ in receiver.seen]


def task_of(api, job):
    return api.get(f"/jobs/{job['JobID']}/{job['TaskIDs'][0]}").json()


def test_webhook_is_the_task_with_the_headers_of_the_caller(api, sandbox, receiver):
    job, [(headers, body)] = deliver(api, sandbox, receiver)
    task, sent = task_of(api, job), json.loads(body)
    assert (headers["X-Hook"], headers["Content-Type"]) == ("h", "application/json")
    assert {"WebhookStatus", "WebhookRequestTime"} == {name for name in task if task[name] != sent.get(name)} | {
        "WebhookRequestTime"
    }
    assert (task["WebhookStatus"], task["Content"]) == ("success", sent["Content"])


def test_log_and_counts_tell_when_tasks_ended_and_webhooks_were_accepted(api, sandbox, receiver):
    receiver.answers.append(500)
    job, _ = deliver(api, sandbox, receiver, "https://a.example/1", "https://a.example/2")
    calls = [entry for entry in sandbox.log() if entry["kind"] == "webhook"]
    assert sorted(str(call["status"]) for call in calls) == ["200", "200", "500"]
    assert all(call["task_ended"] <= call["at"] <= call["answered_at"] < call["at"] + 10 for call in calls)
    assert sorted(call["attempt"] for call in calls) == [1, 1, 2]
    [shown] = sandbox.jobs()
    tasks = {task["id"]: task for task in shown["tasks"]}
    assert set(tasks) == set(job["TaskIDs"])
    assert {call["task_ended"] for call in calls} == {task["ended_at"] for task in tasks.values()}
    assert all(task["webhook"]["accepted_at"] >= task["ended_at"] for task in tasks.values())
    stats = sandbox.stats()
    assert [stats.get(f"webhooks_{name}", 0) for name in ("due", "sent", "accepted", "given_up")] == [2, 3, 2, 0]
    # Calls of webhooks are no requests to the API.
    assert stats["requests"] == sum(stats["answers"]["create_job"].values())


@pytest.mark.parametrize(
    ("answers", "status", "calls"),
    [
        ([201], "success", 1),
        ([500, 503], "success", 3),
        ([500, 500, 500], "failed", 3),
        ([202, 400, 302], "failed", 3),
        ([404], "success", 2),
        ([410, 404], "failed", 2),
    ],
    ids=str,
)
def test_webhook_is_sent_again_until_it_is_accepted(api, sandbox, receiver, answers, status, calls):
    receiver.answers.extend(answers)
    job, seen = deliver(api, sandbox, receiver)
    assert (task_of(api, job)["WebhookStatus"], len(seen)) == (status, calls)
    assert sandbox.stats().get("webhooks_given_up", 0) == (status == "failed")


def test_webhook_is_sent_five_more_times_by_default():
    with SandboxThread() as sandbox:
        assert len(sandbox.configure()["webhook_ladder"]) == 5
        with pytest.raises(ValueError, match="at most 5 items"):
            sandbox.configure(webhook_ladder=[0.1] * 6)


def test_pauses_follow_the_clock_of_the_sandbox(api, sandbox, receiver):
    sandbox.configure(webhook_ladder=[3600.0])
    receiver.answers.append(503)
    create(api, receiver.url)
    wait_for_answer(lambda: len(receiver.seen), bool)
    sandbox.advance(3600)
    wait_for_answer(lambda: len(receiver.seen), lambda count: count == 2)


def test_reset_ends_deliveries(api, sandbox, receiver):
    sandbox.configure(webhook_ladder=[0.2])
    receiver.answers.append(503)
    create(api, receiver.url)
    wait_for_answer(lambda: len(receiver.seen), bool)
    sandbox.reset()
    create(api, receiver.url)
    wait_for_answer(sandbox.stats, lambda stats: stats.get("webhooks_accepted"))
    time.sleep(0.25)
    assert len(receiver.seen) == 2


def test_webhook_to_another_machine_or_to_no_receiver_is_given_up(api, sandbox):
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    for one, sent in (("https://hooks.example/", 0), (url, 3)):
        sandbox.reset()
        job = create(api, one)
        wait_for_answer(sandbox.stats, lambda stats: stats.get("webhooks_given_up"))
        assert task_of(api, job)["WebhookStatus"] == "failed"
        assert sandbox.stats().get("webhooks_sent", 0) == sent


def test_task_that_ended_before_the_cancel_has_one_webhook(api, sandbox, receiver):
    job = create(api, receiver.url, "https://a.example/?seconds=0.01", "https://a.example/?seconds=900")
    wait_for_answer(lambda: len(receiver.seen), bool)
    api.delete(f"/jobs/{job['JobID']}")
    wait_for_answer(lambda: len(receiver.seen), lambda count: count == 2)
    assert [json.loads(body)["Status"] for _, body, _ in receiver.seen] == ["success", "canceled"]


def test_burst_uses_few_connections(api, sandbox, receiver):
    sandbox.configure(webhook_concurrency=4)
    receiver.pause = 0.002
    _, seen = deliver(api, sandbox, receiver, *(f"https://a.example/{n}?size=20000&seconds=0.1" for n in range(100)))
    assert len({json.loads(body)["TaskID"] for _, body in seen}) == 100
    assert 1 < receiver.busiest <= 4
    assert receiver.connections <= 4


# Faults


def test_deliveries_are_lost_or_doubled(api, sandbox, receiver):
    sandbox.fault("webhook_lose", target="/lost")
    sandbox.fault("webhook_duplicate", target="/twice")
    _, seen = deliver(api, sandbox, receiver, "https://a.example/lost", "https://a.example/twice")
    assert [json.loads(body)["URL"] for _, body in seen] == ["https://a.example/twice"] * 2
    assert sandbox.stats()["webhooks_lost"] == 1


def test_late_delivery_waits_for_the_clock(api, sandbox, receiver):
    sandbox.fault("webhook_late", seconds=500)
    create(api, receiver.url)
    wait_for_answer(lambda: sandbox.stats().get("webhooks_due"), bool)
    assert "webhooks_sent" not in sandbox.stats()
    sandbox.advance(600)
    wait_for_answer(lambda: len(receiver.seen), bool)


def test_shuffled_deliveries_come_in_another_order(api, sandbox, receiver):
    sandbox.fault("webhook_shuffle", seconds=0.4)
    job, seen = deliver(api, sandbox, receiver, *(f"https://a.example/{n}?seconds=0" for n in range(12)))
    ids = [json.loads(body)["TaskID"] for _, body in seen]
    assert sorted(ids) == sorted(job["TaskIDs"])
    assert ids != job["TaskIDs"]


@pytest.mark.parametrize("more", ["", "reset_after"])
def test_delivery_comes_before_the_answer_of_the_purchase(api, sandbox, receiver, more):
    sandbox.fault("webhook_early", seconds=10, count=2)
    if more:
        sandbox.fault(more, kind="create_job")
    targets = ("https://a.example/1", "https://a.example/2", "https://a.example/3?seconds=900")
    try:
        create(api, receiver.url, *targets)
    except httpx.ReadError:
        assert more
    assert len(receiver.seen) == 2


def test_early_delivery_is_not_awaited_forever(api, sandbox, receiver):
    sandbox.fault("webhook_early", seconds=0.1)
    create(api, receiver.url, "https://a.example/?seconds=900")
    assert receiver.seen == []


@pytest.mark.parametrize(
    ("rule", "content"),
    [
        ({"action": "webhook_trim"}, ""),
        ({"action": "webhook_trim", "size": 9}, "<!doctype"),
        ({"action": "webhook_other_content"}, OTHER_CONTENT),
        ({"action": "webhook_other_content", "body": "<p>"}, "<p>"),
    ],
    ids=str,
)
def test_content_of_a_delivery_differs_from_that_of_the_task(api, sandbox, receiver, rule, content):
    sandbox.fault(**rule)
    job, [(_, body)] = deliver(api, sandbox, receiver)
    task, sent = task_of(api, job), json.loads(body)
    assert (sent["TaskID"], sent["Status"], sent["Content"]) == (task["TaskID"], "success", content)
    assert task["Content"] != content


@pytest.mark.parametrize("value", [None, "other_job"])
def test_delivery_has_the_body_of_another_task(api, sandbox, receiver, value):
    first, _ = deliver(api, sandbox, receiver, "https://a.example/first")
    sandbox.fault("webhook_other_task", value=value, target="/second")
    second, seen = deliver(api, sandbox, receiver, "https://a.example/second?seconds=0.3", "https://a.example/third")
    tasks = [json.loads(body)["TaskID"] for _, body in seen[1:]]
    assert sorted(tasks) == sorted(
        [second["TaskIDs"][1], second["TaskIDs"][1] if value is None else first["TaskIDs"][0]]
    )


@pytest.mark.parametrize(
    ("rule", "body"),
    [
        ({}, HTML),
        ({"body_kind": "empty"}, b""),
        ({"body_kind": "null"}, b"null"),
        ({"body": "anything"}, b"anything"),
    ],
    ids=str,
)
def test_delivery_has_another_body(api, sandbox, receiver, rule, body):
    sandbox.fault("webhook_body", **rule)
    assert deliver(api, sandbox, receiver)[1][0][1] == body


def test_delivery_comes_in_chunks_encoded_and_without_headers(api, sandbox, receiver):
    sandbox.fault("webhook_chunked")
    sandbox.fault("encoding", kind="webhook", value="gzip")
    sandbox.fault("webhook_no_headers")
    _, [(headers, body)] = deliver(api, sandbox, receiver, "https://a.example/?size=20000")
    assert json.loads(gzip.decompress(body))["Status"] == "success"
    assert headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in headers
    assert "X-Hook" not in headers


def test_faults_of_answers_fit_deliveries(api, sandbox, receiver):
    for rule in (
        {"action": "mutate", "value": "upper", "fields": ["Status"]},
        {"action": "headers", "headers": {"X-Hook": "again"}},
        {"action": "unknown_status", "times": 1, "after": 9},
    ):
        sandbox.fault(kind="webhook", **rule)
    _, [(headers, body)] = deliver(api, sandbox, receiver)
    assert json.loads(body)["Status"] == "SUCCESS"
    assert headers["X-Hook"] in {"h", "again"}
    sandbox.fault("mutate", kind="webhook", value="missing", times=1)
    assert deliver(api, sandbox, receiver)[1][-1][1] == b""


def test_slow_delivery_comes_byte_by_byte(api, sandbox, receiver):
    sandbox.fault("webhook_body", body="0123456789")
    sandbox.fault("drip", kind="webhook", seconds=0.03)
    _, [(headers, body)] = deliver(api, sandbox, receiver)
    [call] = [entry for entry in sandbox.log() if entry["kind"] == "webhook"]
    assert (body, headers["Content-Length"]) == (b"0123456789", "10")
    assert call["answered_at"] - call["at"] >= 0.3


@pytest.mark.parametrize(("action", "share"), [("cut", 0.5), ("reset_after", 1.0)])
def test_broken_delivery_is_sent_again(api, sandbox, receiver, action, share):
    sandbox.fault(action, kind="webhook", times=1)
    job, _ = deliver(api, sandbox, receiver)
    whole = wait_for_answer(lambda: [body for _, body, _ in receiver.seen], lambda bodies: len(bodies) == 2)
    assert abs(len(whole[0]) - share * len(whole[1])) < 200
    calls = [entry["status"] for entry in sandbox.log() if entry["kind"] == "webhook"]
    assert calls == ["no_answer", 200]
    assert task_of(api, job)["WebhookStatus"] == "success"


def test_fault_that_does_not_fit_webhooks_is_refused(sandbox):
    with pytest.raises(ValueError, match="status does not fit webhooks; leave kind out, or name another kind"):
        sandbox.fault("status", kind="webhook")


def test_faults_of_answers_spare_deliveries_by_default(api, sandbox, receiver):
    sandbox.fault("mutate", value="missing", fields=["TaskID"])
    sandbox.fault("encoding", value="gzip")
    _, [(headers, body)] = deliver(api, sandbox, receiver)
    assert "TaskID" in json.loads(body)
    assert "Content-Encoding" not in headers
