"""Checks of values that a caller sends as JSON: texts, numbers, nested values, headers.

A message names the position of the fault and never repeats a value.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ValidationInfo

from scrape_do_celery.outside_text import show_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import UnionType

#: Contexts of a validation. `SAID`: the caller has got the warnings before. `KEPT`: the request comes from a record,
#: which was checked when it was written. A stricter rule of a later version must not make a paid run unreadable.
SAID: Final = {"said": True}
KEPT: Final = {"said": True, "kept": True}

#: Characters of a name that users give, such as an idempotency key, and of an id, at most. A name or id of any length
#: would be sent and stored again and again.
LONGEST_NAME: Final = 1_000
LONGEST_ID: Final = 255
#: Levels of nesting at most. Serializers fail at 255 levels, and so do the parsers of some servers.
MAX_DEPTH: Final = 64
#: Bits of an integer at most. A JSON parser that reads numbers as floats cannot read larger integers.
_MAX_BITS: Final = 1023
#: The forms in which a message shows one value.
_FORMS: Final[dict[type | UnionType, str]] = {str | bytes | bytearray: "'...'", Mapping: "{...}", int | float: "..."}
_SHOWN_FAULTS: Final = 5
_SHOWN_PATH: Final = 60
_NO_TOKEN: Final = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")
#: The only keys of an object that Celery's JSON reads as a value of another type, such as a datetime.
_ENVELOPE: Final = frozenset({"__type__", "__value__"})
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: Packages whose frames are no caller: a warning must point to the user's code, also through a task's `delay`.
_NO_CALLERS: Final = (__name__.partition(".")[0], "pydantic", "celery", "kombu")


def caller_level() -> int:
    """Return the `stacklevel` for the function that calls `warnings.warn(..., stacklevel=caller_level())`.

    The level points to the first frame outside this package, pydantic and Celery.
    """
    # Frame 0 is this function, frame 1 is level 1.
    frame, level = sys._getframe(1), 1  # noqa: SLF001 (no public way before Python 3.12)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _NO_CALLERS:
        frame, level = frame.f_back, level + 1
    return level


def is_said(info: ValidationInfo) -> bool:
    """Return whether the caller has got the warnings about this request before."""
    return bool((info.context or {}).get("said"))


def is_kept(info: ValidationInfo) -> bool:
    """Return whether the request comes from a record, so that its values were checked before."""
    return bool((info.context or {}).get("kept"))


def why_no_text(value: Any) -> str | None:
    """Return why `value` cannot be sent as text; None for a good text."""
    if not isinstance(value, str):
        hint = ": decode the bytes first" if isinstance(value, bytes | bytearray) else ""
        return f"must be text (str), not {type(value).__name__}{hint}"
    if str.isascii(value):
        return None
    try:
        str.encode(value)
    except UnicodeEncodeError as error:
        return f"holds a lone surrogate at position {error.start}; only valid Unicode can be sent"
    return None


def why_no_name(value: Any, longest: int = LONGEST_NAME) -> str | None:
    """Return why `value` cannot be a name in the store or an id; None for a good name."""
    if fault := why_no_text(value):
        return fault
    if len(value) > longest:
        return f"has {len(value):,} characters; use at most {longest:,}"
    return None if value.strip() else "must not be blank"


def canonical_json(value: Any) -> str:
    """Return the JSON text of a value, which is equal for two values exactly if JSON writes the same."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def why_no_json(value: Any, path: str, depth: int = 0) -> str | None:
    """Return the part of `value` that JSON cannot write, and the reason; None for a good value.

    Arguments of a canvas and entries of beat pass through Celery's JSON. So a value is good only if Celery's JSON gives
    the same value back.
    """
    if isinstance(value, Mapping | list):
        if isinstance(value, Mapping) and value.keys() == _ENVELOPE:
            return f"{path} has only the keys __type__ and __value__, so Celery reads another value; rename one of them"
        if depth >= MAX_DEPTH:
            return f"{path[:_SHOWN_PATH]}... is nested in more than {MAX_DEPTH} levels"
        return next(_inner_faults(value, path, depth + 1), None)
    fault = why_no_text(value) if isinstance(value, str) else _why_no_scalar(value)
    return f"{path} {fault}" if fault else None


def _why_no_scalar(value: Any) -> str | None:
    if isinstance(value, int):
        return "is too large for a JSON number; send it as text" if value.bit_length() > _MAX_BITS else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "is a number that JSON cannot write (NaN or infinity)"
    if value is None:
        return None
    return f"is of type {type(value).__name__}, which JSON cannot write; use dict, list, str, int or float"


def _inner_faults(value: Mapping[Any, Any] | list[Any], path: str, depth: int) -> Iterator[str]:
    if isinstance(value, list):
        found = (why_no_json(item, f"{path}[{position}]", depth) for position, item in enumerate(value))
        yield from filter(None, found)
        return
    for key, item in value.items():
        if fault := why_no_text(key):
            yield f"{path}: the key {show_key(key)} {fault}"
        elif fault := why_no_json(item, f"{path}[{show_key(key)}]", depth):
            yield fault


