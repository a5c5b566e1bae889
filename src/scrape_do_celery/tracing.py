"""OpenTelemetry spans for the work on a run, in the trace whose context the run's record keeps.

The package itself never loads OpenTelemetry. If no other code has loaded it, or if the caller is not sampled, the
record keeps no context and no span starts.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context

_NAME = "scrape_do_celery"


def is_used() -> bool:
    """Return whether other code in this process has loaded OpenTelemetry."""
    return "opentelemetry.trace" in sys.modules


def current() -> str:
    """Return the current trace context in the form of a record (W3C: parent, state); empty if it is not sampled."""
    if not is_used():
        return ""
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if not trace.get_current_span().get_span_context().trace_flags.sampled:
        return ""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return " ".join(carrier[name] for name in ("traceparent", "tracestate") if name in carrier)


@contextmanager
def work(kept: str, name: str, **attributes: str | int | None) -> Iterator[None]:
    """Run the block in a span of the trace that a record keeps, linked to the current span: that of the Celery step.

    An attribute without a value is left out. If the block raises, the span gets only the type of the error, because the
    text may quote the request.
    """
    if not kept or not is_used():
        yield
        return
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    span = trace.get_tracer(_NAME).start_span(
        name,
        context=_context(kept),
        links=[trace.Link(context)] if context.is_valid else [],
        attributes={f"{_NAME}.{key}": value for key, value in attributes.items() if value is not None},
    )
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as error:
            span.set_status(trace.Status(trace.StatusCode.ERROR, type(error).__name__))
            raise


@contextmanager
def inside(kept: str) -> Iterator[None]:
    """Make the trace that a record keeps the current trace, so that messages from the block carry it."""
    if not kept or not is_used():
        yield
        return
    from opentelemetry import context

    token = context.attach(_context(kept))
    try:
        yield
    finally:
        context.detach(token)


def _context(kept: str) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent, _, state = kept.partition(" ")
    carrier: dict[str, Any] = {"traceparent": parent}
    return TraceContextTextMapPropagator().extract(carrier | ({"tracestate": state} if state else {}), Context())
