"""Test the trace in a run's record and the spans of its work. Without tracing, neither exists."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from scrape_do_celery import routing, tracing
from scrape_do_celery.routing import Step
from scrape_do_celery.runs import AppContext, enqueue
from scrape_do_celery.runs.drafts import create_draft
from scrape_do_celery.steps.aggregate import decide_run
from scrape_do_celery.steps.runner import StepDefinition, run_step
from scrape_do_celery.steps.schedule import start_scheduled_run
from scrape_do_celery.store import PartState
from scrape_do_celery.store.commands.creation import ScheduleTick
from scrape_do_celery.store.commands.runs import ReadOutcome

TRACE, SPAN = 0xABCDEF, 0x1234
KEPT = f"00-{TRACE:032x}-{SPAN:016x}-01"


@pytest.fixture
def exporter(monkeypatch):
    """Return an exporter of our spans, without changing the process's own provider."""
    made = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return made


@pytest.fixture
def caller():
    """Set the caller's span as the present span, and return its context."""
    present = SpanContext(TRACE, SPAN, is_remote=False, trace_flags=TraceFlags(1), trace_state=TraceState([("a", "1")]))
    with trace.use_span(trace.NonRecordingSpan(present)):
        yield present


def test_outside_of_a_span_nothing_is_kept():
    assert tracing.current() == ""


def test_a_span_is_kept_as_the_w3c_writes_it(caller):
    assert tracing.current() == f"{KEPT} a=1"


def test_unsampled_trace_is_not_stored():
    provider = TracerProvider(sampler=ALWAYS_OFF)
    with provider.get_tracer("test").start_as_current_span("dropped"):
        assert tracing.current() == ""


def test_step_span_is_in_the_stored_trace_with_a_link(exporter, caller):
    with tracing.work("00-" + "1" * 32 + "-" + "2" * 16 + "-01 b=2", "scrape_do.poll", run_id="r", part=0):
        inside = trace.get_current_span().get_span_context()
    (span,) = exporter.get_finished_spans()
    assert (span.name, dict(span.attributes)) == (
        "scrape_do.poll",
        {"scrape_do_celery.run_id": "r", "scrape_do_celery.part": 0},
    )
    assert f"{span.context.trace_id:x}" == "1" * 32
    assert f"{span.parent.span_id:x}" == "2" * 16
    assert span.context.trace_state.get("b") == "2"
    assert span.context.span_id == inside.span_id
    assert [link.context.span_id for link in span.links] == [SPAN]


def test_an_error_is_told_by_its_type_alone(exporter):
    with pytest.raises(ValueError, match="private"), tracing.work(KEPT, "scrape_do.poll"):
        raise ValueError("something private")
    (span,) = exporter.get_finished_spans()
    assert (span.status.status_code.name, span.status.description) == ("ERROR", "ValueError")
    assert (span.events, span.links) == ((), ())


@pytest.mark.parametrize("kept", ["", KEPT])
def test_without_a_trace_or_without_opentelemetry_nothing_happens(exporter, monkeypatch, kept):
    if kept:
        monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    with tracing.work(kept, "scrape_do.poll"), tracing.inside(kept):
        pass
    assert tracing.current() == ""
    assert exporter.get_finished_spans() == ()


def test_missing_opentelemetry_changes_nothing():
    script = """
import sys
sys.modules["opentelemetry"] = None
import scrape_do_celery.worker, scrape_do_celery.tasks
from scrape_do_celery import tracing
print(tracing.is_used(), repr(tracing.current()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False ''"


def test_message_sent_inside_belongs_to_the_trace():
    with tracing.inside(KEPT):
        assert trace.get_current_span().get_span_context().trace_id == TRACE
    assert not trace.get_current_span().get_span_context().is_valid


def kept_of(step_harness, run_id):
    return step_harness.run_fields(run_id).get("trace")


def test_every_way_to_begin_a_run_keeps_the_trace(step_harness, caller, monkeypatch):
    monkeypatch.setattr(AppContext, "for_app", lambda *_, **__: step_harness.app_context)
    enqueued = enqueue(["https://a.example/"]).run_id
    create_draft(step_harness.app_context, "drafted", {}, (), {"targets": ["https://a.example/"]})
    ticked = start_scheduled_run(
        step_harness.app_context, ScheduleTick("daily", "tick", "skip"), {"targets": ["https://a.example/"]}
    )
    assert {kept_of(step_harness, run_id) for run_id in (enqueued, "drafted", ticked)} == {f"{KEPT} a=1"}


def test_each_part_of_a_message_has_its_own_trace(step_harness, exporter, caller):
    seen = {}

    async def handler(context, claim):
        seen[claim.part_id.run_id] = trace.get_current_span().get_span_context().trace_id
        await context.release_until(claim, {}, 60.0)

    for number, run_id in enumerate("ab", start=1):
        step_harness.create_run(run_id)
        step_harness.redis.hset(step_harness.keys.run(run_id), "trace", f"00-{number:032x}-{number:016x}-01")
    step_harness.create_run("plain")
    run_step(step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, handler), ["a:0", "b:0", "plain:0"])
    assert seen == {"a": 1, "b": 2, "plain": TRACE}
    spans = exporter.get_finished_spans()
    assert {(span.name, span.context.trace_id) for span in spans} == {
        ("scrape_do.submit", 1),
        ("scrape_do.submit", 2),
    }
    assert {link.context.span_id for span in spans for link in span.links} == {SPAN}


def test_decision_is_a_span_and_delivery_is_in_the_trace(step_harness, exporter, monkeypatch):
    step_harness.create_run()
    step_harness.redis.hset(step_harness.keys.run("r"), "trace", KEPT)
    step_harness.finish_part(outcome="failed")
    step_harness.run_step(lambda context, _: decide_run(context, "r"), None)
    assert [span.name for span in exporter.get_finished_spans()] == ["scrape_do.aggregate"]
    traces = []
    monkeypatch.setattr(
        step_harness.app,
        "send_task",
        lambda name, **_: traces.append((name, trace.get_current_span().get_span_context())),
    )
    from scrape_do_celery.steps.deliver import deliver_run

    deliver_run(step_harness.app_context, "r")
    ((name, context),) = traces
    assert (name, context.trace_id) == (routing.DELIVER_OUTCOME, TRACE)
    assert step_harness.run(ReadOutcome("r")) == (True, "failed")


def test_leftover_span_of_a_message_is_not_the_callers(step_harness, monkeypatch):
    """Leave a span behind, as Celery's instrumentation does if the step is not registered (in a web process)."""
    left = []

    def send_task(*_, **__):
        left.append(
            context.attach(trace.set_span_in_context(trace.NonRecordingSpan(SpanContext(TRACE, SPAN, is_remote=True))))
        )

    monkeypatch.setattr(step_harness.app, "send_task", send_task)
    assert step_harness.app_context.publish(routing.SUBMIT_JOBS, ["r:0"])
    assert left
    assert not trace.get_current_span().get_span_context().is_valid
