"""The filters of the job list, checked and written as the API reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from typing_extensions import TypedDict

from scrape_do_celery.models import STATUS_SPELLINGS, JobStatus
from scrape_do_celery.models.fields import assume_utc
from scrape_do_celery.models.sendable import join_faults
from scrape_do_celery.name_hints import suggest_name
from scrape_do_celery.outside_text import show_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_PAGE_SIZE: Final = 100
JobOrder = Literal["start_time_desc", "start_time_asc"]
StatusWord = Literal["queuing", "queued", "pending", "rotating", "success", "error", "canceled"]


class JobFilters(TypedDict, total=False, closed=True):
    """Filters of the job list. A time without a zone is UTC; fractions of a second are cut off."""

    page_size: int
    page: int
    status: JobStatus | StatusWord
    start_from: datetime | str
    start_to: datetime | str
    sort: JobOrder


def write_filters(filters: JobFilters) -> dict[str, str]:
    """Return the query of the given filters. A filter that is None is left out.

    Raises:
        ValueError: a filter has a value that the API does not know.
        TypeError: the API has no such filter.
    """
    if unknown := [name for name in filters if name not in _WRITERS]:
        hints = join_faults(unknown, lambda name: f"{show_key(name)}{suggest_name(name, _WRITERS)}")
        raise TypeError(f"unknown filter of the job list: {hints}; known are {', '.join(_WRITERS)}")
    return {name: _WRITERS[name](name, value) for name, value in filters.items() if value is not None}


def _write_page_size(name: str, value: Any) -> str:
    return _write_number(name, value, MAX_PAGE_SIZE)


def _write_number(name: str, value: Any, high: float = float("inf")) -> str:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
        raise ValueError(f"{name} must be a whole number from 1" + (f" to {high}" if high < float("inf") else ""))
    return str(value)


def _write_status(name: str, value: Any) -> str:
    # The API takes its own words. Other spellings, which answers may have, only give a hint.
    return _write_word(name, value, tuple(JobStatus), STATUS_SPELLINGS)


def _write_order(name: str, value: Any) -> str:
    return _write_word(name, value, get_args(JobOrder), {})


def _write_word(name: str, value: Any, words: tuple[str, ...], others: Mapping[str, str]) -> str:
    if value in words:
        return str(value)
    hint = suggest_name(value, words, others=others) if isinstance(value, str) else ""
    raise ValueError(f"{name} must be one of {', '.join(words)}{hint}")


def _write_time(name: str, value: Any) -> str:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"{name} is no ISO 8601 time, such as 2026-11-22T09:14:03Z") from None
    if not isinstance(value, datetime):
        raise ValueError(f"{name} must be a datetime or an ISO 8601 text, not {type(value).__name__}")  # noqa: TRY004
    try:
        moment = assume_utc(value).astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{name} is outside the years 1 to 9999 in UTC") from None
    return f"{moment.replace(microsecond=0, tzinfo=None).isoformat()}Z"


_WRITERS: Final[dict[str, Callable[[str, Any], str]]] = {
    "page_size": _write_page_size,
    "page": _write_number,
    "status": _write_status,
    "start_from": _write_time,
    "start_to": _write_time,
    "sort": _write_order,
}
