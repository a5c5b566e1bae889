"""The table of wrong values: other ways in which a server may write each kind of field."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from tests.wire.messages import DUPLICATE_SUFFIX, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    FieldChange = Callable[[dict[str, Any], str], None]

OTHER_ID = "5d9a7c1e-0000-4000-8000-00000000beef"
WORDS = ("queuing", "queued", "pending", "rotating", "success", "error", "canceled")
#: Other spellings of known statuses, which the product must know.
SPELLINGS = {"success": ("completed", "Succeeded", "done"), "canceled": ("cancelled",), "error": ("failed",)}
_NESTED: Any = "x"
for _ in range(60):
    _NESTED = [_NESTED]


def _replace(value: Any) -> FieldChange:
    def change(holder: dict[str, Any], name: str) -> None:
        holder[name] = value

    return change


def _transform(make: Callable[[Any], Any]) -> FieldChange:
    def change(holder: dict[str, Any], name: str) -> None:
        holder[name] = make(holder[name])

    return change


def _missing(holder: dict[str, Any], name: str) -> None:
    del holder[name]


def _rename_key(make: Callable[[str], str]) -> FieldChange:
    def change(holder: dict[str, Any], name: str) -> None:
        holder[make(name)] = holder.pop(name)

    return change


def _duplicate_key(first: Any, *, right_last: bool) -> FieldChange:
    def change(holder: dict[str, Any], name: str) -> None:
        right = holder.pop(name)
        one, two = (first, right) if right_last else (right, first)
        holder[name], holder[f"{name}{DUPLICATE_SUFFIX}"] = one, two

    return change


def _respell(known: str, word: str) -> FieldChange:
    """Write another spelling of the known word. Any other word stays, because the spelling would make it a lie."""

    def change(holder: dict[str, Any], name: str) -> None:
        holder[name] = word if holder[name] == known else holder[name]

    return change


#: Changes for every field.
ANY_FIELD: dict[str, FieldChange] = {
    "missing": _missing,
    "null": _replace(None),
    "empty string": _replace(""),
    "empty list": _replace([]),
    "empty object": _replace({}),
    "zero": _replace(0),
    "negative": _replace(-1),
    "2**70": _replace(2**70),
    "1e400": _replace(Literal("1e400")),
    "NaN": _replace(Literal("NaN")),
    "fraction": _replace(1.5),
    "true": _replace(True),
    "false": _replace(False),
    "word": _replace("n/a"),
    "in a list": _transform(lambda value: [value]),
    "in an object": _transform(lambda value: {"value": value}),
    "nested": _replace(_NESTED),
    "10 kB": _replace("x" * 10_000),
    "lone surrogate": _replace("\ud800"),
    "control characters": _replace("a\x00b\x1b[31m\r\n"),
    "key in lower case": _rename_key(str.lower),
    "key in camel case": _rename_key(lambda name: name[0].lower() + name[1:]),
    "twice, null first": _duplicate_key(None, right_last=True),
    "twice, null last": _duplicate_key(None, right_last=False),
}
_ID: dict[str, FieldChange] = {
    "upper case": _transform(lambda value: str(value).upper()),
    "space around": _transform(lambda value: f" {value} "),
    "other id": _replace(OTHER_ID),
    "dots": _replace(".."),
    "path": _replace("../me"),
    "query": _replace("a?b=c"),
    "escaped dots": _replace("%2e%2e"),
    "not ASCII": _replace("j\u00f6b-1"),
    "300 characters": _replace("a" * 300),
    "number": _replace(12345),
    "line feed": _transform(lambda value: f"{value}\n"),
    "no dashes": _transform(lambda value: str(value).replace("-", "")),
}
_STATUS: dict[str, FieldChange] = {
    "upper case": _transform(lambda value: str(value).upper()),
    "title case": _transform(lambda value: str(value).title()),
    "space around": _transform(lambda value: f" {value}\n"),
    "unknown word": _replace("archived"),
    "number": _replace(3),
    "with an enum's name": _transform(lambda value: f"JobStatus.{value}"),
    "spelling: running": _replace("running"),
    **{f"word: {word}": _replace(word) for word in WORDS},
    **{f"spelling: {word}": _respell(known, word) for known in SPELLINGS for word in SPELLINGS[known]},
}


def _rewrite_time(write: Callable[[datetime], Any], *, away: timedelta = timedelta()) -> FieldChange:
    """Write the right time, shifted by `away`, in another format. A missing time counts as noon of a fixed day."""

    def change(holder: dict[str, Any], name: str) -> None:
        right = datetime.fromisoformat(holder[name] or "2026-11-22T12:00:00Z")
        holder[name] = write(right + away)

    return change


def _zulu(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_TIME: dict[str, FieldChange] = {
    "zero time": _replace("0001-01-01T00:00:00Z"),
    "epoch": _replace("1970-01-01T00:00:00Z"),
    "future": _replace("2999-01-01T00:00:00Z"),
    "ten days later": _rewrite_time(_zulu, away=timedelta(days=10)),
    "ten minutes earlier": _rewrite_time(_zulu, away=-timedelta(minutes=10)),
    "half an hour earlier": _rewrite_time(_zulu, away=-timedelta(minutes=30)),
    "six days earlier": _rewrite_time(_zulu, away=-timedelta(days=6)),
    "no zone": _rewrite_time(lambda time: time.strftime("%Y-%m-%dT%H:%M:%S")),
    "offset": _rewrite_time(lambda time: time.astimezone(timezone(timedelta(hours=5.5))).isoformat()),
    "epoch seconds": _rewrite_time(lambda time: int(time.timestamp())),
    "epoch seconds, string": _rewrite_time(lambda time: str(int(time.timestamp()))),
    "epoch milliseconds": _rewrite_time(lambda time: int(time.timestamp() * 1000)),
    "nanoseconds": _rewrite_time(lambda time: time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z")),
    "date only": _rewrite_time(lambda time: time.strftime("%Y-%m-%d")),
    "space for T": _rewrite_time(lambda time: time.strftime("%Y-%m-%d %H:%M:%S")),
    "year 10000": _replace("10000-01-01T00:00:00Z"),
    "leap second": _rewrite_time(lambda time: time.strftime("%Y-%m-%dT23:59:60Z")),
    "RFC 1123": _rewrite_time(lambda time: time.strftime("%a, %d %b %Y %H:%M:%S GMT")),
}
_URL: dict[str, FieldChange] = {
    "upper case host": _transform(lambda value: str(value).replace("shop.example", "SHOP.Example")),
    "default port": _transform(lambda value: str(value).replace("shop.example", "shop.example:443")),
    "slash at the end": _transform(lambda value: f"{value}/"),
    "fragment": _transform(lambda value: f"{value}#top"),
    "plus for space": _transform(lambda value: str(value).replace("%20", "+")),
    "all escaped": _transform(lambda value: str(value).replace("/p/", "/%70/")),
    "space around": _transform(lambda value: f" {value} "),
    "other host": _replace("https://elsewhere.example/"),
    "other target": _replace("https://shop.example/p/1"),
    "relative": _replace("/p/1"),
    "no URL": _replace("http://["),
    "not ASCII": _replace("https://b\u00fccher.example/\u00fc"),
    "number": _replace(5),
}
_IDS: dict[str, FieldChange] = {
    "reversed": _transform(lambda value: value[::-1]),
    "each twice": _transform(lambda value: [one for one in value for _ in range(2)]),
    "first twice": _transform(lambda value: [value[0], *value]),
    "first missing": _transform(lambda value: value[1:]),
    "one of them": _transform(lambda value: value[:1]),
    "one more": _transform(lambda value: [*value, OTHER_ID]),
    "100 more": _transform(lambda value: [*value, *(str(uuid.UUID(int=n)) for n in range(100))]),
    "with null": _transform(lambda value: [None, *value]),
    "with an empty one": _transform(lambda value: [*value, ""]),
    "with a number": _transform(lambda value: [*value[:-1], 7]),
    "with dots": _transform(lambda value: [*value[:-1], ".."]),
    "upper case": _transform(lambda value: [one.upper() for one in value]),
    "joined": _transform(",".join),
    "by number": _transform(lambda value: {str(n): one for n, one in enumerate(value)}),
    "as objects": _transform(lambda value: [{"TaskID": one} for one in value]),
    "others": _transform(lambda value: [str(uuid.UUID(int=n + 9)) for n in range(len(value))]),
}
_ENTRIES: dict[str, FieldChange] = {
    "reversed": _transform(lambda value: value[::-1]),
    "each twice": _transform(lambda value: [one for one in value for _ in range(2)]),
    "first missing": _transform(lambda value: value[1:]),
    "with null": _transform(lambda value: [None, *value]),
    "with a word": _transform(lambda value: ["x", *value]),
    "with a number": _transform(lambda value: [7, *value]),
    "with an empty object": _transform(lambda value: [{}, *value]),
    "with a stranger": _transform(
        lambda value: [*value, {"JobID": OTHER_ID, "TaskID": OTHER_ID, "URL": "https://x.example/", "Status": "error"}]
    ),
    "by id": _transform(lambda value: {str(n): one for n, one in enumerate(value)}),
}
_MAP: dict[str, FieldChange] = {
    "list of values": _transform(lambda value: {name: [one, one] for name, one in value.items()}),
    "null values": _transform(dict.fromkeys),
    "numbers": _transform(lambda value: dict.fromkeys(value, 7)),
    "nested values": _transform(lambda value: {name: {"a": [one]} for name, one in value.items()}),
    "pairs": _transform(lambda value: [list(pair) for pair in value.items()]),
    "10,000 entries": _transform(lambda value: value | {f"n{n}": "v" for n in range(10_000)}),
    "cost negative": _transform(lambda value: value | {"Request-Cost": "-5"}),
    "cost infinite": _transform(lambda value: value | {"Request-Cost": "1e999"}),
    "cost NaN": _transform(lambda value: value | {"Request-Cost": "NaN"}),
    "cost absurd": _transform(lambda value: value | {"Request-Cost": "1" * 400}),
}
_NUMBER: dict[str, FieldChange] = {
    "as text": _transform(str),
    "with a unit": _transform(lambda value: f"{value} items"),
    "large fraction": _replace(Literal("1e308")),
    "Infinity": _replace(Literal("Infinity")),
    "-Infinity": _replace(Literal("-Infinity")),
    "400 digits": _replace(Literal("9" * 400)),
    "5,000 digits": _replace(Literal("9" * 5_000)),
    "one": _replace(1),
    "a hundred": _replace(100),
}
_FLAG: dict[str, FieldChange] = {
    "as text: true": _replace("true"),
    "as text: false": _replace("false"),
    "as text: yes": _replace("yes"),
    "one": _replace(1),
    "two": _replace(2),
}
_TEXT: dict[str, FieldChange] = {
    "number": _replace(5),
    "replacement characters": _replace("\ufffd\ufffe\uffff"),
    "100 kB": _replace("y" * 100_000),
    "markup": _replace("<script>alert(1)</script>"),
}
_CONTENT: dict[str, FieldChange] = {
    "over the limit": _replace("z" * 1_200_000),
    "lone surrogate within": _transform(lambda value: f"{value}\ud83d"),
    "NUL within": _transform(lambda value: f"{value}\x00"),
    "another page": _replace("<html>another</html>"),
}
#: Kind of field -> its own table, which is played after `ANY_FIELD`.
CHANGES_BY_KIND: dict[str, dict[str, FieldChange]] = {
    "id": _ID,
    "status": _STATUS,
    "time": _TIME,
    "url": _URL,
    "ids": _IDS,
    "entries": _ENTRIES,
    "map": _MAP,
    "number": _NUMBER,
    "flag": _FLAG,
    "text": _TEXT,
    "content": _CONTENT,
}
#: Fields that no answer has: ours, in the spellings that a model may take, and unknown ones.
SURPLUS_FIELDS: dict[str, Any] = {
    "Gone": True,
    "gone": True,
    "TooLarge": True,
    "too_large": True,
    "Unreadable": True,
    "unreadable": True,
    "Unknown": {"deep": [1, 2]},
    "Error": "nothing is wrong",
    "Code": 0,
    "__class__": "x",
    "": 1,
    "job_id": "x",
    "task_id": "x",
    "status": "error",
    "content": "x",
}


def changes(kind: str) -> Iterator[tuple[str, FieldChange]]:
    """Return the names of the wrong values for a field of this kind, and the change that writes each."""
    yield from ANY_FIELD.items()
    yield from CHANGES_BY_KIND[kind].items()
