"""Types of the fields of answers: strict and fast for promised values, with a second reading for all other values.

Pydantic reads a good value without a call into Python. If pydantic refuses a value, `repairs.read_tolerantly` reads the
value with the field's `Repair`. If that fails too, the field takes its default.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, Field, GetPydanticSchema, PlainValidator, Strict, StringConstraints
from pydantic_core import core_schema

from .ids import ID_PATTERN, MAX_ID, check_ids, read_id, unique_ids
from .parsing import clean_text
from .repairs import FieldRepair
from .statuses import JobStatus, read_status

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_INT: Final = 2**63 - 1
#: Characters of a number or a time that are read at most.
_MAX_WORD: Final = 200
#: The text of a time, of 11 characters at least. Pydantic would read shorter text, a number or a flag as seconds since
#: 1970, and a date alone as its midnight: the job would then seem older than its purchase.
_DateText = Annotated[
    datetime,
    GetPydanticSchema(
        lambda _, __: core_schema.chain_schema(
            [core_schema.str_schema(strict=True, min_length=11), core_schema.datetime_schema()]
        )
    ),
]
_TRUE: Final = frozenset({"true", "yes", "y", "on", "t", "1"})
_FALSE: Final = frozenset({"false", "no", "n", "off", "f", "0", ""})
#: A time as Go's `time.String()` writes it, and similar forms.
_DATE_AND_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(\.\d+)?\s*(Z|[+-]\d\d:?\d\d)?(?:\s.*)?")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_Y2000: Final = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_Y2100: Final = datetime(2100, 1, 1, tzinfo=UTC).timestamp()


def assume_utc(value: datetime) -> datetime:
    """Return the same time with a zone: UTC if `value` has none."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def json_text(value: Any) -> str:
    """Return text unchanged, and any other value as JSON text.

    Raises:
        ValueError: the value is nested too deeply, or cannot be written as JSON.
    """
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (RecursionError, TypeError) as error:
        raise ValueError("the value cannot be written as JSON") from error


def _each_once(ids: list[str]) -> list[str]:
    check_ids(ids)
    return unique_ids(ids)


def _repair_status(value: Any) -> JobStatus | str:
    if not isinstance(value, str):
        raise ValueError("the status is not a text")  # noqa: TRY004 (pydantic takes only a ValueError for a bad value)
    return _known_or_kept(clean_text(value))


def _known_or_kept(word: str) -> JobStatus | str:
    status = read_status(word)
    if not status:
        raise ValueError("the status is empty")
    return status


def _repair_number(value: Any) -> int:
    number = _whole_number(value)
    if not 0 <= number <= _MAX_INT:
        raise ValueError("the count is not a whole number from 0 to 2**63 - 1")
    return number


def _repair_balance(value: Any) -> int:
    number = _whole_number(value)
    if abs(number) > _MAX_INT:
        raise ValueError("the balance has more than 63 bits")
    return number


def _whole_number(value: Any) -> int:
    if value is None or value == "":
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("the value is not a number")  # noqa: TRY004
    if isinstance(value, int):
        return int(value)
    number = value if isinstance(value, float) else float(value.strip()[:_MAX_WORD])
    if not math.isfinite(number):
        raise ValueError("the number is not finite")
    return math.floor(number) if isinstance(value, float) or not value.strip().isdecimal() else int(value)


def _repair_flag(value: Any) -> bool:
    if value is None:
        return False
    word = value.strip().lower() if isinstance(value, str) else ""
    if not isinstance(value, str) or word not in _TRUE | _FALSE:
        raise ValueError("the value is neither true nor false")
    return word in _TRUE


def _repair_word(value: Any) -> str:
    if value is not None:
        raise ValueError("the value is not a text")
    return ""


def _read_content(value: Any) -> str | None:
    # Pydantic's own `str` refuses lone surrogates, and a page may hold them.
    return None if value is None else value.decode() if isinstance(value, bytes) else json_text(value)


def _repair_text(value: Any) -> str | None:
    text = _read_content(value)
    return None if text is None else clean_text(text)


def _drop_zero_time(value: datetime) -> datetime | None:
    # For "not yet", Go writes year 1 and other languages the first second of 1970. Year 9999 means "never".
    moment = assume_utc(value)
    return None if moment.year in {1, 9999} or moment == _EPOCH else moment


def _repair_time(value: Any) -> datetime | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("the value is not a time")  # noqa: TRY004
    try:
        return _drop_zero_time(
            _parse_time(value.strip()[:_MAX_WORD]) if isinstance(value, str) else _time_from_number(value)
        )
    except (OverflowError, OSError, IndexError, TypeError) as error:
        raise ValueError("the time is out of range") from error


def _parse_time(text: str) -> datetime:
    found = _DATE_AND_TIME.fullmatch(text)
    if found:
        day, clock, fraction, zone = found.groups(default="")
        return datetime.fromisoformat(f"{day}T{clock}{fraction[:7]}{zone}")
    try:
        number = float(text)
    except ValueError:
        return parsedate_to_datetime(text)
    return _time_from_number(number)


