"""Test against real sockets what a mock transport cannot show."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time

import httpcore
import httpx
import pytest

from scrape_do_celery.client import ScrapeDoAsyncAPIClient, SubmitFailure, classify_submit_error, transports
from scrape_do_celery.client.pooled_reads import PooledReadTransport
from scrape_do_celery.errors import APIConnectionError, SubmitInDoubtError
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.rules.submit import failure_kind

REQUEST = JobCreationRequest(targets=["https://a.example/"])
JOB = b'{"JobID":"j1","Status":"success"}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(JOB)
PAD = b" " * 150


def request_of(connection, server):
    """Read and record the next request on the connection. Return b"" if there is none."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(65536)
        if not more:
            break
        head += more
    server.received.append(head)
    return head


def answering(connection, server):
    while request_of(connection, server):
        connection.sendall(HEAD + JOB)


def dripping(whole):
    """Return a handler that sends `whole` at 20 ms per byte. The answer would be complete and valid in the end."""

    def drip(connection, server):
        request_of(connection, server)
        try:
            for byte in whole:
                connection.sendall(bytes([byte]))
                time.sleep(0.02)
        except OSError:
            server.received.append("cut")

    return drip


SLOW_BODY = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 183\r\n\r\n" + PAD + JOB)
SLOW_HEAD = dripping(b"HTTP/1.1 200 OK\r\nX-Pad: " + b"x" * 150 + b"\r\nContent-Length: 33\r\n\r\n" + JOB)


def resetting(connection, server):
    request_of(connection, server)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("drip", [SLOW_BODY, SLOW_HEAD], ids=["body", "head"])
def test_the_deadline_is_total(world, serve, drip):
    server = serve(drip)
    with pytest.raises(APIConnectionError) as caught:
        world.run(lambda c: c.get_job("j1", timeout=0.3), mock=False, base_url=server.url, max_retries=0)
    assert classify_submit_error(caught.value) is SubmitFailure.UNKNOWN


def test_a_post_cut_by_the_deadline_is_in_doubt(world, serve):
    server = serve(SLOW_BODY)
    with pytest.raises(SubmitInDoubtError):
        world.run(lambda c: c.create_job(REQUEST), mock=False, base_url=server.url, timeout=0.3)
    assert len([one for one in server.received if one != "cut"]) == 1


def test_reset_post_is_in_doubt_and_not_resent(world, serve):
    server = serve(resetting)
    with pytest.raises(SubmitInDoubtError):
        world.run(lambda c: c.create_job(REQUEST), mock=False, base_url=server.url)
    assert len(server.received) == 1


def test_a_get_that_was_reset_is_sent_again(world, serve):
    server = serve(lambda connection, server: (answering if server.received else resetting)(connection, server))
    job = world.run(lambda c: c.get_job("j1"), mock=False, base_url=server.url)
    assert job.is_success
    assert len([one for one in server.received if one]) == 2


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_a_refused_connection_is_not_sent(world):
    with pytest.raises(APIConnectionError) as caught:
        world.run(lambda c: c.create_job(REQUEST), mock=False, base_url=f"http://127.0.0.1:{closed_port()}")
    assert (failure_kind(caught.value), classify_submit_error(caught.value)) == ("ConnectError", SubmitFailure.NOT_SENT)
    assert len(world.sleeps) == 3


def test_a_failed_handshake_is_not_sent(world, serve):
    def plain(connection, _server):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 this is not TLS\r\n\r\n")

    server = serve(plain)
    with pytest.raises(APIConnectionError) as caught:
        world.run(
            lambda c: c.create_job(REQUEST), mock=False, base_url=server.url.replace("http:", "https:"), max_retries=0
        )
    assert classify_submit_error(caught.value) is SubmitFailure.NOT_SENT


def test_before_send_runs_after_connect_and_may_stop_every_byte(world, serve):
    server = serve(request_of)
    connected = []

    def refuse():
        connected.append(server.accepted.wait(5))
        raise PermissionError("the lease is gone")

    with pytest.raises(PermissionError, match="lease"):
        world.run(lambda c: c.create_job(REQUEST, before_send=world.hook(refuse)), mock=False, base_url=server.url)
    server.finish()
    assert connected == [True]
    assert server.received == [b""]


def test_before_send_then_the_bytes(world, serve):
    server = serve(answering)
    seen = []
    world.run(
        lambda c: c.create_job(REQUEST, before_send=world.hook(lambda: seen.append(list(server.received)))),
        mock=False,
        base_url=server.url,
    )
    assert seen == [[]]
    assert server.received[0].startswith(b"POST /api/v1/jobs HTTP/1.1\r\n")


