"""The answer to a render with `return_json=True`: the page, with the browser's requests, frames and screenshots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard

from scrape_do_celery.errors import UnreadableContentError
from scrape_do_celery.local_variables import without_locals

from .contents import decode_base64
from .fields import json_text

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

EXPECTED: Final = "a ReturnJSON answer"
#: Keys that only this answer has, without case and underscores. A page of the target may be JSON too.
_OWN_KEYS: Final = frozenset(
    {"networkrequests", "websocketresponses", "websocketrequests", "actionresults", "screenshots", "frames"}
)
_MAX_NUMBER: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class PageScreenshot:
    """A screenshot of the rendered page."""

    #: the kind, as the API names it, such as `FullScreenShot`
    type: str
    #: the bytes of the image (PNG); empty if there is an error
    image: bytes = field(repr=False)
    #: the reason why there is no image
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PageFrame:
    """A frame inside the page."""

    #: the URL of the frame
    url: str
    #: the HTML of the frame; None if the browser did not get it
    content: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """A request that the page made (XHR and Fetch), with its answer."""

    #: the URL of the request
    url: str
    #: its HTTP method
    method: str = ""
    #: the HTTP status of the answer; 0 without an answer
    status: int = 0
    #: headers of the request
    request_headers: dict[str, str] = field(default_factory=dict, repr=False)
    #: the body of the request
    request_body: str | None = field(default=None, repr=False)
    #: headers of the answer
    response_headers: dict[str, str] = field(default_factory=dict, repr=False)
    #: the body of the answer
    response_body: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class WebsocketMessage:
    """A message of a WebSocket that the page opened."""

    #: the direction, as the API names it
    type: str
    #: the id of the WebSocket
    request_id: str = ""
    #: the browser's time of the message; None if it gave none
    timestamp: float | None = None
    #: the kind of the frame: 1 is text, 2 is binary
    opcode: int = 0
    #: the message; of a binary frame, the browser's text of it
    payload: str = field(default="", repr=False)


class NetworkLog(NamedTuple):
    """The traffic of the page in the browser."""

    #: the requests, in the API's order
    requests: tuple[NetworkRequest, ...] = ()
    #: the messages of WebSockets; empty without `show_websocket_requests=True`
    websockets: tuple[WebsocketMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The result of a browser action."""

    #: the name of the action
    action: str
    #: its position in `play_with_browser`
    index: int = 0
    #: whether the browser carried it out
    success: bool = False
    #: the reason of a failure
    error: str | None = None
    #: the value that an `Execute` action returned, as JSON data
    response: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """The answer to a render with `return_json=True`, parsed once. Each part is read when it is asked for.

    Keys are read in any case. A part that is absent or null is empty. A part that is something else than the API states
    raises `UnreadableContentError`, and leaves the other parts readable.
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
            raise UnreadableContentError.about_task(task_id, job_id, EXPECTED, "it is no JSON object")
        keys = {_plain_key(key) for key in data}
        # An answer of the API itself, which an unreadable task holds, has content and status code too.
        if not (keys & _OWN_KEYS or keys >= {"content", "statuscode"}) or "taskid" in keys:
            reason = "none of its keys are there; did the request set return_json=True?"
            raise UnreadableContentError.about_task(task_id, job_id, EXPECTED, reason)
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
        """The screenshots.

        Raises:
            UnreadableContentError: an image is not base64, or is absent without an error.
        """
        return self._read_items("screenshots", self._read_screenshot)

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
        items = _find_value(self.data, key)
        if items is None:
            return ()
        if not isinstance(items, list):
            raise self._make_error(f"{key} is no list")
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                raise self._make_error(f"{key}[{number}] is no JSON object")
        return tuple(read(number, _plain_object(item)) for number, item in enumerate(items))

    def _read_screenshot(self, number: int, item: Mapping[str, Any]) -> PageScreenshot:
        image, error = item.get("image"), _read_optional(item.get("error"))
        if not image and error:
            return PageScreenshot(_read_text(item.get("type")), b"", error)
        if not image or not isinstance(image, str):
            raise self._make_error(f"screenshots[{number}] has neither an image nor an error")
        try:
            return PageScreenshot(_read_text(item.get("type")), decode_base64(image), error)
        except ValueError as broken:
            reason = str(broken)
        raise self._make_error(f"the image of screenshots[{number}] is not base64: {reason}")

    def _make_error(self, reason: str) -> UnreadableContentError:
        return UnreadableContentError.about_task(self.task_id, self.job_id, EXPECTED, reason)


def _plain_key(key: str) -> str:
    return key.replace("_", "").replace("-", "").lower()


def _find_value(data: Mapping[str, Any], name: str) -> Any:
    """Return the first value that is not null under a key in any spelling."""
    return next((value for key, value in data.items() if value is not None and _plain_key(key) == name), None)


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
