"""Open clients of the store from its URL. Every client of the package's own store is opened here."""

from __future__ import annotations

from urllib.parse import urlsplit

import redis as redis_sync
import redis.asyncio as redis_async
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from scrape_do_celery.config.redis_parameters import normalize_url
from scrape_do_celery.config.sentinel_urls import is_sentinel_url, read_sentinel_url
from scrape_do_celery.store.deadlines import attempt_seconds
from scrape_do_celery.store.sentinels import make_async_sentinel_pool, make_sentinel_pool
from scrape_do_celery.store.timed_connections import CLASSES, limit_sockets


def open_client(url: str, timeout: float) -> redis_sync.Redis:
    """Return a client for threads. It connects at its first command, and tries each command once."""
    options = {"retry": Retry(NoBackoff(), 0), **limit_sockets(timeout, timeout)}
    if is_sentinel_url(url):
        return redis_sync.Redis(connection_pool=make_sentinel_pool(read_sentinel_url(url), options))
    found: redis_sync.Redis = redis_sync.Redis.from_url(
        normalize_url(url), connection_class=CLASSES[urlsplit(url).scheme], **options
    )
    return found


def open_async_client(url: str, timeout: float, connections: int) -> redis_async.Redis:
    """Return a client for one event loop. It connects at its first command, and tries each command once."""
    options = {
        "max_connections": connections,
        "timeout": 60,
        "retry": AsyncRetry(NoBackoff(), 0),
        **limit_sockets(timeout, attempt_seconds(timeout)),
    }
    if is_sentinel_url(url):
        return redis_async.Redis(connection_pool=make_async_sentinel_pool(read_sentinel_url(url), options))
    pool = redis_async.BlockingConnectionPool.from_url(normalize_url(url), **options)
    return redis_async.Redis(connection_pool=pool)
