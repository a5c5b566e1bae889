"""Sign the webhook of a purchase, and read the purchase of a webhook that is called. No I/O.

The webhook of a purchase is `<base URL>/<run>-<part>-<number>-<token>`. The token is an HMAC of the purchase, and so is
the secret in the header `HEADER`, under another purpose. The two prove different things:

- The URL stands in the API's answers and in access logs of proxies. Such a proof is enough for a hint: fetch this task.
- The header is only sent to the API and back. Such a proof is enough to believe a body.

A purchase that certainly bought nothing gives its number back, so two `POST`s may have the same webhook. The token
therefore never proves that a job is the part's own. The store compares JobID and TaskID with the record of the part.

The last segment has lower-case letters, digits and dashes only. So no proxy changes its meaning, whether the proxy
changes the case, encodes characters, or adds a slash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.models import JobCreationRequest, TaskDetails

#: The name of the header that carries the secret.
HEADER: Final = "X-Scrape-Do-Webhook-Secret"
#: The purposes of both signatures. No key may ever sign the same text for two purposes.
_URL, _HEADER = "webhook url", "webhook header"
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_SEGMENT: Final = re.compile(
    rf"({_UUID.pattern}|x(?:[0-9a-f]{{2}})+)-(0|[1-9][0-9]{{0,8}})-(0|[1-9][0-9]{{0,8}})-([0-9a-f]{{64}})"
)
#: A token behind the numbers of a webhook, in a text of any length.
_TOKEN: Final = re.compile(r"(?i)(-\d{1,9}-\d{1,9}-)[0-9a-f]{64}(?![0-9a-f])")
#: Characters at the end of a path that are read, at most. The longest segment has fewer, each of them encoded.
_READ: Final = 8_192


class PurchaseId(NamedTuple):
    """The id of a purchase: the `number` of a `POST` that may have bought the job of a part, counted from 1."""

    run_id: str
    part: int
    number: int


def make_url(base_url: str, key: bytes, purchase: PurchaseId) -> str:
    """Return the URL of a purchase's webhook."""
    segment = f"{_spell_run(purchase.run_id)}-{purchase.part}-{purchase.number}-{_sign(key, _URL, purchase)}"
    return f"{base_url.rstrip('/')}/{segment}"


def make_secret(key: bytes, purchase: PurchaseId) -> str:
    """Return the value of the header of a purchase's webhook."""
    return _sign(key, _HEADER, purchase)


def with_webhook(request: JobCreationRequest, base_url: str, key: bytes, purchase: PurchaseId) -> JobCreationRequest:
    """Return the request with the webhook of a purchase in place of its own."""
    headers = {HEADER: make_secret(key, purchase)}
    return request.model_copy(update={"webhook_url": make_url(base_url, key, purchase), "webhook_headers": headers})


def carries_webhook(request: JobCreationRequest) -> bool:
    """Return whether a request has the webhook of its purchase."""
    return HEADER in (request.webhook_headers or {})


def read_purchase(path: str, keys: Sequence[bytes]) -> PurchaseId | None:
    """Return the purchase that a path names, if one of the keys has signed it.

    `path` has no query. Only its last segment counts, so a receiver may be mounted anywhere.
    """
    found = _match_segment(path)
    if found is None:
        return None
    run, part, number, token = found.groups()
    run_id = _read_run(run)
    if run_id is None:
        return None
    purchase = PurchaseId(run_id, int(part), int(number))
    return purchase if _is_signed(keys, _URL, purchase, token) else None


def is_webhook_path(path: str) -> bool:
    """Return whether a path has the form of a webhook, whoever signed it."""
    return _match_segment(path) is not None


def is_secret(value: str, keys: Sequence[bytes], purchase: PurchaseId) -> bool:
    """Return whether the value of the header proves that the API calls the webhook of this purchase."""
    return _is_signed(keys, _HEADER, purchase, value.strip())


def hide_token(text: str) -> str:
    """Return a URL, or another text with URLs, without the tokens of webhooks."""
    return _TOKEN.sub(r"\1***", text)


def hide_tokens(task: TaskDetails) -> TaskDetails:
    """Return the answer for a task without the tokens of webhooks, which the API shows there."""
    shown = {"webhook_url": task.webhook_url, "error_message": task.error_message}
    hidden = {name: hide_token(text) for name, text in shown.items() if text}
    return task if hidden.items() <= shown.items() else task.model_copy(update=hidden)


def _match_segment(path: str) -> re.Match[str] | None:
    segment = unquote(path[-_READ:]).rstrip("/").rpartition("/")[2]
    # Some letters outside of ASCII become ASCII in lower case, so look before.
    return _SEGMENT.fullmatch(segment.lower()) if segment.isascii() else None


def _sign(key: bytes, purpose: str, purchase: PurchaseId) -> str:
    # The id of the run is last, because it may hold any character.
    text = f"scrape-do-celery\n{purpose}\n{purchase.part}\n{purchase.number}\n{purchase.run_id}"
    return hmac.new(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _is_signed(keys: Sequence[bytes], purpose: str, purchase: PurchaseId, given: str) -> bool:
    raw = given.encode("utf-8", "surrogatepass")
    # Compare with each key, so that the time does not tell which key has signed.
    return any([hmac.compare_digest(_sign(key, purpose, purchase).encode(), raw) for key in keys])  # noqa: C419


def _spell_run(run_id: str) -> str:
    return run_id if _UUID.fullmatch(run_id) else f"x{run_id.encode('utf-8', 'surrogatepass').hex()}"


def _read_run(spelled: str) -> str | None:
    """Return the id of a run; None for another spelling than `_spell_run` writes."""
    if not spelled.startswith("x"):
        return spelled
    try:
        run_id = bytes.fromhex(spelled[1:]).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return run_id if _spell_run(run_id) == spelled else None
