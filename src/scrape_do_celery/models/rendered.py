"""The answer to a render with `return_json=True`: the page, with the browser's requests, frames and screenshots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from scrape_do_celery.errors import UnreadableContentError
from scrape_do_celery.local_variables import without_locals

from .contents import decode_base64
from .fields import json_text
from .render_parts import (
    EXPECTED,
    ActionResult,
    NetworkLog,
    NetworkRequest,
    PageFrame,
    PageScreenshot,
    WebsocketMessage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "ActionResult",
    "NetworkLog",
    "NetworkRequest",
    "PageFrame",
    "PageScreenshot",
    "RenderedPage",
    "WebsocketMessage",
]

NOT_REQUESTED: Final = "Set `return_json=True` in `render` of the request; read `text` of this task for the page."
#: Keys that only this answer has, without case and underscores. A page of the target may be JSON too.
_OWN_KEYS: Final = frozenset(
    {"networkrequests", "websocketresponses", "websocketrequests", "actionresults", "screenshots", "frames"}
)
_MAX_NUMBER: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """The answer to a render with `return_json=True`, parsed once. Each part is read when it is asked for.

    Keys are read in any case. A part that is absent or null is empty. A part that is something else than the API states
    raises `UnreadableContentError`, and leaves the other parts readable. A broken screenshot leaves the others readable
    too.
    """

    #: the answer under the API's own keys, also with keys that this package does not know
    data: dict[str, Any] = field(repr=False)
    #: the id of the task
    task_id: str
    #: the id of its job
    job_id: str

    @classmethod
    @without_locals
    def from_json(cls, data: Any, *, task_id: str, job_id: str) -> RenderedPage:
        """Return the answer that JSON data holds.

        Raises:
            UnreadableContentError: the data is another JSON value than this answer.
        """
        if not isinstance(data, dict):
            raise UnreadableContentError.about_task(task_id, job_id, EXPECTED, "it is no JSON object", NOT_REQUESTED)
        keys = {_plain_key(key) for key in data}
        # An answer of the API itself, which an unreadable task holds, has content and status code too.
        if not (keys & _OWN_KEYS or keys >= {"content", "statuscode"}) or "taskid" in keys:
            reason = "none of its keys are there"
            raise UnreadableContentError.about_task(task_id, job_id, EXPECTED, reason, NOT_REQUESTED)
        return cls(data, task_id, job_id)

    @property
    def content(self) -> str | None:
        """The page itself, as text; None if the answer has none. A page that is JSON comes as JSON text."""
        found = _find_value(self.data, "content")
        return None if found is None else json_text(found)

    @property
    def status_code(self) -> int:
        """The target's HTTP status; 0 if the answer has none."""
        return _read_number(_find_value(self.data, "statuscode"))

    @property
    def resolved_url(self) -> str | None:
        """The URL at which the browser ended, if the answer has it."""
        return _read_optional(_find_value(self.data, "resolvedurl"))

    @property
    def screenshots(self) -> tuple[PageScreenshot, ...]:
        """The screenshots. Read `error` of each one before its `image`: a broken one is among them."""
        return tuple(self._read_screenshot(number, item) for number, item in enumerate(self._read_list("screenshots")))

    @property
    def frames(self) -> tuple[PageFrame, ...]:
        """The frames inside the page; empty without `show_frames=True`."""
        return self._read_items("frames", lambda _, item: _read_frame(item))

    @property
    def network(self) -> NetworkLog:
        """The requests of the page, and the messages of its WebSockets."""
        messages = "websocketresponses" if _find_value(self.data, "websocketresponses") else "websocketrequests"
        return NetworkLog(
            self._read_items("networkrequests", lambda _, item: _read_request(item)),
            self._read_items(messages, lambda _, item: _read_message(item)),
        )

    @property
    def action_results(self) -> tuple[ActionResult, ...]:
        """The results of the actions in `play_with_browser`."""
        return self._read_items("actionresults", _read_action)

    @without_locals
    def _read_items(self, key: str, read: Callable[[int, Mapping[str, Any]], Any]) -> tuple[Any, ...]:
        items = self._read_list(key)
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                raise self._make_error(f"{key}[{number}] is no JSON object")
        return tuple(read(number, _plain_object(item)) for number, item in enumerate(items))

    def _read_list(self, key: str) -> list[Any]:
        items = _find_value(self.data, key)
        if items is not None and not isinstance(items, list):
            raise self._make_error(f"{key} is no list")
        return items or []

    @without_locals
    def _read_screenshot(self, number: int, value: Any) -> PageScreenshot:
        item = _plain_object(value)
        image, error = _read_image(item.get("image"))
        if image is None:
            error = _read_optional(item.get("error")) or error
        return PageScreenshot(_read_text(item.get("type")), image, error, number, self.task_id, self.job_id)

    def _make_error(self, reason: str) -> UnreadableContentError:
        advice = "Read the other parts, or `data` of the rendered page."
        return UnreadableContentError.about_task(self.task_id, self.job_id, EXPECTED, reason, advice)