def _time_from_number(value: float) -> datetime:
    """Return the time from a number of seconds, milliseconds, microseconds or nanoseconds since 1970."""
    if value == 0:
        return _EPOCH
    seconds = float(value)
    for _ in range(3):
        # 1e11 seconds are in the year 5138; 1e11 milliseconds are in 1973.
        if seconds < 1e11:  # noqa: PLR2004
            break
        seconds /= 1000
    # A number outside these years does not count time since 1970.
    if not _Y2000 <= seconds < _Y2100:
        raise ValueError("the number is not a time of this century")
    return datetime.fromtimestamp(seconds, UTC)


def _repair_headers(value: Any) -> dict[str, str | list[str]]:
    if value is None:
        return {}
    pairs = list(value.items()) if isinstance(value, dict) else _header_pairs(value)
    headers: dict[str, str | list[str]] = {}
    for spelt, held in pairs:
        if held is None:
            continue
        one = (
            [_clean_value(item) for item in held if item is not None] if isinstance(held, list) else _clean_value(held)
        )
        name = clean_text(str(spelt))
        headers[name] = one if isinstance(value, dict) or name not in headers else _join_values(headers[name], one)
    return headers


def _header_pairs(value: Any) -> list[tuple[str, Any]]:
    """Return the headers of a list of pairs, or of a list of `{"name": ..., "value": ...}` objects."""
    if not isinstance(value, list):
        raise ValueError("the value is not a list of headers")  # noqa: TRY004
    return [_header_pair(item) for item in value if item is not None]


def _header_pair(item: Any) -> tuple[str, Any]:
    if isinstance(item, dict):
        keys = {str(key).lower(): held for key, held in item.items()}
        item = [keys.get("name", keys.get("key")), keys.get("value", keys.get("values"))]
    if not isinstance(item, list | tuple) or len(item) != 2 or not isinstance(item[0], str):  # noqa: PLR2004
        raise ValueError("the item is not a header")
    return item[0], item[1]


def _join_values(first: str | list[str], second: str | list[str]) -> list[str]:
    return [*([first] if isinstance(first, str) else first), *([second] if isinstance(second, str) else second)]


def _clean_value(value: Any) -> str:
    return clean_text(json_text(value))


def _repair_telemetry(value: Any) -> dict[str, str]:
    headers = _repair_headers(value)
    return {name: ", ".join(held) if isinstance(held, list) else held for name, held in headers.items()}


def _repair_list(value: Any) -> list[Any]:
    if value is not None:
        raise ValueError("the value is not a list")
    return []


#: An id: 1 to 200 visible ASCII characters, neither `.` nor `..`.
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN, max_length=MAX_ID), FieldRepair(read_id)]
#: A list of ids, each once. A bad id is dropped.
Ids = Annotated[list[str], AfterValidator(_each_once), FieldRepair(_repair_list, read_id)]
#: A state. An unknown word is kept, stripped and cut to 100 characters.
Status = Annotated[
    JobStatus | Annotated[str, AfterValidator(_known_or_kept)],
    Field(union_mode="left_to_right"),
    FieldRepair(_repair_status),
]
#: A count, never negative. Null and "" are 0; a fraction is rounded down.
Number = Annotated[int, Field(strict=True, ge=0, le=_MAX_INT), FieldRepair(_repair_number)]
#: A balance, which may be negative.
Balance = Annotated[int, Field(strict=True, ge=-_MAX_INT, le=_MAX_INT), FieldRepair(_repair_balance)]
#: A flag. Null is false.
Flag = Annotated[bool, FieldRepair(_repair_flag)]
#: A flag that may be unknown. Anything but true and false is None.
OptionalFlag = Annotated[bool | None, Strict(), FieldRepair(lambda _: None)]
#: A text that is never None. Null is "".
Word = Annotated[str, FieldRepair(_repair_word)]
#: A time. Null, "" and the zero time are None; a time without a zone is UTC.
Time = Annotated[
    Annotated[
        _DateText | Annotated[datetime, Strict()], Field(union_mode="left_to_right"), AfterValidator(_drop_zero_time)
    ]
    | None,
    FieldRepair(_repair_time),
]
#: A text, or None. Any other value becomes JSON text.
Text = Annotated[str | None, FieldRepair(_repair_text)]
#: A text, or None, unchanged and with its lone surrogates. Any other value becomes JSON text.
Content = Annotated[str | None, PlainValidator(_read_content)]
#: Headers by name. A header that came more than once may have a list of values.
Headers = Annotated[
    dict[str, Annotated[str | list[str], Field(union_mode="left_to_right")]],
    FieldRepair(_repair_headers),
]
#: Headers with one text as each value; the values of a list are joined by commas.
Telemetry = Annotated[dict[str, str], FieldRepair(_repair_telemetry)]


def list_repair(read: Callable[[Any], Any]) -> FieldRepair:
    """Return the repair of a list of models: null is an empty list, and an item that `read` refuses is dropped."""
    return FieldRepair(_repair_list, read)
