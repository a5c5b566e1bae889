"""Change one value of an answer, each function in one named way. All functions are pure, from JSON value to JSON value.

A mutation that does not fit a value returns the value unchanged, so that a caller sees by `==` that nothing changed.

A path consists of the names on the wire: `Status`, `Tasks[].Status` (of each task), `Jobs[0].TaskIDs` (of the first
job), or `Scrape.do.Request-Cost`. `$` is the whole body.
"""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from scrape_do_sandbox.timers import ZERO_TIME, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The stand-in for a value that is left out together with its name.
MISSING: Final = object()
FUTURE_TIME = "2999-01-01T00:00:00Z"
UNKNOWN_WORD = "reticulating"
_SURPLUS, _MANY = 3, 100_000
_DEPTH = 250
WHOLE = "$"
_INDEX = re.compile(r"\[(\d*)\]\.?")
_SPELLINGS: dict[str, tuple[str, str]] = {
    "queuing": ("queueing", "created"),
    "queued": ("waiting", "enqueued"),
    "pending": ("running", "in_progress"),
    "rotating": ("retrying", "processing"),
    "success": ("completed", "succeeded"),
    "error": ("failed", "failure"),
    "canceled": ("cancelled", "aborted"),
}


def _on(kind: type | tuple[type, ...], change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Restrict `change` to values of `kind`; a bool does not count as a number."""

    def mutate(value: Any) -> Any:
        fits = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
        return change(value) if fits else value

    return mutate


def _constant(fixed: Any) -> Callable[[Any], Any]:
    return lambda _: fixed


def _empty(value: Any) -> Any:
    return value if value is None else type(value)()


def _other_type(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return _number(value)
    return _swapped(value)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else len(text)


def _swapped(value: Any) -> Any:
    if isinstance(value, list):
        return {str(place): entry for place, entry in enumerate(value)}
    return list(value.values()) if isinstance(value, dict) else value


def _spelling(which: int) -> Callable[[Any], Any]:
    return _on(str, lambda text: _SPELLINGS[text.lower()][which] if text.lower() in _SPELLINGS else text)


def _other_id(value: Any) -> Any:
    if isinstance(value, str):
        return str(uuid.uuid5(uuid.NAMESPACE_OID, value))
    return [_other_id(value[0]), *value[1:]] if isinstance(value, list) and value else value


def _each(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Apply `change` to a text, or to each entry of a list."""

    def mutate(value: Any) -> Any:
        if isinstance(value, list):
            return [mutate(entry) for entry in value]
        return change(value) if isinstance(value, str) else value

    return mutate


def _sized(number: float) -> Callable[[Any], Any]:
    """Replace a value by `number`; a number that travels as text stays text."""
    return lambda value: str(number) if isinstance(value, str) and value.isdecimal() else number


def _timed(change: Callable[[datetime], Any]) -> Callable[[Any], Any]:
    def mutate(text: str) -> Any:
        try:
            return change(datetime.fromtimestamp(moment(text), UTC))
        except ValueError:
            return text

    return _on(str, mutate)


def _deep(value: Any) -> Any:
    for _ in range(_DEPTH):
        value = [value]
    return value


def _long(size: int) -> Callable[[Any], Any]:
    def mutate(value: Any) -> Any:
        if isinstance(value, list):
            return value * (size // max(1, len(value)) // 40)
        return f"{value:x<{size}}" if isinstance(value, str) else "x" * size

    return mutate


def _surplus(count: int) -> Callable[[Any], Any]:
    return _on(list, lambda entries: [*entries, *(_another(entries, place) for place in range(count))])


def _another(entries: list[Any], place: int) -> Any:
    """Return a made-up entry that copies the last entry but has an id of its own."""
    fresh, last = str(uuid.UUID(int=place + 1, version=4)), entries[-1] if entries else ""
    return {**last, "TaskID" if "TaskID" in last else "JobID": fresh} if isinstance(last, dict) else fresh


def _intruder(entry: Any) -> Callable[[Any], Any]:
    return _on(list, lambda entries: [entry, *entries])


MUTATIONS: dict[str, Callable[[Any], Any]] = {
    "missing": _constant(MISSING),
    "null": _constant(None),
    "empty": _empty,
    # Other types.
    "other_type": _other_type,
    "as_true": _constant(True),
    "as_false": _constant(False),
    "as_number": _constant(7),
    "as_fraction": _constant(0.5),
    "as_text": _constant("text"),
    "as_list": lambda _: [],
    "as_object": lambda _: {},
    # Words.
    "upper": _each(str.upper),
    "lower": _each(str.lower),
    "title": _each(str.title),
    "space_around": _each(lambda text: f" {text} "),
    "lines_around": _each(lambda text: f"\r\n{text}\t\n"),
    "other_spelling": _spelling(0),
    "third_spelling": _spelling(1),
    "unknown_word": _on(str, _constant(UNKNOWN_WORD)),
    "quoted": _each(lambda text: f'"{text}"'),
    "non_ascii": _each(lambda text: f"\u00fc{text}"),
    "null_character": _each(lambda text: f"{text}\0"),
    # Ids.
    "other_id": _other_id,
    "all_other_ids": _each(_other_id),
    "id_with_slash": _each(lambda text: f"{text}/x?y#z"),
    "id_with_percent": _each(lambda text: f"{text}%2e"),
    "id_of_one_dot": _each(_constant(".")),
    "id_of_two_dots": _each(_constant("..")),
    "id_of_201": _each(lambda text: f"{text:x<201}"),
    "id_without_hyphens": _each(lambda text: text.replace("-", "")),
    # Numbers.
    "negative": _sized(-1),
    "zero": _sized(0),
    "huge": _sized(1e308),
    "beyond_64_bits": _sized(2**70),
    "infinite": _sized(float("inf")),
    "not_a_number": _sized(float("nan")),
    # Times.
    "zero_time": _constant(ZERO_TIME),
    "future_time": _constant(FUTURE_TIME),
    "past_time": _constant("1970-01-01T00:00:00Z"),
    "no_zone": _timed(lambda when: when.replace(tzinfo=None).isoformat(timespec="milliseconds")),
    "offset_zone": _timed(lambda when: when.isoformat(timespec="milliseconds")),
    "space_for_t": _timed(lambda when: when.isoformat(" ", "milliseconds")),
    "nanoseconds": _timed(lambda when: f"{when.replace(tzinfo=None).isoformat(timespec='microseconds')}789Z"),
    "date_only": _timed(lambda when: when.date().isoformat()),
    "mail_time": _timed(lambda when: f"{when:%a, %d %b %Y %H:%M:%S} GMT"),
    "epoch_number": _timed(lambda when: int(when.timestamp())),
    "epoch_milliseconds": _timed(lambda when: int(when.timestamp() * 1000)),
    "epoch_text": _timed(lambda when: str(int(when.timestamp()))),
    # Shapes.
    "in_object": lambda value: {"Value": value},
    "in_list": lambda value: [value],
    "deep": _deep,
    "long_10k": _long(10_000),
    "long_1m": _long(1_000_000),
    # Lists.
    "duplicate": _on(list, lambda entries: [entry for entry in entries for _ in range(2)]),
    "duplicate_first": _on(list, lambda entries: [*entries, *entries[:1]]),
    "all_the_first": _on(list, lambda entries: entries[:1] * len(entries)),
    "reversed": _on(list, lambda entries: entries[::-1]),
    "first_missing": _on(list, lambda entries: entries[1:]),
    "last_missing": _on(list, lambda entries: entries[:-1]),
    "surplus": _surplus(_SURPLUS),
    "surplus_100k": _surplus(_MANY),
    "null_entry": _intruder(None),
    "number_entry": _intruder(7),
    "text_entry": _intruder("text"),
    "object_entry": _intruder({}),
    "list_entry": _intruder([]),
    # Base64 in other spellings. Another field says that the content is base64.
    "no_padding": _on(str, lambda text: text.rstrip("=")),
    "url_safe": _on(str, lambda text: text.replace("+", "-").replace("/", "_")),
    "data_url": _on(str, lambda text: f"data:application/octet-stream;base64,{text}"),
    "broken_lines": _on(str, lambda text: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))),
    "stray_character": _on(str, lambda text: f"*{text}"),
}

