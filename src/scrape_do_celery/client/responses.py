"""The parsing of answers: a value, or a typed error that never shows the token."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import ValidationError

from scrape_do_celery.errors import (
    AsyncAPIAuthError,
    AsyncAPIRateLimitError,
    AsyncAPIRedirectError,
    AsyncAPIResponseError,
    AsyncAPITooLargeError,
    AsyncAPIUnparsableResponseError,
)
from scrape_do_celery.models.parsing import API_FIELDS, is_error_body, parse_answer
from scrape_do_celery.rules.webhook_tokens import hide_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrape_do_celery.client.endpoints import Endpoint

T = TypeVar("T")


EXCERPT: Final = 500
RETRY_AFTER_LIMIT: Final = 86_400.0
"""Longest `Retry-After` in seconds that is believed, so that one wrong date cannot stop an account for ever."""

_REDACTED: Final = "[token]"
_THROTTLED: Final = b"temporarily throttled"
_SECONDS: Final = re.compile(r"\s*\d+(\.\d+)?\s*", re.ASCII)


def parse_response(  # noqa: PLR0913 (an answer consists of these)
    endpoint: Endpoint[T],
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    secret: str = "",
    flaw: str = "",
    limit: int = 0,
) -> T:
    """Return the value of the answer to a request.

    Header names must be lower case, unless `headers` ignores case. `flaw` is the reason why `body` cannot be used. If
    `limit` is above 0, the answer exceeds this number of bytes, and `body` is only its start.

    Raises:
        AsyncAPIResponseError: a status from 400 on, unless the endpoint owns the body. The class follows the status.
        AsyncAPIRedirectError: 3xx.
        AsyncAPITooLargeError: 2xx with a body over the limit.
        AsyncAPIUnparsableResponseError: any other status with a body that does not have the promised shape.
    """
    if status >= HTTPStatus.BAD_REQUEST:
        if flaw or endpoint.owns is None or not endpoint.owns(body):
            raise _make_refusal(endpoint, status, headers, body, secret, flaw)
    elif status >= HTTPStatus.MULTIPLE_CHOICES:
        raise _make_redirect(endpoint, status, headers, body, secret)
    if limit:
        raise _make_too_large(endpoint, status, body, secret, limit)
    parsed = flaw or _parse_body(endpoint, body)
    if isinstance(parsed, str):
        raise _make_unparsable(endpoint, status, body, secret, parsed)
    return parsed[0]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `Retry-After` asks for. A date counts from the answer's `Date`, never from our clock."""
    text = headers.get("retry-after", "")
    if _SECONDS.fullmatch(text):
        return min(float(text), RETRY_AFTER_LIMIT)
    until, now = _parse_date(text), _parse_date(headers.get("date", ""))
    if until is None or now is None:
        return None
    return min(max((until - now).total_seconds(), 0.0), RETRY_AFTER_LIMIT)


def redact_secret(text: str, secret: str) -> str:
    """Return `text` without the token, plain or percent-encoded, and without the tokens of webhooks."""
    for form in {secret, quote(secret, safe="")} - {""}:
        text = text.replace(form, _REDACTED)
    return hide_token(text)


def _redact_body(body: bytes, secret: str) -> bytes:
    for form in {secret, quote(secret, safe="")} - {""}:
        body = body.replace(form.encode(), _REDACTED.encode())
    # The API shows the webhook of each task. Latin-1 keeps each byte of a body that is no text.
    return hide_token(body.decode("latin-1")).encode("latin-1")


def _parse_body(endpoint: Endpoint[T], body: bytes) -> tuple[T] | str:
    """Return the value alone in a tuple, or the reason why there is none."""
    try:
        return (endpoint.reader(body),)
    except Exception as error:  # noqa: BLE001
        # A bug in a reader must not lose an answer: the answer to a `POST` names a paid job.
        return _describe_error(error)


def _describe_error(error: Exception) -> str:
    """Return why a body cannot be read, without quoting the body: it may hold the token."""
    if type(error) is ValueError:
        # The text is a reader's own, about ids and fields.
        return str(error)
    if not isinstance(error, ValidationError):
        return "not JSON in the documented format"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ": ".join(part for part in (".".join(map(str, first["loc"])), first["type"]) if part)


