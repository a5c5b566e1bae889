"""Test the price table, the groups of a request, and the names and figures of learned prices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.models import JobCreationRequest, Plugin
from scrape_do_celery.models.prices import find_price, host_of
from scrape_do_celery.rules.prices import (
    LearnedPrice,
    PricedTasks,
    PriceGroup,
    encode_groups,
    estimate_cost,
    price_groups,
)


def find_plain_price(host):
    return find_price(host, has_super=False, has_render=False)


@pytest.mark.parametrize(
    ("host", "least", "most"),
    [
        *[("linkedin.com", 30, 30), ("www.linkedin.com", 30, 30), ("tr.www.linkedin.com", 30, 30)],
        *[("google.com", 10, 10), ("www.google.co.uk", 10, 10), ("maps.google.com.tr", 10, 10), ("google.cat", 10, 10)],
        *[("shopee.sg", 100, 100), ("shopee.com.my", 100, 100), ("carsales.com.au", 25, 200)],
        *[("www.realestate.com.au", 25, 25), ("chewy.com", 50, 50), ("aircanada.com", 75, 75)],
    ],
)
def test_domain_has_its_own_bounded_price(host, least, most):
    assert find_plain_price(host) == (least, most, most)


@pytest.mark.parametrize(
    "host",
    [
        *["notlinkedin.com", "linkedin.com.evil.org", "linkedin.evil.com", "linkedin.com.", "xlinkedin.com", "com"],
        *["google.evil.com", "mygoogle.com", "google.com.evil.org", "google", "googlecom", "google.dev", "www.google"],
        *["realestate.com", "evil.example", "127.0.0.1", "[::1]", ""],
    ],
)
def test_other_host_has_the_price_of_its_options_without_a_bound(host):
    assert find_plain_price(host) == (1, 1, None)


def test_options_raise_the_price_of_a_domain_that_is_cheaper():
    assert find_price("google.com", has_super=True, has_render=True) == (25, 25, 25)
    assert find_price("google.com", has_super=False, has_render=True) == (10, 25, 25)
    assert find_price("linkedin.com", has_super=True, has_render=True) == (30, 30, 30)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("HTTPS://User:pw@WWW.Example.COM:8443/a?b#c", "www.example.com"),
        *[("https://bücher.example/", "xn--bcher-kva.example"), ("http://example.com./", "example.com")],
        *[("https://[::1]/", "[::1]"), ("no url", ""), ("https://\udfff/", ""), ("", "")],
    ],
)
def test_host_of_a_url(url, host):
    assert host_of(url) == host


def test_targets_are_grouped_by_host():
    urls = ["https://a.example/1", "https://www.linkedin.com/in/b", "https://A.example/2"]
    assert price_groups(JobCreationRequest(targets=urls, render={})) == (
        PriceGroup("a.example|render", 2, 5000, 5000, None),
        PriceGroup("www.linkedin.com|render", 1, 30_000, 30_000, 30_000),
    )


def test_parameter_sets_are_grouped_by_their_price():
    sets = [{"asin": "B000000001", "geocode": "us", "zipcode": "10001", "super": value} for value in (True, False)]
    request = JobCreationRequest(plugin={"key": "amazon/pdp", "params": [*sets, sets[1]]})
    assert price_groups(request) == (
        PriceGroup("plugin/amazon/pdp|super", 1, 10_000, 10_000, 10_000),
        PriceGroup("plugin/amazon/pdp", 2, 1000, 1000, None),
    )


@pytest.mark.filterwarnings("ignore::scrape_do_celery.RequestWarning")
def test_unknown_plugin_has_no_bound_and_a_key_without_spaces():
    request = JobCreationRequest(plugin=Plugin("a b|c#é", [{}]), super=True)
    assert price_groups(request) == (PriceGroup("plugin/a%20b%7Cc%23%C3%A9|super", 1, 1000, 1000, None),)


def test_key_is_bounded_and_may_be_masked():
    long = f"https://{'a' * 60}.{'b' * 60}.example/"
    (group,) = price_groups(JobCreationRequest(targets=[long], super=True))
    assert group.key.startswith("#")
    assert len(group.key) < 50
    masked = price_groups(JobCreationRequest(targets=["https://a.example/"], super=True), mask=str.upper)
    assert [one.key for one in masked] == ["#A.EXAMPLE|super"]


hosts = st.sampled_from(["a.example", "b.example", "www.linkedin.com", "carsales.com.au", "www.google.de"])


@given(st.lists(hosts, min_size=1), st.booleans(), st.booleans())
def test_groups_cover_each_task_and_their_bounds_are_in_order(names, has_super, has_render):
    options = {"super": True} if has_super else {}
    request = JobCreationRequest(
        targets=[f"https://{name}/" for name in names], **options, **({"render": {}} if has_render else {})
    )
    groups = price_groups(request)
    assert sum(one.count for one in groups) == request.size
    assert sum(one.count * one.least_mc for one in groups) == 1000 * request.estimated_credits()
    assert len({one.key for one in groups}) == len(groups) == len(set(names))
    for one in groups:
        assert one.least_mc <= one.price_mc
        assert one.most_mc is None or one.price_mc <= one.most_mc
    words = encode_groups(groups).split(" ")
    assert len(words) == 3 * len(groups)
    tasks = PricedTasks.from_record(request.to_record(), ())
    assert {tasks.price_key(url) for url in request.targets} == {one.key for one in groups}


def test_name_of_a_learned_price_is_that_of_the_group():
    sets = [{"asin": "B000000001", "geocode": "us", "zipcode": "10001", "super": True}] * 2
    request = JobCreationRequest(plugin={"key": "amazon/pdp", "params": sets})
    tasks = PricedTasks.from_record(request.to_record(), sets)
    assert tasks.price_key("https://any.example/") == price_groups(request)[0].key
    assert PricedTasks.from_record(request.to_record(), [*sets, {}]) is None


def test_task_without_a_readable_url_has_no_name():
    assert PricedTasks("|super").price_key("no url") == ""


def test_figures_of_learned_costs():
    learned = LearnedPrice.parse("20786 1000=57 10000=3")
    assert learned.costs == ((1000, 57), (10_000, 3))
    assert (learned.samples, learned.least_mc, learned.mean_mc, learned.percentile_mc) == (60, 1000, 1450.0, 1000)
    assert LearnedPrice.parse("1 1000=94 5000=6").percentile_mc == 5000
    nothing = LearnedPrice()
    assert (nothing.samples, nothing.least_mc, nothing.mean_mc, nothing.percentile_mc) == (0, 0, 0.0, 0)


prices = st.integers(1, 300).map(lambda one: one * 500)
groups_of_prices = st.builds(
    lambda key, count, amounts, is_bounded: PriceGroup(key, count, *amounts[:2], amounts[2] if is_bounded else None),
    st.sampled_from("abcd"),
    st.integers(1, 1000),
    st.lists(prices, min_size=3, max_size=3).map(sorted),
    st.booleans(),
)
learned_prices = st.dictionaries(prices, st.integers(1, 200), max_size=8).map(
    lambda costs: LearnedPrice(tuple(sorted(costs.items())))
)


@given(st.lists(groups_of_prices), st.dictionaries(st.sampled_from("abcd"), learned_prices))
def test_expected_cost_is_within_its_bounds(groups, learned):
    cost = estimate_cost(groups, learned)
    assert cost.least_mc <= cost.expected_mc + 0.001
    assert (cost.most_mc is None) == any(one.most_mc is None for one in groups)
    assert cost.most_mc is None or cost.expected_mc <= cost.most_mc + 0.001
    known = [one for one in groups if learned.get(one.key, LearnedPrice()).samples]
    spent = sum(one.count * learned[one.key].mean_mc for one in known)
    assert cost.expected_mc == pytest.approx(
        spent + sum(one.count * one.price_mc for one in groups if one not in known)
    )
