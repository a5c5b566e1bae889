"""The base class of the parameter sets of plugins."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import ConfigDict, ValidationInfo, model_validator

from scrape_do_celery.models.request_models import OpenRequestModel

from .fields import note_oddity

if TYPE_CHECKING:
    from collections.abc import Iterator


class PluginParams(OpenRequestModel):
    """The parameters of one task of a plugin. Fields have Python's names, and dicts may have the API's names too."""

    model_config = ConfigDict(
        # Each plugin has its own casing; most write names as Python does.
        alias_generator=str,
        # Few programs use more than one plugin: build the others never.
        defer_build=True,
    )

    SHOWN: ClassVar[frozenset[str]] = frozenset({"gl", "hl", "geocode", "geo_code", "language", "country", "currency"})
    #: Parameters of which at least one must be set.
    ONE_OF: ClassVar[tuple[str, ...]] = ()
    #: Parameters of which more than one is sent with a warning.
    EXCLUSIVE: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @cache
    def known_names(cls) -> dict[str, str]:
        """Return the fields by both of their names. A run may have 100,000 sets, so the names are read once."""
        spelt = {field.alias or name: name for name, field in cls.model_fields.items()}
        return {**spelt, **{name: name for name in cls.model_fields}}

    @classmethod
    def spell_name(cls, name: str) -> str:
        """Return the API's name of a parameter."""
        return cls.model_fields[name].alias or name

    @classmethod
    def _known_names(cls) -> dict[str, str]:
        return cls.known_names()

    @model_validator(mode="after")
    def _check_combination(self, info: ValidationInfo) -> Self:
        if self.ONE_OF and not self._given_names(self.ONE_OF):
            raise ValueError(f"needs {' or '.join(self.ONE_OF)}")
        if len(given := self._given_names(self.EXCLUSIVE)) > 1:
            note_oddity(info, f"{' and '.join(given)} exclude each other; they are sent as they are")
        for oddity in self._find_oddities():
            note_oddity(info, f"{oddity}; it is sent as it is")
        return self

    @classmethod
    def hint_at_field(cls, key: Any) -> str:
        """Return the end of a message about an unknown parameter."""
        return cls._hint_at_field(str(key), cls.known_names())

    def hint_at_place(self) -> str:
        """Return the end of a message about a parameter set in a wrong place."""
        return "; put it into the list of its plugin, as in plugin=GoogleSearch([SearchParams(...)])"

    def _given_names(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if getattr(self, name) is not None]

    def _find_oddities(self) -> Iterator[str]:
        """Yield the rules of the peer SDK that this combination of values breaks."""
        yield from ()
