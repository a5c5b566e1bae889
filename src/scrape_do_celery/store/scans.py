"""Read what lies in the store across many keys, for the checks of `doctor` and for the clock of tests.

A scan takes one round trip for each page of the store, so no worker does one.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from scrape_do_celery.rules.states import PartState
from scrape_do_celery.store.keys import RUN_ENTRY, PartId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.store.client import Store


class WaitingPart(NamedTuple):
    """A part that waits in a due set. `job_id` is None if its job is not known."""

    is_running: bool
    job_id: str | None
    stop_requested: bool


def find_open_breakers(store: Store) -> Iterator[float]:
    """Find the breakers that are open. Return for each the time since which the API refuses the token."""
    for key in store.client.scan_iter(store.keys.breaker("*")):
        yield float(cast("bytes | None", store.client.hget(key, "since")) or 0)


def count_parts_by_account(store: Store, limit: int) -> Counter[str]:
    """Count the parts with a job by the account that bought it, among the first `limit` entries of each due set."""
    names = [
        name for key in _list_due_sets(store) for name in cast("list[bytes]", store.client.zrange(key, 0, limit - 1))
    ]
    with store.client.pipeline(transaction=False) as pipe:
        for name in map(bytes.decode, names):
            if not name.endswith(f":{RUN_ENTRY}"):
                pipe.hget(store.keys.part(PartId.parse(name)), "account")
        return Counter(account.decode() for account in pipe.execute() if account)


def list_due_entries(store: Store) -> Iterator[tuple[str, float]]:
    """List the entries of all due sets, each with the time at which it is due by the store's clock."""
    client: Any = store.client
    for key in _list_due_sets(store):
        for name, moment in client.zrange(key, 0, -1, withscores=True):
            yield name.decode(), moment


def read_waiting_part(store: Store, part_id: PartId) -> WaitingPart:
    """Read what a part waits for."""
    client: Any = store.client
    state, job_id = client.hmget(store.keys.part(part_id), "state", "job")
    return WaitingPart(
        state is not None and state.decode() == PartState.RUNNING,
        None if job_id is None else job_id.decode(),
        bool(client.hexists(store.keys.run(part_id.run_id), "stop_reason")),
    )


def _list_due_sets(store: Store) -> list[str]:
    """Return the keys of the due set and of the poll sets of all accounts."""
    accounts = cast("set[bytes]", store.client.smembers(store.keys.accounts))
    return [store.keys.due, *(store.keys.poll_set(account.decode()) for account in accounts)]
