"""Taking out of an error what the API quoted from a request: errors travel to callers, logs and monitors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from scrape_do_celery.store.about import HIDDEN_VALUE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.models import JobCreationRequest

    E = TypeVar("E", bound=ScrapeDoError)

#: A shorter value is hardly a secret, and would leave holes in any text.
_SHORTEST = 6


def censored(error: E, request: JobCreationRequest) -> E:
    """The same error, without the values of the request's headers, cookies and body."""
    private = sorted({form for value in _private(request) for form in _forms(value)}, key=len, reverse=True)
    args = tuple(_without(arg, private) for arg in error.args)
    return error if args == error.args else type(error)(*args).with_traceback(error.__traceback__)


def _private(request: JobCreationRequest) -> Iterator[str]:
    for headers in (request.headers, request.webhook_headers):
        yield from (headers or {}).values()
    cookies = request.set_cookies or ""
    yield from (cookies, request.body or "")
    yield from (pair.partition("=")[2].strip() for pair in cookies.split(";"))


def _forms(value: str) -> Iterator[str]:
    """A value as it is, and as a JSON body has it."""
    if len(value) >= _SHORTEST:
        yield value
        yield json.dumps(value)[1:-1]


def _without(value: Any, private: list[str]) -> Any:
    if isinstance(value, str):
        for secret in private:
            value = value.replace(secret, HIDDEN_VALUE)
        return value
    if isinstance(value, dict):
        return {name: _without(inner, private) for name, inner in value.items()}
    return [_without(inner, private) for inner in value] if isinstance(value, list) else value
