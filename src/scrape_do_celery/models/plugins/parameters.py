"""The base class of the parameter sets of plugins."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import ConfigDict, Field, JsonValue, ValidationInfo, field_validator, model_validator

from scrape_do_celery.models.sendable import join_faults, why_no_json
from scrape_do_celery.models.wire import RequestModel
from scrape_do_celery.name_hints import suggest_name

from .fields import note_oddity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class PluginParams(RequestModel):
    """The parameters of one task of a plugin. Fields have Python's names, and dicts may have the API's names too."""

    model_config = ConfigDict(
        # Each plugin has its own casing; most write names as Python does.
        alias_generator=str,
        # Few programs use more than one plugin: build the others never.
        defer_build=True,
    )

    #: Parameters of which at least one must be set.
    ONE_OF: ClassVar[tuple[str, ...]] = ()
    #: Parameters of which more than one is sent with a warning.
    EXCLUSIVE: ClassVar[tuple[str, ...]] = ()

    #: parameters that are newer than this package, by the API's names; they are sent as they are
    extra: dict[str, JsonValue] | None = Field(default=None, repr=False)

    @classmethod
    @cache
    def known_names(cls) -> dict[str, str]:
        """Return the fields by both of their names."""
        spelt = {field.alias or name: name for name, field in cls.model_fields.items()}
        return {**spelt, **{name: name for name in cls.model_fields}}

    @classmethod
    def spell_name(cls, name: str) -> str:
        """Return the API's name of a parameter."""
        return cls.model_fields[name].alias or name

    @classmethod
    def refuse_unknown(cls, names: Iterable[Any], options: Iterable[str] = ()) -> None:  # noqa: ARG003 (as the base)
        """Refuse names that no parameter has. `known_names` is made once, because a run may have 100,000 sets.

        Raises:
            ValueError: a name is unknown. The text suggests the nearest known name.
        """
        known = cls.known_names()
        if unknown := [str(key) for key in names if key not in known]:
            hints = (f"no parameter {key!r}{suggest_name(key, (), others=known)}" for key in unknown)
            raise ValueError("; ".join(hints))

    @field_validator("extra", mode="before")
    @classmethod
    def _check_extra(cls, extra: Any) -> Any:
        if not isinstance(extra, dict):
            return extra
        known = cls.known_names()
        faults = [f"set {known[name]}=... instead of extra[{name!r}]" for name in extra if name in known]
        if fault := why_no_json(extra, "extra"):
            faults.append(fault)
        if faults:
            raise ValueError(join_faults(faults))
        return extra

    @model_validator(mode="after")
    def _check_combination(self, info: ValidationInfo) -> Self:
        if self.ONE_OF and not self._given_names(self.ONE_OF):
            raise ValueError(f"needs {' or '.join(self.ONE_OF)}")
        if len(given := self._given_names(self.EXCLUSIVE)) > 1:
            note_oddity(info, f"{' and '.join(given)} exclude each other; they are sent as they are")
        for oddity in self._find_oddities():
            note_oddity(info, f"{oddity}; it is sent as it is")
        return self

    def _given_names(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if getattr(self, name) is not None]

    def _find_oddities(self) -> Iterator[str]:
        """Yield the rules of the peer SDK that this combination of values breaks."""
        yield from ()

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that the API takes, without unset parameters."""
        return merge_extra(self.to_record())

    def to_record(self) -> dict[str, Any]:
        """Return the parameters under the API's names, with `extra` apart, so that the set can be read again."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def merge_extra(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the object that travels to the API."""
    if "extra" not in fields:
        return fields
    return {name: value for name, value in fields.items() if name != "extra"} | dict(fields["extra"])
