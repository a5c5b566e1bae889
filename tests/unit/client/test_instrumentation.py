"""Test that OpenTelemetry's instrumentation of httpx's transports covers ours."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import aiohttp
import httpx
import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scrape_do_celery.client import AsyncScrapeDoAsyncAPIClient, ScrapeDoAsyncAPIClient
from scrape_do_celery.client.instrumentation import instrumented, instrumented_async, unwrapped
from scrape_do_celery.client.pooled_reads import PooledReadTransport
from scrape_do_celery.errors import APIConnectionError, ScrapeDoError

TOKEN = "tok-5ecret/value"
HOOKED = "hook.was.asked"


@pytest.fixture
def exporter(monkeypatch):
    # The most extensive setting that a user may choose.
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST", ".*")
    made, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))

    async def hook(span, _):
        span.set_attribute(HOOKED, True)

    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(
        tracer_provider=provider, async_request_hook=hook, request_hook=lambda span, _: span.set_attribute(HOOKED, True)
    )
    yield made
    instrumentor.uninstrument()


@pytest.fixture
def echoing():
    """Return a peer that answers each request with the same bytes."""
    servers = []

    def serve(answer):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def loop():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(65_536)
                        connection.sendall(answer)

        threading.Thread(target=loop, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield serve
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def read(url):
    async def go():
        async with AsyncScrapeDoAsyncAPIClient(
            TOKEN, base_url=url, max_retries=0, transport=PooledReadTransport(2)
        ) as client:
            return await client.get_user_info()

    return asyncio.run(go())


def buy(url):
    async def go():
        async with AsyncScrapeDoAsyncAPIClient(TOKEN, base_url=url, max_retries=0) as client:
            return await client.create_job(targets=["https://a.example/"])

    return asyncio.run(go())


def block(url):
    with ScrapeDoAsyncAPIClient(TOKEN, base_url=url, max_retries=0) as client:
        return client.get_user_info()


@pytest.mark.parametrize(("call", "method"), [(read, "GET"), (buy, "POST"), (block, "GET")])
def test_each_request_is_one_span_without_the_token(sandbox, exporter, call, method):
    call(sandbox.url)
    (span,) = exporter.get_finished_spans()
    assert span.name == method
    assert span.attributes[HOOKED] is True
    assert "http.request.header.accept" in span.attributes
    assert TOKEN not in span.to_json()


def test_tracing_of_all_aiohttp_sessions_sees_nothing(sandbox, monkeypatch):
    """Trace aiohttp sessions as aiohttp's own instrumentation does, which may record each header."""
    seen, made = [], aiohttp.ClientSession.__init__

    async def note(_session, _context, params):
        seen.append(params.headers)

    def init(self, *args, **options):
        watch = aiohttp.TraceConfig()
        watch.on_request_start.append(note)
        made(self, *args, **options, trace_configs=[watch])

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", init)
    read(sandbox.url)
    assert seen == []


@pytest.mark.parametrize("call", [read, buy, block])
def test_failed_request_is_a_span(exporter, call):
    with pytest.raises(APIConnectionError):
        call("http://127.0.0.1:9")
    (span,) = exporter.get_finished_spans()
    assert TOKEN not in span.to_json()


@pytest.mark.parametrize("call", [read, buy, block])
def test_without_an_instrumentation_there_is_none(sandbox, exporter, call):
    HTTPXClientInstrumentor().uninstrument()
    call(sandbox.url)
    assert exporter.get_finished_spans() == ()


def test_unwrapped_function_is_returned_unchanged():
    def ours(request):
        return request

    theirs = httpx.HTTPTransport.handle_request
    assert instrumented(theirs, ours) is instrumented_async(theirs, ours) is ours
    assert unwrapped(theirs) is theirs


@pytest.mark.parametrize("call", [read, buy, block])
@pytest.mark.parametrize("echo", ["HTTP/1.1 {} OK", "{}"])
def test_echoed_token_does_not_reach_a_span(echoing, exporter, call, echo):
    with pytest.raises(ScrapeDoError) as caught:
        call(echoing(f"{echo.format(TOKEN)}\r\n\r\n".encode()))
    (span,) = exporter.get_finished_spans()
    assert span.events
    assert TOKEN not in span.to_json() + str(caught.value)


def test_an_error_is_otherwise_noted_as_it_is(echoing, exporter):
    with pytest.raises(ScrapeDoError):
        buy(echoing(b"nonsense\r\n\r\n"))
    assert "nonsense" in exporter.get_finished_spans()[0].to_json()


def test_a_request_without_a_token_is_sent_without_one(exporter):
    seen = []

    def ours(request):
        seen.append("X-Token" in request.headers)
        return httpx.Response(200)

    instrumented(httpx.HTTPTransport.handle_request, ours)(httpx.Request("GET", "http://a.example/"))
    assert seen == [False]
    assert len(exporter.get_finished_spans()) == 1
