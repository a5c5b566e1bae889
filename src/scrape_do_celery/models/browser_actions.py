"""The actions of the browser that renders a page, in the order in which the page needs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    RootModel,
    Tag,
    ValidationInfo,
    WrapValidator,
)

from scrape_do_celery.name_hints import suggest_name

from .foreign_models import dump_foreign
from .public_values import public_names
from .request_models import OpenRequestModel
from .sendable import FilledText, SendableText, Whole, canonical_json, is_kept

if TYPE_CHECKING:
    from pydantic import ValidatorFunctionWrapHandler

__all__ = [
    "BrowserAction",
    "Click",
    "Execute",
    "Fill",
    "ScreenShot",
    "ScrollTo",
    "ScrollX",
    "ScrollY",
    "Wait",
    "WaitForRequestCompletion",
    "WaitSelector",
]

#: New fields of an action, under the API's names.
Extra: TypeAlias = Mapping[str, Any] | None


class ActionModel(OpenRequestModel):
    """The base class of the actions.

    In place of an action, a dict in the API's form does as well: `{"Action": "Click", "Selector": "#more"}`.
    """

    SHOWN: ClassVar[frozenset[str]] = frozenset({"selector", "wait_selector", "url_pattern", "particular"})

    #: the API's name of the action
    action: str = Field(repr=False)

    if TYPE_CHECKING:

        def __init__(self, **fields: Any) -> None: ...

    @classmethod
    def _known_names(cls) -> dict[str, str]:
        # Dicts of actions are written in the API's form.
        fields = cls.model_fields.items()
        return {spelt: str(field.alias) for name, field in fields for spelt in (name, str(field.alias))}

    def hint_at_place(self) -> str:
        """Return the end of a message about an action in a wrong place."""
        return f"; write render=Render(actions=[{self.action}(...)])"

    def find_concerns(self) -> Iterator[str]:
        """Yield what the API may refuse or ignore."""
        if (timeout := getattr(self, "timeout", None)) is not None and timeout < 0:
            yield f"{self.action}: timeout={timeout}: the API probably refuses the job; give milliseconds from 0 on"


class Click(ActionModel):
    """Click an element."""

    action: Literal["Click"] = Field(default="Click", repr=False)  #: always the same
    #: a CSS selector of the element
    selector: FilledText

    def __init__(self, selector: str, *, extra: Extra = None) -> None:
        super().__init__(selector=selector, extra=extra)


class Wait(ActionModel):
    """Wait for a time."""

    action: Literal["Wait"] = Field(default="Wait", repr=False)  #: always the same
    #: milliseconds
    timeout: Whole

    def __init__(self, timeout: int, *, extra: Extra = None) -> None:
        super().__init__(timeout=timeout, extra=extra)


class WaitSelector(ActionModel):
    """Wait for an element."""

    action: Literal["WaitSelector"] = Field(default="WaitSelector", repr=False)  #: always the same
    #: a CSS selector of the element
    wait_selector: FilledText
    #: milliseconds to wait at most
    timeout: Whole | None = None

    def __init__(self, wait_selector: str, *, timeout: int | None = None, extra: Extra = None) -> None:
        super().__init__(wait_selector=wait_selector, timeout=timeout, extra=extra)


class ScrollX(ActionModel):
    """Scroll to the side."""

    action: Literal["ScrollX"] = Field(default="ScrollX", repr=False)  #: always the same
    #: pixels
    value: Whole

    def __init__(self, value: int, *, extra: Extra = None) -> None:
        super().__init__(value=value, extra=extra)


class ScrollY(ActionModel):
    """Scroll down."""

    action: Literal["ScrollY"] = Field(default="ScrollY", repr=False)  #: always the same
    #: pixels
    value: Whole

    def __init__(self, value: int, *, extra: Extra = None) -> None:
        super().__init__(value=value, extra=extra)


class ScrollTo(ActionModel):
    """Scroll to an element."""

    action: Literal["ScrollTo"] = Field(default="ScrollTo", repr=False)  #: always the same
    #: a CSS selector of the element
    selector: FilledText

    def __init__(self, selector: str, *, extra: Extra = None) -> None:
        super().__init__(selector=selector, extra=extra)


class Fill(ActionModel):
    """Type a text into a field of the page."""

    action: Literal["Fill"] = Field(default="Fill", repr=False)  #: always the same
    #: a CSS selector of the field
    selector: FilledText
    #: the text, which may be empty; a repr hides it, because it may be a password
    value: SendableText

    def __init__(self, selector: str, value: str, *, extra: Extra = None) -> None:
        super().__init__(selector=selector, value=value, extra=extra)


class Execute(ActionModel):
    """Run JavaScript in the page."""

    action: Literal["Execute"] = Field(default="Execute", repr=False)  #: always the same
    #: the JavaScript
    execute: FilledText

    def __init__(self, execute: str, *, extra: Extra = None) -> None:
        super().__init__(execute=execute, extra=extra)


class ScreenShot(ActionModel):
    """Take a screenshot: of the visible part, of the whole page, or of an element."""

    action: Literal["ScreenShot"] = Field(default="ScreenShot", repr=False)  #: always the same
    #: take the whole page
    full: bool | None = Field(default=None, alias="fullScreenShot")
    #: a CSS selector of an element to take
    particular: FilledText | None = Field(default=None, alias="particularScreenShot")

    def __init__(self, *, full: bool | None = None, particular: str | None = None, extra: Extra = None) -> None:
        super().__init__(full=full, particular=particular, extra=extra)

    def find_concerns(self) -> Iterator[str]:
        """Yield what the API may refuse or ignore."""
        if self.full and self.particular:
            yield (
                "ScreenShot: the API probably takes only one of full (fullScreenShot) and particular "
                "(particularScreenShot); use two ScreenShot actions"
            )


class WaitForRequestCompletion(ActionModel):
    """Wait until requests of the page have ended."""

    #: always the same
    action: Literal["WaitForRequestCompletion"] = Field(default="WaitForRequestCompletion", repr=False)
    #: a pattern of their URLs, such as `*.json`
    url_pattern: FilledText = Field(alias="UrlPattern")
    #: milliseconds to wait at most
    timeout: Whole

    def __init__(self, url_pattern: str, timeout: int, *, extra: Extra = None) -> None:
        super().__init__(url_pattern=url_pattern, timeout=timeout, extra=extra)


class KeptAction(RootModel[dict[str, JsonValue]]):
    """An action in a record that no class of this version would write alike. It is sent as the record has it."""

    model_config = ConfigDict(frozen=True)
    tag: ClassVar[str] = "kept"

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object of the action."""
        return dict(self.root)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        # A value may be a password.
        yield "keys", public_names(self.root)