#: Changes of a field's name instead of its value.
NAME_MUTATIONS: dict[str, Callable[[str], str]] = {
    "name_lower": str.lower,
    "name_upper": str.upper,
    "name_camel": lambda name: name[:1].lower() + name[1:],
    "name_padded": lambda name: f" {name} ",
    "name_unknown": lambda name: f"X{name}",
}
MUTATION_NAMES = (*MUTATIONS, *NAME_MUTATIONS)


def mutate(body: Any, mutation: str, path: str) -> Any:
    """Return a copy of the body with `mutation` applied at each place that `path` names.

    If the mutation removes the whole body, the result is `MISSING`.
    """
    if path == WHOLE:
        return MUTATIONS[mutation](body) if mutation in MUTATIONS else body
    return _change(body, path, mutation)


def _change(value: Any, path: str, mutation: str) -> Any:
    if not path:
        return MUTATIONS[mutation](value) if mutation in MUTATIONS else value
    index = _INDEX.match(path)
    if index and isinstance(value, list):
        return _entries(value, index[1], lambda entry: _change(entry, path[index.end() :], mutation))
    return _fields(value, path, mutation) if isinstance(value, dict) else value


def _entries(entries: list[Any], index: str, change: Callable[[Any], Any]) -> list[Any]:
    changed = [change(entry) if index in {"", str(place)} else entry for place, entry in enumerate(entries)]
    return [entry for entry in changed if entry is not MISSING]


def _fields(part: dict[str, Any], path: str, mutation: str) -> dict[str, Any]:
    # A name may contain dots, so the longest name with which the path begins is meant.
    meant = max((name for name in part if _rest(path, name) is not None), key=len, default=None)
    if meant is None:
        return part
    rest = _rest(path, meant)
    if rest == "" and mutation in NAME_MUTATIONS:
        return {NAME_MUTATIONS[mutation](name) if name == meant else name: value for name, value in part.items()}
    changed = {**part, meant: _change(part[meant], rest or "", mutation)}
    return {name: value for name, value in changed.items() if value is not MISSING}


def _rest(path: str, name: str) -> str | None:
    """Return the rest of the path after `name`, or None if the path does not begin with this name."""
    if path == name:
        return ""
    rest = path.removeprefix(name) if path.startswith(name) else ""
    return (rest.removeprefix(".") if rest[0] in ".[" else None) if rest else None


def list_paths(body: Any, prefix: str = "") -> Iterator[str]:
    """List the paths of all fields in an answer, each once.

    A list contributes the path of its entries and the paths of the fields in them.
    """
    seen: set[str] = set()
    for path in _paths(body, prefix):
        if path not in seen:
            seen.add(path)
            yield path


def _paths(value: Any, prefix: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            path = f"{prefix}.{name}" if prefix else name
            yield path
            yield from _paths(inner, path)
    elif isinstance(value, list) and value:
        yield f"{prefix}[]"
        for entry in value:
            yield from _paths(entry, f"{prefix}[]")
