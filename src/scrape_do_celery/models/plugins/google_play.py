"""The plugins for the Google Play Store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from .fields import Bounds, ParamNumber, ParamText, Words
from .google import GoogleParams, GooglePlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .plugin import ParamSets


class PlayStoreParams(GoogleParams):
    """Parameters of `google/play-store`."""

    ONE_OF = ("q", "apps_category", "chart")

    #: the words to search for
    q: ParamText | None = None
    #: a category, such as `GAME`
    apps_category: ParamText | None = None
    #: a list of the most popular apps
    chart: Annotated[Literal["topselling_free", "topselling_paid", "topgrossing"], Words()] | None = None
    #: the number of apps, from 1 to 50
    num: Annotated[ParamNumber, Bounds(1, 50)] | None = None
    #: the token of the next page, from an earlier answer
    next_page_token: ParamText | None = None
    #: the kind of device
    store_device: Annotated[Literal["phone", "tablet", "tv", "chromebook", "watch", "car"], Words()] | None = None
    #: the ages of children: up to 5, 6 to 8, from 9; with `apps_category` FAMILY
    age: Annotated[Literal["AGE_RANGE1", "AGE_RANGE2", "AGE_RANGE3"], Words()] | None = None

    def _find_oddities(self) -> Iterator[str]:
        if self.age is not None and self.apps_category != "FAMILY":
            yield "age is set without apps_category FAMILY"


class PlayStoreProductParams(GoogleParams):
    """Parameters of `google/play-store/product`."""

    #: the id of the app, such as `org.example.app`
    product_id: ParamText


class PlayStoreReviewsParams(PlayStoreProductParams):
    """Parameters of `google/play-store/reviews`."""

    #: the order of the reviews; only 1 has an effect
    sort_by: ParamNumber | None = None
    #: the token of the next page, from an earlier answer
    next_page_token: ParamText | None = None


class GooglePlayStore(GooglePlugin):
    """Apps of a search, a category or a chart."""

    KEY = "google/play-store"
    PARAMS = PlayStoreParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"apps_category": "FAMILY", "age": "AGE_RANGE1", "num": 50}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[PlayStoreParams]) -> None: ...


class GooglePlayStoreProduct(GooglePlugin):
    """The details of an app."""

    KEY = "google/play-store/product"
    PARAMS = PlayStoreProductParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"product_id": "org.mozilla.firefox", "hl": "en"}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[PlayStoreProductParams]) -> None: ...


class GooglePlayStoreReviews(GooglePlugin):
    """The reviews of an app."""

    KEY = "google/play-store/reviews"
    PARAMS = PlayStoreReviewsParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"product_id": "org.mozilla.firefox", "sort_by": 1}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[PlayStoreReviewsParams]) -> None: ...
