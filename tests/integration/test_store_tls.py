"""Test a store behind TLS with a real private authority, in redis-py's and in Celery's spelling of the parameters."""

from __future__ import annotations

import asyncio

import pytest

from scrape_do_celery import Settings, enqueue
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.store import AsyncStore
from scrape_do_celery.store.commands.runs import ReadOutcome
from tests.support.redis_servers import RedisServer
from tests.support.tcp_proxies import TlsProxy
from tests.support.time_limits import limit_time


@pytest.fixture
def proxy(tmp_path):
    with RedisServer(tmp_path / "a") as server, TlsProxy(server.port, tmp_path) as one:
        yield one


def make_settings(proxy, parameters):
    url = f"rediss://127.0.0.1:{proxy.port}/0?{parameters}".replace("CA", str(proxy.ca_file))
    return Settings(redis_url=url, broker_url="memory://", store_timeout=2)


@pytest.mark.parametrize(
    "parameters",
    [
        "ssl_cert_reqs=CERT_NONE&ssl_check_hostname=false",
        "ssl_cert_reqs=none&ssl_check_hostname=false",
        "ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=CA",
        "ssl_cert_reqs=required&ssl_ca_certs=CA",
        "ssl_ca_certs=CA",
    ],
)
def test_both_spellings_connect(proxy, parameters):
    settings = make_settings(proxy, parameters)
    handle = enqueue(["https://a.example/1"], settings=settings)

    async def read():
        store = AsyncStore.open(settings.redis_url, settings.key_prefix)
        found = await store.run(ReadOutcome(handle.run_id))
        await store.aclose()
        return found

    assert asyncio.run(read()) == (True, None)


def test_an_unknown_authority_is_refused_and_nothing_was_written(proxy):
    with pytest.raises(StoreUnavailableError, match="certificate verify failed") as caught:
        enqueue(["https://a.example/1"], settings=make_settings(proxy, "ssl_cert_reqs=CERT_REQUIRED"))
    assert not caught.value.may_be_written


def test_silence_ends_a_call_within_its_time(proxy):
    handle = enqueue(["https://a.example/1"], settings=make_settings(proxy, "ssl_ca_certs=CA"))
    proxy.silence()
    for _ in range(2):
        with limit_time(2 + 1), pytest.raises(StoreUnavailableError):
            _ = handle.state
        # The next call makes a new connection, whose handshake is silent too.
        proxy.cut()
