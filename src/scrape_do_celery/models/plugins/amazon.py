"""The plugins for Amazon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from .fields import Ordinal, ParamText  # noqa: TC001 (pydantic reads it)
from .parameters import PluginParams
from .plugin import TypedPlugin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .plugin import ParamSets

_CREDITS_OF_SUPER: Final = 10


class _AmazonParams(PluginParams):
    """The parameters that all plugins for Amazon have."""

    #: the country of the marketplace in two letters, such as `us`
    geocode: ParamText
    #: the postal code of the delivery, in the form of the country
    zipcode: ParamText
    #: the language in two capital letters, such as `EN`; each marketplace has its own list
    language: ParamText | None = None
    #: use residential and mobile proxies
    super: bool | None = None
    #: return the HTML too
    include_html: bool | None = None


class AmazonProductParams(_AmazonParams):
    """Parameters of `amazon/pdp` and `amazon/offer-listing`."""

    #: the product's ASIN
    asin: ParamText


class AmazonSearchParams(_AmazonParams):
    """Parameters of `amazon/search`."""

    #: the words to search for
    keyword: ParamText
    #: the number of the page, from 1
    page: Ordinal | None = None


class _AmazonPlugin(TypedPlugin):
    """The base class of the plugins for Amazon."""

    @classmethod
    def credits_of(cls, params: Mapping[str, Any]) -> int | None:
        """Return 10 for a set with `super`; no source names the price of other sets."""
        return _CREDITS_OF_SUPER if params.get("super") else cls.CREDITS


class AmazonPdp(_AmazonPlugin):
    """The page of a product."""

    KEY = "amazon/pdp"
    PARAMS = AmazonProductParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"asin": "B0C7BKZ883", "geocode": "us", "zipcode": "10001"}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[AmazonProductParams]) -> None: ...


class AmazonOfferListing(_AmazonPlugin):
    """The offers of all sellers of a product."""

    KEY = "amazon/offer-listing"
    PARAMS = AmazonProductParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"asin": "B0C7BKZ883", "geocode": "us", "zipcode": "10001", "super": True}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[AmazonProductParams]) -> None: ...


class AmazonSearch(_AmazonPlugin):
    """A page of search results."""

    KEY = "amazon/search"
    PARAMS = AmazonSearchParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"keyword": "coffee grinder", "geocode": "us", "zipcode": "10001", "page": 1}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[AmazonSearchParams]) -> None: ...
