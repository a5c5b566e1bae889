"""Test malicious or broken answers through all three transports, from a real socket."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import tracemalloc
import zlib
from contextlib import suppress

import httpx
import pytest

from scrape_do_celery.client import (
    AsyncScrapeDoAsyncAPIClient,
    ScrapeDoAsyncAPIClient,
    SubmitFailure,
    classify_submit_error,
)
from scrape_do_celery.client.pooled_reads import PooledReadTransport
from scrape_do_celery.errors import (
    APIConnectionError,
    AsyncAPINotFoundError,
    AsyncAPITooLargeError,
    AsyncAPIUnparsableResponseError,
    SubmitInDoubtError,
)

MB = 1_048_576
TASK = b'{"JobID":"j1","TaskID":"t1","Status":"success","Content":"page"}'


@pytest.fixture(params=["sync", "async", "reading"])
def use(request):
    """Return a function that makes one call, `name(*arguments)`, over the transport of this kind."""

    def call(url, name, *arguments, **options):
        options = {"base_url": url, "max_retries": 0, **options}
        if request.param == "sync":
            with ScrapeDoAsyncAPIClient("tok", **options) as client:
                return getattr(client, name)(*arguments)
        if request.param == "reading":
            options["transport"] = PooledReadTransport(2)
        return asyncio.run(_call(name, arguments, options))

    return call


async def _call(name, arguments, options):
    async with AsyncScrapeDoAsyncAPIClient("tok", **options) as client:
        return await getattr(client, name)(*arguments)


def request_line(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(65536)
        if not more:
            break
        head += more
    return head.partition(b"\r\n")[0]


def answering(body, *headers, status=b"200 OK", length=None):
    """Return the handler of a server with one answer. `received` has the request line, and "cut" if the client left."""

    def handler(connection, server):
        if not (line := request_line(connection)):
            return
        server.received.append(line)
        size = len(body) if length is None else length
        head = b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % size])
        try:
            connection.sendall(head + b"\r\n\r\n" + body)
        except OSError:
            server.received.append("cut")

    return handler


@pytest.fixture(scope="module")
def bomb():
    """Return 400 MB of zeros in 400 kB of gzip."""
    stream, zeros = zlib.compressobj(9, wbits=31), bytes(MB)
    return b"".join([stream.compress(zeros) for _ in range(400)]) + stream.flush()


def peak_of(act):
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["get_task", "get_job", "list_jobs"])
def test_a_bomb_ends_at_the_limit(use, serve, bomb, name):
    url = serve(answering(bomb, b"Content-Encoding: gzip")).url
    arguments = {"get_task": ("j1", "t1"), "get_job": ("j1",)}.get(name, ())

    def act():
        with pytest.raises(AsyncAPITooLargeError) as caught:
            use(url, name, *arguments, max_page_bytes=MB)
        assert caught.value.limit == MB

    assert peak_of(act) < 8 * MB


def test_a_bomb_as_a_refusal_keeps_its_status(use, serve, bomb):
    url = serve(answering(bomb, b"Content-Encoding: gzip", status=b"404 Not Found")).url

    def act():
        with pytest.raises(AsyncAPINotFoundError) as caught:
            use(url, "get_job", "j1")
        assert not caught.value.is_api_error

    assert peak_of(act) < 16 * MB


def test_page_over_the_limit_is_not_read_completely(use, serve):
    server = serve(answering(b"x" * 64 * MB))
    with pytest.raises(AsyncAPITooLargeError):
        use(server.url, "get_task", "j1", "t1", max_page_bytes=MB)
    server.finish()
    assert server.received == [b"GET /api/v1/jobs/j1/t1 HTTP/1.1", "cut"]


@pytest.mark.parametrize(
    ("body", "headers", "text"),
    [
        (gzip.compress(bytes(2 * MB)), [b"Content-Encoding: gzip"], "more than 1048576 bytes"),
        (b"\x0b\x02\x80", [b"Content-Encoding: br"], "its encoding 'br' cannot be decoded"),
        (gzip.compress(b'{"JobID":"j1"}')[:-1], [b"Content-Encoding: gzip"], "its gzip body ends too early"),
        (zlib.compress(b'{"JobID":"j1"}')[:-1] + b"?", [b"Content-Encoding: deflate"], "its deflate body is corrupt"),
        (b'{"JobID":"j1"}', [b"X-Bad\x01Name: 1"], "illegal header line"),
    ],
    ids=["too large", "encoding", "cut", "corrupt", "header"],
)
def test_a_purchase_with_such_an_answer_is_in_doubt(world, serve, body, headers, text):
    url = serve(answering(body, *headers, status=b"201 Created")).url
    with pytest.raises(SubmitInDoubtError, match=text):
        world.run(
            lambda client: client.create_job(targets=["https://a.example/"]),
            mock=False,
            base_url=url,
            max_page_bytes=MB,
        )


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "identity"])
def test_compressed_answers_are_read(use, serve, encoding):
    body = {"deflate": zlib.compress, "identity": bytes}.get(encoding, gzip.compress)(TASK)
    url = serve(answering(body, b"Content-Encoding: " + encoding.encode())).url
    assert use(url, "get_task", "j1", "t1").content == "page"


def test_other_encodings_are_named_and_kept(use, serve):
    url = serve(answering(b"\x28\xb5\x2f\xfd", b"Content-Encoding: zstd")).url
    with pytest.raises(AsyncAPIUnparsableResponseError, match="its encoding 'zstd' cannot be decoded") as caught:
        use(url, "get_task", "j1", "t1")
    assert (caught.value.body, caught.value.is_api_object) == (b"\x28\xb5\x2f\xfd", False)


@pytest.mark.parametrize(
    ("body", "length"), [(TASK, len(TASK) + 1), (gzip.compress(TASK)[:-1], None)], ids=["length", "gzip"]
)
def test_a_cut_answer_is_no_answer(use, serve, body, length):
    encoding = b"Content-Encoding: " + (b"gzip" if length is None else b"identity")
    with pytest.raises(APIConnectionError) as caught:
        use(serve(answering(body, encoding, length=length)).url, "get_task", "j1", "t1")
    assert classify_submit_error(caught.value) is SubmitFailure.UNKNOWN


@pytest.mark.parametrize("size", [9_000, 65_000])
def test_long_header_lines_are_read(use, serve, size):
    headers = [b"X-Long: " + b"x" * size, b"X-%s: 1" % (b"y" * 9_000)]
    url = serve(answering(TASK, *headers)).url
    assert use(url, "get_task", "j1", "t1").content == "page"


def test_many_header_lines_are_read(use, serve):
    url = serve(answering(TASK, *[b"X-%d: 1" % number for number in range(200)])).url
    assert use(url, "get_task", "j1", "t1").content == "page"


@pytest.mark.parametrize("lines", [1, 500])
def test_headers_without_end_are_no_answer(use, serve, lines):
    headers = [b"X-%d: " % number + b"x" * (400_000 // lines * 10) for number in range(lines)]
    with pytest.raises(APIConnectionError):
        use(serve(answering(TASK, *headers)).url, "get_task", "j1", "t1")


@pytest.mark.parametrize(
    ("identifier", "path"),
    [
        ("a%2Fb", b"a%252Fb"),
        ("a/b", b"a%2Fb"),
        ("..%2f", b"..%252f"),
        ("%2e%2e", b"%252e%252e"),
        ("../..", b"..%2F.."),
        ("...", b"..."),
        ("a?b#c", b"a%3Fb%23c"),
        ("a+b&c=d;e", b"a%2Bb%26c%3Dd%3Be"),
        ("!$'()*,:@[]^`{|}~", b"%21%24%27%28%29%2A%2C%3A%40%5B%5D%5E%60%7B%7C%7D~"),
        ('"<>\\', b"%22%3C%3E%5C"),
    ],
)
def test_ids_arrive_byte_for_byte_as_one_segment(use, serve, identifier, path):
    server = serve(answering(b'{"Status":"success","Content":""}'))
    task = use(server.url, "get_task", identifier, identifier)
    assert (task.job_id, task.task_id) == (identifier, identifier)
    assert server.received[0] == b"GET /api/v1/jobs/" + path + b"/" + path + b" HTTP/1.1"


def test_large_page_under_its_target_status_is_read_completely(use, serve):
    page = json.dumps({"TaskID": "t1", "Status": "success", "Content": "a" * (MB + 1)}).encode()
    server = serve(answering(page, status=b"404 Not Found"))
    assert len(use(server.url, "get_task", "j1", "t1").content) == MB + 1


def test_filters_arrive_as_they_are(use, serve):
    server = serve(answering(b'{"Jobs":[]}'))
    use(server.url, "list_jobs")
    assert server.received[0] == b"GET /api/v1/jobs HTTP/1.1"


def test_only_gzip_is_offered(use, serve):
    heads = []

    def handler(connection, _server):
        heads.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(TASK) + TASK)

    use(serve(handler).url, "get_task", "j1", "t1")
    lines = [line for line in heads[0].lower().split(b"\r\n") if line.startswith(b"accept-encoding")]
    assert lines == [b"accept-encoding: gzip"]


def test_a_transport_that_never_sent_is_closed():
    asyncio.run(PooledReadTransport(1).aclose())


def test_connection_is_reused_only_after_a_complete_answer(serve):
    sizes = [len(TASK), len(TASK), 4 * MB, len(TASK)]
    connections = []

    def handler(connection, server):
        connections.append(connection)
        # The client resets the connection if it stops reading an answer.
        with suppress(OSError):
            while request_line(connection):
                body = TASK.ljust(sizes[len(server.received)])
                server.received.append(len(connections))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    server = serve(handler)

    async def go():
        async with AsyncScrapeDoAsyncAPIClient(
            "tok", base_url=server.url, max_retries=0, max_page_bytes=MB, transport=PooledReadTransport(1)
        ) as client:
            for size in sizes:
                try:
                    await client.get_task("j1", "t1")
                except AsyncAPITooLargeError:
                    assert size > MB

    asyncio.run(go())
    assert server.received == [1, 1, 1, 2]


class Streamed(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that may fail while it is read or closed."""

    def __init__(self, *, read=None, close=None):
        self._read, self._close = read, close

    def __iter__(self):
        yield b'{"JobID":"j1","TaskIDs":["t1"]}'
        if self._read:
            raise self._read

    async def __aiter__(self):
        for chunk in self:
            yield chunk

    def close(self):
        if self._close:
            raise self._close

    async def aclose(self):
        self.close()


