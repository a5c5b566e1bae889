"""Base classes of all models: the API's field names, and tolerant reading of answers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from typing import Any, Final, Self, TypedDict, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler  # noqa: TC002 (pydantic reads it)

from .fields import Repair, aware
from .ids import same_id
from .parsing import clean_json, parse_answer

__all__ = [
    "AnswerModel",
    "RequestModel",
    "WireModel",
    "aware",
    "collect_defaults",
    "nearest",
    "read_tolerantly",
    "wire_name",
]

_ACRONYMS = {"id": "ID", "ids": "IDs", "url": "URL", "json": "JSON"}


def wire_name(name: str) -> str:
    """Return the API's name of a field: `task_ids` becomes `TaskIDs`."""
    return "".join(_ACRONYMS.get(word, word.capitalize()) for word in name.split("_"))


#: A field that took its default although the answer had a value: model and field, or `tasks[]` for a list item.
Default = tuple[str, str]
_defaults: Final[ContextVar[list[Default] | None]] = ContextVar("scrape_do_defaults", default=None)


@contextmanager
def collect_defaults() -> Iterator[list[Default]]:
    """Collect `(model, field)` in the yielded list for each value in the context that cannot be read.

    If the value of a field cannot be read, the field takes its default. If an item of a list cannot be read, the item
    is dropped, and the entry is `(model, "field[]")`. Null and missing values make no entry.
    """
    found: list[Default] = []
    token = _defaults.set(found)
    try:
        yield found
    finally:
        _defaults.reset(token)


class _Short(TypedDict):
    include_url: bool
    include_context: bool
    include_input: bool


#: Keys of pages. A page may hold lone surrogates, and is kept unchanged.
_CONTENT: Final = frozenset({"Content", "content"})
_SHORT: Final[_Short] = {"include_url": False, "include_context": False, "include_input": False}
Wire = TypeVar("Wire", bound="WireModel")


class WireModel(BaseModel):
    """The base class of what the API sends: frozen, and read by the names of the API or of Python."""

    model_config = ConfigDict(
        frozen=True,
        populate_by_name=True,
        alias_generator=wire_name,
        extra="ignore",
        hide_input_in_errors=True,
    )

    @classmethod
    def from_json(cls, raw: str | bytes) -> Self:
        """Return the model that the JSON text `raw` holds, also if only Python's parser takes it (lone surrogates).

        Args:
            raw: what `model_dump_json` or the API wrote.

        Raises:
            ValueError: `raw` is no JSON text, or does not fit the model (pydantic's `ValidationError`).
        """
        try:
            return cls.model_validate_json(raw)
        except ValidationError as error:
            if error.errors(include_input=False, include_url=False)[0]["type"] != "json_invalid":
                raise
            try:
                data = clean_json(parse_answer(raw), _CONTENT)
            except ValueError:
                raise error from None
            return cls.model_validate(data)

    def to_wire(self) -> dict[str, Any]:
        """Return JSON values under the API's names, from which `model_validate` rebuilds the model."""
        return self.model_dump(mode="json", by_alias=True)


