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

from scrape_do_sandbox.timers import ZERO_TIME, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable

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


def _only_for(kind: type | tuple[type, ...], change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Restrict `change` to values of `kind`; a bool does not count as a number."""

    def mutate(value: Any) -> Any:
        fits = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
        return change(value) if fits else value

    return mutate


def _replace_by(fixed: Any) -> Callable[[Any], Any]:
    return lambda _: fixed


def _make_empty(value: Any) -> Any:
    return value if value is None else type(value)()


def _other_type(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return _as_number(value)
    return _swap_shape(value)


def _as_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else len(text)


def _swap_shape(value: Any) -> Any:
    if isinstance(value, list):
        return {str(position): entry for position, entry in enumerate(value)}
    return list(value.values()) if isinstance(value, dict) else value


def _respell_word(which: int) -> Callable[[Any], Any]:
    return _only_for(str, lambda text: _SPELLINGS[text.lower()][which] if text.lower() in _SPELLINGS else text)


def _other_id(value: Any) -> Any:
    if isinstance(value, str):
        return str(uuid.uuid5(uuid.NAMESPACE_OID, value))
    return [_other_id(value[0]), *value[1:]] if isinstance(value, list) and value else value


def _each_text(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Apply `change` to a text, or to each entry of a list."""

    def mutate(value: Any) -> Any:
        if isinstance(value, list):
            return [mutate(entry) for entry in value]
        return change(value) if isinstance(value, str) else value

    return mutate


def _as_size(number: float) -> Callable[[Any], Any]:
    """Replace a value by `number`; a number that travels as text stays text."""
    return lambda value: str(number) if isinstance(value, str) and value.isdecimal() else number


def _rewrite_time(change: Callable[[datetime], Any]) -> Callable[[Any], Any]:
    def mutate(text: str) -> Any:
        try:
            return change(datetime.fromtimestamp(parse_time(text), UTC))
        except ValueError:
            return text

    return _only_for(str, mutate)


def _nest_deeply(value: Any) -> Any:
    for _ in range(_DEPTH):
        value = [value]
    return value


def _make_long(size: int) -> Callable[[Any], Any]:
    def mutate(value: Any) -> Any:
        if isinstance(value, list):
            return value * (size // max(1, len(value)) // 40)
        return f"{value:x<{size}}" if isinstance(value, str) else "x" * size

    return mutate


def _add_surplus(count: int) -> Callable[[Any], Any]:
    return _only_for(list, lambda entries: [*entries, *(_make_entry(entries, position) for position in range(count))])


def _make_entry(entries: list[Any], position: int) -> Any:
    """Return a made-up entry that copies the last entry but has an id of its own."""
    fresh, last = str(uuid.UUID(int=position + 1, version=4)), entries[-1] if entries else ""
    return {**last, "TaskID" if "TaskID" in last else "JobID": fresh} if isinstance(last, dict) else fresh


def _add_first(entry: Any) -> Callable[[Any], Any]:
    return _only_for(list, lambda entries: [entry, *entries])


MUTATIONS: dict[str, Callable[[Any], Any]] = {
    "missing": _replace_by(MISSING),
    "null": _replace_by(None),
    "empty": _make_empty,
    # Other types.
    "other_type": _other_type,
    "as_true": _replace_by(True),
    "as_false": _replace_by(False),
    "as_number": _replace_by(7),
    "as_fraction": _replace_by(0.5),
    "as_text": _replace_by("text"),
    "as_list": lambda _: [],
    "as_object": lambda _: {},
    # Words.
    "upper": _each_text(str.upper),
    "lower": _each_text(str.lower),
    "title": _each_text(str.title),
    "space_around": _each_text(lambda text: f" {text} "),
    "lines_around": _each_text(lambda text: f"\r\n{text}\t\n"),
    "other_spelling": _respell_word(0),
    "third_spelling": _respell_word(1),
    "unknown_word": _only_for(str, _replace_by(UNKNOWN_WORD)),
    "quoted": _each_text(lambda text: f'"{text}"'),
    "non_ascii": _each_text(lambda text: f"\u00fc{text}"),
    "null_character": _each_text(lambda text: f"{text}\0"),
    # Ids.
    "other_id": _other_id,
    "all_other_ids": _each_text(_other_id),
    "id_with_slash": _each_text(lambda text: f"{text}/x?y#z"),
    "id_with_percent": _each_text(lambda text: f"{text}%2e"),
    "id_of_one_dot": _each_text(_replace_by(".")),
    "id_of_two_dots": _each_text(_replace_by("..")),
    "id_of_201": _each_text(lambda text: f"{text:x<201}"),
    "id_without_hyphens": _each_text(lambda text: text.replace("-", "")),
    # Numbers.
    "negative": _as_size(-1),
    "zero": _as_size(0),
    "huge": _as_size(1e308),
    "beyond_64_bits": _as_size(2**70),
    "infinite": _as_size(float("inf")),
    "not_a_number": _as_size(float("nan")),
    # Times.
    "zero_time": _replace_by(ZERO_TIME),
    "future_time": _replace_by(FUTURE_TIME),
    "past_time": _replace_by("1970-01-01T00:00:00Z"),
    "no_zone": _rewrite_time(lambda when: when.replace(tzinfo=None).isoformat(timespec="milliseconds")),
    "offset_zone": _rewrite_time(lambda when: when.isoformat(timespec="milliseconds")),
    "space_for_t": _rewrite_time(lambda when: when.isoformat(" ", "milliseconds")),
    "nanoseconds": _rewrite_time(lambda when: f"{when.replace(tzinfo=None).isoformat(timespec='microseconds')}789Z"),
    "date_only": _rewrite_time(lambda when: when.date().isoformat()),
    "mail_time": _rewrite_time(lambda when: f"{when:%a, %d %b %Y %H:%M:%S} GMT"),
    "epoch_number": _rewrite_time(lambda when: int(when.timestamp())),
    "epoch_milliseconds": _rewrite_time(lambda when: int(when.timestamp() * 1000)),
    "epoch_text": _rewrite_time(lambda when: str(int(when.timestamp()))),
    # Shapes.
    "in_object": lambda value: {"Value": value},
    "in_list": lambda value: [value],
    "deep": _nest_deeply,
    "long_10k": _make_long(10_000),
    "long_1m": _make_long(1_000_000),
    # Lists.
    "duplicate": _only_for(list, lambda entries: [entry for entry in entries for _ in range(2)]),
    "duplicate_first": _only_for(list, lambda entries: [*entries, *entries[:1]]),
    "all_the_first": _only_for(list, lambda entries: entries[:1] * len(entries)),
    "reversed": _only_for(list, lambda entries: entries[::-1]),
    "first_missing": _only_for(list, lambda entries: entries[1:]),
    "last_missing": _only_for(list, lambda entries: entries[:-1]),
    "surplus": _add_surplus(_SURPLUS),
    "surplus_100k": _add_surplus(_MANY),
    "null_entry": _add_first(None),
    "number_entry": _add_first(7),
    "text_entry": _add_first("text"),
    "object_entry": _add_first({}),
    "list_entry": _add_first([]),
    # Base64 in other spellings. Another field says that the content is base64.
    "no_padding": _only_for(str, lambda text: text.rstrip("=")),
    "url_safe": _only_for(str, lambda text: text.replace("+", "-").replace("/", "_")),
    "data_url": _only_for(str, lambda text: f"data:application/octet-stream;base64,{text}"),
    "broken_lines": _only_for(str, lambda text: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))),
    "stray_character": _only_for(str, lambda text: f"*{text}"),
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


def mutate_at(body: Any, mutation: str, path: str) -> Any:
    """Return a copy of the body with `mutation` applied at each field that `path` names.

    If the mutation removes the whole body, the result is `MISSING`.
    """
    if path == WHOLE:
        return MUTATIONS[mutation](body) if mutation in MUTATIONS else body
    return _change_value(body, path, mutation)


def _change_value(value: Any, path: str, mutation: str) -> Any:
    if not path:
        return MUTATIONS[mutation](value) if mutation in MUTATIONS else value
    index = _INDEX.match(path)
    if index and isinstance(value, list):
        return _change_entries(value, index[1], lambda entry: _change_value(entry, path[index.end() :], mutation))
    return _change_fields(value, path, mutation) if isinstance(value, dict) else value


def _change_entries(entries: list[Any], index: str, change: Callable[[Any], Any]) -> list[Any]:
    changed = [change(entry) if index in {"", str(position)} else entry for position, entry in enumerate(entries)]
    return [entry for entry in changed if entry is not MISSING]


def _change_fields(part: dict[str, Any], path: str, mutation: str) -> dict[str, Any]:
    # A name may contain dots, so the longest name with which the path begins is meant.
    meant = max((name for name in part if _rest_of_path(path, name) is not None), key=len, default=None)
    if meant is None:
        return part
    rest = _rest_of_path(path, meant)
    if rest == "" and mutation in NAME_MUTATIONS:
        return {NAME_MUTATIONS[mutation](name) if name == meant else name: value for name, value in part.items()}
    changed = {**part, meant: _change_value(part[meant], rest or "", mutation)}
    return {name: value for name, value in changed.items() if value is not MISSING}


def _rest_of_path(path: str, name: str) -> str | None:
    """Return the rest of the path after `name`, or None if the path does not begin with this name."""
    if path == name:
        return ""
    rest = path.removeprefix(name) if path.startswith(name) else ""
    return (rest.removeprefix(".") if rest[0] in ".[" else None) if rest else None
