"""The parts of the answer to a render: screenshots, frames, traffic and results of actions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from scrape_do_celery.errors import UnreadableContentError

EXPECTED: Final = "a ReturnJSON answer"


@dataclass(frozen=True)
class PageScreenshot:
    """A screenshot of the rendered page. If there is no image, `error` says why, and `image` raises."""

    #: the kind, as the API names it, such as `FullScreenShot`
    type: str
    _image: bytes | None = field(default=None, repr=False)
    #: the reason why there is no image: the API's own words, or the fault of the image; None if there is an image
    error: str | None = None
    #: the position in `screenshots` of the answer
    index: int = field(default=0, compare=False)
    #: the id of the task
    task_id: str = field(default="", compare=False, repr=False)
    #: the id of its job
    job_id: str = field(default="", compare=False, repr=False)

    @property
    def image(self) -> bytes:
        """The bytes of the image (PNG).

        Raises:
            UnreadableContentError: there is no image, or it is not base64. Other screenshots stay readable.
        """
        if self._image is not None:
            return self._image
        reason = f"there is no image at screenshots[{self.index}]"
        advice = "Read `error` of the screenshot for the reason. The other parts of the answer stay readable."
        raise UnreadableContentError.about_task(self.task_id, self.job_id, EXPECTED, reason, advice)


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
