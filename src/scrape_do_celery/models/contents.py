"""The decoding of a task's content: base64, the encodings of pages, JSON. And the telemetry beside it.

The functions raise `ValueError` with a reason that never holds text of the page: neither in its arguments nor as its
context, which error trackers record.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

import pydantic_core

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Levels of nesting of a page's JSON. Pydantic's parser has nearly the same limit; Python's has none of its own.
MAX_LEVELS: Final = 200
#: Credits that a task can cost at most; a higher amount is ignored. The price list ends at some hundreds.
MAX_COST: Final = 1e6
#: Credits that an account can have left at most.
MAX_CREDITS: Final = 1e15
_AMOUNT: Final = re.compile(r"\s*\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_DATA_URL: Final = re.compile(r"data:[^,]{0,500};\s*base64\s*,", re.IGNORECASE)
_URL_SAFE: Final = str.maketrans("-_", "+/")
#: Python's text encodings that no browser knows. `punycode` takes quadratic time, and `utf_7` can hide markup.
_NOT_OF_PAGES: Final = frozenset({"idna", "punycode", "raw_unicode_escape", "undefined", "unicode_escape", "utf_7"})
_PREFIX: Final = "scrape.do-"


def decode_base64(text: str) -> bytes:
    """Return the bytes of base64 in either alphabet, with or without padding, line breaks and a `data:` prefix.

    Raises:
        ValueError: the text is not base64.
    """
    compact = "".join(text.split())
    if prefix := _DATA_URL.match(compact):
        compact = compact[prefix.end() :]
    if not compact.endswith("="):
        compact += "=" * (-len(compact) % 4)
    # Check first: a UnicodeEncodeError would carry the whole page.
    if not compact.isascii():
        raise ValueError("the text holds characters outside ASCII")
    try:
        return base64.b64decode(compact.translate(_URL_SAFE).encode("ascii"), validate=True)
    except binascii.Error as error:
        reason = str(error)
    raise ValueError(reason)


def encode_text(text: str) -> bytes:
    """Return text in UTF-8; lone surrogates are kept as three bytes each."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")


def decode_page(page: bytes, content_type: str | None = None) -> str:
    """Return the bytes of a page as text, as a browser reads them. No bytes are refused.

    The byte order mark decides, then the header, then the page's own `meta` or XML declaration. A name that no browser
    knows counts as none. Without a name, the page is UTF-8, or Windows-1252 if it is not valid UTF-8. Bytes that the
    encoding does not have become U+FFFD.

    Args:
        page: the bytes.
        content_type: the value of the header `Content-Type`.
    """
    # Import here: only a process that decodes pages needs the module.
    from w3lib.encoding import html_body_declared_encoding, html_to_unicode, http_content_type_encoding

    named = http_content_type_encoding(content_type)
    if not _is_of_pages(named):
        named = html_body_declared_encoding(page)
    if not _is_of_pages(named):
        named = "utf-8" if _is_utf_8(page) else "cp1252"
    return html_to_unicode(f"text/html; charset={named}", page)[1]


def _is_of_pages(name: str | None) -> bool:
    if not name or name.replace("-", "_") in _NOT_OF_PAGES:
        return False
    try:
        # Python's codecs that are no text encodings, such as `base64`, refuse this. Empty bytes would reach no codec.
        b" ".decode(name, "replace")
    except (LookupError, ValueError):
        return False
    return True


def _is_utf_8(page: bytes) -> bool:
    try:
        page.decode()
    except UnicodeDecodeError:
        return False
    return True


def find_header(headers: Mapping[str, str | list[str]], name: str) -> str | None:
    """Return the value of a header, whose name may be spelt in any case; several values are joined by commas."""
    found = [value for key, value in headers.items() if key.strip().lower() == name]
    values = [one for value in found for one in ([value] if isinstance(value, str) else value)]
    return ", ".join(values) if values else None


def parse_json(text: str) -> Any:
    """Return the value of a JSON text. A byte order mark at its start is left out; lone surrogates are kept.

    Raises:
        ValueError: the text is no JSON, or is nested more deeply than `MAX_LEVELS`.
    """
    text = text.removeprefix("\ufeff")
    try:
        return pydantic_core.from_json(text)
    except (ValueError, TypeError) as error:  # a TypeError if the text holds lone surrogates
        too_deep = "recursion limit" in str(error)
    reason = f"it is nested more than {MAX_LEVELS} levels deep"
    if not too_deep:
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            reason = f"{error.msg} (line {error.lineno}, column {error.colno})"
        except RecursionError:
            pass
        except ValueError:
            reason = "a number has too many digits"
        else:
            if _is_within_levels(value):
                return value
    raise ValueError(reason)


def _is_within_levels(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_LEVELS + 1):
        level = [inner for one in level for inner in _items_of(one)]
        if not level:
            return True
    return False


def _items_of(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def find_telemetry(metadata: Mapping[str, str], name: str) -> Iterator[str]:
    """Yield the values of a telemetry key, which may be spelt in any case, with or without `Scrape.do-`.

    Args:
        metadata: the block `Scrape.do` of a task.
        name: the key in lower case, without the prefix.
    """
    for key, value in metadata.items():
        if key.strip().lower().removeprefix(_PREFIX) == name:
            yield value


def find_amount(metadata: Mapping[str, str], name: str, limit: float) -> float | None:
    """Return the first plausible amount under a telemetry key; None if there is none from 0 to `limit`."""
    amounts = (_parse_amount(value, limit) for value in find_telemetry(metadata, name))
    return next((amount for amount in amounts if amount is not None), None)


def _parse_amount(text: str, limit: float) -> float | None:
    if not _AMOUNT.fullmatch(text):
        return None
    amount = float(text)
    return amount if math.isfinite(amount) and amount <= limit else None
