"""E: one small job. The delay between the job's end at the API and the caller's result."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import measure
from benchmarks.pages import WARM, batches, urls
from benchmarks.report import Outcome, Row
from scrape_do_celery import enqueue
from scrape_do_celery.store import PartId
from scrape_do_celery.store.commands.contents import ReadContents, ReadStoredPositions

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.ours import Ours

_PAGE, _OVERHEAD, _SHORTEST = 20_000, 0.25, 0.5
#: Jobs that run at the same time, so few that each is polled individually.
_AT_ONCE = 10
_LOOKS = frozenset({"get_job", "list_jobs"})


def play(bench: Bench) -> Outcome:
    """Measure the delays of many small jobs, and the early fetch of a long job."""
    with bench.ours() as ours, ours.working():
        ours.run(batches(WARM, 1, _PAGE))
        pick = random.Random(1)
        lengths = [pick.uniform(_SHORTEST, bench.sizes.e_longest) for _ in range(bench.sizes.e_jobs)]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            seen = list(threads.map(lambda length: _delay(ours, length), lengths))
        looks = _looks(bench)
        samples = [{"delay": delay, "interval": _interval(ours, looks[job], end)} for delay, job, end in seen]
        early = _early(bench, ours)
    delay = median(sample["delay"] for sample in samples)
    limit = median(sample["interval"] for sample in samples) / 2 + _OVERHEAD
    rows = [Row("E", "from a job's end to its result, median", delay, "s", limit, note="half an interval + 0.25 s")]
    rows.append(
        Row("E", "first task of a long job, after its own end", early["after"], "s", early["limit"], note="an interval")
    )
    return Outcome(rows, {"samples": samples, "early": early})


def _delay(ours: Ours, length: float) -> tuple[float, str, float]:
    """Return the seconds from the job's end to the caller's result, the job's id, and its end."""
    result = enqueue(urls(1, _PAGE, length), settings=ours.settings).result(timeout=300)
    now = time.time()
    assert result.job.end_time is not None  # noqa: S101 (an ended job has one)
    end = result.job.end_time.timestamp()
    return now - end, result.job.job_id, end


def _looks(bench: Bench) -> dict[str, list[float]]:
    """Return the times of requests about each job, its purchase first; a list poll counts for every job."""
    looks: dict[str, list[float]] = {}
    for entry in bench.stand_in.log():
        if entry["kind"] == "create_job":
            looks.setdefault(entry["job_id"], []).append(entry["at"])
        elif entry["kind"] in _LOOKS:
            for job in [entry["job_id"]] if entry["job_id"] else looks:
                looks[job].append(entry["at"])
    return looks


def _interval(ours: Ours, looks: list[float], end: float) -> float:
    """Return the polling interval in force at the end of a job: the time between the polls around the end.

    The result is at most the planned interval, whose own maximum is `poll_max_interval`.
    """
    before = [at for at in looks if at < end]
    settings = ours.settings
    planned = settings.poll_initial_interval * settings.poll_multiplier ** (len(before) - 1)
    return min(min(at for at in looks if at >= end) - max(before), planned, settings.poll_max_interval)


def _early(bench: Bench, ours: Ours) -> dict[str, Any]:
    """Measure how long after its own end a task can be read while the job's other task runs."""
    targets = urls(1, _PAGE, bench.sizes.e_long / 4) + urls(1, _PAGE, bench.sizes.e_long)
    handle = enqueue(targets, settings=ours.settings, early=True)
    store, part_id = ours.app_context.store, PartId(handle.run_id, 0)
    measure.until(lambda: bool(store.run(ReadStoredPositions(part_id))), bench.sizes.e_long, "the first task")
    now = time.time()
    (position,) = store.run(ReadStoredPositions(part_id))
    (task,) = store.run(ReadContents(part_id, [position]))
    assert task is not None  # noqa: S101 (the store has just listed it)
    assert task.end_time is not None  # noqa: S101
    end = task.end_time.timestamp()
    limit = _interval(ours, _looks(bench)[task.job_id], end)
    handle.result(timeout=300)
    return {"after": now - end, "limit": limit}
