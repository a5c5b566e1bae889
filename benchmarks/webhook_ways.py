"""Measure runs with each use of webhooks, and without: the delays of pages and outcomes, and the API requests."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from benchmarks import measure
from benchmarks.pages import urls
from benchmarks.receivers import Receiver
from benchmarks.report import Row
from benchmarks.store_watch import StoreWatch
from scrape_do_celery import RunHandle, enqueue
from scrape_do_celery.store import PartId
from scrape_do_celery.store.commands.runs import ReadRun
from scrape_do_celery.store.commands.webhook_trust import ReadWebhookTrust

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.bench import Bench
    from benchmarks.ours import Ours

_PAGE, _TIMEOUT = 20_000, 300.0
#: Seconds until the first task of a run may end. By then, the part knows its job.
_FIRST = 0.5
#: The store compares the first 20 delivered pages of an account with fetched ones, then each hundredth.
_CALIBRATION, _SPACING = 20, 100
#: Runs before the clock starts.
_WARM = 10
#: Limits in milliseconds, and of requests.
_MEDIAN_LAG, _LARGEST_LAG, _OUTCOME_LAG, _REQUESTS = 100.0, 500.0, 300.0, 5.0
#: Kinds of the stand-in's log that are no requests of a run: the account's figures are read once in ten minutes.
_NOT_OF_RUNS: Final = frozenset({"webhook", "me"})
#: The receiver of these runs: the command, which needs no framework.
_FACE: Final = "command"


@dataclass(frozen=True)
class _Way:
    name: str
    #: the trust of the receiver; empty without webhooks
    trust: str = ""
    options: dict[str, Any] = field(default_factory=dict)


_WAYS: Final = (
    _Way("without webhooks", options={"early": True}),
    _Way("hint", "hint", {"webhook": True}),
    _Way("content", "content", {"webhook": True}),
)


class _Times(NamedTuple):
    """The seconds that pages and outcomes of runs came after the ends of their tasks."""

    pages: list[float]
    outcomes: list[float]
    #: after the last call of the webhook began, and after the end of the last task without webhooks
    after_last: list[float]
    #: from the ends of tasks to the calls of webhooks, which is the stand-in's work
    calls: list[float]


def measure_ways(bench: Bench, ours: Ours) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each use of webhooks with its figures."""
    for way in _WAYS:
        bench.stand_in.reset()
        with _receiving(bench, ours, way):
            _calibrate(ours, way)
            large, requests = _play_large(bench, ours, way)
            small = _play_small(bench, ours, way)
        yield way.name, {"large": large._asdict(), "small": small._asdict(), "requests": requests}


def list_rows(found: dict[str, dict[str, Any]]) -> list[Row]:
    """Return the rows of the table for the figures of all ways."""
    rows = []
    for name, figures in found.items():
        # The limits are those of deliveries that are believed.
        limits = [_MEDIAN_LAG, _LARGEST_LAG, _OUTCOME_LAG, _REQUESTS] if name == "content" else [None] * 4
        pages, last = (
            [1000 * seconds for size in ("large", "small") for seconds in figures[size][what]]
            for what in ("pages", "after_last")
        )
        after = "delivery" if figures["large"]["calls"] else "task's end"
        spent = figures["requests"]
        rows += [
            Row("webhook", f"{name}: a page, after its task's end, median", median(pages), "ms", limits[0]),
            Row("webhook", f"{name}: 99 of 100 pages within", measure.percentile(pages, 99), "ms", limits[1]),
            Row("webhook", f"{name}: the outcome, after the last {after}, median", median(last), "ms", limits[2]),
            Row(
                "webhook",
                f"{name}: API requests of a run of {spent['targets']:,} targets beside its submit",
                spent["beside_submit"],
                "",
                limits[3],
                note=f"without {spent['compared']} pages that were compared" if spent["compared"] else "",
            ),
        ]
    return rows


@contextmanager
def _receiving(bench: Bench, ours: Ours, way: _Way) -> Iterator[None]:
    """Run the receiver of a way, if the way has one."""
    if not way.trust:
        yield
        return
    environment = {**ours.environment, "SCRAPE_DO_WEBHOOK_TRUST": way.trust}
    port = urlsplit(ours.values["webhook_base_url"]).port or 0
    with Receiver(_FACE, port, environment, bench.new_folder()) as receiver:
        receiver.until_ready()
        yield


