"""Measure each receiver of webhooks: deliveries per second, and per second of its CPU.

No worker runs. So the cost of a step message, which a hint publishes if the part waits, is in the first hint only.
"""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from benchmarks.deliverer import Load, send_loads
from benchmarks.pages import urls
from benchmarks.receivers import FACES, Receiver, find_ports
from benchmarks.report import Row
from scrape_do_celery.rules.webhook_tokens import HEADER, PurchaseId, make_secret, make_url
from scrape_do_celery.store import Claim, PartId, PartState, RunSpec
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import ClaimPart, UpdatePart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.ours import Ours
    from scrape_do_celery.store.command import Value

_LEASE, _DAY = 30.0, 86_400.0
#: Name of a size -> bytes of each page.
_PAGES: Final = {"20 kB": 20_000, "1 MB": 1_000_000}
#: Deliveries before the clock starts. Of the first size, more than the 20 pages of an account that are compared.
_WARM: Final = {"20 kB": 24, "1 MB": 8}
#: A delivery without the header with the secret is a hint, also for a receiver that stores pages.
_KINDS: Final = ("content", "hint")


def measure_faces(bench: Bench, ours: Ours) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each face with the figures of each kind and size."""
    numbers = dict(zip(_PAGES, (bench.sizes.hook_pages, bench.sizes.hook_large_pages), strict=True))
    cases = [(kind, name) for kind in _KINDS for name in _PAGES]
    with ExitStack() as stack:
        # All receivers start at once, and those without deliveries sleep.
        receivers = {
            face: stack.enter_context(Receiver(face, port, ours.environment, bench.new_folder()))
            for face, port in zip(FACES, find_ports(len(FACES)), strict=True)
        }
        for receiver in receivers.values():
            receiver.until_ready()
        for face, receiver in receivers.items():
            loads = [_make_load(ours, receiver, numbers[name], name, kind) for kind, name in cases]
            found = send_loads(loads)
            for (kind, _), load in zip(cases, loads, strict=True):
                _check(ours, load, kind)
            ours.server.client.flushdb()
            yield face, {f"{kind}, {name}": figures for (kind, name), figures in zip(cases, found, strict=True)}


def list_rows(found: dict[str, dict[str, Any]]) -> list[Row]:
    """Return the rows of the table for the figures of all faces."""
    rows = []
    for face, figures in found.items():
        for what, one in figures.items():
            rows += [
                Row("webhook", f"{face}: deliveries, {what}", one["number"] / one["seconds"], "/s"),
                Row("webhook", f"{face}: deliveries a core, {what}", one["number"] / max(one["cpu"], 0.01), "/s"),
            ]
    return rows


def _make_load(ours: Ours, receiver: Receiver, number: int, name: str, kind: str) -> Load:
    # One task more, because the last one of a job makes its part due.
    warm, size = _WARM[name], _PAGES[name]
    job_id, targets = str(uuid.uuid4()), urls(warm + number + 1, size, _DAY)
    tasks = [(str(uuid.uuid4()), target) for target in targets]
    purchase = _make_part(ours, job_id, tasks)
    key = ours.values["webhook_keys"].encode()
    secret = {HEADER: make_secret(key, purchase)} if kind == "content" else {}
    return Load(
        port=receiver.port,
        pid=receiver.pid,
        run_id=purchase.run_id,
        path=urlsplit(make_url(ours.values["webhook_base_url"], key, purchase)).path,
        headers={"Content-Type": "application/json", **secret},
        job_id=job_id,
        tasks=tasks[:-1],
        size=size,
        warm=warm,
    )


def _make_part(ours: Ours, job_id: str, tasks: list[tuple[str, str]]) -> PurchaseId:
    """Create a part whose job runs, without a purchase; return the purchase whose webhook is called."""
    store, run_id = ours.app_context.store, str(uuid.uuid4())
    part_id = PartId(run_id, 0)
    store.run(CreateRun(run_id, RunSpec.from_arguments([url for _, url in tasks])))
    claim = store.run(ClaimPart(part_id, "benchmark", seconds=_LEASE, states=list(PartState), isolated=True))
    if not isinstance(claim, Claim):
        raise TypeError(f"the part was not claimed: {claim}")
    bought: dict[Any, Any] = {
        "state": PartState.RUNNING.value,
        "purchases": 1,
        "webhook": 1,
        "account": ours.settings.account_id,
    }
    store.client.hset(store.keys.part(part_id), mapping=bought)
    fields: dict[str, Value] = {"job": job_id, "tasks": pack([task_id for task_id, _ in tasks])}
    store.run(UpdatePart(claim, fields, after=_DAY, owner=job_id))
    return PurchaseId(run_id, 0, 1)


def _check(ours: Ours, load: Load, kind: str) -> None:
    """Check that each delivery was written as what it was."""
    store, part_id = ours.app_context.store, PartId(load.run_id, 0)
    stored = store.client.hlen(store.keys.contents(part_id))
    noted = store.client.hlen(store.keys.deliveries(part_id))
    if noted != len(load.tasks) or stored != (kind == "content") * len(load.tasks):
        raise RuntimeError(f"of {len(load.tasks)} deliveries, {noted} were noted and {stored} pages were stored")
