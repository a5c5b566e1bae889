"""The table of wrong values: for each kind of field, how a server may write it otherwise."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from tests.wire.wire import AGAIN, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Change = Callable[[dict[str, Any], str], None]

OTHER_ID = "5d9a7c1e-0000-4000-8000-00000000beef"
WORDS = ("queuing", "queued", "pending", "rotating", "success", "error", "canceled")
#: Other spellings of known words, which the product is to know.
SPELLINGS = {"success": ("completed", "Succeeded", "done"), "canceled": ("cancelled",), "error": ("failed",)}
_NESTED: Any = "x"
for _ in range(60):
    _NESTED = [_NESTED]


def _set(value: Any) -> Change:
    def change(holder: dict[str, Any], name: str) -> None:
        holder[name] = value

    return change


def _made(make: Callable[[Any], Any]) -> Change:
    def change(holder: dict[str, Any], name: str) -> None:
        holder[name] = make(holder[name])

    return change


def _missing(holder: dict[str, Any], name: str) -> None:
    del holder[name]


def _renamed(make: Callable[[str], str]) -> Change:
    def change(holder: dict[str, Any], name: str) -> None:
        holder[make(name)] = holder.pop(name)

    return change


def _twice(first: Any, *, right_last: bool) -> Change:
    def change(holder: dict[str, Any], name: str) -> None:
        right = holder.pop(name)
        one, two = (first, right) if right_last else (right, first)
        holder[name], holder[f"{name}{AGAIN}"] = one, two

    return change


def _spell(known: str, word: str) -> Change:
    """Another spelling where the known word stands; elsewhere the other spelling of it is a lie."""

    def change(holder: dict[str, Any], name: str) -> None:
        holder[name] = word if holder[name] == known else holder[name]

    return change


#: For every field.
ANY: dict[str, Change] = {
    "missing": _missing,
    "null": _set(None),
    "empty string": _set(""),
    "empty list": _set([]),
    "empty object": _set({}),
    "zero": _set(0),
    "negative": _set(-1),
    "2**70": _set(2**70),
    "1e400": _set(Literal("1e400")),
    "NaN": _set(Literal("NaN")),
    "fraction": _set(1.5),
    "true": _set(True),
    "false": _set(False),
    "word": _set("n/a"),
    "in a list": _made(lambda value: [value]),
    "in an object": _made(lambda value: {"value": value}),
    "nested": _set(_NESTED),
    "10 kB": _set("x" * 10_000),
    "lone surrogate": _set("\ud800"),
    "control characters": _set("a\x00b\x1b[31m\r\n"),
    "key in lower case": _renamed(str.lower),
    "key in camel case": _renamed(lambda name: name[0].lower() + name[1:]),
    "twice, null first": _twice(None, right_last=True),
    "twice, null last": _twice(None, right_last=False),
}
_ID: dict[str, Change] = {
    "upper case": _made(lambda value: str(value).upper()),
    "space around": _made(lambda value: f" {value} "),
    "other id": _set(OTHER_ID),
    "dots": _set(".."),
    "path": _set("../me"),
    "query": _set("a?b=c"),
    "escaped dots": _set("%2e%2e"),
    "not ASCII": _set("j\u00f6b-1"),
    "300 characters": _set("a" * 300),
    "number": _set(12345),
    "line feed": _made(lambda value: f"{value}\n"),
    "no dashes": _made(lambda value: str(value).replace("-", "")),
}
_STATUS: dict[str, Change] = {
    "upper case": _made(lambda value: str(value).upper()),
    "title case": _made(lambda value: str(value).title()),
    "space around": _made(lambda value: f" {value}\n"),
    "unknown word": _set("archived"),
    "number": _set(3),
    "with an enum's name": _made(lambda value: f"JobStatus.{value}"),
    "spelling: running": _set("running"),
    **{f"word: {word}": _set(word) for word in WORDS},
    **{f"spelling: {word}": _spell(known, word) for known in SPELLINGS for word in SPELLINGS[known]},
}


def _time(write: Callable[[datetime], Any], *, away: timedelta = timedelta()) -> Change:
    """The right time, or one so far away from it, written in another way; a time that is not set is noon of a day."""

    def change(holder: dict[str, Any], name: str) -> None:
        right = datetime.fromisoformat(holder[name] or "2026-11-22T12:00:00Z")
        holder[name] = write(right + away)

    return change


def _zulu(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_TIME: dict[str, Change] = {
    "zero time": _set("0001-01-01T00:00:00Z"),
    "epoch": _set("1970-01-01T00:00:00Z"),
    "future": _set("2999-01-01T00:00:00Z"),
    "ten days later": _time(_zulu, away=timedelta(days=10)),
    "ten minutes earlier": _time(_zulu, away=-timedelta(minutes=10)),
    "half an hour earlier": _time(_zulu, away=-timedelta(minutes=30)),
    "six days earlier": _time(_zulu, away=-timedelta(days=6)),
    "no zone": _time(lambda time: time.strftime("%Y-%m-%dT%H:%M:%S")),
    "offset": _time(lambda time: time.astimezone(timezone(timedelta(hours=5.5))).isoformat()),
    "epoch seconds": _time(lambda time: int(time.timestamp())),
    "epoch seconds, string": _time(lambda time: str(int(time.timestamp()))),
    "epoch milliseconds": _time(lambda time: int(time.timestamp() * 1000)),
    "nanoseconds": _time(lambda time: time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z")),
    "date only": _time(lambda time: time.strftime("%Y-%m-%d")),
    "space for T": _time(lambda time: time.strftime("%Y-%m-%d %H:%M:%S")),
    "year 10000": _set("10000-01-01T00:00:00Z"),
    "leap second": _time(lambda time: time.strftime("%Y-%m-%dT23:59:60Z")),
    "RFC 1123": _time(lambda time: time.strftime("%a, %d %b %Y %H:%M:%S GMT")),
}
_URL: dict[str, Change] = {
    "upper case host": _made(lambda value: str(value).replace("shop.example", "SHOP.Example")),
    "default port": _made(lambda value: str(value).replace("shop.example", "shop.example:443")),
    "slash at the end": _made(lambda value: f"{value}/"),
    "fragment": _made(lambda value: f"{value}#top"),
    "plus for space": _made(lambda value: str(value).replace("%20", "+")),
    "all escaped": _made(lambda value: str(value).replace("/p/", "/%70/")),
    "space around": _made(lambda value: f" {value} "),
    "other host": _set("https://elsewhere.example/"),
    "other target": _set("https://shop.example/p/1"),
    "relative": _set("/p/1"),
    "no URL": _set("http://["),
    "not ASCII": _set("https://b\u00fccher.example/\u00fc"),
    "number": _set(5),
}
_IDS: dict[str, Change] = {
    "reversed": _made(lambda value: value[::-1]),
    "each twice": _made(lambda value: [one for one in value for _ in range(2)]),
    "first twice": _made(lambda value: [value[0], *value]),
    "first missing": _made(lambda value: value[1:]),
    "one of them": _made(lambda value: value[:1]),
    "one more": _made(lambda value: [*value, OTHER_ID]),
    "100 more": _made(lambda value: [*value, *(str(uuid.UUID(int=n)) for n in range(100))]),
    "with null": _made(lambda value: [None, *value]),
    "with an empty one": _made(lambda value: [*value, ""]),
    "with a number": _made(lambda value: [*value[:-1], 7]),
    "with dots": _made(lambda value: [*value[:-1], ".."]),
    "upper case": _made(lambda value: [one.upper() for one in value]),
    "joined": _made(",".join),
    "by number": _made(lambda value: {str(n): one for n, one in enumerate(value)}),
    "as objects": _made(lambda value: [{"TaskID": one} for one in value]),
    "others": _made(lambda value: [str(uuid.UUID(int=n + 9)) for n in range(len(value))]),
}
_ENTRIES: dict[str, Change] = {
    "reversed": _made(lambda value: value[::-1]),
    "each twice": _made(lambda value: [one for one in value for _ in range(2)]),
    "first missing": _made(lambda value: value[1:]),
    "with null": _made(lambda value: [None, *value]),
    "with a word": _made(lambda value: ["x", *value]),
    "with a number": _made(lambda value: [7, *value]),
    "with an empty object": _made(lambda value: [{}, *value]),
    "with a stranger": _made(
        lambda value: [*value, {"JobID": OTHER_ID, "TaskID": OTHER_ID, "URL": "https://x.example/", "Status": "error"}]
    ),
    "by id": _made(lambda value: {str(n): one for n, one in enumerate(value)}),
}
_MAP: dict[str, Change] = {
    "list of values": _made(lambda value: {name: [one, one] for name, one in value.items()}),
    "null values": _made(dict.fromkeys),
    "numbers": _made(lambda value: dict.fromkeys(value, 7)),
    "nested values": _made(lambda value: {name: {"a": [one]} for name, one in value.items()}),
    "pairs": _made(lambda value: [list(pair) for pair in value.items()]),
    "10,000 entries": _made(lambda value: value | {f"n{n}": "v" for n in range(10_000)}),
    "cost negative": _made(lambda value: value | {"Request-Cost": "-5"}),
    "cost infinite": _made(lambda value: value | {"Request-Cost": "1e999"}),
    "cost NaN": _made(lambda value: value | {"Request-Cost": "NaN"}),
    "cost absurd": _made(lambda value: value | {"Request-Cost": "1" * 400}),
}
_NUMBER: dict[str, Change] = {
    "as text": _made(str),
    "with a unit": _made(lambda value: f"{value} items"),
    "large fraction": _set(Literal("1e308")),
    "Infinity": _set(Literal("Infinity")),
    "-Infinity": _set(Literal("-Infinity")),
    "400 digits": _set(Literal("9" * 400)),
    "5,000 digits": _set(Literal("9" * 5_000)),
    "one": _set(1),
    "a hundred": _set(100),
}
_FLAG: dict[str, Change] = {
    "as text: true": _set("true"),
    "as text: false": _set("false"),
    "as text: yes": _set("yes"),
    "one": _set(1),
    "two": _set(2),
}
_TEXT: dict[str, Change] = {
    "number": _set(5),
    "replacement characters": _set("\ufffd\ufffe\uffff"),
    "100 kB": _set("y" * 100_000),
    "markup": _set("<script>alert(1)</script>"),
}
_CONTENT: dict[str, Change] = {
    "over the limit": _set("z" * 1_200_000),
    "lone surrogate within": _made(lambda value: f"{value}\ud83d"),
    "NUL within": _made(lambda value: f"{value}\x00"),
    "another page": _set("<html>another</html>"),
}
#: Kind of field -> its own table, which is played after `ANY`.
KINDS: dict[str, dict[str, Change]] = {
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
#: Fields that no answer has: ours, in the spellings that a model may take, and strangers.
SURPLUS: dict[str, Any] = {
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


def changes(kind: str) -> Iterator[tuple[str, Change]]:
    """The names of the wrong values of a field of this kind, and how each is written."""
    yield from ANY.items()
    yield from KINDS[kind].items()
