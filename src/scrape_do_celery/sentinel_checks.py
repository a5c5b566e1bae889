"""Check the sentinels of store, broker and results: whether they know the servers, and whether a failover is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError, ResponseError

from scrape_do_celery.config.celery_sentinels import limit_sentinels
from scrape_do_celery.config.sentinel_urls import is_sentinel_url, read_sentinel_url
from scrape_do_celery.config.variables import env_name
from scrape_do_celery.findings import WARNING, Finding
from scrape_do_celery.runs.celery_app import is_own_app, settings_of
from scrape_do_celery.store.sentinels import SentinelClients, UnknownPrimaryError, is_watched, open_sentinels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from celery import Celery

    from scrape_do_celery.store import Store

#: The setting of each URL of Celery, and the setting of its transport options.
_SERVERS: Final = {
    "broker_url": "broker_transport_options",
    "result_backend": "result_backend_transport_options",
}


def find_unknown_primaries(app: Celery) -> dict[str, str]:
    """Return each setting that names a server of Celery wrongly, with a sentence: its sentinels do not know the name.

    One setting may name both servers. Sentinels that do not answer may know the name.
    """
    found: dict[str, str] = {}
    for name, options_name in _SERVERS.items():
        if fault := _find_unknown_primary(app, name, options_name):
            found.setdefault(*fault)
    return found


def _find_place(app: Celery, name: str, options_name: str) -> str:
    """Return the setting in which the user wrote the name of the servers."""
    if not is_own_app(app):
        return options_name
    settings = settings_of(app)
    url: str = getattr(settings, name)
    is_given = name in settings.model_fields_set and read_sentinel_url(url).master_name
    return env_name(name if is_given else "redis_url")


def check_broker_retry(app: Celery) -> Iterator[Finding]:
    """Find an app whose workers end at a failover of its broker."""
    conf = app.conf
    if is_sentinel_url(str(conf.broker_write_url or "")) and not conf.get("broker_channel_error_retry"):
        yield Finding(
            WARNING,
            "broker_channel_error_retry is False: a worker ends if its broker refuses for a moment, as after a "
            "failover with min-replicas-to-write; set it to True",
        )


def _find_unknown_primary(app: Celery, name: str, options_name: str) -> tuple[str, str] | None:
    url = str((app.conf.broker_write_url if name == "broker_url" else app.conf.result_backend) or "")
    if not is_sentinel_url(url):
        return None
    options: Mapping[str, Any] = app.conf.get(options_name) or {}
    try:
        group = read_sentinel_url(url)
    except ValueError as error:
        return name, str(error)
    if not options.get("master_name"):
        return options_name, "has no master_name: add the name under which the sentinels watch the servers"
    clients = open_sentinels(group, limit_sentinels(options.get("sentinel_kwargs") or {}))
    try:
        clients.discover_master(options["master_name"])
    except UnknownPrimaryError as error:
        return _find_place(app, name, options_name), f"names no primary: {error}"
    except RedisError:
        return None  # Celery tries again, and `doctor` says that the server does not answer
    finally:
        clients.close()
    return None


def check_failover(store: Store) -> Iterator[Finding]:
    """Find what a failover of a store behind sentinels can cost."""
    if not is_watched(store.client):
        return
    try:
        replication = store.call_server(lambda client: client.info("replication"))
    except ResponseError:
        return  # `check_durability` says that the user may not use INFO
    if "min_slaves_good_slaves" not in replication:
        yield Finding(
            WARNING,
            "min-replicas-to-write is 0: a primary that is cut off goes on taking runs and purchases after its "
            "successor was promoted, and they are lost, or bought twice; set min-replicas-to-write 1 and "
            "min-replicas-max-lag 10 on each server, with two replicas or more",
        )
    pool: Any = store.client.connection_pool
    manager: SentinelClients = pool.sentinel_manager
    try:
        state: Any = manager.sentinels[0].sentinel_master(pool.service_name)
    except RedisError:
        return
    if not int(state["num-slaves"]):
        yield Finding(WARNING, f"the primary {pool.service_name} has no replica, so nothing takes over if it dies")
