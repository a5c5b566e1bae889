"""Test the ways to write a plugin, its refusals, warnings, newer parameters and credits."""

from __future__ import annotations

import json
import warnings
from datetime import date, datetime

import pytest
from pydantic import ValidationError

from scrape_do_celery import models
from scrape_do_celery.models import (
    AmazonProductParams,
    FlightsParams,
    GoogleFlights,
    GoogleHotels,
    GoogleSearch,
    JobCreationRequest,
    MapsReviewsParams,
    NewsParams,
    Plugin,
    PluginRequest,
    RequestWarning,
    SearchParams,
    TripSearch,
    TripSearchParams,
    WalmartStore,
    YouTubeParams,
)
from scrape_do_celery.models.plugins.plugin import PLUGINS
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.codec import pack, unpack
from scrape_do_celery.store.request_inputs import targets_of
from tests.support.peer_plugins import KEYS, PEERS, peer_params, wire_example


@pytest.mark.parametrize("key", KEYS)
def test_classes_dicts_and_the_peers_objects_are_one_request(key):
    plugin, wire = PLUGINS[key], wire_example(key)
    by_class = JobCreationRequest(plugin=plugin([plugin.PARAMS(**plugin.EXAMPLE)]))
    assert by_class.to_wire() == {"Plugin": {"Key": key, "Params": [wire]}}
    for other in (
        plugin([plugin.EXAMPLE]),
        plugin([wire]),
        plugin(iter([wire])),
        Plugin(key, [wire]),
        {"key": key, "params": [plugin.PARAMS(**plugin.EXAMPLE)]},
        {"Key": key, "Params": [wire]},
        PEERS[key].model_validate({"key": key, "params": [wire]}),
        plugin([peer_params(key).model_validate(wire)]),
    ):
        assert JobCreationRequest(plugin=other) == by_class
    assert type(by_class.plugin) is Plugin
    assert models.PluginRequest is PluginRequest is Plugin
    spec = RunSpec(by_class)
    assert RunSpec.unpacked(*spec.packed()) == spec


def test_python_names_and_names_of_the_api():
    params = TripSearchParams(depart_city="LON", arrive_city="BER", depart_date=date(2027, 3, 1), country="gb")
    wire = {"departCity": "LON", "arriveCity": "BER", "departDate": "2027-03-01", "country": "gb"}
    assert params.to_wire() == TripSearchParams.model_validate(wire).to_wire() == wire
    assert JobCreationRequest(plugin=TripSearch([params])).plugin.params == [wire]
    store = {"url": "https://www.walmart.com/ip/1", "zipcode": "72712", "store_id": 1, "disable_retry": True}
    assert JobCreationRequest(plugin=WalmartStore([store])).plugin.params == [
        {"url": "https://www.walmart.com/ip/1", "zipcode": "72712", "storeid": 1, "disableretry": True}
    ]
    assert YouTubeParams(search_query="a").to_wire() == {"search_query": "a"}


def test_a_refusal_names_the_position_and_the_parameter_meant():
    sets = [{"asin": "B0", "geocode": "us", "zipcode": "1"}] * 3
    with pytest.raises(ValidationError, match=r"plugin\.params\[3\]: no parameter 'geocod'; did you mean geocode"):
        JobCreationRequest(plugin={"key": "amazon/pdp", "params": [*sets, {"asin": "B0", "geocod": "us"}]})
    with pytest.raises(ValidationError) as error:
        JobCreationRequest(plugin={"key": "amazon/pdp", "params": [{"asin": 1, "geocode": "us"}, *sets]})
    assert "plugin.params[0].zipcode: Field required; plugin.params[0].asin: asin must be text" in str(error.value)
    with pytest.raises(ValidationError, match=r"params\[0\]: NewsParams is for another plugin; use SearchParams"):
        GoogleSearch([NewsParams(q="a")])
    for no_set in (1, "a", None, [("q", "a")]):
        with pytest.raises(ValidationError, match=r"params\[0\]: Input should be a valid dictionary"):
            GoogleSearch([no_set])
    for no_list in ("a", {"q": "a"}, 1, None, []):
        with pytest.raises(ValidationError, match="params"):
            GoogleSearch(no_list)
    with pytest.raises(ValidationError, match=r"needs place_id or data_cid"):
        JobCreationRequest(plugin={"key": "google/maps/place", "params": [{"hl": "en"}]})
    with pytest.raises(ValidationError, match="and 5 more"):
        GoogleSearch([{}] * 10)
    with pytest.raises(ValidationError, match="did you mean geocode"):
        AmazonProductParams(asin="B0", geocod="us", zipcode="1")
    with pytest.raises(ValidationError, match=r"params\[0\]\['q'\] holds a lone surrogate|q holds a lone surrogate"):
        GoogleSearch([{"q": "\ud800"}])


def test_a_warning_names_the_line_that_made_the_set():
    with pytest.warns(RequestWarning, match="num is outside of 1 to 20") as caught:
        params = MapsReviewsParams(place_id="a", num=30)
    assert (len(caught), caught[0].filename) == (1, __file__)
    with warnings.catch_warnings():
        # The caller knows by now.
        warnings.simplefilter("error")
        plugin = PLUGINS["google/maps/reviews"]([params])
        request = JobCreationRequest(plugin=plugin)
        RunSpec.from_arguments(request)
        RunSpec.unpacked(*RunSpec(request).packed())
    with pytest.warns(RequestWarning, match="start is outside") as caught:
        JobCreationRequest(plugin=GoogleSearch([{"q": "a", "start": -1}] * 9))
    assert len(caught) == 1
    assert "plugin.params[4]" in str(caught[0].message)
    assert "and 4 more" in str(caught[0].message)


