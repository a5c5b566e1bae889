"""A worker whose spans go to the file in SPANS. The setup is that of docs/metrics.md."""

from __future__ import annotations

import os
from pathlib import Path

from celery import signals
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from scrape_do_celery import Settings
from scrape_do_celery.worker import make_app

app = make_app(Settings())
app.set_default()


def trace_it(**_):
    out = Path(os.environ["SPANS"]).open("a")  # noqa: SIM115 (open for the life of the process)
    exporter = ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(indent=None) + "\n")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()
    HTTPXClientInstrumentor().instrument()


# The children of a prefork pool, or the single process of any other pool.
signals.worker_process_init.connect(trace_it, weak=False)
if os.environ.get("POOL") != "prefork":
    signals.worker_init.connect(trace_it, weak=False)
