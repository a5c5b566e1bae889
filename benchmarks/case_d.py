"""D: very many waiting runs in the store. The time of the dispatcher's claim, and the memory of a run."""

from __future__ import annotations

import random
import time
import uuid
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks import measure
from benchmarks.pages import urls
from benchmarks.report import Outcome, Row
from scrape_do_celery import RunState
from scrape_do_celery.store import PartId
from scrape_do_celery.store.commands.dispatch import ClaimDue
from scrape_do_celery.store.commands.polling import PlanPolling
from scrape_do_celery.store.commands.runs import ReadRun
from scrape_do_celery.worker.dispatcher import LIMIT, SHORTEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.ours import Ours
    from scrape_do_celery import RunHandle

CLAIM, _BYTES = 5.0, 2_700.0
#: The number of polls before the run is copied, so that its record is that of a run that has waited for long.
_POLLS, _DAY = 2, 86_400.0
_CHUNK = 200


def play(bench: Bench) -> Outcome:
    """Copy a waiting run `d_runs` times, as the steps wrote it; then time claims."""
    runs, times = bench.sizes.d_runs, bench.sizes.d_claims
    with bench.ours() as ours:
        handle = _waiting_run(ours)
        _copy(ours, handle, 1)
        before = ours.server.memory
        part_ids = _copy(ours, handle, runs)
        per_run = (ours.server.memory - before) / runs
        usual = max(1, round(runs * SHORTEST / ours.settings.poll_max_interval))
        full = min(LIMIT, runs)
        claims = {str(due): _claims(ours, part_ids, due, times) for due in (0, usual, full)}
        looks = {str(due): _plans(ours, part_ids, due, times) for due in (0, full)}
    of = f"of {runs:,} due"
    rows = [
        Row("D", f"a claim, {usual} {of}, median", median(claims[str(usual)]), "ms", CLAIM),
        Row("D", f"a claim, {usual} {of}, 99 of 100 within", measure.percentile(claims[str(usual)], 99), "ms", CLAIM),
        Row("D", "a claim, nothing due, median", median(claims["0"]), "ms"),
        Row("D", f"a claim, {full} {of}, all that one takes, median", median(claims[str(full)]), "ms", CLAIM),
        *(Row("D", f"planning a list poll, {due} {of}, median", median(took), "ms") for due, took in looks.items()),
        Row("D", "Redis a waiting run", per_run, "B", _BYTES),
    ]
    return Outcome(rows, {"claims_ms": claims, "looks_ms": looks, "bytes_a_run": per_run})


def _waiting_run(ours: Ours) -> RunHandle:
    """Return a run that was polled before and whose job runs for a day. The workers have stopped."""
    with ours.working():
        (handle,) = ours.enqueue_all([urls(1, 2_000, _DAY)])

        def waits() -> bool:
            store = ours.app_context.store
            record = store.run(ReadRun(handle.run_id))
            return record is not None and record.parts[0].polls >= _POLLS

        measure.until(waits, 120, "a run that waits", pause=0.2)
    if handle.state is not RunState.RUNNING:
        raise RuntimeError(f"the run to copy is {handle.state}")
    return handle


def _copy(ours: Ours, handle: RunHandle, number: int) -> list[str]:
    """Add copies of the run with all its data in any key, under new ids; return the first part of each copy."""
    client, job = ours.server.client, handle.job
    names = [handle.run_id, job.job_id if job else ""]
    keys = [key.decode() for key in client.scan_iter(f"{ours.settings.key_prefix}:*")]
    own: dict[str, Any] = {key: client.dump(key) for key in keys if any(name in key for name in names)}
    shared = {key: _entries(client, key, names) for key in keys if key not in own}
    fresh = [{name: str(uuid.uuid4()) for name in names} for _ in range(number)]
    for start in range(0, number, _CHUNK):
        with client.pipeline(transaction=False) as pipe:
            for ids in fresh[start : start + _CHUNK]:
                for key, dumped in own.items():
                    pipe.restore(_renamed(key, ids), 0, dumped)
                for key, entries in shared.items():
                    _add(pipe, key, {_renamed(entry, ids): value for entry, value in entries.items()})
            pipe.execute()
    return [str(PartId(ids[handle.run_id], 0)) for ids in fresh]


def _add(pipe: Any, key: str, entries: dict[str, float | bytes]) -> None:
    for entry, value in entries.items():
        if isinstance(value, float):
            pipe.zadd(key, {entry: value + _DAY})
        else:
            pipe.hset(key, entry, value)


def _entries(client: Any, key: str, names: list[str]) -> dict[str, float | bytes]:
    """Return the entries of this run in a sorted set (with scores) or hash (with values) that all runs share."""
    kind = client.type(key)
    found = dict(client.zscan_iter(key)) if kind == b"zset" else client.hgetall(key) if kind == b"hash" else {}
    return {entry.decode(): value for entry, value in found.items() if any(name in entry.decode() for name in names)}


def _renamed(text: str, fresh: dict[str, str]) -> str:
    for old, new in fresh.items():
        text = text.replace(old, new)
    return text


def _claims(ours: Ours, part_ids: list[str], due: int, times: int) -> list[float]:
    """Return the milliseconds of each claim; before each, make `due` entries due and forget earlier step messages."""
    store, keys = ours.app_context.store, ours.app_context.store.keys

    def prepare() -> None:
        store.client.delete(keys.dispatched)
        if due:
            store.client.zadd(keys.due, dict.fromkeys(random.sample(part_ids, due), 1.0))

    found = _timed(ours, ClaimDue(limit=LIMIT, cap=ours.settings.max_dispatched_parts), prepare, times)
    if any(len(answer.parts) < due for _, answer in found):
        raise RuntimeError(f"fewer than {due} were claimed")
    return [took for took, _ in found]


def _plans(ours: Ours, part_ids: list[str], due: int, times: int) -> list[float]:
    """Return the milliseconds of each poll plan of the dispatcher, with `due` of the running parts due."""
    store, keys, account = ours.app_context.store, ours.app_context.store.keys, ours.settings.account_id

    def prepare() -> None:
        store.client.delete(keys.due, keys.list_poll(account))
        if due:
            chosen = random.sample(part_ids, due)
            with store.client.pipeline(transaction=False) as pipe:
                pipe.zadd(keys.poll_set(account), dict.fromkeys(chosen, 1.0))
                for part_id in map(PartId.parse, chosen):
                    pipe.hset(keys.part(part_id), "poll_set", keys.poll_set(account))
                pipe.execute()

    look = PlanPolling(account, ours.settings.poll_max_interval)
    return [took for took, _ in _timed(ours, look, prepare, times)]


def _timed(ours: Ours, op: Any, prepare: Callable[[], None], times: int) -> list[tuple[float, Any]]:
    """Return the milliseconds and answer of an operation, each time after `prepare`."""
    found = []
    for _ in range(times):
        prepare()
        start = time.perf_counter()
        answer = ours.app_context.store.run(op)
        found.append((1000 * (time.perf_counter() - start), answer))
    return found