def as_list(value: Any, field: str, items: str) -> Any:
    """Return the items of `value` as a list, in order. None stays None.

    Raises:
        ValueError: `value` is one item, or has no order. The text shows the right form.
    """
    if value is None or isinstance(value, list):
        return value
    name = "string" if isinstance(value, str | bytes | bytearray) else type(value).__name__
    if isinstance(value, AbstractSet):
        raise ValueError(f"{field} must be a list of {items}, not {name}, because their order counts")  # noqa: TRY004 (pydantic's contract)
    # A model is iterable, and yields its fields.
    if isinstance(value, str | bytes | bytearray | Mapping | BaseModel) or not isinstance(value, Iterable):
        form = next((form for kind, form in _FORMS.items() if isinstance(value, kind)), f"{name}(...)")
        raise ValueError(f"{field} must be a list of {items}, not one {name}; write [{form}]")  # noqa: TRY004
    return list(value)


def as_json_list(value: Any, field: str, items: str) -> Any:
    """Return the items of `value` as `as_list` does, if JSON can write them.

    Raises:
        ValueError: JSON cannot write an item. The message names the position.
    """
    found = as_list(value, field, items)
    for position, item in enumerate(found or ()):
        if fault := why_no_json(item, f"{field}[{position}]"):
            raise ValueError(fault)
    return found


def show_range(name: str, value: int | None, low: int, high: int, unit: str = "milliseconds") -> str | None:
    """Return a concern about a number that may be out of the API's bounds; None for a good number and for None."""
    if value is None or low <= value <= high:
        return None
    return f"{name}={value}: the API probably refuses the job; give {unit} from {low:,} to {high:,}"


def join_faults(faults: Sequence[Any], describe: Callable[[Any], str] = str) -> str:
    """Return the first five faults in one text, and the number of the other faults.

    `describe` writes a fault. It is not called for the faults that the text leaves out.
    """
    more = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
    return "; ".join(map(describe, faults[:_SHOWN_FAULTS])) + more


def why_no_header_value(value: Any) -> str | None:
    """Return why `value` cannot be the value of a header or a cookie; None for a good value."""
    if fault := why_no_text(value):
        return fault
    if found := _CONTROL.search(value):
        return f"holds a control character (code {ord(found[0])}) at position {found.start()}; remove it"
    return None


def header_faults(headers: Mapping[Any, Any]) -> Iterator[str]:
    """Yield why a header cannot be sent. A text shows names only, and of a bad name only the good part."""
    seen: dict[str, str] = {}
    for name, value in headers.items():
        if fault := _why_no_name(name):
            yield fault
            continue
        if (first := seen.setdefault(name.lower(), name)) != name:
            yield f"{show_key(first)} and {show_key(name)} are the same header; keep only one"
        if fault := why_no_header_value(value):
            yield f"the value of {show_key(name)} {fault}"


def _why_no_name(name: Any) -> str | None:
    if not isinstance(name, str):
        return f"a name must be text (str), not {type(name).__name__}"
    if not name:
        return "a name is empty"
    if found := _NO_TOKEN.search(name):
        start = f" that starts with {show_key(name[: found.start()])}" if found.start() else ""
        return (
            f"the name{start} holds {found[0]!a} at position {found.start()}; "
            "a name is made of letters, digits and !#$%&'*+-.^_`|~"
        )
    return None


def _check_text(value: Any, info: ValidationInfo) -> Any:
    if fault := why_no_text(value):
        raise ValueError(f"{info.field_name} {fault}")
    return value


def _check_filled(value: str, info: ValidationInfo) -> str:
    if not value:
        raise ValueError(f"{info.field_name} must not be empty")
    return value


def _check_whole_number(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{info.field_name} must be a whole number, not {value}")  # noqa: TRY004
    return value


def _check_size(value: int, info: ValidationInfo) -> int:
    if fault := _why_no_scalar(value):
        raise ValueError(f"{info.field_name} {fault}")
    return value


def _header_map(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, Mapping):
        return value
    # Copy the mapping, because pydantic must read the same values that are checked here.
    headers = dict(value)
    if not is_kept(info) and (faults := list(header_faults(headers))):
        raise ValueError(f"{info.field_name}: {join_faults(faults)}")
    return headers


#: Text that JSON can carry: no bytes, no lone surrogates.
SendableText = Annotated[str, BeforeValidator(_check_text)]
#: Such a text, which is not empty.
FilledText = Annotated[SendableText, AfterValidator(_check_filled)]
#: A whole number, but not True or False.
Whole = Annotated[int, BeforeValidator(_check_whole_number), AfterValidator(_check_size)]
#: Headers by name. Two names must differ in more than case.
HeaderMap = Annotated[dict[str, str], BeforeValidator(_header_map)]
