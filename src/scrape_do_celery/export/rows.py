"""The rows of an export: one for each entry of a run, with its page as bytes and, if possible, as text."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.errors import UnreadableContentError
from scrape_do_celery.models import JobStatus
from scrape_do_celery.models.contents import encode_text, find_header
from scrape_do_celery.models.fields import assume_utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from scrape_do_celery.models import TaskDetails

#: Fields that a row has from its task unchanged.
_COPIED: Final = (
    "url",
    "status_code",
    "cost",
    "error_message",
    "task_id",
    "job_id",
    "gone",
    "too_large",
    "unreadable",
    "given_up",
    "resolved_url",
    "response_headers",
    "meta",
)
_TIMES: Final = ("start_time", "end_time", "expires_at")
_TEXT_TYPES: Final = frozenset({"application/json", "application/javascript", "application/xml", "image/svg+xml"})
#: Line breaks of Unicode that JSON leaves unescaped. Readers that split lines by them would tear a row.
_BREAKS: Final = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True, slots=True)
class Page:
    """The page of a row."""

    #: the page as the target sent it; text in UTF-8 if the API sent text
    data: bytes
    #: the page as text; None for bytes that are no text, or that their charset cannot express without a loss
    text: str | None
    #: why content that should be base64 could not be decoded. `data` is then the undecoded content
    fault: str | None = None

    @property
    def sha256(self) -> str:
        """The digest of the bytes."""
        return hashlib.sha256(self.data).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the content as a text, and whether this text is base64."""
        if self.text is not None:
            return {"is_base64": False, "content": self.text}
        return {"is_base64": True, "content": base64.b64encode(self.data).decode("ascii")}


@dataclass(frozen=True, slots=True)
class ExportRow:
    """An entry of a run. The fields before `page` are columns of each format, in this order."""

    run_id: str
    #: the place among the rows, from 1
    number: int
    url: str
    status: str
    status_code: int
    cost: float | None
    error_message: str | None
    task_id: str
    job_id: str
    start_time: datetime | None
    end_time: datetime | None
    expires_at: datetime | None
    gone: bool
    too_large: bool
    unreadable: bool
    given_up: bool
    resolved_url: str | None
    content_type: str | None
    response_headers: Mapping[str, Any]
    meta: Any
    #: bytes of the page, and their digest; None without a page
    size: int | None
    sha256: str | None
    content_error: str | None
    page: Page | None

    @property
    def is_success(self) -> bool:
        """Whether the task ended in success."""
        return self.status == JobStatus.SUCCESS

    def facts(self) -> dict[str, Any]:
        """Return the columns without the page."""
        return {name: getattr(self, name) for name in FACTS}

    def nested_texts(self) -> dict[str, str | None]:
        """Return the columns that are no plain values, as texts of JSON, for formats of flat cells."""
        meta = None if self.meta is None else json.dumps(self.meta, ensure_ascii=False)
        return {"response_headers": json.dumps(self.response_headers, ensure_ascii=False), "meta": meta}

    def to_json(self, *, with_content: bool = True) -> dict[str, Any]:
        """Return the columns as JSON values, with the content at the end."""
        values = {name: _json_value(value) for name, value in self.facts().items()}
        if with_content:
            values |= {"is_base64": False, "content": None} if self.page is None else self.page.to_json()
        return values


#: The columns that describe a page.
FACTS: Final = tuple(field.name for field in fields(ExportRow) if field.name != "page")


def number_rows(run_id: str, tasks: Iterable[TaskDetails], start: int = 1) -> Iterator[ExportRow]:
    """Yield the rows of tasks, numbered from `start`."""
    for number, task in enumerate(tasks, start):
        yield make_row(run_id, number, task)


def make_row(run_id: str, number: int, task: TaskDetails) -> ExportRow:
    """Return the row of a task."""
    page, moments = read_page(task), [(name, getattr(task, name)) for name in _TIMES]
    times: dict[str, Any] = {name: None if moment is None else assume_utc(moment) for name, moment in moments}
    return ExportRow(
        run_id=run_id,
        number=number,
        status=str(task.status),
        content_type=find_header(task.response_headers, "content-type"),
        size=None if page is None else len(page.data),
        sha256=None if page is None else page.sha256,
        content_error=None if page is None else page.fault,
        page=page,
        **{name: getattr(task, name) for name in _COPIED},
        **times,
    )


def read_page(task: TaskDetails) -> Page | None:
    """Return the page of a task; None if the task has none. A failed task may have a page."""
    if task.content is None or (not task.content and not task.is_success):
        return None
    try:
        data = task.decoded_content() or b""
    except UnreadableContentError as error:
        data = encode_text(task.content)
        return Page(data, task.content if _is_utf_8(data) else None, error.reason)
    media = media_type(find_header(task.response_headers, "content-type"))
    if not task.base64_encoded_content:
        return Page(data, task.content if _is_utf_8(data) else None)
    text = task.text if is_text_type(media) or (not media and b"\0" not in data and _is_utf_8(data)) else None
    # U+FFFD stands for bytes that the charset does not have: such bytes would be lost.
    return Page(data, None if text is None or "\ufffd" in text else text)


def media_type(content_type: str | None) -> str:
    """Return the type of a header `Content-Type` without parameters, such as `text/html`; empty if there is none."""
    return (content_type or "").partition(";")[0].partition(",")[0].strip().lower()


def is_text_type(media: str) -> bool:
    """Return whether pages of this type are text."""
    return media.startswith("text/") or media in _TEXT_TYPES or media.endswith(("+json", "+xml"))


def json_line(values: Mapping[str, Any]) -> bytes:
    """Return values as one line of JSON in UTF-8."""
    text = json.dumps(values, ensure_ascii=False)
    if not text.isascii():
        for char, escaped in _BREAKS.items():
            text = text.replace(char, escaped)
    return text.encode() + b"\n"


def _is_utf_8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _json_value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