BROKEN = [
    ssl.SSLError(1, "bad mac"),
    UnicodeDecodeError("ascii", b"\xff", 0, 1, "no"),
    zlib.error("bad"),
    OSError(5, "io"),
]


def transport(stream):
    answer = lambda _: httpx.Response(201, stream=stream)  # noqa: E731
    return httpx.MockTransport(answer)


def buy(world, stream):
    options = {"max_retries": 0, "mock": False, "transport": transport(stream)}
    return world.run(lambda client: client.create_job(targets=["https://a.example/"]), **options)


@pytest.mark.parametrize("error", BROKEN, ids=repr)
def test_any_error_while_a_purchases_answer_is_read_leaves_it_in_doubt(world, error):
    with pytest.raises(SubmitInDoubtError) as caught:
        buy(world, Streamed(read=error, close=RuntimeError("again")))
    assert str(error) in str(caught.value)
    assert caught.value.__cause__.__cause__ is error


def test_an_error_of_the_farewell_loses_no_purchase(world):
    assert buy(world, Streamed(close=ssl.SSLError("close notify"))).job_id == "j1"


def test_fields_that_took_their_default_are_told(world):
    told, failing = [], []
    world.answers = [(200, {"JobID": "j1", "Status": "queued", "Canceled": {}, "AcquiredConcurrency": "many"})]
    world.run(lambda client: client.get_job("j1"), on_default=lambda *one: told.append(one))
    assert sorted(told) == [("JobDetails", "acquired_concurrency"), ("JobDetails", "canceled")]
    job = world.run(lambda client: client.get_job("j1"), on_default=lambda *one: failing.append(one) or 1 / 0)
    assert (job.status, len(failing)) == ("queued", 1)


