"""The register of the stores on a server: which prefix in which database serves which accounts.

The register is one hash in database 0 under a fixed name, because stores under other prefixes must find it. Each field
is `<fingerprint of an account> <database> <prefix>`; its value is the time when a worker was last seen.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redis.exceptions import ResponseError

from scrape_do_celery.store.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from scrape_do_celery.store.client import Store

#: The key of the register. A user with rights to the keys of another prefix needs a right to this key as well.
REGISTER: Final = "scrape_do:stores"
#: Seconds after which a store without a worker counts no more.
_COUNTS_FOR: Final = 86_400


class StorePlace(NamedTuple):
    """A store on a server: its database and its prefix."""

    database: int
    prefix: str


def register_store(store: Store, fingerprints: Collection[str]) -> None:
    """Note that a worker serves these accounts from this store. Forget stores without a worker.

    Raises:
        ResponseError: the user of the store has no right to the register.
    """
    own, now = _own_place(store), time.time()
    fields = {f"{one} {own.database} {own.prefix}": f"{now:.0f}" for one in fingerprints}
    old = [field for field, seen in _read_register(store).items() if seen < now - _COUNTS_FOR]
    _call(store, ("HSET", REGISTER, *(one for pair in fields.items() for one in pair)))
    if old:
        _call(store, ("HDEL", REGISTER, *old))


def find_neighbours(store: Store, fingerprints: Collection[str]) -> list[StorePlace]:
    """Return the other stores of this server that serve one of these accounts.

    Raises:
        ResponseError: the user of the store has no right to the register.
    """
    places = set()
    for field, seen in _read_register(store).items():
        fingerprint, database, prefix = field.split(" ")
        if fingerprint in fingerprints and seen >= time.time() - _COUNTS_FOR:
            places.add(StorePlace(int(database), prefix))
    return sorted(places - {_own_place(store)})


def find_owner(store: Store, places: Iterable[StorePlace], job_id: str) -> StorePlace | None:
    """Return the store among these whose run owns a job, or owned it; None if there is none.

    Raises:
        ResponseError: the user of the store has no right to the keys of the other store.
    """
    for place in places:
        if _call(store, ("EXISTS", Keys(place.prefix).owner(job_id)), place.database):
            return place
    return None


def _own_place(store: Store) -> StorePlace:
    return StorePlace(int(store.client.connection_pool.connection_kwargs.get("db") or 0), store.keys.prefix)


def _read_register(store: Store) -> dict[str, float]:
    found: dict[bytes, bytes] = _call(store, ("HGETALL", REGISTER))
    return {field.decode(): float(seen) for field, seen in found.items()}


def _call(store: Store, command: tuple[Any, ...], database: int = 0) -> Any:
    """Carry out a command in a database. The connection is back in its own database afterwards.

    A broken connection selects its own database when it connects again, so no failure leaves it in another.
    """
    own = _own_place(store).database
    calls = [command] if own == database else [("SELECT", database), command, ("SELECT", own)]
    with store.client.pipeline(transaction=False) as pipe:
        for call in calls:
            pipe.execute_command(*call)  # type: ignore[no-untyped-call]
        replies = pipe.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply
    return replies[len(calls) // 2]
