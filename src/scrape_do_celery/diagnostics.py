"""Every check that `doctor` and a starting worker run. A check returns findings, and neither prints nor logs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from celery.backends.redis import RedisBackend
from kombu.exceptions import KombuError
from redis.exceptions import RedisError, ResponseError

from scrape_do_celery.config.settings import env_name, unknown_variables
from scrape_do_celery.config.urls import redis_location, why_exposed
from scrape_do_celery.errors import ConfigurationError, ScrapeDoError
from scrape_do_celery.store.commands.stats import ReadClock, ReadEncryptionKeys
from scrape_do_celery.store.scans import count_parts_by_account, find_open_breakers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from celery import Celery

    from scrape_do_celery.config import Settings
    from scrape_do_celery.store import Store

OK, WARNING, WRONG = "ok", "warning", "wrong"
_OLDEST_REDIS: Final = (6, 2)
#: First entries of each due set whose account is read.
_CHECKED_ENTRIES: Final = 1000
_TIMEOUT, _API_TIMEOUT = 2.0, 5.0
_DURABLE: Final = "set appendonly yes and appendfsync always"
#: Setting of a Celery app, its safe value, and the effect of other values. Tested with Celery 5.7; see docs.
_SAFE_CELERY: Final = (
    ("result_backend_always_retry", True, "a finished result is lost if the result backend is down for four seconds"),
    ("worker_prefetch_multiplier", 1, "messages that a dead worker had prefetched come back only after an hour"),
    ("broker_connection_retry_on_startup", True, "a worker exits if it starts before its broker"),
)
_LONGEST_VISIBILITY: Final = 900


class Finding(NamedTuple):
    """A level and a sentence. An empty level marks mere information."""

    level: str
    text: str


# Settings


def check_variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Find the `SCRAPE_DO_*` variables that nothing reads."""
    for text in unknown_variables(environ):
        yield Finding(WARNING, text)


def check_token(settings: Settings) -> Iterator[Finding]:
    """Check that the token is set, and travels encrypted."""
    if exposed := why_exposed(settings.api_url):
        yield Finding(WARNING, f"SCRAPE_DO_API_URL: {exposed}")
    if settings.api_key is None:
        yield Finding(
            WARNING, "SCRAPE_DO_API_KEY is not set: producers do not need it, but workers do not start without it"
        )


def check_server_urls(settings: Settings) -> Iterator[Finding]:
    """Find the dangers in the URLs of the broker and of the result backend."""
    yield from _check_server_url("broker_url", "broker", settings)
    yield from _check_server_url("result_backend", "result backend", settings)


def _check_server_url(name: str, server: str, settings: Settings) -> Iterator[Finding]:
    url: str = getattr(settings, name)
    if _location_or_none(url) == redis_location(settings.redis_url):
        yield Finding(
            WARNING,
            f"{env_name(name)} is the database of {env_name('redis_url')}: a flush of the {server} erases runs "
            "and paid pages. Give each a database of its own.",
        )
    if url.startswith("rediss://") and "ssl_cert_reqs=" not in url:
        yield Finding(
            WARNING,
            f"{env_name(name)} has no ssl_cert_reqs: kombu checks no certificate, and Celery's Redis backend does not "
            "start. Add ?ssl_cert_reqs=required.",
        )


def _location_or_none(url: str) -> object:
    try:
        return redis_location(url)
    except ValueError:
        return None  # a spelling that only kombu reads, such as a list of brokers


# The Celery app


def check_celery_app(app: Celery) -> Iterator[Finding]:
    """Find the settings of a foreign app that can lose results, messages or workers. Only its owner may change them."""
    conf = app.conf
    for name, safe, effect in _SAFE_CELERY:
        if getattr(conf, name) != safe:
            yield Finding(WARNING, f"{name} is {getattr(conf, name)!r}: {effect}; set it to {safe!r}")
    if not conf.result_backend:
        text = "result_backend is not set: AsyncResult cannot show how a run ended; set it, or use RunHandle.result()"
        yield Finding(WARNING, text)
    timeout = conf.broker_transport_options.get("visibility_timeout", 3600)
    if str(conf.broker_url).startswith("redis") and timeout > _LONGEST_VISIBILITY:
        yield Finding(
            WARNING,
            f"broker_transport_options visibility_timeout is {timeout} s: messages of a killed worker come back only "
            f"after this time; set it to {_LONGEST_VISIBILITY}",
        )
    if "json" not in conf.accept_content:
        yield Finding(WARNING, "accept_content lacks json, in which the steps are sent; add json")


def check_broker(app: Celery) -> Iterator[Finding]:
    """Check that messages can be sent and results can be read."""
    try:
        with app.connection_for_write(connect_timeout=_TIMEOUT) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=_TIMEOUT)
            yield Finding(OK, f"the broker answers at {connection.as_uri()}")
    except (KombuError, OSError) as error:
        yield Finding(WRONG, f"broker_url: the broker does not answer ({type(error).__name__}): {error}")
    try:
        if isinstance(app.backend, RedisBackend):
            app.backend.client.ping()
            yield Finding(OK, f"the result backend answers at {app.backend.as_uri()}")
    except (RedisError, OSError) as error:
        yield Finding(WRONG, f"result_backend: the server does not answer ({type(error).__name__}): {error}")


