"""Read what lies in the store across many keys, for the checks of `doctor` and for the clock of tests.

A scan takes one round trip for each page of the store, so no worker does one.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from scrape_do_celery.rules.states import PartState
from scrape_do_celery.store.keys import RUN_ENTRY
from scrape_do_celery.store.part_ids import PartId
from scrape_do_celery.store.versions import RECORD_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.store.client import Store


class WaitingPart(NamedTuple):
    """A part that waits in a due set. `job_id` is None if its job is not known."""

    is_running: bool
    job_id: str | None
    stop_requested: bool


def count_parts_by_account(store: Store, limit: int) -> Counter[str]:
    """Count the parts that wait for the account that bought them, among the first `limit` entries of each due set.

    A part whose only purchase was refused with its token waits for no account, as in `claim_part.lua`.
    """
    names = _list_first_entries(store, limit)
    keys = [store.keys.part(PartId.parse(name)) for name in names if not name.endswith(f":{RUN_ENTRY}")]
    fields = ("account", "state", "refused", "purchases")
    parts = store.call_server(partial(_read_fields, keys=keys, fields=fields))
    return Counter(account.decode() for account, *facts in parts if account and not _is_unbound(*facts))


def find_newer_versions(store: Store, limit: int) -> Counter[int]:
    """Count the runs with records of a newer version, by version, among the first `limit` entries of each due set."""
    keys = sorted({store.keys.run(name.rpartition(":")[0]) for name in _list_first_entries(store, limit)})
    versions = store.call_server(partial(_read_fields, keys=keys, fields=("v",)))
    return Counter(int(version) for (version,) in versions if version and int(version) > RECORD_VERSION)


def _list_first_entries(store: Store, limit: int) -> list[str]:
    found = [store.call_server(partial(_read_range, key=key, last=limit - 1)) for key in _list_due_sets(store)]
    return [name.decode() for part in found for name in part]


def _is_unbound(state: bytes | None, refused: bytes | None, purchases: bytes | None) -> bool:
    return refused == b"token" and state == PartState.RECONCILING.encode() and int(purchases or 0) <= 1


def list_due_entries(store: Store) -> Iterator[tuple[str, float]]:
    """List the entries of all due sets, each with the time at which it is due by the store's clock."""
    for key in _list_due_sets(store):
        for name, moment in store.call_server(partial(_read_range, key=key, last=-1, withscores=True)):
            yield name.decode(), moment


def read_waiting_part(store: Store, part_id: PartId) -> WaitingPart:
    """Read what a part waits for."""
    part_key, run_key = store.keys.part(part_id), store.keys.run(part_id.run_id)
    state, job_id = store.call_server(lambda client: client.hmget(part_key, "state", "job"))
    return WaitingPart(
        state is not None and state.decode() == PartState.RUNNING,
        None if job_id is None else job_id.decode(),
        bool(store.call_server(lambda client: client.hexists(run_key, "stop_reason"))),
    )


def _list_due_sets(store: Store) -> list[str]:
    """Return the keys of the due set and of the poll sets of all accounts."""
    accounts = store.call_server(lambda client: client.smembers(store.keys.accounts))
    return [store.keys.due, *(store.keys.poll_set(account.decode()) for account in accounts)]


def _read_range(client: Any, *, key: str, last: int, **options: Any) -> list[Any]:
    found: list[Any] = client.zrange(key, 0, last, **options)
    return found


def _read_fields(client: Any, *, keys: list[str], fields: tuple[str, ...]) -> list[list[bytes | None]]:
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hmget(key, fields)
        found: list[list[bytes | None]] = pipe.execute()
        return found
