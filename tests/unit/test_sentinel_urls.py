"""Test the reading of Sentinel URLs, and what Celery gets of them."""

from __future__ import annotations

import pytest
from celery import Celery

from scrape_do_celery import Settings
from scrape_do_celery.config.celery import celery_config
from scrape_do_celery.config.sentinel_urls import read_sentinel_url, spell_address
from scrape_do_celery.config.urls import application, masked, redis_location, sibling
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.sentinel_checks import check_broker_retry, check_failover, find_unknown_primaries
from scrape_do_celery.store import Store

NODES = "sentinel://h1:26379/3;sentinel://h2:26380/3"
URL = f"{NODES}?master_name=main"


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "sentinel://h1/3;sentinel://h2:26380/3?master_name=main",
        "sentinel://h1;h2:26380?master_name=main&db=3",
        "sentinel://h1?virtual_host=3&master_name=main;sentinel://h2:26380",
    ],
)
def test_spellings_of_one_group(url):
    group = read_sentinel_url(url)
    assert group.nodes == (("h1", 26379), ("h2", 26380))
    assert (group.master_name, group.database, group.server_url) == ("main", 3, "redis://primary/3")
    assert redis_location(url) == ("main of the sentinels h1:26379, h2:26380", 3)


def test_passwords_of_servers_and_sentinels_are_told_apart_and_masked():
    url = "sentinel://u:p%3Bw@h1/0;sentinel://h2/0?master_name=main&sentinel_username=a&sentinel_password=secret"
    group = read_sentinel_url(url)
    assert (group.server_options["username"], group.server_options["password"]) == ("u", "p;w")
    assert (group.sentinel_options["username"], group.sentinel_options["password"]) == ("a", "secret")
    for text in (masked(url), masked(sibling(url, 1)), repr(Settings(redis_url=url)), application(url, url)):
        assert "secret" not in text
        assert "p%3Bw" not in text
        assert "p;w" not in text


@pytest.mark.parametrize(
    ("parameters", "servers", "sentinels"),
    [
        ("", "redis", "redis"),
        ("&ssl=true", "rediss", "rediss"),
        ("&ssl_cert_reqs=none", "rediss", "rediss"),
        ("&ssl=true&sentinel_ssl=false", "rediss", "redis"),
        ("&sentinel_ssl=true", "redis", "rediss"),
        ("&sentinel_ssl_cert_reqs=none", "redis", "rediss"),
    ],
)
def test_tls_of_servers_holds_for_sentinels_unless_told(parameters, servers, sentinels):
    group = read_sentinel_url(URL + parameters)
    assert group.server_url.partition(":")[0] == servers
    assert {url.partition(":")[0] for url in group.sentinel_urls} == {sentinels}
    assert group.uses_tls == (servers == "rediss")
    assert group.sentinel_options.get("ssl", False) == (sentinels == "rediss")
    again = read_sentinel_url(sibling(URL + parameters, 1))
    assert (again.server_url, again.sentinel_urls) == (
        group.server_url.replace("/3", "/4"),
        group.sentinel_urls,
    )


def test_addresses_of_version_six():
    group = read_sentinel_url("sentinel://[::1]:7/1?master_name=main")
    assert group.nodes == (("::1", 7),)
    assert group.spell_address(1) == "sentinel://[::1]:7/2"


def test_celery_gets_plain_urls_and_options():
    parameters = "&ssl_ca_certs=/etc/hosts&sentinel_password=s&min_other_sentinels=1"
    config = celery_config(Settings(redis_url=URL + parameters))
    assert config["broker_url"] == "sentinel://h1:26379/4;sentinel://h2:26380/4"
    assert config["result_backend"] == "sentinel://h1:26379/5;sentinel://h2:26380/5"
    for name in ("broker_transport_options", "result_backend_transport_options"):
        options = config[name]
        assert (options["master_name"], options["min_other_sentinels"]) == ("main", 1)
        asked = options["sentinel_kwargs"]
        assert (asked["password"], asked["ssl"], asked["ssl_ca_certs"]) == ("s", True, "/etc/hosts")
        assert (asked["socket_timeout"], asked["socket_connect_timeout"]) == (1.0, 1.0)
    tls = {"ssl_cert_reqs": "required", "ssl_ca_certs": "/etc/hosts"}
    assert config["broker_use_ssl"] == config["redis_backend_use_ssl"] == tls


def test_broker_and_results_may_take_the_name_of_the_store_s_group():
    config = celery_config(Settings(redis_url=URL, broker_url="sentinel://b/1", result_backend="redis://r/2"))
    assert config["broker_transport_options"]["master_name"] == "main"
    assert config["result_backend"] == "redis://r/2"
    settings = Settings(redis_url="redis://h/0", broker_url="memory://", result_backend="sentinel://b/1")
    with pytest.raises(ConfigurationError, match="SCRAPE_DO_RESULT_BACKEND should end with the name"):
        celery_config(settings)


def test_urls_are_compared_without_parameters():
    assert spell_address(URL) == NODES
    assert spell_address("sentinel://h1;sentinel://h2/9") == "sentinel://h1;sentinel://h2/9"
    assert spell_address("redis://h/1") == "redis://h/1"


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"broker_url": "sentinel://h"}, "broker_transport_options has no master_name"),
        ({"result_backend": "sentinel://h"}, "result_backend_transport_options has no master_name"),
        ({"broker_url": "sentinel://h1;sentinel://h2/1"}, "broker_url should end with the same database"),
        ({"broker_url": "sentinel://127.0.0.1:1", "broker_transport_options": {"master_name": "main"}}, ""),
        ({"broker_url": "redis://h"}, ""),
    ],
)
def test_settings_of_an_app_without_a_name_are_found(conf, said):
    app = Celery("shop", set_as_current=False)
    app.conf.update({"broker_url": "memory://", **conf})
    found = find_unknown_primaries(app)
    assert bool(found) == bool(said)
    assert said in "".join(f"{place} {fault}" for place, fault in found.items())


def test_a_worker_that_a_failover_would_end_is_found():
    app = Celery("shop", set_as_current=False, broker="sentinel://h/1")
    (found,) = check_broker_retry(app)
    assert "broker_channel_error_retry" in found.text
    app.conf.broker_channel_error_retry = True
    assert list(check_broker_retry(app)) == []


def test_a_store_without_sentinels_has_no_finding():
    store = Store.open("redis://127.0.0.1:1/0", "p")
    assert list(check_failover(store)) == []
