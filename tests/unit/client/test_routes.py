"""Test the route of a client's arguments, and the moment before the first byte behind a proxy."""

from __future__ import annotations

import httpcore
import pytest
import trustme
from pydantic import SecretStr

from scrape_do_celery import Settings
from scrape_do_celery.client.attempt import NO_TRACE, precedes_first_byte
from scrape_do_celery.client.drivers import AsyncioDriver, BlockingDriver
from scrape_do_celery.client.pooled_reads import PooledReadTransport
from scrape_do_celery.client.routes import DIRECT, network_arguments, read_route, ssl_context
from scrape_do_celery.config.settings import SettingsError
from scrape_do_celery.errors import APIConnectionError
from scrape_do_celery.rules.submit import SubmitFailure, classify_submit_error

PROXY = "http://user:p%40ss@proxy.example:3128"


def test_arguments_win_over_variables(monkeypatch):
    assert read_route() == DIRECT
    monkeypatch.setenv("SCRAPE_DO_PROXY", f" {PROXY}\n")
    monkeypatch.setenv("SCRAPE_DO_CA_FILE", "/ca.pem")
    assert (read_route().proxy.get_secret_value(), read_route().ca_file) == (PROXY, "/ca.pem")
    assert read_route("", "") == DIRECT
    assert read_route(SecretStr("http://other"), "b.pem").proxy_address == "http://other"
    assert network_arguments(Settings(proxy="", ca_file="")) == {"proxy": "", "ca_file": ""}
    assert network_arguments(Settings())["proxy"].get_secret_value() == PROXY


def test_password_is_in_the_header_and_nowhere_else():
    route = read_route(PROXY, "")
    assert route.proxy_headers == {"Proxy-Authorization": "Basic dXNlcjpwQHNz"}
    assert route.proxy_address == "http://proxy.example:3128"
    assert route.proxy_place == "proxy.example:3128"
    assert "p%40ss" not in f"{route} {route.httpx_proxy()!r} {Settings(proxy=PROXY)!r}"
    places = [read_route(url).proxy_place for url in ("http://a", "https://a", "http://[::1]:8", "")]
    assert places == ["a:80", "a:443", "[::1]:8", ""]
    assert (DIRECT.proxy_address, DIRECT.proxy_headers, read_route("http://a").proxy_headers) == ("", {}, {})


@pytest.mark.parametrize("given", ["proxy:3128", "socks5://prox", "http://prox:70000", "http://prox/x", "http://pröx"])
def test_wrong_proxy_is_refused_without_its_value(given):
    with pytest.raises(ValueError, match="proxy should be the URL of an HTTP proxy"):
        read_route(given)
    with pytest.raises(SettingsError, match="SCRAPE_DO_PROXY: should be the URL") as caught:
        Settings(proxy=given)
    assert "prox:70000" not in str(caught.value)


def test_context_trusts_the_authorities_of_the_file_too(tmp_path):
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    assert len(ssl_context(str(file)).get_ca_certs()) == len(ssl_context().get_ca_certs()) + 1
    assert ssl_context(str(file)) is ssl_context(str(file))
    assert read_route("https://proxy.example", str(file)).httpx_proxy().ssl_context is ssl_context(str(file))


def test_file_without_a_certificate_is_named(tmp_path):
    (tmp_path / "empty.pem").write_text("no certificate")
    for name, why in (("none.pem", "No such file"), ("empty.pem", "holds no certificate in PEM")):
        with pytest.raises(SettingsError, match=why) as caught:
            ssl_context(str(tmp_path / name))
        assert list(caught.value.problems) == ["SCRAPE_DO_CA_FILE"]


@pytest.mark.parametrize("driver", [BlockingDriver, AsyncioDriver])
def test_transport_of_the_caller_has_its_own_route(driver):
    with pytest.raises(ValueError, match="give proxy and ca_file to the transport"):
        driver("tok", transport=PooledReadTransport(1), proxy=PROXY)
    assert "proxy" not in repr(driver("tok", proxy=PROXY))


def test_connect_does_not_count_as_the_first_byte():
    event = "http11.send_request_headers.started"
    assert precedes_first_byte(NO_TRACE, None)
    assert precedes_first_byte(event, {"request": httpcore.Request("POST", "https://a.example")})
    assert not precedes_first_byte(event, {"request": httpcore.Request("CONNECT", "http://proxy.example")})
    assert not precedes_first_byte("http11.send_request_body.started", {})
    error = APIConnectionError("no answer", "POST", "/", "ProxyError")
    assert classify_submit_error(error) is SubmitFailure.NOT_SENT