def test_a_before_send_that_outlasts_the_deadline(world, serve):
    """Exceed the deadline: asyncio cancels the hook, a thread cannot. In both clients no byte may leave afterwards."""
    server = serve(request_of)

    async def slow():
        await asyncio.sleep(0.5)

    hook = slow if world.colour == "async" else lambda: time.sleep(0.5)
    with pytest.raises((APIConnectionError, SubmitInDoubtError)):
        world.run(
            lambda c: c.create_job(REQUEST, before_send=hook, timeout=0.2),
            mock=False,
            base_url=server.url,
            max_retries=0,
        )
    server.finish()
    assert server.received == [b""]


def test_waiting_for_a_connection_is_not_sent(world, serve):
    release = threading.Event()

    def stuck(connection, server):
        request_of(connection, server)
        release.wait(10)

    server = serve(stuck)

    def blocking(client):
        first = threading.Thread(target=pytest.raises, args=(APIConnectionError, client.get_job, "j1"))
        first.start()
        server.accepted.wait(5)
        try:
            client.get_job("j2", timeout=0.1)
        finally:
            release.set()
            first.join()

    async def waiting(client):
        first = asyncio.create_task(client.get_job("j1"))
        await asyncio.to_thread(server.accepted.wait, 5)
        try:
            await client.get_job("j2", timeout=0.1)
        finally:
            release.set()
            with pytest.raises(APIConnectionError):
                await first

    with pytest.raises(APIConnectionError) as caught:
        world.run(
            blocking if world.colour == "sync" else waiting,
            mock=False,
            base_url=server.url,
            concurrency=1,
            max_retries=0,
        )
    assert classify_submit_error(caught.value) is SubmitFailure.NOT_SENT


def test_httpx_own_transport_tells_of_departure_too(serve):
    server = serve(answering)
    seen = []
    transport = httpx.HTTPTransport()
    with ScrapeDoAsyncAPIClient("tok", base_url=server.url, transport=transport) as client:
        client.create_job(REQUEST, before_send=lambda: seen.append((server.accepted.wait(5), list(server.received))))
    assert seen == [(True, [])]


def test_connections_are_kept_for_two_seconds_only(world, serve):
    server = serve(answering)

    def limits(client):
        pool = client._http._pool
        return pool._keepalive_expiry, pool._max_connections

    found = []

    def use(client):
        found.append(limits(client))
        return client.get_job("j1")

    world.run(use, mock=False, base_url=server.url, concurrency=3)
    assert found == [(2.0, 3)]


def test_a_connect_that_ends_past_the_deadline_is_closed():
    closed = []

    class Slow:
        def connect_tcp(self, **_):
            while True:
                try:
                    transports._seconds_left(httpcore.ConnectTimeout)
                except httpcore.ConnectTimeout:
                    return self

        def close(self):
            closed.append(True)

    backend = transports._DeadlineBackend()
    backend._inner = Slow()
    with pytest.raises(httpcore.ConnectTimeout), transports._keep_deadline(time.monotonic() + 0.01):
        backend.connect_tcp(host="a.example", port=80)
    assert closed == [True]


def test_a_large_body_is_written_under_the_deadline():
    written = []

    class Sink:
        def write(self, buffer, timeout):
            written.append((len(buffer), timeout <= 5))

    with transports._keep_deadline(time.monotonic() + 5):
        transports._DeadlineStream(Sink()).write(b"x" * 150_000)
    assert written == [(65_536, True), (65_536, True), (18_928, True)]


def babbling(connection, server):
    request_of(connection, server)
    connection.sendall(b"this is no HTTP\r\n\r\n")


@pytest.mark.parametrize("server", [babbling, resetting], ids=["no HTTP", "reset"])
def test_a_read_that_fails_shows_no_header_of_its_own(serve, server):
    url = f"{serve(server).url}/api/v1/me"

    async def read():
        async with PooledReadTransport(1) as transport:
            with pytest.raises(httpx.TransportError) as caught:
                await transport.handle_async_request(httpx.Request("GET", url, headers={"X-Token": "secret"}))
        return caught.value

    error = asyncio.run(read())
    assert str(error.request.url) == url
    assert error.__cause__ is None
    assert "secret" not in f"{error!r}{error.__context__!r}"
