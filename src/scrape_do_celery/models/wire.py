"""Base classes of what the API sends: its field names, and tolerant reading of answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler  # noqa: TC002 (pydantic reads it)

from .fields import Status, Time, assume_utc
from .ids import same_id
from .parsing import clean_json, parse_answer
from .repairs import read_tolerantly
from .statuses import FAILURES, JobStatus, is_terminal

if TYPE_CHECKING:
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
