"""The plugin for ChatGPT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict

from .fields import LongestText, ParamText, Words
from .parameters import PluginParams
from .plugin import TypedPlugin

if TYPE_CHECKING:
    from .plugin import ParamSets


def _spell_name(name: str) -> str:
    return "geoCode" if name == "geo_code" else name


class ChatParams(PluginParams):
    """Parameters of `chatgpt/chat`."""

    model_config = ConfigDict(alias_generator=_spell_name)

    #: the prompt, of at most 1,024 characters
    q: Annotated[ParamText, LongestText(1_024)]
    #: the name of a model
    model: ParamText | None = None
    #: a country in two letters; ChatGPT answers in its language
    geo_code: ParamText | None = None
    #: 1 returns the raw events too
    raw_sse: Annotated[Literal[0, 1], Words()] | None = None


class ChatGpt(TypedPlugin):
    """The answer of ChatGPT to a prompt."""

    KEY = "chatgpt/chat"
    PARAMS = ChatParams
    # The vendor's page names 25 credits. An older state of the page names 10.
    CREDITS = 25
    EXAMPLE: ClassVar[dict[str, Any]] = {"q": "Explain how rainbows form", "geo_code": "de"}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[ChatParams]) -> None: ...
