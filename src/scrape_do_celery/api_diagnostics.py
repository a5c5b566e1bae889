"""The check of `doctor` that calls the API: the route, the answer and the token."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from scrape_do_celery.errors import APIConnectionError, ConfigurationError, ScrapeDoError
from scrape_do_celery.figures import format_figure
from scrape_do_celery.findings import OK, WRONG, Finding
from scrape_do_celery.rules.api_errors import is_auth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.client.routes import NetworkRoute
    from scrape_do_celery.config import Settings

_TIMEOUT: Final = 5.0
#: Variables by which other programs find their proxy. No client of this package reads them.
_FOREIGN_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def check_api(settings: Settings) -> Iterator[Finding]:
    """Check that the API answers on the route of the settings, and accepts the token."""
    if settings.api_key is None:
        return
    # Import late: the client loads an HTTP library, which no command needs before its call.
    from scrape_do_celery.client import ScrapeDoAsyncAPIClient
    from scrape_do_celery.client.routes import network_arguments, read_route

    arguments = network_arguments(settings)
    route = read_route(**arguments)
    yield Finding("", f"requests to the API go {_describe_route(route)}")
    try:
        with ScrapeDoAsyncAPIClient(
            settings.api_key, base_url=settings.api_url, timeout=_TIMEOUT, max_retries=0, **arguments
        ) as client:
            user = client.get_user_info()
    except ConfigurationError as error:
        yield Finding(WRONG, str(error))
    except ScrapeDoError as error:
        # A refusal says nothing about the URL. A user who changes the URL then sends the token elsewhere.
        fault = (
            f"SCRAPE_DO_API_KEY: the API at {settings.api_url} refuses the token, or the account has no credits"
            if is_auth(error)
            else f"SCRAPE_DO_API_URL: the API at {settings.api_url} does not answer as expected"
        )
        yield Finding(WRONG, f"{fault}: {error}{_hint_at_route(error, route)}")
    else:
        left = f"{format_figure(user.available_credits)} credits, room for {user.free_concurrency:,} tasks"
        yield Finding(OK, f"the API answers at {settings.api_url} and accepts the token: {left}")


def _describe_route(route: NetworkRoute) -> str:
    way = f"through the proxy {route.proxy_address}" if route.proxy else "directly, without a proxy"
    trusted = f"the public authorities and those of {route.ca_file}" if route.ca_file else "the public authorities"
    return f"{way}, and trust {trusted}"


def _hint_at_route(error: ScrapeDoError, route: NetworkRoute) -> str:
    """Return the settings that may mend a failed connection; empty if the API answered."""
    if not isinstance(error, APIConnectionError):
        return ""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        file = "does not have" if route.ca_file else "should name a PEM file with"
        return f"; if your network inspects TLS, SCRAPE_DO_CA_FILE {file} its authority"
    if route.proxy:
        return f"; requests go through SCRAPE_DO_PROXY, {route.proxy_address}: check its address, user and password"
    ignored = next((name for name in _FOREIGN_VARIABLES if os.environ.get(name)), None)
    seen = f" ({ignored} is set, but this package does not read it)" if ignored else ""
    return f"; if your network needs a proxy, set SCRAPE_DO_PROXY{seen}"
