"""The checks of `doctor` for the API: the route, the answer, the token, and the refusals that workers have met."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from redis.exceptions import NoPermissionError

from scrape_do_celery.errors import APIConnectionError, AsyncAPIResponseError, ConfigurationError, ScrapeDoError
from scrape_do_celery.figures import format_figure
from scrape_do_celery.findings import OK, WARNING, WRONG, Finding
from scrape_do_celery.rules.api_errors import is_auth
from scrape_do_celery.rules.waits import describe_grace, spell_since
from scrape_do_celery.store.token_refusals import find_refusals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.client.routes import NetworkRoute
    from scrape_do_celery.config import Settings
    from scrape_do_celery.store import Store
    from scrape_do_celery.store.token_refusals import TokenRefusal

_TIMEOUT: Final = 5.0
_UNKNOWN_AUTHORITY: Final = "CERTIFICATE_VERIFY_FAILED"
#: Variables by which other programs find their proxy. No client of this package reads them.
_FOREIGN_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def check_refusals(store: Store, settings: Settings) -> Iterator[Finding]:
    """Find the refused tokens that workers hold runs back for. `check_api` judges the token of this process.

    Raises:
        RedisError: the store did not answer.
    """
    try:
        refusals = list(find_refusals(store))
    except NoPermissionError as error:
        yield Finding(WARNING, f"tokens that are refused cannot be found: allow +scan ({error})")
        return
    for refusal in refusals:
        is_own = refusal.account == settings.account_id
        if settings.api_key is None and (is_own or (refusal.is_tried and not settings.account)):
            yield _describe_refusal(refusal)
        elif settings.api_key is not None and refusal.is_tried and not is_own:
            yield _describe_other_token(refusal)


def check_api(settings: Settings, refusal: TokenRefusal | None = None) -> Iterator[Finding]:
    """Check that the API answers on the route of the settings, and accepts the token.

    `refusal` is what workers have met for the account. The answer of the API shows whether the refusal still holds.
    """
    if settings.api_key is None:
        return
    if refusal and refusal.token_id not in {"", settings.token_id}:
        if refusal.is_tried:
            yield _describe_other_token(refusal)
        refusal = None
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
        hint = _describe_wait(refusal) if is_auth(error) else _hint_at_route(error, route)
        yield Finding(WRONG, f"{_blame(error, settings, route)}: {error}{hint}")
        if refusal and not is_auth(error):
            yield _describe_refusal(refusal)
    else:
        left = f"{format_figure(user.available_credits)} credits, room for {user.free_concurrency:,} tasks"
        yield Finding(OK, f"the API answers at {settings.api_url} and accepts the token: {left}")
        if refusal:
            met = spell_since(refusal.since)
            yield Finding(
                OK, f"workers have met a refusal of this token{met}; they notice within a minute that it ended"
            )


def _blame(error: ScrapeDoError, settings: Settings, route: NetworkRoute) -> str:
    """Return the setting that is most likely wrong, and the fault.

    A refusal says nothing about the URL. A user who changes the URL then sends the token elsewhere.
    """
    where = f"the API at {settings.api_url}"
    if is_auth(error):
        return f"SCRAPE_DO_API_KEY: {where} refuses the token, or the account has no credits"
    if _is_of_network(error) and route.proxy:
        return f"SCRAPE_DO_PROXY: {where} is not reached"
    return f"SCRAPE_DO_API_URL: {where} does not answer as expected"


def _is_of_network(error: ScrapeDoError) -> bool:
    return isinstance(error, APIConnectionError) and _UNKNOWN_AUTHORITY not in str(error)


def _describe_wait(refusal: TokenRefusal | None) -> str:
    """Return the rest of a sentence about a refused token: until when runs wait; empty without a refusal."""
    if refusal is None:
        return ""
    return (
        f"; runs wait{spell_since(refusal.since)}{describe_grace(refusal.fails_at, refusal.now)}; a new token takes "
        "bought jobs along only if SCRAPE_DO_ACCOUNT was set when they were bought"
    )


def _describe_refusal(refusal: TokenRefusal) -> Finding:
    return Finding(
        WRONG,
        f"the API refuses the token of the account {refusal.account}: check its credits, and SCRAPE_DO_API_KEY of the "
        f"workers{_describe_wait(refusal)}",
    )


def _describe_other_token(refusal: TokenRefusal) -> Finding:
    return Finding(
        WARNING,
        f"workers lately tried another token than that of this process, and the API refuses it"
        f"{spell_since(refusal.since)} (account {refusal.account}): if that token was replaced, start each worker that "
        f"still has it again with the new one"
        f"{describe_grace(refusal.fails_at, refusal.now)}",
    )


def _describe_route(route: NetworkRoute) -> str:
    way = f"through the proxy {route.proxy_place}" if route.proxy else "directly, without a proxy"
    trusted = f"the public authorities and those of {route.ca_file}" if route.ca_file else "the public authorities"
    return f"{way}, and trust {trusted}"


def _hint_at_route(error: ScrapeDoError, route: NetworkRoute) -> str:
    """Return the settings that may mend a failed connection, or a foreign answer; empty if the API answered."""
    if not isinstance(error, APIConnectionError):
        # A proxy answers for an API at http:// that it cannot reach.
        is_foreign = route.proxy and isinstance(error, AsyncAPIResponseError) and not error.is_api_error
        return f"; the proxy {route.proxy_place} may have answered instead of the API" if is_foreign else ""
    if _UNKNOWN_AUTHORITY in str(error):
        file = "does not have" if route.ca_file else "should name a PEM file with"
        return f"; if your network inspects TLS, SCRAPE_DO_CA_FILE {file} its authority"
    if route.proxy:
        return "; check the address, user and password of the proxy, and its way to the API"
    ignored = next((name for name in _FOREIGN_VARIABLES if os.environ.get(name)), None)
    seen = f" ({ignored} is set, but this package does not read it)" if ignored else ""
    return f"; if your network needs a proxy, set SCRAPE_DO_PROXY{seen}"
