"""The route from a client to the API: through a proxy or directly, and the authorities whose certificates count."""

from __future__ import annotations

import base64
import os
import ssl
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import httpx
from pydantic import SecretStr

from scrape_do_celery.config.secrets import check_proxy
from scrape_do_celery.config.settings import SettingsError

if TYPE_CHECKING:
    from scrape_do_celery.config import Settings

PROXY_VARIABLE: Final = "SCRAPE_DO_PROXY"
CA_VARIABLE: Final = "SCRAPE_DO_CA_FILE"
OWN_TRANSPORT: Final = "give proxy and ca_file to the transport: a client with a transport of yours does not use them"
#: Variables by which other programs find their proxy. No client of this package reads them.
FOREIGN_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class NetworkRoute:
    """The proxy and the authorities of a client. The representation shows no password."""

    proxy: SecretStr | None = None
    ca_file: str = ""

    @property
    def proxy_address(self) -> str:
        """The proxy without user and password, safe for logs; empty if requests go directly."""
        proxy = self.httpx_proxy()
        return "" if proxy is None else str(proxy.url)

    @property
    def proxy_place(self) -> str:
        """The host and the port of the proxy, for errors; empty if requests go directly."""
        proxy = self.httpx_proxy()
        if proxy is None:
            return ""
        host = f"[{proxy.url.host}]" if ":" in proxy.url.host else proxy.url.host
        return f"{host}:{proxy.url.port or _PORTS[proxy.url.scheme]}"

    @property
    def proxy_headers(self) -> dict[str, str]:
        """The header by which the proxy knows its user; empty for a proxy without users."""
        proxy = self.httpx_proxy()
        if proxy is None or proxy.raw_auth is None:
            return {}
        return {"Proxy-Authorization": f"Basic {base64.b64encode(b':'.join(proxy.raw_auth)).decode()}"}

    def httpx_proxy(self) -> httpx.Proxy | None:
        """Return the proxy as httpx takes it. Its user and password are not in its URL."""
        if self.proxy is None:
            return None
        proxy = httpx.Proxy(self.proxy.get_secret_value())
        if proxy.url.scheme == "https":
            proxy.ssl_context = self.ssl_context()
        return proxy

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context of all TLS connections on this route."""
        return ssl_context(self.ca_file)


DIRECT: Final = NetworkRoute()


def read_route(proxy: str | SecretStr | None = None, ca_file: str | None = None) -> NetworkRoute:
    """Return the route of a client's arguments. None takes the variable, and an empty text stands for no value.

    Raises:
        ValueError: the proxy is no HTTP proxy. The text shows no value.
    """
    given = os.environ.get(PROXY_VARIABLE) if proxy is None else proxy
    secret = given if isinstance(given, SecretStr) or given is None else SecretStr(given)
    file = os.environ.get(CA_VARIABLE, "") if ca_file is None else ca_file
    try:
        checked = check_proxy(secret)
    except ValueError as error:
        reason = str(error)
    else:
        return NetworkRoute(checked, file.strip())
    raise ValueError(f"proxy {reason}")


def network_arguments(settings: Settings) -> dict[str, Any]:
    """Return the arguments of a client for the route of the settings. The client does not read variables then."""
    return {"proxy": settings.proxy or "", "ca_file": settings.ca_file}


@cache
def ssl_context(ca_file: str = "") -> ssl.SSLContext:
    """Return the context of all TLS connections. Make it once, before a worker forks: many requests take less time.

    The authorities in `ca_file` are trusted besides the public ones: only some hosts may be behind an inspection.

    Raises:
        SettingsError: the file cannot be read, or holds no certificate.
    """
    context = httpx.create_ssl_context(trust_env=False)
    if not ca_file:
        return context
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        why = error.strerror if type(error) is not ssl.SSLError and error.strerror else "it holds no certificate in PEM"
        raise SettingsError(f"{CA_VARIABLE}: {ca_file} cannot be read: {why}", {CA_VARIABLE: why}) from None
    # From Python 3.13 on, OpenSSL checks the form of certificates strictly. Many authorities of companies fail there.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
