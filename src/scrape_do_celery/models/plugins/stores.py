"""The plugins for shops that return HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import ConfigDict

from .fields import Milliseconds, ParamNumber, ParamText, WebsiteOf
from .parameters import PluginParams
from .plugin import TypedPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .plugin import ParamSets


def _spell_name(name: str) -> str:
    return name.replace("_", "")


class _StoreParams(PluginParams):
    """The parameters that the plugins for Walmart and Lowe's share."""

    # The API writes these names without anything between their words.
    model_config = ConfigDict(alias_generator=_spell_name)

    #: disable the API's own retries
    disable_retry: bool | None = None
    #: return the target's own HTTP status instead of 502
    transparent_response: bool | None = None
    #: milliseconds for the request to the target, from 5,000 to 120,000
    timeout: Milliseconds | None = None


class WalmartParams(_StoreParams):
    """Parameters of `walmart/store`."""

    #: a page of walmart.com
    url: Annotated[ParamText, WebsiteOf("walmart.com")]
    #: the postal code of the store; with `store_id`. Without both, the API chooses a store.
    zipcode: ParamText | None = None
    #: the number of the store; with `zipcode`
    store_id: ParamNumber | None = None

    def _find_oddities(self) -> Iterator[str]:
        if (self.zipcode is None) != (self.store_id is None):
            yield "one of zipcode and store_id is set without the other"


class LowesParams(_StoreParams):
    """Parameters of `lowes/store`."""

    #: a page of lowes.com
    url: Annotated[ParamText, WebsiteOf("lowes.com")]
    #: the postal code of the store
    zipcode: ParamText
    #: the number of the store, as text
    store_id: ParamText

    def _find_oddities(self) -> Iterator[str]:
        for name in ("zipcode", "store_id"):
            if not getattr(self, name).isdigit():
                yield f"{name} is not made of digits"


class SheinParams(PluginParams):
    """Parameters of `shein`."""

    #: a page of shein.com
    url: Annotated[ParamText, WebsiteOf("shein.com")]
    #: milliseconds for the request to the target, from 5,000 to 120,000
    timeout: Milliseconds | None = None


class WalmartStore(TypedPlugin):
    """A page of Walmart, as a store shows it."""

    KEY = "walmart/store"
    PARAMS = WalmartParams
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "url": "https://www.walmart.com/ip/123456",
        "zipcode": "72712",
        "store_id": 100,
        "disable_retry": True,
    }

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[WalmartParams]) -> None: ...


class LowesStore(TypedPlugin):
    """A page of Lowe's, as a store shows it."""

    KEY = "lowes/store"
    PARAMS = LowesParams
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "url": "https://www.lowes.com/pd/item/123",
        "zipcode": "28202",
        "store_id": "0595",
        "transparent_response": True,
    }

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[LowesParams]) -> None: ...


class Shein(TypedPlugin):
    """A page of Shein."""

    KEY = "shein"
    PARAMS = SheinParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"url": "https://us.shein.com/item-p-123.html", "timeout": 60_000}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[SheinParams]) -> None: ...
