"""Base classes of what we send: no unknown fields, fields that are newer than this package, and records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler  # noqa: TC002 (pydantic reads it)

from scrape_do_celery.name_hints import suggest_name
from scrape_do_celery.outside_text import show_key

from .concerns import GatheredConcerns, note_concerns
from .constructors import CheckedModel
from .foreign_models import dump_foreign
from .public_values import public_fields, public_names
from .sendable import is_kept, is_said, join_faults, why_no_json
from .wire import wire_name

if TYPE_CHECKING:
    from collections.abc import Iterable


class RequestModel(CheckedModel):
    """The base class of what we send: frozen, and without unknown fields, because a misspelt option costs money.

    A class may have an `__init__` of its own for callers. Pydantic does not call it for values that it validates.
    """

    #: Fields whose text holds no secret, so that a repr may show it.
    SHOWN: ClassVar[frozenset[str]] = frozenset()

    if TYPE_CHECKING:
        # Type checkers then take no object of ours for a `ForeignModel`: ours belong to certain fields only.
        __pydantic_extra__: ClassVar[None]  # type: ignore[misc]

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
            if isinstance(data, RequestModel) and not isinstance(data, cls):
                name = type(data).__name__
                raise ValueError(f"must be {cls.__name__} or a dict of its fields, not {name}{data.hint_at_place()}")  # noqa: TRY004
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
        if unknown := [key for key in names if key not in known]:
            hint = cls._hint_at_field
            raise ValueError(join_faults(unknown, lambda key: f"no {kind} {show_key(key)}{hint(str(key), known)}"))

    @classmethod
    def _known_names(cls) -> dict[str, str]:
        """Return each name that a field may be written with, and the name that a hint shows for it."""
        return {spelt: name for name, field in cls.model_fields.items() for spelt in (name, str(field.alias))}

    @classmethod
    def _hint_at_field(cls, key: str, known: Mapping[str, str]) -> str:
        return suggest_name(key, (), others=known)

    def hint_at_place(self) -> str:
        """Return the end of a message about such an object in a wrong place: its right place."""
        return ""

    def find_faults(self) -> Iterator[str]:
        """Yield the faults of several fields together, for which the request is refused."""
        yield from ()

    def find_concerns(self) -> Iterator[str]:
        """Yield what the API may refuse or ignore. The caller is warned, and the request is sent."""
        yield from ()

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield from public_fields(self, self.SHOWN)

    def to_fields(self) -> dict[str, Any]:
        """Return JSON values without unset fields, from which `model_validate` rebuilds and checks the model."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that the API takes, under its names and without unset fields."""
        return self.to_fields()

    def __json__(self) -> dict[str, Any]:
        """Return the form for Celery's JSON, so that signatures in a canvas take models as well as dicts."""
        return self.to_fields()


def merge_extra(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the object that travels to the API."""
    if "extra" not in fields:
        return fields
    return {name: value for name, value in fields.items() if name != "extra"} | dict(fields["extra"])


class OpenRequestModel(RequestModel):
    """The base class of what we send with fields that are newer than this package."""

    #: fields that this package does not know, under the API's names; they are sent unchanged, beside the other fields
    extra: dict[str, JsonValue] | None = Field(default=None, alias="extra", repr=False)

    if TYPE_CHECKING:
        # Subclasses say in their own `__init__` what they take.
        def __init__(self, **fields: Any) -> None: ...

    @classmethod
    def _hint_at_field(cls, key: str, known: Mapping[str, str]) -> str:
        hint, name_field = super()._hint_at_field(key, known), cls.model_config.get("alias_generator")
        name = name_field(key) if callable(name_field) and key.islower() else key
        return f"{hint or '.'} A field that is newer than this package goes into extra={{{show_key(name)}: ...}}"

    @classmethod
    def gather_new(cls, sent: Any) -> Any:
        """Return an object as it was sent, with all fields that this version does not know in `extra`."""
        known = cls._known_names().keys() - {"extra"}
        if not isinstance(sent, dict) or sent.keys() <= known:
            return sent
        new = {key: sent[key] for key in sent if key not in known}
        return {key: sent[key] for key in sent if key in known} | {"extra": new}

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
                yield f"extra is for fields that this package does not know: set {name}=... instead of {show_key(key)}"
            elif value is None:
                yield f"extra[{show_key(key)}] is None, which is never sent; leave it out"

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that the API takes, with the fields of `extra`."""
        return merge_extra(self.to_fields())

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield from super().__repr_args__()
        if self.extra:
            yield "extra", public_names(self.extra)
