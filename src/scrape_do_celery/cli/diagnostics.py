"""The checks that `doctor` makes of store, API, broker and workers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from celery.backends.redis import RedisBackend
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from scrape_do_celery.errors import ConfigurationError, ScrapeDoError
from scrape_do_celery.store.scans import count_parts_by_account, find_open_breakers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from scrape_do_celery.config import Settings
    from scrape_do_celery.store import Store

OK, WARNING, WRONG = "ok", "warning", "wrong"
_OLDEST = (6, 2)
#: First entries of each due set whose account is read.
_LOOKED_AT = 1000
_TIMEOUT, _API_TIMEOUT = 2.0, 5.0


class Finding(NamedTuple):
    """A level and a sentence. An empty level marks mere information."""

    level: str
    text: str


def check_store(store: Store, where: str, account: str = "") -> Iterator[Finding]:
    """Check that the store answers, keeps paid contents, and holds parts of this account only."""
    try:
        info = store.client.info()
        store.check()
    except ConfigurationError as error:
        yield Finding(WRONG, str(error))
        return
    except RedisError as error:
        yield Finding(WRONG, f"the store at {where} does not answer ({type(error).__name__}): {error}")
        return
    version = str(info.get("redis_version", "0"))
    yield Finding(OK, f"the store answers at {where}, version {info.get('valkey_version', version)}")
    if _numbers(version) < _OLDEST:
        yield Finding(WRONG, f"the store is version {version}: Celery's transport needs 6.2 or newer")
    if weakness := store.weakness():
        yield Finding(WARNING, weakness)
    yield from _breakers(store)
    if account:
        yield from _other_accounts(store, account)
    policy = info.get("maxmemory_policy")
    if policy and policy != "noeviction":
        yield Finding(WARNING, f"maxmemory-policy is {policy}: a full store drops live runs; set it to noeviction")


def _breakers(store: Store) -> Iterator[Finding]:
    for refused_since in find_open_breakers(store):
        since = datetime.fromtimestamp(refused_since, UTC)
        yield Finding(
            WRONG, f"the API refuses the token since {since:%Y-%m-%d %H:%M:%S} UTC: runs of this account are held back"
        )


def _other_accounts(store: Store, mine: str) -> Iterator[Finding]:
    """Find parts that wait for a worker of another account, among the parts that are due next."""
    others = count_parts_by_account(store, _LOOKED_AT)
    del others[mine]
    for account, count in others.items():
        yield Finding(
            WARNING,
            f"{count} job(s) were bought with the token of another account ({account}; this one is {mine}): they wait "
            "for a worker that has it",
        )


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
            yield Finding(WRONG, f"the API at {settings.api_url} does not answer as it should: {error}")
        else:
            left = f"{user.available_credits:g} credits, room for {user.free_concurrency:g} tasks"
            yield Finding(OK, f"the API answers at {settings.api_url} and takes the token: {left}")


def check_broker(app: Celery) -> Iterator[Finding]:
    """Check that messages can be sent and results can be read."""
    try:
        with app.connection_for_write(connect_timeout=_TIMEOUT) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=_TIMEOUT)
            yield Finding(OK, f"the broker answers at {connection.as_uri()}")
    except (KombuError, OSError) as error:
        yield Finding(WRONG, f"the broker does not answer ({type(error).__name__}): {error}")
    try:
        if isinstance(app.backend, RedisBackend):
            app.backend.client.ping()
            yield Finding(OK, f"the result backend answers at {app.backend.as_uri()}")
    except (RedisError, OSError) as error:
        yield Finding(WRONG, f"the result backend does not answer ({type(error).__name__}): {error}")


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
        others = f"; {', '.join(sorted(answers))} take other queues" if answers else ""
        yield Finding(WARNING, f"no worker takes the queue {queue}{others}: runs are written down and wait for one")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