def check_workers(app: Celery, queue: str) -> Iterator[Finding]:
    """Check that a worker consumes the queue of the steps."""
    try:
        with app.connection_for_write(connect_timeout=_TIMEOUT) as connection:
            answers = app.control.inspect(timeout=1.0, connection=connection).active_queues() or {}
    except (KombuError, RedisError, OSError):
        return
    # A node that answers without queues is no worker.
    names = sorted(name for name, queues in answers.items() if queue in {one["name"] for one in queues or ()})
    if names:
        yield Finding(OK, f"workers on the queue {queue}: {', '.join(names)}")
    else:
        others = f"; {', '.join(sorted(answers))} consume other queues" if answers else ""
        yield Finding(
            WARNING,
            f"no worker consumes the queue {queue}{others}: runs wait; start a worker with -Q {queue}",
        )


# The store


def check_store(store: Store, account: str = "") -> Iterator[Finding]:
    """Check that the store answers, keeps paid contents, and holds parts of this account only."""
    try:
        info = store.client.info()
        store.check()
    except ConfigurationError as error:
        yield Finding(WRONG, str(error))
        return
    except RedisError as error:
        yield Finding(
            WRONG, f"SCRAPE_DO_REDIS_URL: the store at {store.where} does not answer ({type(error).__name__}): {error}"
        )
        return
    version = str(info.get("redis_version", "0"))
    yield Finding(OK, f"the store answers at {store.where}, version {info.get('valkey_version', version)}")
    if _read_version(version) < _OLDEST_REDIS:
        yield Finding(
            WRONG, f"the store is version {version}: Celery's transport needs 6.2 or newer; upgrade the server"
        )
    yield from check_durability(store)
    yield from _check_breakers(store)
    if account:
        yield from _check_other_accounts(store, account)
    policy = info.get("maxmemory_policy")
    if policy and policy != "noeviction":
        yield Finding(WARNING, f"maxmemory-policy is {policy}: a full store drops live runs; set it to noeviction")


def check_durability(store: Store) -> Iterator[Finding]:
    """Find what a crash of the store's server can cost. Nothing is found if a crash loses no write."""
    try:
        persistence = store.client.info("persistence")
    except ResponseError:
        yield Finding(
            WARNING,
            "the store's user may not use INFO, so workers cannot notice a restart: each purchase waits a minute or "
            "two for a search at Scrape.do; allow the user +info",
        )
        return
    if not persistence.get("aof_enabled"):
        text = f"the store keeps no append-only file: a restart forgets runs and their purchases; {_DURABLE}"
        yield Finding(WARNING, text)
        return
    try:
        fsync = store.client.config_get("appendfsync").get("appendfsync")
    except ResponseError:
        text = "the store's server does not show appendfsync (a managed server?): make sure that appendfsync is always"
        yield Finding(WARNING, text)
        return
    if fsync != "always":
        yield Finding(
            WARNING,
            f"appendfsync is {fsync}: a crash may forget the runs and cancels of the last second, and after each "
            f"restart, a purchase waits a minute or two for a search at Scrape.do; {_DURABLE}",
        )


def check_encryption_keys(store: Store, record_ttl: float) -> Iterator[Finding]:
    """Find the encryption keys that runs of the store need and this process does not have."""
    used, now = store.run(ReadEncryptionKeys()), store.run(ReadClock())
    for name, at in sorted(used.items()):
        if name not in store.key_names and now - at < record_ttl:
            yield Finding(
                WRONG,
                f"runs of the store are encrypted with key {name}, which SCRAPE_DO_ENCRYPTION_KEY of this process "
                "lacks: the runs wait for a worker with the key; add it after the first key",
            )


def _check_breakers(store: Store) -> Iterator[Finding]:
    for refused_since in find_open_breakers(store):
        since = datetime.fromtimestamp(refused_since, UTC)
        yield Finding(
            WRONG,
            f"the API has refused the token since {since:%Y-%m-%d %H:%M:%S} UTC: runs of this account wait; set a "
            "valid SCRAPE_DO_API_KEY for the workers",
        )


def _check_other_accounts(store: Store, mine: str) -> Iterator[Finding]:
    """Find parts that wait for a worker of another account, among the parts that are due next."""
    others = count_parts_by_account(store, _CHECKED_ENTRIES)
    del others[mine]
    for account, count in others.items():
        yield Finding(
            WARNING,
            f"{count} job(s) were bought with the token of another account ({account}; this one is {mine}): the jobs "
            "wait; start a worker with that token",
        )


def _read_version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


# The account


def check_api(settings: Settings) -> Iterator[Finding]:
    """Check that the API answers and accepts the token."""
    if settings.api_key is None:
        return
    # Import late: the client loads an HTTP library, which no command needs before its call.
    from scrape_do_celery.client import ScrapeDoAsyncAPIClient

    with ScrapeDoAsyncAPIClient(
        settings.api_key, base_url=settings.api_url, timeout=_API_TIMEOUT, max_retries=0
    ) as client:
        try:
            user = client.get_user_info()
        except ScrapeDoError as error:
            yield Finding(
                WRONG, f"SCRAPE_DO_API_URL: the API at {settings.api_url} does not answer as expected: {error}"
            )
        else:
            left = f"{user.available_credits:g} credits, room for {user.free_concurrency:g} tasks"
            yield Finding(OK, f"the API answers at {settings.api_url} and accepts the token: {left}")
