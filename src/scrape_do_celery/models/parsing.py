"""Tolerant parsing of JSON answers: a part that strict parsers refuse must not make the whole answer unreadable."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pydantic_core

#: Levels of nesting that are parsed; deeper values stay JSON text.
MAX_DEPTH: Final = 100
#: Digits of a whole number that is read exactly. Python itself refuses 4,301 digits.
_MAX_DIGITS: Final = 400
_TOKENS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
API_FIELDS: Final = frozenset({
    "AcquiredConcurrency", "ActiveJobs", "AvailableCredits", "AvaliableCredits", "Base64EncodedContent", "Content",
    "EndTime", "ExpiresAt", "FreeConcurrency", "JobID", "Jobs", "LimitConcurrency", "PageNumber", "ResponseHeaders",
    "Scrape.do", "StartTime", "TaskID", "TaskIDs", "Tasks", "TotalConcurrency", "TotalCount", "TotalPages",
    "UpdateTime",
})  # fmt: skip
"""Fields that only an answer of the API has.

`Status`, `StatusCode`, `Message`, `ErrorMessage`, `URL` and `TraceID` are left out, because gateways write them too.
"""


def parse_answer(raw: str | bytes) -> Any:
    """Return the value of the JSON text `raw`.

    Broken UTF-8 becomes U+FFFD, lone surrogates stay, control characters in strings are accepted. A number of more
    than 400 digits becomes infinity. A value below 100 levels of nesting becomes a string of its JSON text, because
    such a value would make the whole answer unreadable.

    Raises:
        ValueError: `raw` is no JSON text.
    """
    try:
        return pydantic_core.from_json(raw)
    except ValueError:
        # Pydantic's parser refuses the cases of the docstring, and nesting below 200 levels.
        text = raw.decode("utf-8-sig", "replace") if isinstance(raw, bytes) else raw
    # Flatten first: later steps would recurse into a deep value, and fail.
    return _load_json(_flatten_deep_values(text))


def is_error_body(data: Any) -> bool:
    """Return whether JSON data is an error body of the API: an object with an `Error` string or a `Code` int."""
    return isinstance(data, dict) and (isinstance(data.get("Error"), str) or type(data.get("Code")) is int)


def clean_text(text: str) -> str:
    """Return `text` with U+FFFD in place of lone surrogates, which cannot be encoded."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def clean_json(value: Any, keep: frozenset[str] = frozenset()) -> Any:
    """Return the JSON data `value` with clean text, except for the values of the top-level keys in `keep`."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [clean_json(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): held if key in keep else clean_json(held) for key, held in value.items()}
    return value


def plain_json(value: Any) -> Any:
    """Return `value` as JSON data that every parser takes; None if that fails.

    NaN and infinity become None, and a value of another type becomes text.
    """
    try:
        return json.loads(json.dumps(value, default=str, skipkeys=True), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def plain_object(value: Any) -> dict[str, Any]:
    """Return `value` as a JSON object that every parser takes; empty if that fails."""
    kept = plain_json(value)
    return kept if isinstance(kept, dict) else {}


def _load_json(text: str) -> Any:
    return json.loads(text, strict=False, parse_int=_read_whole_number)


def _read_whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def _flatten_deep_values(text: str) -> str:
    """Return `text` with each value below `MAX_DEPTH` levels replaced by a JSON string of its own text."""
    pieces: list[str] = []
    depth = kept = start = 0
    for token in _TOKENS.finditer(text):
        mark = token[0][0]
        if mark in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                start = token.start()
        elif mark in "]}":
            depth -= 1
            if depth == MAX_DEPTH:
                pieces += text[kept:start], json.dumps(text[start : token.end()])
                kept = token.end()
    # If brackets are not closed, the deep value is still in the text, and the caller's parser would recurse into it.
    if depth > MAX_DEPTH:
        raise ValueError("brackets of the JSON text are not closed")
    return "".join([*pieces, text[kept:]])