def _calibrate(ours: Ours, way: _Way) -> None:
    """Play runs by which all processes are warm, and the pages of the account are believed."""
    batches = [urls(_CALIBRATION // _WARM, _PAGE, _FIRST) for _ in range(_WARM)]
    ours.wait([enqueue(targets, settings=ours.settings, **way.options) for targets in batches], _TIMEOUT)
    if way.trust == "content":
        trust = ours.app_context.store.run(ReadWebhookTrust(ours.settings.account_id))
        if trust.taken < _CALIBRATION or trust.off_since is not None:
            raise RuntimeError(f"the calibration failed: {trust}")


def _play_large(bench: Bench, ours: Ours, way: _Way) -> tuple[_Times, dict[str, Any]]:
    """Play one large run alone; return its times and the API requests that it needed."""
    sizes = bench.sizes
    seen, taken = len(bench.stand_in.log()), _count_taken(ours)
    with StoreWatch(ours.app_context.store) as watch:
        handle = _start(ours, way, sizes.hook_large, sizes.hook_large_span, watch)
        _wait(ours, [handle], watch)
    log = bench.stand_in.log(seen)
    spent = Counter(entry["kind"] for entry in log if entry["kind"] not in _NOT_OF_RUNS)
    compared = _count_taken(ours) // _SPACING - taken // _SPACING
    requests = {
        "targets": sizes.hook_large,
        "kinds": dict(spent),
        "compared": compared,
        "deliveries": dict(Counter(str(entry["status"]) for entry in log if entry["kind"] == "webhook")),
        "beside_submit": spent.total() - spent["create_job"] - compared,
    }
    return _read_times(bench, ours, [handle], watch), requests


def _play_small(bench: Bench, ours: Ours, way: _Way) -> _Times:
    """Play small runs that begin one after the other and overlap; return the times of all of them."""
    sizes, handles = bench.sizes, []
    with StoreWatch(ours.app_context.store) as watch:
        for _ in range(sizes.hook_runs):
            handles.append(_start(ours, way, sizes.hook_targets, sizes.hook_span, watch))
            time.sleep(sizes.hook_gap)
        _wait(ours, handles, watch)
    return _read_times(bench, ours, handles, watch)


def _start(ours: Ours, way: _Way, number: int, span: float, watch: StoreWatch) -> RunHandle:
    """Start a run whose tasks end at random times, so that the machine is never at its limit."""
    pick = random.Random(number)
    targets = [url for _ in range(number) for url in urls(1, _PAGE, _FIRST + span * pick.random())]
    handle: RunHandle = enqueue(targets, settings=ours.settings, **way.options)
    watch.add(handle.run_id)
    return handle


def _wait(ours: Ours, handles: Sequence[RunHandle], watch: StoreWatch) -> None:
    ours.wait(handles, _TIMEOUT)
    measure.until(lambda: len(watch.outcomes) == len(handles), _TIMEOUT, "all outcomes are seen")
    watch.check()


def _read_times(bench: Bench, ours: Ours, handles: Sequence[RunHandle], watch: StoreWatch) -> _Times:
    ends = {task["id"]: task["ended_at"] for job in bench.stand_in.jobs() for task in job["tasks"]}
    calls = {entry["task_id"]: entry["at"] for entry in bench.stand_in.log() if entry["kind"] == "webhook"}
    times = _Times([], [], [], [])
    for handle in handles:
        part_id = PartId(handle.run_id, 0)
        record = ours.app_context.store.run(ReadRun(handle.run_id))
        if record is None:
            raise LookupError(handle.run_id)
        ids = record.parts[0].task_ids
        own_ends, own_calls = [ends[task] for task in ids], [calls[task] for task in ids if task in calls]
        times.pages.extend(watch.pages[part_id][at] - end for at, end in enumerate(own_ends))
        times.calls.extend(calls[task] - ends[task] for task in ids if task in calls)
        times.outcomes.append(watch.outcomes[part_id] - max(own_ends))
        times.after_last.append(watch.outcomes[part_id] - max(own_calls or own_ends))
    return times


def _count_taken(ours: Ours) -> int:
    return ours.app_context.store.run(ReadWebhookTrust(ours.settings.account_id)).taken
