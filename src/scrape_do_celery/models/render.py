"""The options and the actions of browser rendering."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from scrape_do_celery.name_hints import suggest_name

from .sendable import SendableText, Whole, as_json_list
from .wire import RequestModel

# The required keys of each action.
_ACTIONS: dict[str, tuple[str, ...]] = {
    "Click": ("Selector",),
    "Wait": ("Timeout",),
    "WaitSelector": ("WaitSelector",),
    "ScrollX": ("Value",),
    "ScrollY": ("Value",),
    "ScrollTo": ("Selector",),
    "Fill": ("Selector", "Value"),
    "Execute": ("Execute",),
    "ScreenShot": (),
    "WaitForRequestCompletion": ("UrlPattern", "Timeout"),
}


class RenderOptions(RequestModel):
    """Options of the headless browser that loads each target. Times are in milliseconds."""

    #: do not load resources of the page; excludes `play_with_browser` and screenshots
    block_resources: bool | None = None
    #: the event of the browser that ends the loading of a page
    wait_until: Literal["domcontentloaded", "networkidle0", "networkidle2", "load"] | None = None
    #: milliseconds to wait after loading, at most 35,000
    custom_wait: Whole | None = Field(default=None, ge=0, le=35_000)
    #: a CSS selector to wait for
    wait_selector: SendableText | None = None
    #: actions of the browser, in the API's form: `{"Action": "Click", "Selector": "#more"}`
    play_with_browser: list[dict[str, JsonValue]] | None = Field(default=None, repr=False)
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

    @field_validator("play_with_browser", mode="before")
    @classmethod
    def _check_json_list(cls, actions: Any) -> Any:
        return as_json_list(actions, "play_with_browser", "actions")

    @field_validator("play_with_browser")
    @classmethod
    def _known_actions(cls, actions: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        for position, action in enumerate(actions or ()):
            if fault := _action_fault(action):
                raise ValueError(f"play_with_browser[{position}]: {fault}")
        return actions

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        shots = self._given_options("screenshot", "full_screenshot", "particular_screenshot")
        if len(shots) > 1:
            raise ValueError(f"a page has at most one screenshot: {' and '.join(shots)} exclude each other")
        if shots and self.block_resources:
            raise ValueError(f"{shots[0]} needs the page's resources: block_resources must not be true")
        in_json = shots + self._given_options("show_frames", "show_websocket_requests")
        if in_json and not self.return_json:
            raise ValueError(f"{' and '.join(in_json)} need return_json=True")
        if self.particular_screenshot is not None and self.play_with_browser is not None:
            raise ValueError(
                "particular_screenshot and play_with_browser exclude each other: use a ScreenShot action instead"
            )
        return self

    def _given_options(self, *names: str) -> list[str]:
        return [name for name in names if getattr(self, name)]


def _action_fault(action: dict[str, Any]) -> str | None:
    name = action.get("Action")
    if not isinstance(name, str):
        return "has no Action"
    if name not in _ACTIONS:
        return f"no such Action{suggest_name(name, _ACTIONS)}"
    missing = [key for key in _ACTIONS[name] if action.get(key) in (None, "")]
    # `Fill` may enter an empty text.
    if name == "Fill" and action.get("Value") == "":
        missing.remove("Value")
    if missing:
        return f"{name} needs {' and '.join(missing)}"
    if action.get("fullScreenShot") and action.get("particularScreenShot"):
        return "fullScreenShot and particularScreenShot exclude each other"
    return None
