"""Check the server of the store: the rights of its user, its eviction policy, and other stores with one account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from scrape_do_celery.config.accounts import account_fingerprints
from scrape_do_celery.findings import WARNING, WRONG, Finding
from scrape_do_celery.store.commands.rights import CheckRights
from scrape_do_celery.store.plain_values import PlainRuns, find_plain_runs
from scrape_do_celery.store.register import REGISTER, find_neighbours

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.config import Settings
    from scrape_do_celery.store import Store

_DURABLE: Final = "set appendonly yes and appendfsync always"
#: Keys of the server that the search for plain values looks at.
_SEARCHED_KEYS: Final = 100_000


def find_missing_rights(store: Store) -> str | None:
    """Return a sentence about the rights that the store's user lacks; None if it lacks none. Write one key for it.

    Raises:
        RedisError: the store did not answer.
    """
    prefix = store.keys.prefix
    try:
        refused = [one for one in store.run(CheckRights()) if one.is_for_good]
    except NoPermissionError as error:
        return (
            f"the store's user may not run scripts on keys under the prefix {prefix}: no run can be written or bought; "
            f"allow it ~{prefix}:* +eval +evalsha ({error})"
        )
    if not refused:
        return None
    names = " ".join(sorted({f"+{one.name.lower()}" for one in refused}))
    return (
        f"the store's user lacks rights, so a run would stop half-way, after its purchase too; allow it {names} on "
        f"~{prefix}:* ({refused[0].reason})"
    )


def check_rights(store: Store) -> Iterator[Finding]:
    """Check by a write of a script that runs can be written and bought."""
    if missing := find_missing_rights(store):
        yield Finding(WRONG, missing)
        return
    if refused := store.run(CheckRights()):
        yield Finding(WRONG, f"the store refuses to write: {refused[0].reason}")


def read_info(store: Store, section: str | None = None) -> dict[str, Any] | None:
    """Return facts of `INFO`; None if the user may not use it."""
    try:
        sections = [section] if section else []
        facts: dict[str, Any] = store.call_server(lambda client: client.info(*sections))
    except ResponseError:
        return None
    return facts


def find_eviction(store: Store) -> str | None:
    """Return a sentence about a policy that deletes keys of a full store; None if there is none, or none is shown."""
    policy = (read_info(store, "memory") or {}).get("maxmemory_policy") or _read_config(store, "maxmemory-policy")
    if not policy or policy == "noeviction":
        return None
    # `volatile-*` spares keys without an expiry. Purchases in doubt, idempotency keys and ticks have one.
    return (
        f"maxmemory-policy is {policy}: a full store would delete live runs, pages, and marks that prevent a second "
        "purchase; set it to noeviction"
    )


def find_shared_account(store: Store, settings: Settings) -> str | None:
    """Return a sentence about other stores of the server with this account, unless the settings know of others.

    Raises:
        RedisError: the store did not answer, or its user has no right to the register of stores.
    """
    if settings.shared_account:
        return None
    places = find_neighbours(store, account_fingerprints(settings))
    if not places:
        return None
    named = ", ".join(f"{place.prefix} in database {place.database}" for place in places)
    return (
        f"another application of this server uses the same Scrape.do account (key prefix {named}): each may take the "
        "other's jobs for its own. Set SCRAPE_DO_SHARED_ACCOUNT=true for both, or give each a token of its own. If "
        f"the other is gone, it is forgotten a day after its last worker, or by DEL {REGISTER} in database 0"
    )


def check_shared_account(store: Store, settings: Settings) -> Iterator[Finding]:
    """Check that no other store of the server uses the same account, unless the settings know of others."""
    try:
        if shared := find_shared_account(store, settings):
            yield Finding(WRONG, shared)
    except ResponseError as error:
        yield Finding(
            WARNING,
            "other applications of this server with the same Scrape.do account cannot be seen: allow the store's user "
            f"~{REGISTER} ({error})",
        )


def check_allowed_plain(settings: Settings) -> Iterator[Finding]:
    """Find that plain values are accepted, or would be if there were a key."""
    if settings.allow_plain and settings.encryption_key is None:
        yield Finding(WARNING, "SCRAPE_DO_ALLOW_PLAIN has no effect without SCRAPE_DO_ENCRYPTION_KEY: remove it")
    elif settings.allow_plain:
        yield Finding(
            WARNING,
            "SCRAPE_DO_ALLOW_PLAIN is set: everybody who can write to the store can forge requests, pages and "
            "callbacks; remove it as soon as `scrape-do doctor` finds no plain values",
        )


def check_plain_values(store: Store, settings: Settings) -> Iterator[Finding]:
    """Find the runs with plain values in a store with an encryption key, and when the migration is over.

    Raises:
        RedisError: the store did not answer.
    """
    yield from check_allowed_plain(settings)
    if settings.encryption_key is None:
        return
    try:
        found = find_plain_runs(store, _SEARCHED_KEYS)
    except NoPermissionError as error:
        yield Finding(WARNING, f"plain values cannot be found: allow the store's user +scan and +hscan ({error})")
        return
    if found.live or found.ended:
        yield _describe_plain_runs(found, is_allowed=settings.allow_plain)
    elif settings.allow_plain and found.is_complete:
        yield Finding(
            WARNING,
            "no run has plain values any more: remove SCRAPE_DO_ALLOW_PLAIN, once every process has the key",
        )
    elif settings.allow_plain:
        yield Finding(WARNING, f"no plain values are among the first {_SEARCHED_KEYS:,} keys; more keys were not read")


def _describe_plain_runs(found: PlainRuns, *, is_allowed: bool) -> Finding:
    first = (*found.live, *found.ended)[0]
    least = "" if found.is_complete else "at least "
    count = f"{least}{len(found.live) + len(found.ended):,} run(s) have plain values, such as run {first}"
    if not is_allowed:
        return Finding(
            WRONG,
            f"{count}, although SCRAPE_DO_ENCRYPTION_KEY is set: the values are refused. If you have just turned "
            "encryption on, set SCRAPE_DO_ALLOW_PLAIN=true for a while; if not, a process without the key writes to "
            "this store, or somebody forged them",
        )
    rest = (
        f"{len(found.live):,} of them are live, so keep SCRAPE_DO_ALLOW_PLAIN until they have ended and are deleted"
        if found.live
        else f"all have ended, and the last one is deleted within {found.last_ttl / 3600:.1f} h: remove "
        "SCRAPE_DO_ALLOW_PLAIN then, or now if nobody reads them any more"
    )
    return Finding(WARNING, f"{count}; {rest}")


def check_durability(store: Store) -> Iterator[Finding]:
    """Find what a crash of the store's server can cost. Nothing is found if a crash loses no write."""
    persistence = read_info(store, "persistence")
    if persistence is None:
        yield Finding(
            WARNING,
            "the store's user may not use INFO, so workers cannot notice a restart or a limit of memory: "
            "each purchase waits a minute or two for a search at Scrape.do, and jobs are bought until the store is "
            "full; allow the user +info",
        )
        return
    if not persistence.get("aof_enabled"):
        text = (
            "the store keeps no append-only file: a restart forgets runs and their purchases; run CONFIG SET "
            "appendonly yes on the running server first, then change its file, with appendfsync always. A restart with "
            "only the file changed starts EMPTY"
        )
        yield Finding(WARNING, text)
        return
    fsync = _read_config(store, "appendfsync")
    if fsync is None:
        yield Finding(
            WARNING,
            "the store's server does not show appendfsync (a managed server, or a user without +config|get): after "
            "each restart, a purchase waits a minute or two for a search at Scrape.do; make sure that appendfsync is "
            "always",
        )
    elif fsync != "always":
        yield Finding(
            WARNING,
            f"appendfsync is {fsync}: a crash may forget the runs and cancels of the last second, and after each "
            f"restart, a purchase waits a minute or two for a search at Scrape.do; {_DURABLE}",
        )


def _read_config(store: Store, name: str) -> str | None:
    try:
        found: str | None = store.call_server(lambda client: client.config_get(name)).get(name)
    except RedisError:
        return None
    return found
