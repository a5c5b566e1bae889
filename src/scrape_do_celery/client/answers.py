"""What an answer means: a value, or a typed error that never shows the token."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from scrape_do_celery.errors import AsyncAPIResponseError, AsyncAPIUnparsableResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrape_do_celery.client.calls import Call

T = TypeVar("T")

EXCERPT: Final = 500
RETRY_AFTER_LIMIT: Final = 86_400.0
"""No more seconds than this are believed, so that one wrong date cannot stop an account for ever."""

_REDACTED: Final = "[token]"
_SECONDS: Final = re.compile(r"\s*\d+(\.\d+)?\s*", re.ASCII)


def read(call: Call[T], status: int, headers: Mapping[str, str], body: bytes, *, secret: str = "") -> T:
    """What the answer to `call` carries. Header names are lower case, or `headers` does not mind their case.

    Raises:
        AsyncAPIResponseError: the API refused; the class follows the status.
        AsyncAPIUnparsableResponseError: 2xx or 3xx, but not what the API promises.
    """
    if status >= HTTPStatus.BAD_REQUEST:
        raise _refusal(call, status, headers, body, secret)
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        raise _unparsable(call, status, body, secret, "a redirection, which is not followed")
    parsed = _parsed(call, body)
    if isinstance(parsed, str):
        raise _unparsable(call, status, body, secret, parsed)
    return parsed[0]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for; a date counts from the answer's own `Date`, never from our clock."""
    text = headers.get("retry-after", "")
    if _SECONDS.fullmatch(text):
        return min(float(text), RETRY_AFTER_LIMIT)
    until, now = _date(text), _date(headers.get("date", ""))
    if until is None or now is None:
        return None
    return min(max((until - now).total_seconds(), 0.0), RETRY_AFTER_LIMIT)


def redact(text: str, secret: str) -> str:
    """`text` without the token, plain or percent-encoded."""
    for form in {secret, quote(secret, safe="")} - {""}:
        text = text.replace(form, _REDACTED)
    return text


def _parsed(call: Call[T], body: bytes) -> tuple[T] | str:
    """The value alone in a tuple, or why there is none."""
    reason = ""
    for attempt in (bytes, _mended):
        try:
            return (call.reader(attempt(body)),)
        except (ValueError, RecursionError) as error:
            reason = reason or _reason(error)
    return reason


def _mended(body: bytes) -> bytes:
    """The same JSON without what pydantic's parser refuses: lone surrogates and broken UTF-8 become U+FFFD.

    Pages come from anywhere and are paid for: one bad character must not lose one.
    """
    text = json.dumps(json.loads(body.decode("utf-8-sig", "replace")), ensure_ascii=False)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _reason(error: Exception) -> str:
    """Why a body cannot be read, in words that quote nothing of it: it may hold the token."""
    if not isinstance(error, ValidationError):
        return "not JSON of the promised shape"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return ": ".join(part for part in (".".join(map(str, first["loc"])), first["type"]) if part)


def _refusal(
    call: Call[Any], status: int, headers: Mapping[str, str], body: bytes, secret: str
) -> AsyncAPIResponseError:
    text, code = _envelope(body)
    text = None if text is None else redact(text, secret)[:EXCERPT]
    message = f"{call.method} {call.path}: {status} {text or _phrase(status)}"
    kind = AsyncAPIResponseError.for_status(status)
    # What refuses a `POST` may quote it, with the cookies and headers that it carries.
    excerpt = _excerpt(body, secret) if call.resend else ""
    return kind(message, status, text, code, retry_after(headers), excerpt)


def _unparsable(call: Call[Any], status: int, body: bytes, secret: str, why: str) -> AsyncAPIUnparsableResponseError:
    message = f"{call.method} {call.path}: {status}, but unreadable: {why}"
    return AsyncAPIUnparsableResponseError(message, status, _excerpt(body, secret))


def _envelope(body: bytes) -> tuple[str | None, int | None]:
    """`Error` (or `Message`) and `Code`, as far as the body has them."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(data, dict):
        return None, None
    text, code = data.get("Error") or data.get("Message"), data.get("Code")
    if isinstance(text, list):
        text = "; ".join(map(str, text))
    return _plain(text) if isinstance(text, str) else None, code if type(code) is int else None


def _excerpt(body: bytes, secret: str) -> str:
    return redact(body.decode("utf-8", "replace"), secret)[:EXCERPT]


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
