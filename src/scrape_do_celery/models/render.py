"""The options of browser rendering."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Unpack

from pydantic import field_validator
from typing_extensions import TypedDict

from .browser_actions import CheckedAction  # noqa: TC001 (pydantic reads it)
from .request_models import OpenRequestModel, merge_extra
from .sendable import SendableText, Whole, as_list, show_range

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .browser_actions import BrowserAction
    from .foreign_models import ForeignModel

#: Bounds of `custom_wait`, in milliseconds. The figures are from the peer SDK.
_WAIT_BOUNDS = (0, 35_000)


class RenderFields(TypedDict, total=False, closed=True):
    """The fields of `RenderOptions`, as keyword arguments or as a dict. A test compares it with the model."""

    block_resources: bool | None
    wait_until: Literal["domcontentloaded", "networkidle0", "networkidle2", "load"] | None
    custom_wait: int | None
    wait_selector: str | None
    actions: Sequence[BrowserAction | Mapping[str, Any] | ForeignModel] | None
    play_with_browser: Sequence[BrowserAction | Mapping[str, Any] | ForeignModel] | None
    return_json: bool | None
    show_websocket_requests: bool | None
    show_frames: bool | None
    screenshot: bool | None
    full_screenshot: bool | None
    particular_screenshot: str | None
    extra: Mapping[str, Any] | None


class RenderOptions(OpenRequestModel):
    """Options of the headless browser that loads each target. Times are in milliseconds.

    `Render` is another name of this class: `Render(actions=[Click("#more"), Wait(2000)])`.
    """

    SHOWN: ClassVar[frozenset[str]] = frozenset({"wait_selector", "particular_screenshot"})

    #: do not load resources of the page; actions and screenshots need them
    block_resources: bool | None = None
    #: the event of the browser that ends the loading of a page
    wait_until: Literal["domcontentloaded", "networkidle0", "networkidle2", "load"] | None = None
    #: milliseconds to wait after loading, at most 35,000
    custom_wait: Whole | None = None
    #: a CSS selector to wait for
    wait_selector: SendableText | None = None
    #: actions of the browser, such as `Click("#more")`, or dicts in the API's form: `{"Action": "Wait", "Timeout": 5}`.
    #: The text of a number or flag in a dict is sent as a number or flag. `actions` is another name of this field.
    play_with_browser: list[CheckedAction] | None = None
    #: return a JSON envelope in place of the page
    return_json: bool | None = None
    #: include captured WebSocket requests; needs `return_json`
    show_websocket_requests: bool | None = None
    #: include frames; needs `return_json`
    show_frames: bool | None = None
    #: take a screenshot of the visible part; needs `return_json`
    screenshot: bool | None = None
    #: take a screenshot of the whole page; needs `return_json`
    full_screenshot: bool | None = None
    #: a CSS selector of the element for a screenshot; needs `return_json`
    particular_screenshot: SendableText | None = None

    def __init__(self, **fields: Unpack[RenderFields]) -> None:
        super().__init__(**fields)

    @classmethod
    def _known_names(cls) -> dict[str, str]:
        return {**super()._known_names(), "actions": "actions"}

    @classmethod
    def _read_fields(cls, data: dict[str, Any]) -> dict[str, Any]:
        data = super()._read_fields(data)
        if "actions" not in data:
            return data
        if "play_with_browser" in data or "PlayWithBrowser" in data:
            raise ValueError("actions and play_with_browser are the same field: give only one of them")
        return {("play_with_browser" if name == "actions" else name): value for name, value in data.items()}

    @field_validator("play_with_browser", mode="before")
    @classmethod
    def _check_list(cls, actions: Any) -> Any:
        return as_list(actions, "play_with_browser", "actions")

    def hint_at_place(self) -> str:
        """Return the end of a message about options in a wrong place."""
        return "; write render=Render(...)"

    def find_concerns(self) -> Iterator[str]:
        """Yield what the API may refuse or ignore."""
        if concern := show_range("custom_wait", self.custom_wait, *_WAIT_BOUNDS):
            yield concern
        shots = self._given_options("screenshot", "full_screenshot", "particular_screenshot")
        if self.particular_screenshot is not None and self.play_with_browser is not None:
            yield (
                "particular_screenshot: the API probably takes it only without actions; use the action "
                "ScreenShot(particular=...) instead"
            )
            # The other rules hold for what remains if the caller obeys this one.
            shots = [name for name in shots if name != "particular_screenshot"]
        if len(shots) > 1:
            yield f"{' and '.join(shots)}: the API probably takes only one screenshot of a page; keep one of them"
        needy = [*shots, "actions"] if self.play_with_browser else shots
        if needy and self.block_resources:
            yield f"{' and '.join(needy)}: the API probably needs the page's resources; leave block_resources out"
        in_json = shots + self._given_options("show_frames", "show_websocket_requests")
        in_json += ["ScreenShot"] if self._has_shot_action() else []
        if in_json and not self.return_json:
            yield f"{' and '.join(in_json)}: the API probably returns this only with return_json; set return_json=True"

    def _has_shot_action(self) -> bool:
        return any(action.to_wire().get("Action") == "ScreenShot" for action in self.play_with_browser or ())

    def _given_options(self, *names: str) -> list[str]:
        return [name for name in names if getattr(self, name)]

    def to_record(self) -> dict[str, Any]:
        """Return the fields, with the actions as they are sent: older versions send a dict of an action unread."""
        fields = self.to_fields()
        if self.play_with_browser is not None:
            fields["PlayWithBrowser"] = [action.to_wire() for action in self.play_with_browser]
        return fields

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that the API takes, with the fields of each `extra`."""
        return merge_extra(self.to_record())


#: The short name of `RenderOptions`.
Render = RenderOptions
