"""The plugins for Google Maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from .fields import Bounds, Count, ParamNumber, ParamText, Words
from .google import GoogleParams, GooglePlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .plugin import ParamSets


class MapsSearchParams(GoogleParams):
    """Parameters of `google/maps/search`."""

    #: the words to search for
    q: ParamText
    #: the place and zoom of the map: `@40.7455,-74.0083,14z`
    ll: ParamText | None = None
    #: the number of results to skip, a multiple of 20
    start: Count | None = None
    #: the domain of Google, such as `google.de`
    google_domain: ParamText | None = None


class MapsPlaceParams(GoogleParams):
    """Parameters of `google/maps/place`."""

    ONE_OF = ("place_id", "data_cid")
    EXCLUSIVE = ONE_OF

    #: the id of the place, `ChIJ...`
    place_id: ParamText | None = None
    #: the numeric CID of the place
    data_cid: ParamText | None = None
    #: the domain of Google, such as `google.de`
    google_domain: ParamText | None = None


class MapsReviewsParams(GoogleParams):
    """Parameters of `google/maps/reviews`."""

    ONE_OF = ("data_id", "place_id")
    EXCLUSIVE = ONE_OF

    #: the id of the place, `0x...:0x...`
    data_id: ParamText | None = None
    #: the id of the place, `ChIJ...`
    place_id: ParamText | None = None
    #: the number of reviews, from 1 to 20
    num: Annotated[ParamNumber, Bounds(1, 20)] | None = None
    #: the order of the reviews
    sort_by: Annotated[Literal["newestFirst", "ratingHigh", "ratingLow"], Words()] | None = None
    #: only reviews with this topic
    topic_id: ParamText | None = None
    #: only reviews with these words; in place of `topic_id`
    query: ParamText | None = None
    #: the `pagination.next_page_token` of an earlier answer
    next_page_token: ParamText | None = None

    def _find_oddities(self) -> Iterator[str]:
        if self.topic_id is not None and self.query is not None:
            yield "topic_id and query exclude each other"


class GoogleMapsSearch(GooglePlugin):
    """Places that a search finds."""

    KEY = "google/maps/search"
    PARAMS = MapsSearchParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"q": "coffee", "ll": "@40.7455,-74.0083,14z", "start": 20}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[MapsSearchParams]) -> None: ...


class GoogleMapsPlace(GooglePlugin):
    """The details of a place."""

    KEY = "google/maps/place"
    PARAMS = MapsPlaceParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"place_id": "ChIJN1t_tDeuEmsRUsoyG83frY4"}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[MapsPlaceParams]) -> None: ...


class GoogleMapsReviews(GooglePlugin):
    """The reviews of a place."""

    KEY = "google/maps/reviews"
    PARAMS = MapsReviewsParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"place_id": "ChIJN1t_tDeuEmsRUsoyG83frY4", "sort_by": "newestFirst", "num": 20}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[MapsReviewsParams]) -> None: ...
