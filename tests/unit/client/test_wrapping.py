"""What wraps httpx's own transports wraps ours: the instrumentation of OpenTelemetry, tried as it is."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scrape_do_celery.client import AsyncScrapeDoAsyncAPIClient, ScrapeDoAsyncAPIClient
from scrape_do_celery.client._reading import ReadingTransport
from scrape_do_celery.client._wrapping import wrapped_as
from scrape_do_celery.errors import APIConnectionError

TOKEN = "tok-5ecret/value"
HOOKED = "hook.was.asked"


@pytest.fixture
def exporter():
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


def read(url):
    async def go():
        async with AsyncScrapeDoAsyncAPIClient(
            TOKEN, base_url=url, max_retries=0, transport=ReadingTransport(2)
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
    assert TOKEN not in span.to_json()


@pytest.mark.parametrize("call", [read, buy, block])
def test_one_that_fails_is_a_span_too(exporter, call):
    with pytest.raises(APIConnectionError):
        call("http://127.0.0.1:9")
    (span,) = exporter.get_finished_spans()
    assert TOKEN not in span.to_json()


@pytest.mark.parametrize("call", [read, buy, block])
def test_without_an_instrumentation_there_is_none(sandbox, exporter, call):
    HTTPXClientInstrumentor().uninstrument()
    call(sandbox.url)
    assert exporter.get_finished_spans() == ()


def test_what_nothing_wraps_is_left_as_it_is():
    def ours(request):
        return request

    assert wrapped_as(httpx.HTTPTransport.handle_request, ours) is ours
