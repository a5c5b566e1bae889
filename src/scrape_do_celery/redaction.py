"""Redact the private values of a request in errors that quote them: callers, logs and monitors show errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote_plus

from scrape_do_celery.store.about import REDACTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.models import JobCreationRequest

    E = TypeVar("E", bound=ScrapeDoError)

#: Characters of a value that is redacted, at least. A shorter value is hardly a secret, and occurs in any text.
_SHORTEST = 6


def redact_error(error: E, request: JobCreationRequest) -> E:
    """Return the error without the values of the request's headers, cookies and body."""
    private = sorted({form for value in _private(request) for form in _forms(value)}, key=len, reverse=True)
    args = tuple(_without(arg, private) for arg in error.args)
    return error if args == error.args else type(error)(*args).with_traceback(error.__traceback__)


def _private(request: JobCreationRequest) -> Iterator[str]:
    cookies = [request.set_cookies or ""]
    for headers in (request.headers, request.webhook_headers):
        for name, value in (headers or {}).items():
            yield value
            # The credentials follow the scheme of an Authorization header.
            yield value.partition(" ")[2]
            cookies += [value] if name.lower() == "cookie" else []
    yield request.body or ""
    yield from _values(request.body or "")
    yield from cookies
    yield from (pair.partition("=")[2].strip() for text in cookies for pair in text.split(";"))


def _values(body: str) -> Iterator[str]:
    """Return the values of a body: the texts of JSON, or the values of a form, both encoded and decoded."""
    try:
        inner = [json.loads(body)]
    except (ValueError, RecursionError):
        for pair in body.split("&"):
            value = pair.partition("=")[2]
            yield value
            yield unquote_plus(value)
        return
    while inner:
        one = inner.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, (dict, list)):
            inner += one.values() if isinstance(one, dict) else one


def _forms(value: str) -> Iterator[str]:
    """Return a value as it is, and as JSON bodies write it."""
    if len(value) >= _SHORTEST:
        yield value
        for plain in (True, False):
            text = json.dumps(value, ensure_ascii=plain)[1:-1]
            yield text
            yield text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _without(value: Any, private: list[str]) -> Any:
    if isinstance(value, str):
        for secret in private:
            value = value.replace(secret, REDACTED)
        for secret in private:
            value = _cut(value, secret)
        return value
    if isinstance(value, dict):
        return {name: _without(inner, private) for name, inner in value.items()}
    return [_without(inner, private) for inner in value] if isinstance(value, list) else value


def _cut(text: str, secret: str) -> str:
    """Redact the beginning of a secret at the end of a text, because long answers of the API are cut."""
    for size in range(min(len(secret), len(text)), _SHORTEST - 1, -1):
        if text.endswith(secret[:size]):
            return text[:-size] + REDACTED
    return text