#: Any of the ten actions.
BrowserAction: TypeAlias = (
    Click | Wait | WaitSelector | ScrollX | ScrollY | ScrollTo | Fill | Execute | ScreenShot | WaitForRequestCompletion
)
#: Class of each action by its name in the API.
ACTION_CLASSES: Final[dict[str, type[ActionModel]]] = {
    cls.__name__: cls
    for cls in (
        Click, Wait, WaitSelector, ScrollX, ScrollY, ScrollTo, Fill, Execute, ScreenShot, WaitForRequestCompletion,
    )
}  # fmt: skip


def _find_tag(action: Any) -> str:
    if isinstance(action, Mapping):
        return str(action.get("Action", action.get("action")))
    return action.tag if isinstance(action, KeptAction) else str(action.action)


def _check_action(action: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    if is_kept(info) and isinstance(action, dict):
        return _keep_action(action, handler)
    return handler(_with_known_name(action))


def _keep_action(action: dict[str, Any], handler: ValidatorFunctionWrapHandler) -> Any:
    """Read the action of a record. Neither a refusal nor a conversion of this version may change a paid run."""
    try:
        read = handler(ACTION_CLASSES[action["Action"]].gather_new(action))
    except (KeyError, TypeError, ValueError):
        return KeptAction(action)
    return read if canonical_json(read.to_wire()) == canonical_json(action) else KeptAction(action)


def _with_known_name(action: Any) -> Any:
    if isinstance(action, ActionModel | KeptAction):
        return action
    action = dump_foreign(action)
    if not isinstance(action, Mapping):
        raise ValueError(  # noqa: TRY004 (pydantic's contract)
            f"must be an action such as Click('#more'), or its dict; not {type(action).__name__}"
        )
    name = action.get("Action", action.get("action"))
    if not isinstance(name, str):
        raise ValueError("has no Action; the actions are " + ", ".join(ACTION_CLASSES))  # noqa: TRY004
    if name not in ACTION_CLASSES:
        raise ValueError(f"no such Action{suggest_name(name, ACTION_CLASSES)}")
    # Pydantic reads any mapping as a model only if it is a dict.
    return dict(action)


#: An action, or its dict in the API's form.
CheckedAction = Annotated[
    Annotated[Click, Tag("Click")]
    | Annotated[Wait, Tag("Wait")]
    | Annotated[WaitSelector, Tag("WaitSelector")]
    | Annotated[ScrollX, Tag("ScrollX")]
    | Annotated[ScrollY, Tag("ScrollY")]
    | Annotated[ScrollTo, Tag("ScrollTo")]
    | Annotated[Fill, Tag("Fill")]
    | Annotated[Execute, Tag("Execute")]
    | Annotated[ScreenShot, Tag("ScreenShot")]
    | Annotated[WaitForRequestCompletion, Tag("WaitForRequestCompletion")]
    | Annotated[KeptAction, Tag(KeptAction.tag)],
    Discriminator(_find_tag),
    WrapValidator(_check_action),
]
