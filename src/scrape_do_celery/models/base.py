"""What all models share: wire names, and tolerance of what the wire may bring."""

from __future__ import annotations

import difflib
import json
import math
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)

from .enums import JobStatus

_ACRONYMS = {"id": "ID", "ids": "IDs", "url": "URL", "json": "JSON"}


def wire_name(name: str) -> str:
    """The API's name of a field: `task_ids` becomes `TaskIDs`."""
    return "".join(_ACRONYMS.get(word, word.capitalize()) for word in name.split("_"))


class WireModel(BaseModel):
    """What the API sends: frozen, and read by its names on the wire or in Python."""

    model_config = ConfigDict(
        frozen=True,
        populate_by_name=True,
        alias_generator=wire_name,
        extra="ignore",
        hide_input_in_errors=True,
    )

    @classmethod
    def from_json(cls, raw: str | bytes) -> Self:
        """The model that `raw` holds, also where only Python's own parser takes it (lone surrogates)."""
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            if error.errors(include_input=False, include_url=False)[0]["type"] != "json_invalid":
                raise
            try:
                data = json.loads(raw)
            except (ValueError, RecursionError):
                raise error from None
            return cls.model_validate(data)

    def to_wire(self) -> dict[str, Any]:
        """JSON values under the API's names; `model_validate` makes the same model of them."""
        return self.model_dump(mode="json", by_alias=True)


class RequestModel(BaseModel):
    """What we send: frozen, and deaf to nothing, since a misspelt option costs money."""

    model_config = ConfigDict(
        frozen=True,
        populate_by_name=True,
        alias_generator=wire_name,
        extra="forbid",
        hide_input_in_errors=True,
        # `model_copy` and `model_construct` check nothing, and a list in a frozen model may still be changed.
        revalidate_instances="always",
        # Errors speak of the names that a Python caller wrote.
        loc_by_alias=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = cls._names()
            unknown = [str(key) for key in data if key not in known]
            if unknown:
                raise ValueError("; ".join(f"no field {key!r}{cls._hint(key)}" for key in unknown))
        return data

    @classmethod
    def _names(cls) -> dict[str, str]:
        return {spelt: name for name in cls.model_fields for spelt in (name, wire_name(name))}

    @classmethod
    def _hint(cls, key: str) -> str:
        return nearest(key, cls._names())

    def to_wire(self) -> dict[str, Any]:
        """The JSON object that the API takes: its names, nothing that was not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def nearest(word: str, known: dict[str, str]) -> str:
    """A hint at the known word that was probably meant, or nothing."""
    lower = {key.lower(): name for key, name in known.items()}
    close = difflib.get_close_matches(word.lower(), lower, n=1)
    return f", did you mean {lower[close[0]]!r}?" if close else ""


def _number(value: Any) -> Any:
    if value is None or value == "":
        return 0
    return math.floor(value) if isinstance(value, float) and math.isfinite(value) else value


def _items(value: Any) -> Any:
    return [] if value is None else [item for item in value if item is not None] if isinstance(value, list) else value


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _headers(value: Any) -> Any:
    if not isinstance(value, dict):
        return {} if value is None else value
    return {name: _header(held) for name, held in value.items() if held is not None}


def _header(value: Any) -> str | list[str]:
    return [_scalar(one) for one in value if one is not None] if isinstance(value, list) else _scalar(value)


def _telemetry(value: Any) -> Any:
    headers = _headers(value)
    if not isinstance(headers, dict):
        return headers
    return {name: ", ".join(held) if isinstance(held, list) else held for name, held in headers.items()}


def aware(value: datetime) -> datetime:
    """The same time with a zone: UTC where it had none."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _time(value: datetime | None) -> datetime | None:
    # Go writes year 1 for "not yet".
    return None if value is None or value.year == 1 else aware(value)


def _text(value: Any) -> str | None:
    # Not pydantic's own `str`: it refuses lone surrogates, and a page may hold them.
    return None if value is None else value.decode() if isinstance(value, bytes) else _scalar(value)


#: A state; one that we do not know is kept as it came.
Status = Annotated[JobStatus | str, Field(union_mode="left_to_right")]
#: Null and "" are 0, fractions are cut.
Number = Annotated[int, BeforeValidator(_number)]
#: Null is false.
Flag = Annotated[bool, BeforeValidator(lambda value: False if value is None else value)]
#: Null is "".
Word = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]
#: Null and the zero time are None; a time without a zone is UTC.
Time = Annotated[datetime | None, BeforeValidator(lambda value: None if value == "" else value), AfterValidator(_time)]
#: Any text, or None; what is no text becomes JSON text.
Text = Annotated[str | None, PlainValidator(_text)]
#: Headers; one that came more than once may be a list.
Headers = Annotated[dict[str, str | list[str]], BeforeValidator(_headers)]
#: Telemetry: all values as text.
Telemetry = Annotated[dict[str, str], BeforeValidator(_telemetry)]
#: Before a list: null is empty, null items are dropped.
null_is_empty = BeforeValidator(_items)
