"""Types of plugin parameters. A value that only the peer SDK refuses is sent with a warning."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import AfterValidator, BeforeValidator, GetCoreSchemaHandler, ValidationInfo

from scrape_do_celery.models.concerns import note_concerns
from scrape_do_celery.models.sendable import SendableText, Whole, is_said
from scrape_do_celery.name_hints import suggest_name

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

#: The key of a validation's context that collects warnings. One call then gives one warning for all its sets.
NOTES: Final = "notes"


def note_oddity(info: ValidationInfo, text: str) -> None:
    """Note a value that is sent although the peer SDK refuses it, unless the caller was warned before."""
    if is_said(info):
        return
    notes: list[str] | None = (info.context or {}).get(NOTES)
    if notes is None:
        note_concerns([text])
    else:
        notes.append(text)


@dataclass(frozen=True, slots=True)
class Words:
    """The mark of a parameter with listed words. Type checkers refuse other words.

    Attributes:
        proven: whether the vendor's own text lists the words. If so, another word is refused, else it is sent with a
            warning.
    """

    proven: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        words = get_args(source)

        def check_word(value: Any, info: ValidationInfo) -> Any:
            if value not in words:
                hint = suggest_name(str(value), map(str, words))
                text = f"{info.field_name} is not one of {', '.join(map(str, words))}"
                if self.proven:
                    raise ValueError(f"{text}{hint}")
                note_oddity(info, f"{text}, and is sent as it is{hint}")
            return value

        kind: Any = SendableText if isinstance(words[0], str) else Whole
        return AfterValidator(check_word).__get_pydantic_core_schema__(kind, handler)


class ValueMark:
    """The base class of marks that know good values. Another value is sent with a warning: no server was tried."""

    __slots__ = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return AfterValidator(self._check_value).__get_pydantic_core_schema__(source, handler)

    def _check_value(self, value: Any, info: ValidationInfo) -> Any:
        if oddity := self.find_oddity(value):
            note_oddity(info, f"{info.field_name} {oddity}; it is sent as it is")
        return value

    def find_oddity(self, value: Any) -> str | None:
        """Return the rest of a sentence about a value that is not known to be good."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Bounds(ValueMark):
    """The mark of a number with known bounds."""

    low: int
    high: int | None = None

    def __str__(self) -> str:
        return f"{self.low} or more" if self.high is None else f"{self.low:,} to {self.high:,}"

    def find_oddity(self, value: int) -> str | None:
        """Return the rest of a sentence about a number outside of the bounds."""
        is_within = self.low <= value and (self.high is None or value <= self.high)
        return None if is_within else f"is outside of {self}"


@dataclass(frozen=True, slots=True)
class LongestText(ValueMark):
    """The mark of a text with a known length."""

    length: int

    def find_oddity(self, value: str) -> str | None:
        """Return the rest of a sentence about a longer text."""
        return f"has more than {self.length:,} characters" if len(value) > self.length else None


@dataclass(frozen=True, slots=True)
class WebsiteOf(ValueMark):
    """The mark of a URL that must be of one website."""

    domain: str

    def find_oddity(self, value: str) -> str | None:
        """Return the rest of a sentence about the URL of another website."""
        return None if self.domain in value else f"is not a page of {self.domain}"


@dataclass(frozen=True, slots=True)
class CalendarDay:
    """The mark of a day: a `date`, or a text such as `2026-12-24`.

    Attributes:
        loose: whether a text of another form is sent with a warning. If not, it is refused.
    """

    loose: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return BeforeValidator(self._read_day).__get_pydantic_core_schema__(SendableText, handler)

    def _read_day(self, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, datetime):
            raise ValueError(f"{info.field_name} must be a day, not a datetime: use .date()")  # noqa: TRY004
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, str) and not _is_day(value):
            text = f"{info.field_name} is not a day of the form YYYY-MM-DD"
            if not self.loose:
                raise ValueError(text)
            note_oddity(info, f"{text}; it is sent as it is")
        return value


def _is_day(text: str) -> bool:
    try:
        # `fromisoformat` also reads forms without hyphens, and weeks.
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


if TYPE_CHECKING:
    # Some type checkers take any value for a type that has a validator.
    ParamText: TypeAlias = str
    ParamNumber: TypeAlias = int
    Day: TypeAlias = str | date
    LooseDay: TypeAlias = str | date
    Count: TypeAlias = int
    Ordinal: TypeAlias = int
    Milliseconds: TypeAlias = int
else:
    #: A text, and a whole number.
    ParamText = SendableText
    ParamNumber = Whole
    #: A day. Another text is refused.
    Day = Annotated[str | date, CalendarDay()]
    #: A day. Another text is sent with a warning.
    LooseDay = Annotated[str | date, CalendarDay(loose=True)]
    #: A whole number of at least 0, or of at least 1.
    Count = Annotated[Whole, Bounds(0)]
    Ordinal = Annotated[Whole, Bounds(1)]
    #: The milliseconds of a request to a target.
    Milliseconds = Annotated[Whole, Bounds(5_000, 120_000)]
#: The kind of device that Google sees.
DeviceWord: TypeAlias = Annotated[Literal["desktop", "mobile"], Words(proven=True)]
#: The state of Google's SafeSearch.
SafeWord: TypeAlias = Annotated[Literal["active", "off"], Words()]
