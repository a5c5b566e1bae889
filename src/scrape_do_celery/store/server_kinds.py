"""Refuse servers that are no store: a cluster without a hash tag, and servers that hide keys from scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.crc import key_slot
from redis.exceptions import NoPermissionError, ResponseError

from scrape_do_celery.config.sentinel_urls import SPELLING
from scrape_do_celery.errors import ConfigurationError, StoreUnavailableError
from scrape_do_celery.store.commands.rights import lacks_right
from scrape_do_celery.store.refusals import NEEDS_HASH_TAG, find_reason, is_slot_refusal
from scrape_do_celery.store.sentinels import UnknownPrimaryError

if TYPE_CHECKING:
    from scrape_do_celery.store.client import Store

#: A script that touches keys that it does not declare, as most scripts of the store do.
_TOUCH: Final = "return redis.call('EXISTS', unpack(ARGV))"


def refuse_unfit_server(store: Store) -> None:
    """Check that the server can serve as a store.

    Raises:
        ConfigurationError: the server is a cluster, and the prefix has no hash tag; or it hides keys from scripts.
        RedisError: the store did not answer, or its slot moves now.
    """
    if is_cluster(store) and not store.keys.cluster_prefix:
        raise ConfigurationError(NEEDS_HASH_TAG)
    # A slot that moves looks like a hidden key, and the move may end between two calls. A second trial decides.
    refusal = _touch_hidden_keys(store) and _touch_hidden_keys(store)
    if refusal:
        raise ConfigurationError(
            f"the server of SCRAPE_DO_REDIS_URL does not let a script use keys that it does not declare ({refusal}), "
            "as serverless offers and some proxies do: the store's scripts find most of their keys in its records. Use "
            "one server, a managed single shard, or a Redis Cluster with nodes of its own"
        )


def _touch_hidden_keys(store: Store) -> str:
    """Return the server's refusal of a script that uses keys that it does not declare; empty if the server allows it.

    Raises:
        RedisError: the store did not answer, or its slot moves now.
    """
    client: Any = store.client
    # Neither key ever exists. See `scripts`.
    names = [f"{store.keys.prefix}:-", f"{store.keys.prefix}:="]
    try:
        client.eval(_TOUCH, 1, store.keys.due, *names)
    except NoPermissionError:
        return ""  # the check of rights names the right
    except ResponseError as error:
        if lacks_right(str(error)):
            return ""
        if is_slot_refusal(error):
            client.exists(*names)  # fails too, if the slot moves
        elif find_reason(error):
            raise
        return str(error)
    return ""


def is_cluster(store: Store) -> bool:
    """Return whether the server is a node of a cluster. A server that does not say so counts as a single one.

    Raises:
        ConfigurationError: the URL names a database that the server does not have, or a sentinel, or a server that the
            sentinels do not know.
    """
    try:
        facts = store.call_server(lambda client: client.info("server"))
        cluster = store.call_server(lambda client: client.info("cluster"))
    except StoreUnavailableError as error:
        if isinstance(error.__cause__, UnknownPrimaryError):
            raise ConfigurationError(f"SCRAPE_DO_REDIS_URL: {error.__cause__}") from None
        raise
    except ResponseError as error:
        # The refusal of the database, with which each connection begins: Redis, and Valkey.
        if "SELECT is not allowed" in str(error) or "DB index is out of range" in str(error):
            raise ConfigurationError(
                f"SCRAPE_DO_REDIS_URL names a database that its server does not have ({error}): a Redis Cluster has "
                "database 0 only, so end the URL with /0"
            ) from error
        return False  # `check_durability` reports the cost of a user who may not use INFO
    if "sentinel" in {facts.get("redis_mode"), facts.get("server_mode")}:
        raise ConfigurationError(f"SCRAPE_DO_REDIS_URL names a sentinel as if it was a Redis server; write {SPELLING}")
    return bool(int(cluster.get("cluster_enabled", 0)))


def find_slot(store: Store) -> str | None:
    """Return a sentence about the slot of a store on a cluster, and the node that has it; None on a single server.

    Raises:
        RedisError: the store did not answer.
    """
    if not store.keys.cluster_prefix or not is_cluster(store):
        return None
    host, port = store.client.connection_pool.connection_kwargs["nodes"].addresses[0]
    return (
        f"the store is slot {key_slot(store.keys.due.encode())} of a Redis Cluster, now at {host}:{port}; after a move "
        "of the slot or a failover, each run that waits is searched for at Scrape.do before it is bought"
    )
