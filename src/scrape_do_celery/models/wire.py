"""Base classes of all models: the API's field names, and tolerant reading of answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler  # noqa: TC002 (pydantic reads it)

from scrape_do_celery.name_hints import suggest_name

from .concerns import GatheredConcerns, note_concerns
from .fields import Status, Time, assume_utc
from .ids import same_id
from .parsing import clean_json, parse_answer
from .repairs import read_tolerantly
from .sendable import is_kept, is_said, why_no_json
from .statuses import FAILURES, JobStatus, is_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

_ACRONYMS = {"id": "ID", "ids": "IDs", "url": "URL", "json": "JSON"}
#: Keys of pages. A page may hold lone surrogates, and is kept unchanged.
_CONTENT: Final = frozenset({"Content", "content"})
Wire = TypeVar("Wire", bound="WireModel")


def wire_name(name: str) -> str:
    """Return the API's name of a field: `task_ids` becomes `TaskIDs`."""
    return "".join(_ACRONYMS.get(word, word.capitalize()) for word in name.split("_"))


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
            return _match_ids(cls.model_validate(_with_ids(raw, asked)), asked)
        try:
            model = cls.model_validate_json(raw)
        except ValidationError:
            model = cls.model_validate(_with_ids(clean_json(parse_answer(raw), _CONTENT), asked))
        held = model.__dict__
        # The most frequent case gets the cheapest check: the answer has exactly the requested ids.
        return model if all([held[name] == asked[name] for name in asked]) else _match_ids(model, asked)  # noqa: C419

    @model_validator(mode="wrap")
    @classmethod
    def _read_what_can_be_read(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        return read_tolerantly(cls, data, handler)


class LifecycleModel(AnswerModel):
    """The base class of jobs and tasks: a status, a start and an end."""

    #: a `JobStatus`, or a word that this package does not know
    status: Status
    #: the start of the work; None before the start
    start_time: Time = None
    #: the end of the work; None before the end
    end_time: Time = None

    @property
    def is_terminal(self) -> bool:
        """Whether the status never changes again."""
        return is_terminal(self.status)

    @property
    def is_success(self) -> bool:
        """Whether the status is `success`; the target itself may still have answered 404."""
        return self.status == JobStatus.SUCCESS

    @property
    def is_terminal_failure(self) -> bool:
        """Whether the status is `error` or `canceled`."""
        return self.status in FAILURES

    @property
    def duration(self) -> timedelta | None:
        """The time from start to end; None until both are known."""
        if self.start_time is None or self.end_time is None:
            return None
        return assume_utc(self.end_time) - assume_utc(self.start_time)


class RequestModel(BaseModel):
    """The base class of what we send: frozen, and without unknown fields, because a misspelt option costs money.

    A class may have an `__init__` of its own for callers. Pydantic does not call it for values that it validates.
    """

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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Without this mark, pydantic would call `__init__` with the names of the API, and without the context.
        cls.__init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="wrap")
    @classmethod
    def _check_request(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        with GatheredConcerns():
            data = dump_foreign(data)
            model = handler(cls._read_fields(data) if isinstance(data, dict) else data)
            if faults := list(model.find_faults()):
                raise ValueError("; ".join(faults))
            # The caller got the concerns about an instance when it was made.
            if not (isinstance(data, cls) or is_said(info)):
                note_concerns(model.find_concerns())
        return model

    @classmethod
    def _read_fields(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Return the fields that a caller gave, under names of the model's fields.

        Raises:
            ValueError: the model has no such field.
        """
        cls.refuse_unknown(data)
        return data

    @classmethod
    def refuse_unknown(cls, names: Iterable[Any], options: Iterable[str] = ()) -> None:
        """Refuse names that no field has. `options` are further names that the caller may write.

        Raises:
            ValueError: a name is unknown. The text suggests the nearest known name.
        """
        known = cls._known_names() | {name: name for name in options}
        kind = "option" if options else "field"
        unknown = [str(key) for key in names if key not in known]
        if unknown:
            raise ValueError("; ".join(f"no {kind} {key!r}{cls._hint_at_field(key, known)}" for key in unknown))

    @classmethod
    def _known_names(cls) -> dict[str, str]:
        """Return each name that a field may be written with, and the name that a hint shows for it."""
        return {spelt: name for name, field in cls.model_fields.items() for spelt in (name, str(field.alias))}

    @classmethod
    def _hint_at_field(cls, key: str, known: Mapping[str, str]) -> str:
        return suggest_name(key, (), others=known)

    def find_faults(self) -> Iterator[str]:
        """Yield the faults of several fields together, for which the request is refused."""
        yield from ()

    def find_concerns(self) -> Iterator[str]:
        """Yield what the API may refuse or ignore. The caller is warned, and the request is sent."""
        yield from ()

    def to_record(self) -> dict[str, Any]:
        """Return JSON values without unset fields, from which `model_validate` rebuilds the model."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that the API takes, under its names and without unset fields."""
        return self.to_record()

    def __json__(self) -> dict[str, Any]:
        """Return the form for Celery's JSON, so that signatures in a canvas take models as well as dicts."""
        return self.to_record()


def dump_foreign(data: Any) -> Any:
    """Return the fields of another library's pydantic model, under the API's names. Return other values unchanged."""
    if not isinstance(data, BaseModel) or isinstance(data, RequestModel):
        return data
    return data.model_dump(mode="json", by_alias=True, exclude_none=True)


class OpenRequestModel(RequestModel):
    """The base class of what we send with fields that are newer than this package."""

    #: fields that this package does not know, under the API's names; they are sent unchanged, beside the other fields
    extra: dict[str, JsonValue] | None = Field(default=None, alias="extra", repr=False)

    if TYPE_CHECKING:
        # Subclasses say in their own `__init__` what they take.
        def __init__(self, **fields: Any) -> None: ...

    @field_validator("extra", mode="before")
    @classmethod
    def _check_extra(cls, extra: Any, info: ValidationInfo) -> Any:
        if extra is None or is_kept(info):
            # A later version may know a field that this record has as new.
            return extra
        if not isinstance(extra, Mapping):
            raise ValueError(f"extra must be a dict of new fields of the API, not {type(extra).__name__}")  # noqa: TRY004
        if fault := why_no_json(extra, "extra") or next(cls._extra_faults(extra), None):
            raise ValueError(fault)
        return dict(extra) or None

    @classmethod
    def _extra_faults(cls, extra: Mapping[str, Any]) -> Iterator[str]:
        known = {one.casefold(): name for name, field in cls.model_fields.items() for one in (name, str(field.alias))}
        for key, value in extra.items():
            if (name := known.get(key.casefold())) is not None:
                yield f"extra is for fields that this package does not know: set {name}=... instead of {key!r}"
            elif value is None:
                yield f"extra[{key!r}] is None, which is never sent; leave it out"

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that the API takes, with the fields of `extra`."""
        wire = self.to_record()
        wire.update(wire.pop("extra", {}))
        return wire

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield from ((name, value) for name, value in super().__repr_args__() if value is not None)
        if self.extra:
            yield "extra", sorted(self.extra)


def _with_ids(data: Any, asked: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError("the answer is not a JSON object")  # noqa: TRY004 (an answer's fault, not a caller's)
    absent = {wire_name(name): value for name, value in asked.items() if value and not _has_id(data, name)}
    return {**data, **absent}


def _match_ids(model: Wire, asked: Mapping[str, str]) -> Wire:
    changes: dict[str, Any] = {}
    for name, value in asked.items():
        held = getattr(model, name)
        if value and not same_id(held, value):
            raise ValueError(f"the answer is about another {name.removesuffix('_id')} than the request")
        if value and held != value:
            changes[name] = value
    return model.model_copy(update=changes) if changes else model


def _has_id(data: Mapping[str, Any], name: str) -> bool:
    return any(data.get(key) not in (None, "") for key in (name, wire_name(name)))
