"""Test that a run is one trace from `enqueue` to its end, with the usual instrumentations of Celery and httpx."""

from __future__ import annotations

import json

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pipeline import TOKEN

from scrape_do_celery import routing
from scrape_do_celery.runs import AppContext

COOKIE, HEADER = "cookie-that-is-private", "header-that-is-private"
STEPS = {"submit", "poll", "fetch", "aggregate", "deliver"}


class Spans:
    """The spans that a worker wrote, by trace."""

    def __init__(self, path):
        self._path = path

    @property
    def text(self):
        return self._path.read_text() if self._path.exists() else ""

    def of(self, trace_id):
        spans = [json.loads(line) for line in self.text.splitlines() if line.endswith("}")]
        return [span for span in spans if span["context"]["trace_id"] == f"0x{trace_id:032x}"]


@pytest.fixture
def spans(pipeline):
    return Spans(pipeline.folder / "spans.jsonl")


@pytest.fixture
def traced():
    """Return a function that calls another in a span of this process, and returns its result and the exported span."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def call(work):
        with provider.get_tracer("test").start_as_current_span("enqueue"):
            result = work()
        return result, exporter.get_finished_spans()[-1]

    return call


def named(spans, name):
    return [span for span in spans if span["name"] == name]


def links(span):
    return [link["context"]["span_id"] for link in span["links"]]


def parents(spans, method, path):
    """Return the names of the spans in which such requests were made."""
    names = {span["context"]["span_id"]: span["name"] for span in spans}
    return {
        names[span["parent_id"]]
        for span in spans
        if span["name"] == method and path in (span["attributes"].get("http.url") or span["attributes"]["url.full"])
    }


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_run_is_one_trace(pipeline, spans, traced, eventually, monkeypatch, pool):
    with monkeypatch.context() as quiet:
        # Publish nothing yet: one step message for both runs follows below.
        quiet.setattr(AppContext, "publish", lambda *_, **__: True)
        runs = [
            traced(lambda n=n: pipeline.enqueue([f"https://a.example/{n}"], set_cookies=f"a={COOKIE}"))
            for n in range(2)
        ]
    # The first fetch of a page by the poll step fails, so that the fetch step runs, too.
    for number in range(2):
        pipeline.sandbox.fault("status", kind="get_task", status=503, times=1, target=f"a.example/{number}")
    handles = [handle for handle, _ in runs]
    pipeline.app_context.publish(routing.SUBMIT_JOBS, [f"{handle.run_id}:0" for handle in handles])
    # A step keeps the trace of its sender. A run without a trace has no spans.
    scraped, sender = traced(lambda: pipeline.scrape(targets=["https://a.example/"], headers={"X-Mine": HEADER}))
    untraced = pipeline.enqueue(["https://a.example/untraced"])
    pipeline.work(pool=pool, concurrency=1, SPANS=str(spans._path), POOL=pool, app="app_with_tracing")
    messages = set()
    for handle, root in runs:
        handle.result(timeout=60)
        trace_id, job = root.context.trace_id, handle.job.job_id
        # The delivery under the caller's id belongs to the run's trace, and so do callbacks.
        eventually(lambda of=trace_id: named(spans.of(of), f"run/{routing.DELIVER_OUTCOME}"))
        found = spans.of(trace_id)
        mine = [span for span in found if span["name"].startswith("scrape_do.")]
        assert {span["name"].removeprefix("scrape_do.") for span in mine} == STEPS
        # Each of our spans is a child of the caller's span, and links to the Celery step in which it was made.
        assert {span["parent_id"] for span in mine} == {f"0x{root.context.span_id:016x}"}
        assert all(len(links(span)) == 1 for span in mine)
        assert {span["attributes"]["scrape_do_celery.run_id"] for span in mine} == {handle.run_id}
        assert parents(found, "POST", "/api/v1/jobs") == {"scrape_do.submit"}
        assert parents(found, "GET", f"/api/v1/jobs/{job}") == {"scrape_do.poll", "scrape_do.fetch"}
        assert parents(found, "GET", f"/api/v1/jobs/{job}/") == {"scrape_do.poll", "scrape_do.fetch"}
        messages |= {link for span in named(mine, "scrape_do.submit") for link in links(span)}
    assert len(messages) == 1
    scraped.get(timeout=60)
    ended = eventually(lambda: named(spans.of(sender.context.trace_id), "scrape_do.deliver"))
    assert ended[0]["parent_id"] == f"0x{sender.context.span_id:016x}"
    untraced.result(timeout=60)
    assert f'"scrape_do_celery.run_id": "{untraced.run_id}"' not in spans.text
    assert len({root.context.trace_id for _, root in runs}) == 2
    assert spans.text
    assert TOKEN not in spans.text
    assert COOKIE not in spans.text
    assert HEADER not in spans.text
