"""B: one job with very many large pages. The time, and the memory and traffic of the pages on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import case_a
from benchmarks.pages import urls
from benchmarks.report import Outcome, Row
from benchmarks.servers import MemoryPeak
from scrape_do_celery.store.codec import pack_bytes

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.ours import Ours
    from scrape_do_celery import RunHandle

_OVER_FLOOR, _OVER_COMPRESSED, _WORKER, _RESULT = 2.5, 1.3, 200e6, 20e3
#: The share of the contents that broker and results together may receive: step messages, never a page.
_MESSAGE_BYTES = 0.01


def play(bench: Bench) -> Outcome:
    """Time the rounds as in A; then weigh one run of ours and of the canvas."""
    found = case_a.rounds(bench, 1, bench.sizes.b_targets, bench.sizes.b_bytes)
    bench.stand_in.reset()
    found["ours"] = weighed = _weigh_ours(bench)
    bench.stand_in.reset()
    found["canvas"] = _weigh_canvas(bench)
    contents = weighed["contents"]
    rows = [
        Row("B", "over the floor", found["medians"]["ours"] / found["medians"]["floor"], "x", _OVER_FLOOR),
        Row(
            "B",
            "Redis peak over the compressed contents",
            weighed["redis_peak"] / weighed["compressed"],
            "x",
            _OVER_COMPRESSED,
        ),
        Row("B", "largest worker process", max(weighed["workers"]), "B", _WORKER),
        Row(
            "B",
            "bytes into the broker and the results",
            weighed["messages"],
            "B",
            _MESSAGE_BYTES * contents,
            note="1 % of pages",
        ),
        Row("B", "into the broker", weighed["broker_in"], "B"),
        Row("B", "into the results", weighed["results_in"], "B"),
        Row("B", "the run's result in Celery's backend", weighed["celery_result"], "B", _RESULT),
        Row("B", "Redis peak of the canvas", found["canvas"]["redis_peak"], "B"),
        Row("B", "bytes into Redis of the canvas", found["canvas"]["redis_in"], "B"),
        Row("B", "largest worker process of the canvas", max(found["canvas"]["workers"]), "B"),
    ]
    return Outcome(rows, found)


def _weigh_ours(bench: Bench) -> dict[str, Any]:
    with bench.ours(apart=True) as ours, ours.working() as workers:
        broker, results = ours.broker.bytes_in, ours.results.bytes_in
        with MemoryPeak(ours.server) as peak:
            _, (handle,) = ours.timed([urls(bench.sizes.b_targets, bench.sizes.b_bytes)])
            celery_result = _celery_result(ours, handle)
        into_broker, into_results = ours.broker.bytes_in - broker, ours.results.bytes_in - results
        return {
            **_contents(handle),
            "redis_before": peak.before,
            "redis_peak": peak.growth,
            "broker_in": into_broker,
            "results_in": into_results,
            "messages": into_broker + into_results,
            "workers": sorted(workers.peaks().values()),
            "celery_result": celery_result,
        }


def _contents(handle: RunHandle) -> dict[str, int]:
    """Return the bytes of all pages, as served and with each page compressed on its own."""
    served = packed = 0
    for task in handle.iter_tasks():
        page = task.decoded_content() or b""
        served += len(page)
        packed += len(pack_bytes(page))
    return {"contents": served, "compressed": packed}


def _celery_result(ours: Ours, handle: RunHandle) -> int:
    handle.async_result.get(timeout=60)
    with ours.results.open(2) as client:
        return int(client.strlen(f"celery-task-meta-{handle.run_id}"))


def _weigh_canvas(bench: Bench) -> dict[str, Any]:
    with bench.canvas() as canvas:
        before = canvas.server.bytes_in
        with MemoryPeak(canvas.server) as peak:
            seconds = canvas.run([urls(bench.sizes.b_targets, bench.sizes.b_bytes)])
        return {
            "seconds": seconds,
            "redis_peak": peak.growth,
            "redis_in": canvas.server.bytes_in - before,
            "workers": sorted(canvas.workers.peaks().values()),
        }