def test_a_day_of_flight_may_have_another_form():
    flight = {"departure_id": "JFK", "arrival_id": "CDG"}
    with pytest.warns(RequestWarning, match="outbound_date is not a day of the form YYYY-MM-DD"):
        assert FlightsParams(**flight, outbound_date="1 March").to_wire()["outbound_date"] == "1 March"
    assert FlightsParams(**flight, outbound_date=date(2027, 3, 1)).outbound_date == "2027-03-01"
    with pytest.raises(ValidationError, match="must be a day, not a datetime"):
        GoogleFlights([{**flight, "outbound_date": datetime(2027, 3, 1)}])  # noqa: DTZ001
    with pytest.raises(ValidationError, match="check_in_date is not a day"):
        GoogleHotels([{"q": "a", "check_in_date": "20270301", "check_out_date": "2027-03-02"}])


# Newer parameters and plugins


def test_extra_sends_newer_parameters():
    params = SearchParams(q="a", extra={"udm": 50, "deep": [None]})
    assert params.to_wire() == {"q": "a", "udm": 50, "deep": [None]}
    assert "50" not in repr(params)
    request = JobCreationRequest(plugin=GoogleSearch([params, {"q": "b", "extra": {}}, {"q": "c", "extra": None}]))
    assert request.to_wire()["Plugin"]["Params"] == [{"q": "a", "udm": 50, "deep": [None]}, {"q": "b"}, {"q": "c"}]
    # A schedule keeps it apart, so that the request can be checked again.
    spec = RunSpec(request)
    read = RunSpec.unpacked(*spec.packed())
    assert (read, read.digest, read.request.to_wire()) == (spec, spec.digest, request.to_wire())
    assert JobCreationRequest(**request.model_dump(mode="json", exclude_none=True)) == request
    other = JobCreationRequest(plugin=GoogleSearch([{"q": "a"}, {"q": "b"}, {"q": "c"}]))
    assert request.differing_fields(other) == ("plugin",)


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"gl": "us"}, r"set gl=\.\.\. instead of 'gl'"),
        ({"a": float("nan")}, r"extra\['a'\] is a number that JSON cannot write"),
        ([], "extra must be a dict"),
        ("a", "extra must be a dict"),
        ({"udm": None}, "which is never sent"),
    ],
)
def test_extra_takes_only_what_is_unknown(extra, named):
    with pytest.raises(ValidationError, match=named):
        SearchParams(q="a", extra=extra)
    with pytest.raises(ValidationError, match=r"plugin\.params\[0\]\.extra"):
        JobCreationRequest(plugin={"key": "google/search", "params": [{"q": "a", "extra": extra}]})
    with pytest.raises(ValidationError, match=r"set depart_city=\.\.\. instead of 'departCity'"):
        TripSearchParams(
            depart_city="LON", arrive_city="BER", depart_date="2027-03-01", country="gb", extra={"departCity": "a"}
        )


def test_a_plugin_that_is_newer_is_sent_unchecked_with_a_warning():
    sets = [{"anything": [1, None], "extra": {"a": 1}}]
    with pytest.warns(RequestWarning, match="sent unchecked.*; did you mean google/search") as caught:
        plugin = Plugin("google/searches", sets)
    assert (len(caught), caught[0].filename) == (1, __file__)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        request = JobCreationRequest(plugin=plugin)
    assert request.to_wire() == {"Plugin": {"Key": "google/searches", "Params": sets}}
    assert request.estimated_credits() == 1
    with pytest.warns(RequestWarning, match="plugin.key='new': this version knows no such plugin, so"):
        assert Plugin("new", [SearchParams(q="a", extra={"b": 1})]).params == [{"q": "a", "b": 1}]


def test_a_record_of_an_older_version_stays_readable():
    """Read a record whose sets no check has seen. It was paid for."""
    sets = [
        {"query": "a", "start": "x"},
        # Records have no `extra` of ours, so this one is a parameter.
        {"q": "a", "extra": {"udm": 50}},
        {"q": "a", "extra": "text"},
        {"q": "a", "extra": {}, "gl": None},
    ]
    spec = RunSpec(JobCreationRequest(plugin=GoogleSearch([{"q": "a"}])))
    options, _ = spec.packed()
    read = RunSpec.unpacked(options, [pack(sets)])
    assert read.request.to_wire()["Plugin"]["Params"] == sets
    assert targets_of(read.request) == [json.dumps(one, sort_keys=True) for one in sets]
    again = RunSpec.unpacked(*RunSpec(read.request).packed())
    assert again.request.to_wire() == read.request.to_wire()


def test_a_record_has_newer_parameters_as_they_are_sent():
    spec = RunSpec(JobCreationRequest(plugin=GoogleSearch([SearchParams(q="a", extra={"udm": 50})])))
    assert [unpack(part) for part in spec.packed()[1]] == [[{"q": "a", "udm": 50}]]
    assert targets_of(spec.request) == ['{"q": "a", "udm": 50}']


# Credits


@pytest.mark.parametrize("key", KEYS)
def test_credits_are_the_known_least(key):
    known = {"chatgpt/chat": 25, "amazon/offer-listing": 10}
    each = known.get(key, 10 if key.startswith("google/") else 1)
    request = JobCreationRequest(plugin={"key": key, "params": [wire_example(key)] * 3})
    assert request.estimated_credits() == 3 * each


def test_super_decides_the_credits_of_amazon():
    sets = [{**wire_example("amazon/pdp"), "super": value} for value in (True, False, None)]
    assert JobCreationRequest(plugin={"key": "amazon/pdp", "params": sets}).estimated_credits() == 12