def test_fields_are_told_of_an_answer_that_is_refused_too(world):
    told = []
    world.answers = [(200, {"Status": "queued", "Canceled": {}, "JobID": "other"})]
    with pytest.raises(AsyncAPIUnparsableResponseError):
        world.run(lambda client: client.get_job("j1"), on_default=lambda *one: told.append(one))
    assert told == [("JobDetails", "canceled")]


def test_a_limit_is_above_zero(world):
    with pytest.raises(ValueError, match="max_page_bytes"):
        world.run(lambda _: None, max_page_bytes=0)


def test_cleanup_error_does_not_hide_a_before_send_error(world):
    class Wrapping(httpx.HTTPTransport, httpx.AsyncHTTPTransport):
        """A transport like httpx's that raises its own error after the caller's error."""

        def __init__(self):
            pass

        def handle_request(self, request):
            try:
                request.extensions["trace"]("http11.send_request_headers.started", {})
            except PermissionError:
                raise OSError("cleanup") from None

        async def handle_async_request(self, request):
            try:
                await request.extensions["trace"]("http11.send_request_headers.started", {})
            except PermissionError:
                raise OSError("cleanup") from None

        def close(self):
            pass

        async def aclose(self):
            pass

    def refuse():
        raise PermissionError("the lease is gone")

    with pytest.raises(PermissionError):
        world.run(
            lambda c: c.create_job(targets=["https://a.example/"], before_send=world.hook(refuse)),
            mock=False,
            transport=Wrapping(),
        )
    assert world.sleeps == []


def test_errors_of_a_limit_are_json():
    error = AsyncAPITooLargeError("m", 200, "", False, 5)
    assert json.loads(json.dumps(error.to_json()))["args"] == ["m", 200, "", False, 5]


@pytest.mark.parametrize("encoding", ["plain", "gzip"])
def test_waiting_for_page_memory_does_not_use_the_timeout(serve, encoding):
    page = json.dumps({"JobID": "j1", "TaskID": "t1", "Status": "success", "Content": "x" * 3 * MB}).encode()
    headers = [b"Content-Encoding: gzip"] if encoding == "gzip" else []
    url = serve(answering(gzip.compress(page) if headers else page, *headers)).url
    waits = []

    async def large_page():
        waits.append(1)
        await asyncio.sleep(1.2)

    options = {"base_url": url, "max_retries": 0, "timeout": 1.0, "large_page": large_page}
    task = asyncio.run(_call("get_task", ("j1", "t1"), {**options, "transport": PooledReadTransport(2)}))
    assert (len(task.content), waits) == (3 * MB, [1])


def test_a_small_page_waits_for_nothing(serve):
    async def large_page():
        raise AssertionError("a small page asked for the turn of large ones")

    url = serve(answering(TASK)).url
    options = {"base_url": url, "max_retries": 0, "large_page": large_page}
    assert asyncio.run(_call("get_task", ("j1", "t1"), options)).content == "page"
