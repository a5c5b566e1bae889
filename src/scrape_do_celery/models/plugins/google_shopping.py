"""The plugins for Google Shopping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from .fields import Count, DeviceWord, ParamText, Words
from .google import GoogleParams, GooglePlugin
from .parameters import PluginParams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .plugin import ParamSets


class _ShopParams(GoogleParams):
    """The parameters that the searches and products of Google Shopping share."""

    #: the domain of Google, such as `google.de`
    google_domain: ParamText | None = None
    #: a place in words
    location: ParamText | None = None
    #: a place as Google's token
    uule: ParamText | None = None


class ShoppingParams(_ShopParams):
    """Parameters of `google/shopping`."""

    #: the words to search for
    q: ParamText
    #: the lowest price
    min_price: Count | None = None
    #: the highest price
    max_price: Count | None = None
    #: 0 by relevance, 1 by rising price, 2 by falling price
    sort_by: Annotated[Literal[0, 1, 2], Words()] | None = None
    #: only offers with free delivery
    free_shipping: bool | None = None
    #: only offers with a reduced price
    on_sale: bool | None = None
    #: the token of a filter, from an earlier answer
    shoprs: ParamText | None = None
    #: the kind of device that Google sees
    device: DeviceWord | None = None
    #: the number of results to skip
    start: Count | None = None


class ShoppingProductParams(_ShopParams):
    """Parameters of `google/shopping/product`."""

    ONE_OF = ("catalog_id", "immersive_product_page_token", "product_id")

    #: the lasting id of the product in Google's catalog of a country; needs `q`
    catalog_id: ParamText | None = None
    #: the words of the search that found `catalog_id`
    q: ParamText | None = None
    #: the token of a product, valid for some hours
    immersive_product_page_token: ParamText | None = None
    #: the id of the product; the answer has fewer details
    product_id: ParamText | None = None
    #: the kind of device that Google sees
    device: Annotated[Literal["desktop", "mobile", "tablet"], Words()] | None = None
    #: the order of the offers
    sort_by: Annotated[Literal["base_price", "total_price", "promotion", "seller_rating"], Words()] | None = None
    #: return all offers; with `catalog_id`
    load_all_stores: bool | None = None
    #: return more offers; with a token
    more_stores: bool | None = None

    def _find_oddities(self) -> Iterator[str]:
        if self.catalog_id is not None and self.q is None:
            yield "catalog_id needs q"


class ShoppingStoresParams(PluginParams):
    """Parameters of `google/shopping/product/stores`."""

    #: the id of the product in Google's catalog, the same as in the token
    catalog_id: ParamText
    #: the `stores_next_page_token` of an answer of `google/shopping/product`
    next_page_token: ParamText


class GoogleShopping(GooglePlugin):
    """A page of offers."""

    KEY = "google/shopping"
    PARAMS = ShoppingParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"q": "coffee grinder", "max_price": 100, "sort_by": 1}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[ShoppingParams]) -> None: ...


class GoogleShoppingProduct(GooglePlugin):
    """The details of a product, and its first offers."""

    KEY = "google/shopping/product"
    PARAMS = ShoppingProductParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"catalog_id": "1234567890", "q": "coffee grinder", "gl": "us"}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[ShoppingProductParams]) -> None: ...


class GoogleShoppingStores(GooglePlugin):
    """More offers of a product."""

    KEY = "google/shopping/product/stores"
    PARAMS = ShoppingStoresParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"catalog_id": "1234567890", "next_page_token": "eyJwIjoyfQ"}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[ShoppingStoresParams]) -> None: ...
