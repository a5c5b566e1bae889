"""fair: a small run while a large run holds all job slots. Its time, against its time alone and one large job."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from benchmarks import measure
from benchmarks.pages import batches, urls
from benchmarks.report import Outcome, Row
from scrape_do_celery import enqueue

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.ours import Ours

_PAGE, _SMALL, _WARM, _TIMEOUT = 2_000, 5, 5, 300.0
#: Numbers of job slots: with one, no slot is free for the small run.
_SLOTS = (1, 3)


def play(bench: Bench) -> Outcome:
    """Measure a small run alone and beside a large run, with each number of slots."""
    rows, figures = [], {}
    for slots in _SLOTS:
        found = figures[str(slots)] = _measure(bench, slots)
        limit = found["alone"] + found["large_job"]
        what = f"small run beside {found['large_targets']:,} targets, {slots} slot{'s' if slots > 1 else ''}"
        rows += [
            Row("fair", f"small run alone, {slots} slot{'s' if slots > 1 else ''}", found["alone"], "s"),
            Row("fair", "one job of the large run", found["large_job"], "s"),
            Row("fair", what, found["beside"], "s", limit, note="alone, and one large job"),
        ]
    return Outcome(rows, figures)


def _measure(bench: Bench, slots: int) -> dict[str, Any]:
    sizes = bench.sizes
    settings = {"max_active_jobs": str(slots), "targets_per_job": str(sizes.fair_job)}
    with bench.ours(settings=settings) as ours, ours.working():
        ours.run(batches(_WARM, 1, _PAGE))
        found: dict[str, Any] = {"large_targets": sizes.fair_targets, "alone": _time_small(ours)}
        start = time.perf_counter()
        enqueue(urls(sizes.fair_job, _PAGE, sizes.fair_seconds), settings=ours.settings).result(timeout=_TIMEOUT)
        found["large_job"] = time.perf_counter() - start
        bench.stand_in.reset()
        targets = urls(sizes.fair_targets, _PAGE, sizes.fair_seconds)
        large = enqueue(targets, fairness_key="large", settings=ours.settings)
        measure.until(lambda: _count_jobs(bench) > slots, _TIMEOUT, "the large run buys jobs")
        before = _count_jobs(bench)
        found["beside"] = _time_small(ours)
        found["bought_meanwhile"] = _count_jobs(bench) - before
        large.cancel()
    return found


def _time_small(ours: Ours) -> float:
    start = time.perf_counter()
    enqueue(urls(_SMALL, _PAGE), fairness_key="small", settings=ours.settings).result(timeout=_TIMEOUT)
    return time.perf_counter() - start


def _count_jobs(bench: Bench) -> int:
    return int(bench.stand_in.stats().get("jobs_created", 0))
