"""Text that came from outside: the API, targets, callers. Filters keep it on one line, cut it, and hide secrets in it.

Line breaks in such a text could forge lines of a log, and escape codes could control a terminal.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

REDACTED: Final = "***"
#: Names of headers and parameters whose values are secrets: these words inside of a name, and some whole names. A name
#: is read once and never given back, because an answer may hold a megabyte that nearly is a name.
_PRIVATE_NAME: Final = (
    r"(?:(?=[\w.%-]*?(?:api[_-]?key|access[_-]?key|token|secret|passw|pwd|signature|credential|session|cookie"
    r"|authorization))[\w.%-]++|(?:x-)?(?:key|sig|auth|sid)(?![\w.%-]))"
)
#: Only the last at sign before the host ends the credentials: browsers take others as a part of the password.
_USERINFO: Final = re.compile(r"(://)[^\s/?#'\"]+@")
#: The credentials of a text that is one URL: a quote or a space belongs to the password there.
_USERINFO_OF_URL: Final = re.compile(r"(\A[^/?#]*://)[^/?#]*@")
#: A parameter of a URL or form, or a header, with a name that stands for a secret. The pairs of a cookie follow each
#: other, and the credentials of a header follow their scheme.
_ASSIGNMENT: Final = re.compile(
    rf"(?i)(?<![\w.%-])({_PRIVATE_NAME}[\"']?\s*+[=:]\s*+[\"']?)(?!\s|//)(?:(?:token|digest|negotiate)\s+)?"
    r"[^\s&;,#\"'<>]++(?:;\s?[\w.%-]++=[^\s&;,#\"'<>]*+)*+"
)
#: Letters of a key or of a public value that are shown at most, and that are read. Credentials that begin within the
#: former must end within the latter: only their end shows that they are credentials.
_SHOWN_LETTERS: Final = 60
_READ_LETTERS: Final = 2_000
#: Short keys without any sign of a credential, such as a colon or a space.
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_.-]{1,50}")
_CREDENTIALS: Final = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}")
_PRIVATE_HEADER: Final = re.compile(rf"(?i){_PRIVATE_NAME}")
#: The first characters of a cell that a spreadsheet takes for a formula, or drops before one.
_FORMULA: Final = tuple("=+-@\t\r\n")


def escape_formula(cell: str) -> str:
    """Return the text of a cell so that no spreadsheet carries the text out as a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def csv_line(cells: Iterable[Any]) -> str:
    """Return cells as a line of CSV, without a formula that a spreadsheet would carry out."""
    file = io.StringIO(newline="")
    csv.writer(file).writerow([escape_formula(cell) if isinstance(cell, str) else cell for cell in cells])
    return file.getvalue()


def one_line(text: str) -> str:
    """Return the text without line breaks, terminal controls and characters that change the direction of text."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))


def redact_text(text: str) -> str:
    """Return the text without credentials: those of URLs, of headers, and of parameters whose name tells."""
    text = _USERINFO.sub(rf"\1{REDACTED}@", text)
    # The scheme of an Authorization header would end the value, and leave the credentials.
    text = _CREDENTIALS.sub(rf"\1 {REDACTED}", text)
    return _ASSIGNMENT.sub(_hide_value, text)


def redact_start(text: str) -> str:
    """Return the start of a text of any length without credentials. The start is longer than any text that is shown."""
    return redact_text(text[:_READ_LETTERS])


def cut_text(text: str) -> str:
    """Return a text, or its start and three dots."""
    return text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]}..."


def show_key(key: Any) -> str:
    """Return a key or name that a caller wrote, for a message: in quotes, escaped, cut, and without credentials.

    Of a key that is no text, return the type.
    """
    if isinstance(key, str) and _PLAIN_KEY.fullmatch(key):
        # The most frequent case: the check of large data asks for the name of each key.
        return f"'{key}'"
    text = ascii(redact_start(key)) if isinstance(key, str) else type(key).__name__
    return cut_text(text)


def redact_url(url: str) -> str:
    """Return a URL without credentials, for output that names a page by its URL."""
    return redact_text(_USERINFO_OF_URL.sub(rf"\1{REDACTED}@", url))


def _hide_value(found: re.Match[str]) -> str:
    return found[0] if found[0].lower().endswith(("bearer", "basic")) else f"{found[1]}{REDACTED}"


def redact_answer(value: Any, name: str = "") -> Any:
    """Return a JSON value of the API without secrets: of webhooks the host, of headers the names, of texts the rest."""
    if isinstance(value, Mapping):
        return {key: redact_answer(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [redact_answer(inner, name) for inner in value]
    if not isinstance(value, str):
        return value
    if name.lower() == "webhookurl":
        return show_host(value)
    return REDACTED if _PRIVATE_HEADER.fullmatch(name) else redact_text(value)


def show_host(url: str) -> str:
    """Return the scheme and the host of a URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return REDACTED
    return f"{parts.scheme}://{parts.hostname}/{REDACTED}" if parts.hostname else REDACTED
