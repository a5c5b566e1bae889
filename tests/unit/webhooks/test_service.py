"""Test how deliveries reach the store and the broker, and what holds async faces in their bounds."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
from contextlib import suppress

import pytest
from celery.exceptions import OperationalError
from click.testing import CliRunner
from webhook_receivers import HOST, KEY, BoughtPart

from scrape_do_celery import routing
from scrape_do_celery.cli import main
from scrape_do_celery.rules.webhook_tokens import HEADER
from scrape_do_celery.store.codec import pack
from scrape_do_celery.webhooks import lookups, server, service
from scrape_do_celery.webhooks.async_calls import answer_call
from scrape_do_celery.webhooks.core import ACCEPTED, BUSY, FORBIDDEN
from scrape_do_celery.webhooks.service import find_service


def deliver(part, body=None, **headers):
    """Return the answer to a delivery with the secret."""
    service = find_service()
    names = {name.replace("_", "-"): value for name, value in {**part.secret, **headers}.items()}
    intake = service.judge_call("POST", part.path, names.items())
    intake.take_chunk(part.body() if body is None else body)
    return service.end_call(intake)


async def receive(part, chunks, **options):
    """Return the answer of an async face to a delivery in chunks."""
    left = iter([*chunks, b""])

    async def read():
        await asyncio.sleep(0)
        return next(left)

    headers = {**{name.replace("_", "-"): value for name, value in part.secret.items()}, **options}
    return await answer_call("POST", part.path, headers.items(), read)


def test_target_of_a_part_is_read_once_for_all_its_deliveries(part, harness, monkeypatch):
    commands = []
    run = harness.app_context.store.run

    def note(command):
        commands.append(command.script)
        return run(command)

    monkeypatch.setattr(harness.app_context.store, "run", note)
    for at in range(3):
        assert deliver(part, part.body(at)) == ACCEPTED
    assert commands == ["read_delivery_target", *["take_delivery"] * 3]
    assert part.stored == {0, 1, 2}


def test_part_that_has_another_job_now_is_read_again(part, harness):
    assert deliver(part) == ACCEPTED
    harness.set_fields(part.part_id.run_id, job="another", tasks=pack(["a", "b", "c"]))
    part.job_id = "another"
    assert deliver(part, part.body(1, TaskID="b")) == ACCEPTED
    assert part.stored == {0, 1}


def test_targets_of_the_last_parts_only_are_remembered(harness, monkeypatch):
    monkeypatch.setattr(lookups, "_TARGETS", 2)
    cache = find_service()._targets
    parts = [BoughtPart(harness.sync_store, f"run-{number}") for number in range(3)]
    assert all(cache.read(one.part_id) is not None for one in parts)
    cache.find(parts[1].part_id)
    assert [cache.find(one.part_id) is not None for one in parts] == [False, True, True]


def test_part_without_a_job_is_read_for_each_delivery(part, harness):
    harness.set_fields(part.part_id.run_id, job=None, tasks=None, state="submitting")
    assert deliver(part) == ACCEPTED
    assert part.entries != {}
    assert find_service()._targets.find(part.part_id) is None


def test_nearly_full_store_puts_deliveries_off(part, server_info, monkeypatch, caplog):
    monkeypatch.setattr(lookups, "_MEMORY_FOR", -1.0)
    server_info[b"memory"] = b"used_memory:96\r\nmaxmemory:100\r\n"
    assert deliver(part) == BUSY
    assert "the store is nearly full" in caplog.text
    server_info[b"memory"] = b"used_memory:94\r\nmaxmemory:100\r\n"
    assert deliver(part) == ACCEPTED
    assert part.stored == {0}


def test_outage_is_told_once_in_a_while(part, harness, monkeypatch, caplog):
    monkeypatch.setattr(service, "_put_off_pause", service.LogPause(60.0))
    harness.server.connected = False
    assert [deliver(part), deliver(part)] == [BUSY, BUSY]
    assert caplog.text.count("webhooks are answered with 503") == 1


def test_refused_calls_are_told_once_in_a_while(part, monkeypatch, caplog):
    monkeypatch.setattr(service, "_refused_pause", service.LogPause(60.0))
    path = part.path[:-64] + "0" * 64
    assert [find_service().judge_call("POST", path, []) for _ in range(2)] == [FORBIDDEN, FORBIDDEN]
    assert caplog.text.count("answered with 403") == 1
    assert path not in caplog.text


@pytest.mark.parametrize("path", ["/", "/hooks/", "/favicon.ico", "/hooks/wp-login.php"])
def test_call_that_is_no_webhook_is_not_told(part, caplog, path):
    assert find_service().judge_call("GET", path, []) == FORBIDDEN
    assert caplog.text == ""


def test_proven_delivery_of_a_foreign_job_is_told(part, caplog):
    assert deliver(part, part.body(JobID="job-x"), **{HEADER: "wrong"}) == ACCEPTED
    assert caplog.text == ""
    assert deliver(part, part.body(JobID="job-x")) == ACCEPTED
    assert f"{part.part_id}: a webhook with the right header named job job-x" in caplog.text


@pytest.mark.parametrize(
    ("state", "job", "text"),
    [
        ("done", None, "and the part has ended without a job"),
        ("done", "job-x", "perhaps the part was bought twice"),
        ("done", "job", None),
        ("reconciling", None, None),
    ],
)
def test_proven_delivery_after_the_end_of_its_part_is_told(part, harness, caplog, monkeypatch, state, job, text):
    """The API may have refused the `POST`, and call its webhook only then. A retry would buy the targets again."""
    monkeypatch.setattr(service, "_found_pause", service.LogPause(60.0))
    harness.set_fields(part.part_id.run_id, state=state, job=part.job_id.upper() if job == "job" else job)
    assert deliver(part, **{HEADER: "wrong"}) == ACCEPTED
    assert caplog.text == ""
    assert deliver(part) == ACCEPTED
    if text is None:
        assert caplog.text == ""
    else:
        assert f"the right header named job {part.job_id}" in caplog.text
        assert text in caplog.text


def test_proven_delivery_of_a_surplus_task_is_not_told(part, caplog):
    """A job may have more tasks than its part has targets."""
    assert deliver(part, part.body(TaskID="task-x")) == ACCEPTED
    assert (part.stored, part.entries) == (set(), {})
    assert "bought twice" not in caplog.text


def test_delivery_for_a_run_of_a_newer_version_is_put_off(part, harness, caplog):
    key = harness.keys.run(part.part_id.run_id)
    harness.redis.hset(key, "v", 99)
    assert deliver(part) == BUSY
    assert f"a newer version of this package wrote run {part.part_id.run_id}; upgrade this receiver" in caplog.text
    assert part.stored == set()
    harness.redis.hdel(key, "v")
    assert deliver(part) == ACCEPTED
    assert part.stored == {0}


def test_reason_of_a_hint_is_logged_for_debugging(part, caplog):
    with caplog.at_level("DEBUG"):
        assert deliver(part, body=b"no task") == ACCEPTED
    assert f"{part.part_id}: a delivery is only a hint: unreadable" in caplog.text


def test_store_that_has_just_failed_is_not_asked_again_at_once(part, harness, monkeypatch):
    monkeypatch.setattr(service, "_AWAY_FOR", 1.0)
    harness.server.connected = False
    assert deliver(part) == BUSY
    harness.server.connected = True
    assert deliver(part) == BUSY
    find_service()._away_until = 0.0
    assert deliver(part) == ACCEPTED


def test_memory_of_the_store_is_asked_once_in_a_second(part, server_info):
    assert deliver(part) == ACCEPTED
    server_info[b"memory"] = b"used_memory:96\r\nmaxmemory:100\r\n"
    assert deliver(part, part.body(1)) == ACCEPTED


def test_broker_that_is_away_fails_no_delivery(part, harness, monkeypatch):
    def fail(*_, **__):
        raise OperationalError("no broker")

    monkeypatch.setattr(harness.app, "send_task", fail)
    assert deliver(part, b"") == ACCEPTED
    assert harness.due_parts()[str(part.part_id)] <= 6.0


def test_step_does_not_run_inside_the_call_of_an_eager_app(part, harness):
    harness.app.conf.task_always_eager = True
    assert deliver(part, part.body(Status="error")) == ACCEPTED
    assert harness.step_messages() == [(routing.POLL_JOBS, [str(part.part_id)])]


# Async faces


def test_async_faces_hold_bodies_up_to_a_total_size(part):
    room = find_service().room
    size = room._left
    room.take(size - 100)
    assert asyncio.run(receive(part, [part.body()])) == ACCEPTED
    assert (part.stored, room._left) == (set(), 100)
    room.take(100 - size)
    assert asyncio.run(receive(part, [part.body()])) == ACCEPTED
    assert (part.stored, room._left) == ({0}, size)


def test_compressed_body_is_read_beside_the_loop(part, monkeypatch):
    used = set()
    take_chunk = type(find_service().judge_call("POST", part.path, [])).take_chunk
    monkeypatch.setattr(
        "scrape_do_celery.webhooks.core.DeliveryIntake.take_chunk",
        lambda self, chunk: used.add(threading.current_thread().name) or take_chunk(self, chunk),
    )
    body = gzip.compress(part.body())
    assert asyncio.run(receive(part, [body[:50], body[50:]], **{"Content-Encoding": "gzip"})) == ACCEPTED
    assert part.stored == {0}
    assert all(name.startswith("scrape-do-webhook") for name in used)


# The command


async def serve_and(visit):
    """Return the result of `visit(port)`, which runs in a thread while the server answers."""
    ready = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(server.serve("127.0.0.1", 0, ready.set_result))
    port = int((await ready).rpartition(":")[2].strip("/"))
    try:
        return await asyncio.to_thread(visit, port)
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


def test_server_answers_and_cuts_off_senders_of_slow_heads(part, monkeypatch):
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.2)

    def visit(port):
        slow = socket.create_connection(("127.0.0.1", port), timeout=10)
        slow.sendall(f"POST {part.path} HTTP/1.1\r\nHost: {HOST}\r\n".encode())
        head = f"{HEADER}: {part.secret[HEADER.replace('-', '_')]}\r\nConnection: close"
        fast = socket.create_connection(("127.0.0.1", port), timeout=10)
        body = part.body()
        fast.sendall(
            f"POST {part.path} HTTP/1.1\r\nHost: a\r\n{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        with slow, fast:
            return fast.recv(12), slow.recv(1)

    assert asyncio.run(serve_and(visit)) == (b"HTTP/1.1 200", b"")
    assert part.stored == {0}


def test_server_lets_a_careful_sender_go_on_with_the_body(part):
    def visit(port):
        body, secret = part.body(), part.secret[HEADER.replace("-", "_")]
        head = f"Host: a\r\n{HEADER}: {secret}\r\nExpect: 100-continue\r\nContent-Length: {len(body)}"
        with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
            one.sendall(f"POST {part.path} HTTP/1.1\r\n{head}\r\n\r\n".encode())
            leave = one.recv(100)
            one.sendall(body)
            return leave, one.recv(12)

    assert asyncio.run(serve_and(visit)) == (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200")
    assert part.stored == {0}


@pytest.mark.parametrize("fault", ["a folded header", "a method in small letters", "a bad version"])
def test_malformed_call_leaves_no_secret_in_the_log(part, caplog, fault):
    method, version = ("post" if "method" in fault else "POST"), ("HTTP/x" if "version" in fault else "HTTP/1.1")
    secret, fold = part.secret[HEADER.replace("-", "_")], "\r\n" if "header" in fault else ""

    def visit(port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
            # The first call is well formed: aiohttp treats the start of a connection otherwise.
            one.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert one.recv(12) == b"HTTP/1.1 403"
            call = f"{method} {part.path} {version}\r\nHost: a\r\n{HEADER}: {fold} {secret}\r\n\r\n"
            one.sendall(call.encode())
            while chunk := one.recv(1_000):
                if b" 400 " in chunk:
                    return True
        return False

    assert asyncio.run(serve_and(visit))
    assert "Error handling request" not in caplog.text
    assert secret not in caplog.text
    assert part.path not in caplog.text


def test_url_of_the_server_names_its_address():
    assert server._spell_url("127.0.0.1", 80) == "http://127.0.0.1:80/"
    assert server._spell_url("::1", 80, 0, 0) == "http://[::1]:80/"


@pytest.mark.usefixtures("clean_environment")
def test_command_needs_keys():
    done = CliRunner().invoke(main, ["webhook", "--port", "0"])
    assert (done.exit_code, "SCRAPE_DO_WEBHOOK_KEYS is not set" in done.output) == (1, True)


def test_key_is_in_no_repr(part):
    assert KEY.decode() not in repr(find_service().__dict__)