class AnswerModel(WireModel):
    """The base class of answers and their parts. An answer is used as far as it can be read.

    Only ids and states (and a task's content) can make an answer unreadable. If the value of any other field cannot be
    read, the field takes its default; `collect_defaults` lists these fields.
    """

    @property
    def dropped(self) -> int:
        """The number of list items and of whole lists that could not be read and are left out.

        If it is above 0, a job or task that is absent from the answer may still exist.
        """
        # Neither a field nor a private attribute: for those, pydantic would call into Python for each model.
        return int(self.__dict__.get("_dropped", 0))

    @classmethod
    def from_answer(cls, raw: str | bytes | Mapping[str, Any]) -> Self:
        """Return the model of an answer's body.

        Args:
            raw: the body, or its JSON object.

        Raises:
            ValueError: the body is no JSON object, or lacks an id or a state (pydantic's `ValidationError`).
        """
        return cls._of_answer(raw)

    @classmethod
    def _of_answer(cls, raw: str | bytes | Mapping[str, Any], **asked: str) -> Self:
        """Return the model of an answer to a request for the ids in `asked`; an empty id was not requested."""
        if not isinstance(raw, str | bytes):
            return _about(cls.model_validate(_with_ids(raw, asked)), asked)
        try:
            model = cls.model_validate_json(raw)
        except ValidationError:
            model = cls.model_validate(_with_ids(clean_json(parse_answer(raw), _CONTENT), asked))
        held = model.__dict__
        # The most frequent case gets the cheapest check: the answer has exactly the requested ids.
        return model if all([held[name] == asked[name] for name in asked]) else _about(model, asked)  # noqa: C419

    @model_validator(mode="wrap")
    @classmethod
    def _read_what_can_be_read(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        return read_tolerantly(cls, data, handler)


def read_tolerantly(cls: type[Wire], data: Any, read: Callable[[Any], Wire]) -> Wire:
    """Return the model that `read` makes of `data`, with defaults for the values that it refuses.

    Raises:
        ValidationError: the value of a required field cannot be read.
    """
    found = _defaults.get()
    known = 0 if found is None else len(found)
    try:
        return read(data)
    except ValidationError as error:
        if not isinstance(data, Mapping):
            raise
        # Forget the entries of the first reading: the second reads the list items again, and would count them twice.
        if found is not None:
            del found[known:]
        mended, lost, dropped = _mend(cls, data, error)
    model = read(mended)
    if found is not None:
        found += [(cls.__name__, name) for name in lost]
    if dropped:
        model.__dict__["_dropped"] = dropped
    return model


class RequestModel(BaseModel):
    """The base class of what we send: frozen, and without unknown fields, because a misspelt option costs money."""

    model_config = ConfigDict(
        frozen=True,
        populate_by_name=True,
        alias_generator=wire_name,
        extra="forbid",
        hide_input_in_errors=True,
        # `model_copy` and `model_construct` check nothing, and a list in a frozen model may change.
        revalidate_instances="always",
        # Errors name the fields as a Python caller wrote them.
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
        """Return the JSON object that the API takes, under its names and without unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def nearest(word: str, known: dict[str, str]) -> str:
    """Return a hint at the known word that is closest to `word`; empty if none is close."""
    lower = {key.lower(): name for key, name in known.items()}
    close = difflib.get_close_matches(word.lower(), lower, n=1)
    return f", did you mean {lower[close[0]]!r}?" if close else ""


@cache
def _spellings(cls: type[WireModel]) -> dict[str, str]:
    """Return the field names of a model by each spelling that an answer or a caller may use."""
    found: dict[str, str] = {}
    for name, field in cls.model_fields.items():
        alias = field.validation_alias
        aliases = alias.choices if isinstance(alias, AliasChoices) else [alias]
        found |= {spelt: name for spelt in (name, *aliases) if isinstance(spelt, str)}
    return found


def _with_ids(data: Any, asked: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError("the answer is no JSON object")  # noqa: TRY004 (an answer's fault, not a caller's)
    absent = {wire_name(name): value for name, value in asked.items() if value and not _held(data, name)}
    return {**data, **absent}


def _about(model: Wire, asked: Mapping[str, str]) -> Wire:
    changes: dict[str, Any] = {}
    for name, value in asked.items():
        held = getattr(model, name)
        if value and not same_id(held, value):
            raise ValueError(f"the answer is about another {name.removesuffix('_id')} than the one asked for")
        if value and held != value:
            changes[name] = value
    return model.model_copy(update=changes) if changes else model


def _held(data: Mapping[str, Any], name: str) -> bool:
    return any(data.get(key) not in (None, "") for key in (name, wire_name(name)))


def _mend(
    cls: type[WireModel], data: Mapping[str, Any], error: ValidationError
) -> tuple[dict[str, Any], list[str], int]:
    """Return readable `data`, the fields that lost a value, and the number of dropped list items and lists.

    Raises:
        ValidationError: the value of a required field cannot be read.
    """
    mended = dict(data)
    lost: list[str] = []
    dropped = 0
    for key in {str(problem["loc"][0]) for problem in error.errors(**_SHORT) if problem["loc"]}:
        name = _spellings(cls).get(key, "")
        field = cls.model_fields.get(name)
        repair = next((one for one in field.metadata if isinstance(one, Repair)), None) if field else None
        if field is None or repair is None or key not in data:
            raise error
        try:
            if repair.item and isinstance(data[key], list):
                mended[key] = _readable(data[key], repair.item)
                bad = len(data[key]) - len(mended[key])
                lost += [f"{name}[]"] * bad
                dropped += bad
            else:
                mended[key] = repair.value(data[key])
        except ValueError:
            if field.is_required():
                raise error from None
            del mended[key]
            lost.append(name)
            dropped += repair.item is not None
    return mended, lost, dropped


def _readable(values: list[Any], read: Callable[[Any], Any]) -> list[Any]:
    kept: list[Any] = []
    for value in values:
        with suppress(ValueError):
            kept.append(read(value))
    return kept
