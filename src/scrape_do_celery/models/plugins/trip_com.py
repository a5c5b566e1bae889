"""The plugins for Trip.com."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from .fields import Count, LooseDay, Ordinal, ParamText, Words
from .parameters import PluginParams
from .plugin import TypedPlugin

if TYPE_CHECKING:
    from .plugin import ParamSets


class _TripParams(PluginParams):
    """The parameters that both plugins for Trip.com have."""

    model_config = ConfigDict(alias_generator=to_camel)

    #: the country in two lower-case letters
    country: ParamText
    #: the currency of the prices, such as `EUR`
    currency: ParamText | None = None
    #: the number of adults, at least 1
    adults: Ordinal | None = None
    #: the number of children
    children: Count | None = None
    #: the number of infants
    infants: Count | None = None


class TripSearchParams(_TripParams):
    """Parameters of `trip/search`."""

    #: the IATA code of the city of departure
    depart_city: ParamText
    #: the IATA code of the city of arrival
    arrive_city: ParamText
    #: the day of the flight
    depart_date: LooseDay
    #: the day of the flight back
    return_date: LooseDay | None = None
    #: the IATA code of the airport of departure
    depart_airport: ParamText | None = None
    #: the IATA code of the airport of arrival
    arrive_airport: ParamText | None = None
    #: Y economy, S premium economy, C business, F first
    cabin_class: Annotated[Literal["Y", "S", "C", "F"], Words()] | None = None
    #: the order of the flights
    sort_by: ParamText | None = None


class TripDetailParams(_TripParams):
    """Parameters of `trip/detail`."""

    #: the long id of an offer, from an answer of `trip/search`
    policy_id: ParamText
    #: the short id of the same offer
    short_policy_id: ParamText
    #: the id of a product
    product_id: ParamText | None = None


class TripSearch(TypedPlugin):
    """Flights between cities."""

    KEY = "trip/search"
    PARAMS = TripSearchParams
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "depart_city": "LON",
        "arrive_city": "BER",
        "depart_date": "2027-03-01",
        "country": "gb",
        "cabin_class": "Y",
    }

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[TripSearchParams]) -> None: ...


class TripDetail(TypedPlugin):
    """The details of an offer."""

    KEY = "trip/detail"
    PARAMS = TripDetailParams
    EXAMPLE: ClassVar[dict[str, Any]] = {"policy_id": "p-1", "short_policy_id": "s-1", "country": "gb"}

    if TYPE_CHECKING:

        def __init__(self, params: ParamSets[TripDetailParams]) -> None: ...