def _make_refusal(  # noqa: PLR0913, PLR0917
    endpoint: Endpoint[Any], status: int, headers: Mapping[str, str], body: bytes, secret: str, flaw: str
) -> AsyncAPIResponseError:
    text, code, other = _read_envelope(body)
    text = None if text is None else redact_secret(text, secret)[:EXCERPT]
    shown = text or redact_secret(other, secret)[:EXCERPT] or _status_phrase(status)
    shown += f" ({redact_secret(flaw, secret)})" if flaw else ""
    message = f"{endpoint.method} {endpoint.path}: {status} {shown}"
    # A refusal may quote the `POST`, with the target's cookies and headers. So the excerpt of its body is left out.
    excerpt = _body_excerpt(body, secret) if endpoint.idempotent else ""
    return _class_for(status, body)(message, status, text, code, retry_after(headers), excerpt)


def _class_for(status: int, body: bytes) -> type[AsyncAPIResponseError]:
    kind = AsyncAPIResponseError.for_status(status)
    # The API throttles some callers with 401. Taken for a refused token, it would hold all runs of the account back.
    return AsyncAPIRateLimitError if kind is AsyncAPIAuthError and _THROTTLED in body.lower() else kind


def _make_redirect(
    endpoint: Endpoint[Any], status: int, headers: Mapping[str, str], body: bytes, secret: str
) -> AsyncAPIRedirectError:
    host = redact_secret(_redirect_host(headers.get("location", "")), secret)
    message = (
        f"{endpoint.method} {endpoint.path}: {status}, a redirect to {host or 'no host'}; "
        "the client follows no redirect, so check the API's URL"
    )
    return AsyncAPIRedirectError(message, status, _body_excerpt(body, secret), False, host)


def _redirect_host(location: str) -> str:
    """Return the host of a `Location`. User, path and query are left out, because they may hold secrets."""
    try:
        host = urlsplit(location).hostname or ""
    except ValueError:
        return ""
    return host[:EXCERPT] if host.isascii() and host.isprintable() else ""


def _make_too_large(
    endpoint: Endpoint[Any], status: int, start: bytes, secret: str, limit: int
) -> AsyncAPITooLargeError:
    what = f"{endpoint.method} {endpoint.path}: {status}"
    message = f"{what}, but the answer has more than {limit} bytes; the client did not read the rest"
    return AsyncAPITooLargeError(message, status, _body_excerpt(start, secret), False, limit)


def _make_unparsable(
    endpoint: Endpoint[Any], status: int, body: bytes, secret: str, why: str
) -> AsyncAPIUnparsableResponseError:
    text, code, _ = _read_envelope(body)
    is_error = text is not None or code is not None
    shown = (
        f"the answer is an error body: {redact_secret(text or str(code), secret)[:EXCERPT]}"
        if is_error
        else redact_secret(why, secret)
    )
    message = f"{endpoint.method} {endpoint.path}: {status}, but unreadable: {shown}"
    error = AsyncAPIUnparsableResponseError(message, status, _body_excerpt(body, secret), _is_api_object(body))
    error.body = _redact_body(body, secret)
    return error


def _is_api_object(body: bytes) -> bool:
    data = _load_body(body)
    return is_error_body(data) or (isinstance(data, dict) and not API_FIELDS.isdisjoint(data))


def _read_envelope(body: bytes) -> tuple[str | None, int | None, str]:
    """Return `Error` and `Code`, if the body has them, and the text of a gateway's `Message`.

    Only `Error` or `Code` proves that the API wrote the body. A gateway's `Message` must never count as the API's.
    """
    data = _load_body(body)
    if not isinstance(data, dict):
        return None, None, ""
    text, code, other = data.get("Error"), data.get("Code"), data.get("Message", data.get("message"))
    if isinstance(other, list):
        other = "; ".join(map(str, other))
    return (
        _repair_unicode(text) if isinstance(text, str) else None,
        code if type(code) is int else None,
        _repair_unicode(other) if isinstance(other, str) else "",
    )


def _load_body(body: bytes) -> Any:
    """Return the JSON value of a body, or None. Answers and errors share this parser, so that it tolerates the same."""
    try:
        return parse_answer(body)
    except (ValueError, RecursionError):
        return None


def _body_excerpt(body: bytes, secret: str) -> str:
    return redact_secret(body.decode("utf-8", "replace"), secret)[:EXCERPT]


def _repair_unicode(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _status_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"


def _parse_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
