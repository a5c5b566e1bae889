"""Enqueueing: the time that a web request waits, and the rate at which one process enqueues many runs."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import ours as contender
from benchmarks.measure import percentile
from benchmarks.pages import batches
from benchmarks.report import Outcome, Row
from scrape_do_celery import enqueue

if TYPE_CHECKING:
    from benchmarks.bench import Bench

_PAGE, _P99, _RATE = 2_000, 5.0, 1_000.0
_WARM = 10


def play(bench: Bench) -> Outcome:
    """Measure without workers; the store writes every change to its disk, as documented."""
    with bench.ours() as ours:
        times = []
        for targets in batches(_WARM + bench.sizes.enqueue_single, 1, _PAGE):
            start = time.perf_counter()
            enqueue(targets, settings=ours.settings)
            times.append(1000 * (time.perf_counter() - start))
        single = times[_WARM:]
        many = None
        if contender.ENQUEUE_MANY is not None:
            work = batches(bench.sizes.enqueue_many, 1, _PAGE)
            start = time.perf_counter()
            ours.enqueue_all(work)
            many = len(work) / (time.perf_counter() - start)
    note = "" if many is not None else "the package has no `enqueue_many` yet"
    rows = [
        Row("enqueue", "enqueue, 99 of 100 within", percentile(single, 99), "ms", _P99),
        Row("enqueue", "enqueue, median", median(single), "ms"),
        Row("enqueue", "enqueue_many", many, "runs/s", _RATE, at_least=True, note=note),
    ]
    return Outcome(rows, {"enqueue_ms": single, "enqueue_many": many})