class RenderedParts:
    """The parts of the answer to a render with `return_json=True`, as properties of a task. See `rendered`."""

    if TYPE_CHECKING:

        @property
        def rendered(self) -> RenderedPage | None: ...

    @property
    def screenshots(self) -> tuple[PageScreenshot, ...]:
        """The screenshots of a render with `return_json=True`; empty if the task has no content. See `rendered`."""
        rendered = self.rendered
        return rendered.screenshots if rendered else ()

    @property
    def frames(self) -> tuple[PageFrame, ...]:
        """The frames of a render with `show_frames=True`; empty if the task has no content. See `rendered`."""
        rendered = self.rendered
        return rendered.frames if rendered else ()

    @property
    def network(self) -> NetworkLog:
        """The traffic of a render with `return_json=True`; empty if the task has no content. See `rendered`."""
        rendered = self.rendered
        return rendered.network if rendered else NetworkLog()

    @property
    def action_results(self) -> tuple[ActionResult, ...]:
        """The results of `play_with_browser` in a render with `return_json=True`. See `rendered`."""
        rendered = self.rendered
        return rendered.action_results if rendered else ()


def _plain_key(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()


def _find_value(data: Mapping[str, Any], name: str) -> Any:
    """Return the first value that is not null under a key in any spelling."""
    return next((value for key, value in data.items() if value is not None and _plain_key(key) == name), None)


def _read_image(value: Any) -> tuple[bytes | None, str | None]:
    """Return the bytes of an image, or None and the reason why there are none."""
    if not value or not isinstance(value, str):
        return None, "The answer has neither an image nor an error."
    try:
        return decode_base64(value), None
    except ValueError as fault:
        return None, f"The image is not base64: {fault}."


def _read_frame(item: Mapping[str, Any]) -> PageFrame:
    content = item.get("content")
    return PageFrame(_read_text(item.get("url")), None if content is None else json_text(content))


def _read_request(item: Mapping[str, Any]) -> NetworkRequest:
    return NetworkRequest(
        url=_read_text(item.get("url")),
        method=_read_text(item.get("method")),
        status=_read_number(item.get("status", item.get("statuscode"))),
        request_headers=_read_headers(item.get("requestheaders")),
        request_body=_read_body(item.get("requestbody")),
        response_headers=_read_headers(item.get("responseheaders")),
        response_body=_read_body(item.get("responsebody")),
    )


def _read_message(item: Mapping[str, Any]) -> WebsocketMessage:
    event = _plain_object(item.get("event"))
    frame = _plain_object(event.get("response"))
    moment = event.get("timestamp")
    return WebsocketMessage(
        type=_read_text(item.get("type")),
        request_id=_read_text(event.get("requestid")),
        timestamp=float(moment) if _is_number(moment) else None,
        opcode=_read_number(frame.get("opcode")),
        payload=_read_text(frame.get("payloaddata")),
    )


def _read_action(number: int, item: Mapping[str, Any]) -> ActionResult:
    return ActionResult(
        action=_read_text(item.get("action")),
        index=_read_number(item.get("index", number)),
        success=item.get("success") is True,
        error=_read_optional(item.get("error")),
        response=item.get("response"),
    )


def _plain_object(value: Any) -> dict[str, Any]:
    return {_plain_key(key): inner for key, inner in value.items()} if isinstance(value, dict) else {}


def _read_text(value: Any) -> str:
    return "" if value is None else json_text(value)


def _read_body(value: Any) -> str | None:
    return None if value is None else json_text(value)


def _read_optional(value: Any) -> str | None:
    return _read_text(value) or None


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_NUMBER


def _read_number(value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value.strip()[:19])
    return int(value) if _is_number(value) and value >= 0 else 0


def _read_headers(value: Any) -> dict[str, str]:
    return {key: _read_text(held) for key, held in value.items()} if isinstance(value, dict) else {}
