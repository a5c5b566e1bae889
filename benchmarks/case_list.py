"""The list of runs: the server's time for a page, by each filter, and the memory of the index."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import percentile
from benchmarks.pages import urls
from benchmarks.report import Outcome, Row
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.store import Retention, RunSpec
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.listing import ListRuns
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, RecordOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.ours import Ours

_PAGE, _SERVER_MS = 100, 5.0
#: Labels and tags. Each run has one of both.
_LABELS, _TAGS = 50, 100
_BATCH, _TIMES = 500, 30
_RETENTION: Final = Retention(86_400, 7 * 86_400, 86_400)
_PAGES: Final[dict[str, dict[str, Any]]] = {
    "any run": {},
    "live": {"state": "live"},
    "an outcome": {"state": "succeeded"},
    "a label": {"label": "label 7"},
    "a tag": {"tag": "shop:7"},
    "a tag and an outcome": {"tag": "shop:7", "state": "succeeded"},
}
#: One label has no run with this tag, so that the command reads as many records as it may.
_SCAN: Final = {"label": "label 7", "tag": "shop:8"}


def play(bench: Bench) -> Outcome:
    """Write `d_runs` runs, of which every other one has ended; then time pages without workers."""
    with bench.ours() as ours:
        before = ours.server.memory
        _write(ours, bench.sizes.d_runs)
        after = ours.server.memory
        index = _index_bytes(ours)
        found = {name: _pages(ours, filters) for name, filters in _PAGES.items()}
        found["any run, behind half of all"] = _pages(ours, {"position": _middle(ours, bench.sizes.d_runs)})
        scan = _pages(ours, _SCAN)
    of = f"of {bench.sizes.d_runs:,} runs"
    rows = [
        *(Row("list", f"a page {of}, {name}, median", median(took), "ms", _SERVER_MS) for name, took in found.items()),
        *(
            Row("list", f"a page {of}, {name}, 99 of 100 within", percentile(took, 99), "ms")
            for name, took in found.items()
        ),
        Row("list", f"a label and a tag {of}, 1,000 records read, median", median(scan), "ms"),
        Row("list", "Redis a run's entries in the index, with a label and a tag", index / bench.sizes.d_runs, "B"),
    ]
    return Outcome(rows, {"pages_ms": found, "scan_ms": scan, "index_bytes": index, "all_bytes": after - before})


def _write(ours: Ours, number: int) -> None:
    store = ours.app_context.store
    for start in range(0, number, _BATCH):
        batch = range(start, min(number, start + _BATCH))
        store.run_all([_create(n) for n in batch])
        ended = [f"run-{n:08}-of-the-benchmark-of-lists" for n in batch if n % 2]
        with store.client.pipeline(transaction=False) as pipe:
            for run_id in ended:
                # A shortcut: the parts of these runs do not end.
                pipe.hset(store.keys.run(run_id), "left", 0)
            pipe.execute()
        store.run_all([RecordOutcome(run_id, "succeeded", {}) for run_id in ended])
        store.run_all([AcknowledgeDelivery(run_id, run_id, _RETENTION) for run_id in ended])


def _create(n: int) -> CreateRun:
    request = JobCreationRequest(targets=urls(1, 2_000))
    spec = RunSpec(request, label=f"label {n % _LABELS}", tags=[f"shop:{n % _TAGS}"])
    return CreateRun(f"run-{n:08}-of-the-benchmark-of-lists", spec)


def _pages(ours: Ours, filters: dict[str, Any]) -> list[float]:
    """Return the milliseconds that the server was busy with each page."""
    found = []
    for _ in range(_TIMES):
        before = ours.server.script_seconds
        ours.app_context.store.run(ListRuns(_PAGE, **filters))
        found.append(1000 * (ours.server.script_seconds - before))
    return found


def _middle(ours: Ours, number: int) -> Any:
    """Return the position of the run in the middle of the list."""
    store, position, seen = ours.app_context.store, None, 0
    while seen < number // 2:
        page = store.run(ListRuns(1_000, position=position))
        position, seen = page.position, seen + len(page.records)
    return position


def _index_bytes(ours: Ours) -> int:
    client, keys = ours.server.client, ours.app_context.store.keys
    return sum(client.memory_usage(key, samples=0) or 0 for key in _index_keys(client, keys.prefix))


def _index_keys(client: Any, prefix: str) -> Iterator[bytes]:
    yield from client.scan_iter(f"{prefix}:runs*", count=1_000)
