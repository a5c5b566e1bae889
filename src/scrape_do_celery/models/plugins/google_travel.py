"""The plugins for Google Flights and Google Hotels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from .fields import Bounds, Count, Day, LooseDay, ParamNumber, ParamText, Words
from .google import GoogleParams, GooglePlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .plugin import ParamSets


class _TravelParams(GoogleParams):
    """The parameters that flights and hotels share."""

    #: the currency of the prices, such as `EUR`
    currency: ParamText | None = None


class FlightsParams(_TravelParams):
    """Parameters of `google/flights`."""

    EXCLUSIVE = ("include_airlines", "exclude_airlines")

    #: the IATA codes of the airports of departure, with commas between them
    departure_id: ParamText
    #: the IATA codes of the airports of arrival, with commas between them
    arrival_id: ParamText
    #: the day of the flight
    outbound_date: LooseDay
    #: the day of the flight back
    return_date: LooseDay | None = None
    #: 1 both ways, 2 one way; the API refuses 3
    type: Annotated[Literal[1, 2], Words(proven=True)] | None = None
    #: the number of adults, from 1 to 9
    adults: Annotated[ParamNumber, Bounds(1, 9)] | None = None
    #: the number of children, from 0 to 9
    children: Annotated[ParamNumber, Bounds(0, 9)] | None = None
    #: the number of infants with a seat, from 0 to 4
    infants_in_seat: Annotated[ParamNumber, Bounds(0, 4)] | None = None
    #: the number of infants without a seat, from 0 to 4
    infants_on_lap: Annotated[ParamNumber, Bounds(0, 4)] | None = None
    #: 1 economy, 2 premium economy, 3 business, 4 first
    travel_class: Annotated[Literal[1, 2, 3, 4], Words(proven=True)] | None = None
    #: 0 any, 1 none, 2 at most one, 3 at most two
    stops: Annotated[Literal[0, 1, 2, 3], Words(proven=True)] | None = None
    #: 1 best, 2 price, 3 departure, 4 arrival, 5 duration, 6 emissions
    sort_by: Annotated[Literal[1, 2, 3, 4, 5, 6], Words(proven=True)] | None = None
    #: only these airlines: their codes with commas between them
    include_airlines: ParamText | None = None
    #: not these airlines; in place of `include_airlines`
    exclude_airlines: ParamText | None = None


class _StayParams(_TravelParams):
    """The days of a stay."""

    #: the day of arrival
    check_in_date: Day
    #: the day of departure
    check_out_date: Day

    def _find_oddities(self) -> Iterator[str]:
        if str(self.check_out_date) <= str(self.check_in_date):
            yield "check_out_date is not after check_in_date"


class HotelsParams(_StayParams):
    """Parameters of `google/hotels`. The prices are for two adults."""

    #: the words to search for, best of the form `Paris hotels`
    q: ParamText
    #: 3 price, 8 rating, 13 number of reviews
    sort_by: Annotated[Literal[3, 8, 13], Words(proven=True)] | None = None
    #: the lowest price of a night
    min_price: Count | None = None
    #: the highest price of a night
    max_price: Count | None = None
    #: 7 from 3.5, 8 from 4.0, 9 from 4.5
    rating: Annotated[Literal[7, 8, 9], Words(proven=True)] | None = None
    #: the stars, from 2 to 5, with commas between them
    hotel_class: ParamText | None = None
    #: the codes of brands, with commas between them
    brands: ParamText | None = None
    #: the codes of amenities, with commas between them
    amenities: ParamText | None = None
    #: the codes of kinds of houses, with commas between them; 12 for holiday homes
    property_types: ParamText | None = None
    #: only offers that can be canceled for free
    free_cancellation: bool | None = None
    #: only houses with a certificate
    eco_certified: bool | None = None
    #: only houses with special offers
    special_offers: bool | None = None
    #: the `next_page_token` of an earlier answer
    next_page_token: ParamText | None = None
    #: the number of houses, from 1 to 20
    limit: Annotated[ParamNumber, Bounds(1, 20)] | None = None

    def _find_oddities(self) -> Iterator[str]:
        yield from super()._find_oddities()
        if self.min_price is not None and self.max_price is not None and self.max_price < self.min_price:
            yield "max_price is below min_price"


class HotelsDetailParams(_StayParams):
    """Parameters of `google/hotels/detail`."""

    #: the `detail_token` of a house in an answer of `google/hotels`
    detail_token: ParamText


class GoogleFlights(GooglePlugin):
    """Flights between airports."""

    KEY = "google/flights"
    PARAMS = FlightsParams
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "departure_id": "JFK",
        "arrival_id": "CDG,ORY",
        "outbound_date": "2027-03-01",
        "return_date": "2027-03-08",
        "adults": 2,
    }

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[FlightsParams]) -> None: ...


class GoogleHotels(GooglePlugin):
    """Houses with free rooms."""

    KEY = "google/hotels"
    PARAMS = HotelsParams
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "q": "Paris hotels",
        "check_in_date": "2027-03-01",
        "check_out_date": "2027-03-03",
        "sort_by": 8,
    }

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[HotelsParams]) -> None: ...


class GoogleHotelsDetail(GooglePlugin):
    """The offers for a house."""

    KEY = "google/hotels/detail"
    PARAMS = HotelsDetailParams
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "detail_token": "ChcIyo2FjKuN",
        "check_in_date": "2027-03-01",
        "check_out_date": "2027-03-03",
        "currency": "EUR",
    }

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[HotelsDetailParams]) -> None: ...
