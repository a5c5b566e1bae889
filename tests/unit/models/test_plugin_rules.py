"""Test the typed plugins against the peer SDK's: what both refuse, and what only one of both refuses."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

from scrape_do_celery.models import JobCreationRequest, RequestWarning
from scrape_do_celery.models.plugins.plugin import PLUGINS
from tests.support import peer_plugins
from tests.support.peer_plugins import KEYS, PEERS, our_wire, peer_params, peer_wire, wire_example

#: Values that no parameter of any plugin takes.
WRONG: list[Any] = [{"a": 1}, [], ["a"]]


def wrong_sets(key: str) -> list[dict[str, Any]]:
    """Return parameter sets with a wrong structure: nothing at all, one parameter missing, one of a wrong JSON type."""
    good = wire_example(key)
    fields = {field.alias or name: field for name, field in peer_params(key).model_fields.items()}
    missing = [{k: v for k, v in good.items() if k != name} for name, field in fields.items() if field.is_required()]
    nulls = [{**good, name: None} for name, field in fields.items() if field.is_required()]
    typed = [{**good, name: value} for name in fields for value in WRONG]
    return [{}, *missing, *nulls, *typed]


def test_the_plugins_are_those_of_the_peer():
    assert sorted(PEERS) == KEYS
    assert len(KEYS) == 28
    for key in KEYS:
        names = {name if field.alias is None else field.alias for name, field in peer_params(key).model_fields.items()}
        mine = PLUGINS[key].PARAMS
        assert {mine.spell_name(name) for name in mine.model_fields} - {"extra"} == names
        required = {field.alias or name for name, field in peer_params(key).model_fields.items() if field.is_required()}
        assert {mine.spell_name(name) for name, field in mine.model_fields.items() if field.is_required()} == required


@pytest.mark.parametrize("key", KEYS)
def test_an_example_is_what_the_peer_sends(key):
    assert our_wire(key, wire_example(key)) == peer_wire(key, wire_example(key)) == [wire_example(key)]


def test_wrong_structure_that_the_peer_refuses_is_refused():
    sets = [(key, one) for key in KEYS for one in wrong_sets(key)]
    refused = [(key, one) for key, one in sets if peer_wire(key, one) is None]
    assert [(key, one) for key, one in refused if our_wire(key, one) is not None] == []
    print(f"{len(refused)} wrong parameter sets that the peer refuses are refused")  # noqa: T201
    # One set for each parameter, and the empty set of each plugin.
    assert sum(len(peer_params(key).model_fields) + 1 for key in KEYS) == 255
    assert len(refused) >= 255
    assert len(refused) == len(sets)


class Difference(NamedTuple):
    """A set that the peer refuses, and that we send with a warning; or the other way round."""

    key: str
    changes: dict[str, Any]
    named: str


#: The rules of the peer that we only warn of. No text of the vendor and no trial shows that the server refuses these.
WARNED = {
    "a number outside of its bounds: the vendor names defaults and lists, and no bounds that refuse": [
        Difference("amazon/search", {"page": 0}, "page is outside of 1 or more"),
        Difference("google/search", {"start": -1}, "start is outside of 0 or more"),
        Difference("google/maps/search", {"start": -1}, "start is outside of 0 or more"),
        Difference("google/maps/reviews", {"num": 21}, "num is outside of 1 to 20"),
        Difference("google/shopping", {"min_price": -1}, "min_price is outside of 0 or more"),
        Difference("google/shopping", {"max_price": -1}, "max_price is outside of 0 or more"),
        Difference("google/shopping", {"start": -1}, "start is outside of 0 or more"),
        *(
            Difference("google/flights", {name: 10}, f"{name} is outside of {bounds}")
            for name, bounds in {
                "adults": "1 to 9",
                "children": "0 to 9",
                "infants_in_seat": "0 to 4",
                "infants_on_lap": "0 to 4",
            }.items()
        ),
        Difference("google/hotels", {"limit": 21}, "limit is outside of 1 to 20"),
        Difference("google/hotels", {"min_price": -1}, "min_price is outside"),
        Difference("google/hotels", {"max_price": -1}, "max_price is outside"),
        Difference("google/play-store", {"num": 51}, "num is outside of 1 to 50"),
        *(
            Difference(key, {"timeout": 4_999}, "timeout is outside of 5,000 to 120,000")
            for key in ("walmart/store", "lowes/store", "shein")
        ),
        *(
            Difference(key, {name: -1}, f"{name} is outside of")
            for key in ("trip/search", "trip/detail")
            for name in ("adults", "children", "infants")
        ),
    ],
    "a text that is longer than the peer's limit: the server may cut it": [
        Difference("chatgpt/chat", {"q": "a" * 1_025}, "q has more than 1,024 characters"),
    ],
    "a word that only the peer lists: a new word of the vendor must be sendable": [
        Difference("chatgpt/chat", {"raw_sse": 2}, "raw_sse is not one of 0, 1"),
        Difference("google/search", {"safe": "on"}, "safe is not one of active, off"),
        Difference("google/search", {"time_period": "last_days"}, "time_period is not one of"),
        Difference("google/search", {"nfpr": 2}, "nfpr is not one of 0, 1"),
        Difference("google/search/ai-mode", {"safe": "on"}, "safe is not one of"),
        Difference("google/search/ai-overview", {"safe": "on"}, "safe is not one of"),
        Difference("google/maps/reviews", {"sort_by": "newest"}, "sort_by is not one of"),
        Difference("google/shopping", {"sort_by": 3}, "sort_by is not one of 0, 1, 2"),
        Difference("google/shopping/product", {"device": "tv"}, "device is not one of"),
        Difference("google/shopping/product", {"sort_by": "price"}, "did you mean base_price?"),
        Difference("google/news", {"so": "2"}, "so is not one of 0, 1"),
        Difference("google/trends", {"data_type": "timeseries"}, "did you mean TIMESERIES?"),
        Difference("google/trends", {"gprop": "maps"}, "gprop is not one of"),
        Difference("google/trends", {"region": "STATE"}, "region is not one of"),
        Difference("google/trending", {"hours": 5}, "hours is not one of 4, 24, 48, 168"),
        Difference("google/trending", {"sort": "new"}, "sort is not one of"),
        Difference("google/trending", {"status": "old"}, "status is not one of"),
        Difference("google/play-store", {"chart": "top"}, "chart is not one of"),
        Difference("google/play-store", {"store_device": "fridge"}, "store_device is not one of"),
        Difference("google/play-store", {"age": "AGE_RANGE4"}, "age is not one of"),
        Difference("trip/search", {"cabinClass": "B"}, "cabin_class is not one of Y, S, C, F"),
    ],
    "parameters that exclude each other for the peer: the server may take the first": [
        Difference("google/maps/place", {"data_cid": "1"}, "place_id and data_cid exclude each other"),
        Difference("google/maps/reviews", {"data_id": "0x1:0x2"}, "data_id and place_id exclude each other"),
        Difference("google/maps/reviews", {"topic_id": "a", "query": "b"}, "topic_id and query exclude each other"),
        Difference("google/news", {"kgmid": "/m/02_286"}, "q and kgmid exclude each other"),
        Difference(
            "google/flights",
            {"include_airlines": "AF", "exclude_airlines": "BA"},
            "include_airlines and exclude_airlines exclude each other",
        ),
    ],
    "parameters that need each other for the peer: the server may have a default": [
        Difference("google/news", {"q": None, "topic_token": "a"}, "so is set without q or kgmid"),
        Difference("google/play-store", {"apps_category": "GAME"}, "age is set without apps_category FAMILY"),
        Difference("google/shopping/product", {"q": None}, "catalog_id needs q"),
        Difference("walmart/store", {"zipcode": None}, "one of zipcode and store_id is set without the other"),
        Difference("walmart/store", {"storeid": None}, "one of zipcode and store_id is set without the other"),
    ],
    "values in a wrong order: the server answers with an empty list, or with an error": [
        Difference("google/hotels", {"check_out_date": "2027-03-01"}, "check_out_date is not after check_in_date"),
        Difference("google/hotels/detail", {"check_out_date": "2027-02-01"}, "check_out_date is not after"),
        Difference("google/hotels", {"min_price": 9, "max_price": 8}, "max_price is below min_price"),
    ],
    "texts with a form of the peer: hosts change, and stores may get other numbers": [
        Difference("walmart/store", {"url": "https://example.com/"}, "url is not a page of walmart.com"),
        Difference("lowes/store", {"url": "https://example.com/"}, "url is not a page of lowes.com"),
        Difference("shein", {"url": "https://example.com/"}, "url is not a page of shein.com"),
        Difference("lowes/store", {"zipcode": "A1"}, "zipcode is not made of digits"),
        Difference("lowes/store", {"storeid": "A1"}, "store_id is not made of digits"),
    ],
}
#: Sets that the peer sends, perhaps changed, and that we refuse.
REFUSED = {
    "an unknown key: the peer drops it, and the answer is paid": [
        *(Difference(key, {"geocod": "us"}, "no parameter 'geocod'") for key in KEYS)
    ],
    "a truth value for a number: the peer sends 1": [
        Difference("google/search", {"start": True}, "start must be a whole number, not True"),
        Difference("walmart/store", {"storeid": True}, "store_id must be a whole number, not True"),
    ],
    "bytes for a text: the peer decodes them": [
        Difference("google/search", {"q": b"a"}, "q must be text (str), not bytes"),
    ],
    "another form than a day: the peer also reads times, seconds since 1970 and datetimes": [
        Difference("google/hotels", {"check_in_date": 1_803_859_200}, "check_in_date must be text (str), not int"),
        Difference("google/hotels", {"check_in_date": "2027-03-01T00:00:00"}, "check_in_date is not a day of the form"),
        Difference("google/hotels", {"check_in_date": datetime(2027, 3, 1)}, "use .date()"),  # noqa: DTZ001
    ],
}
#: Words that the vendor's own pages list. The peer and we refuse others.
PROVEN = [
    *((key, {"device": "tv"}) for key in ("google/search", "google/search/ai-mode", "google/search/ai-overview")),
    ("google/shopping", {"device": "tablet"}),
    ("google/youtube", {"device": "tv"}),
    # The server answers 400 to 3.
    ("google/flights", {"type": 3}),
    ("google/flights", {"travel_class": 5}),
    ("google/flights", {"stops": 4}),
    ("google/flights", {"sort_by": 7}),
    ("google/hotels", {"sort_by": 4}),
    ("google/hotels", {"rating": 10}),
]
warned = [pytest.param(one, id=f"{one.key} {', '.join(one.changes)}") for rule in WARNED.values() for one in rule]


def changed(one: Difference) -> dict[str, Any]:
    # The example of the Play Store has an age, that of the news an order.
    return {**wire_example(one.key), **one.changes}


@pytest.mark.parametrize("one", warned)
def test_rule_of_the_peer_alone_warns_once_and_is_sent(one):
    assert peer_wire(one.key, changed(one)) is None
    sent = {name: value for name, value in changed(one).items() if value is not None}
    with pytest.warns(RequestWarning, match="sent as") as caught:
        assert our_wire(one.key, changed(one)) == [sent]
    assert [str(warning.message) for warning in caught if one.named not in str(warning.message)] == []
    assert len(caught) == 1
    assert caught[0].filename == peer_plugins.__file__
    assert f"{one.key}: plugin.params[0]: " in str(caught[0].message)


@pytest.mark.parametrize("one", [one for rule in REFUSED.values() for one in rule])
def test_what_the_peer_sends_changed_is_refused(one):
    assert peer_wire(one.key, changed(one)) is not None
    with pytest.raises(ValidationError) as error:
        JobCreationRequest(plugin={"key": one.key, "params": [changed(one)]})
    assert one.named in str(error.value)
    assert "plugin.params[0]" in str(error.value)


@pytest.mark.parametrize(("key", "changes"), PROVEN)
def test_word_outside_of_a_list_of_the_vendor_is_refused(key, changes):
    assert peer_wire(key, {**wire_example(key), **changes}) is None
    assert our_wire(key, {**wire_example(key), **changes}) is None


def test_each_list_of_words_is_tried():
    """Hold the tables above against the peer's models: they name each parameter with a list of words."""
    tried = {(one.key, name) for one in WARNED["a word that only the peer lists: a new word of the vendor must be "
             "sendable"] for name in one.changes}  # fmt: skip
    tried |= {(key, name) for key, changes in PROVEN for name in changes}
    listed = {
        (key, field.alias or name)
        for key in KEYS
        for name, field in peer_params(key).model_fields.items()
        if "Literal" in str(field.annotation)
    }
    assert tried == listed


def test_same_values_of_other_types_travel_as_the_peers():
    for key, changes in [
        ("google/search", {"start": "10", "include_html": "true"}),
        ("google/search", {"start": 10.0, "include_html": 1}),
        ("google/hotels", {"check_in_date": date(2027, 3, 1)}),
        ("google/search", {"gl": None}),
        ("google/trends", {"tz": -120, "cat": "0"}),
    ]:
        assert our_wire(key, {**wire_example(key), **changes}) == peer_wire(key, {**wire_example(key), **changes})
